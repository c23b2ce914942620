/**
 * Volumes and the containers that are made for them: what `step` decides on createVolume, removeVolume and allocate.
 *
 * Pure: reads and changes a draft.
 */
import { Failure } from '../protocol/failures.ts'
import { inode } from '../protocol/ids.ts'
import { replicationMax, type Volume } from '../protocol/messages/attributes.ts'
import type { control } from '../protocol/messages/control.ts'
import type { RequestOf } from '../protocol/messages/service.ts'
import type { Draft } from './draft.ts'
import { openContainers, placesOf } from './query.ts'
import type { Policy } from './state.ts'

type Request<K extends keyof typeof control.calls> = RequestOf<(typeof control.calls)[K]>

const volumesMax = 100_000
const chunkBytesDefault = 256 * 2 ** 20
const chunkBytesUnit = 64 * 1024

export function createVolume(draft: Draft, request: Request<'createVolume'>): void {
  const { name, mountPath, replication, minimum, topology } = request
  const chunkBytes = request.chunkBytes === 0 ? chunkBytesDefault : request.chunkBytes
  const policy = { name, mountPath, replication, minimum, topology, chunkBytes }
  const existing = draft.volumes.get(name)
  if (existing !== undefined) {
    if (Object.entries(policy).every(([key, value]) => existing[key as never] === value)) return // a retry
    throw new Failure('EXISTS', `there is a volume ${name} with other properties`)
  }
  checkVolume(draft, policy)
  const container = draft.create(policy, 'name')
  if (container === undefined)
    throw new Failure('NO_SERVERS', `volume ${name} needs ${minimum} servers that are alive and not full`)
  const root = { container: container.container, inode: inode(1), generation: 1 }
  draft.volumes.set(name, { ...policy, root })
}

function checkVolume(draft: Draft, policy: Policy): void {
  const { name, mountPath, replication, minimum, chunkBytes } = policy
  const refuse = (unless: boolean, detail: string): void => {
    if (!unless) throw new Failure('INVALID', `volume ${name}: ${detail}`)
  }
  refuse(/^[A-Za-z0-9._-]+$/.test(name) && !/^\.+$/.test(name), 'a name consists of letters, digits, ".", "_" and "-"')
  const parts = mountPath.split('/').slice(1)
  const normal = parts.every((part) => part !== '' && part !== '.' && part !== '..')
  refuse(mountPath === '/' || (mountPath.startsWith('/') && normal), 'the mount path must be absolute and normalised')
  refuse(!mountPath.includes('\0'), 'the mount path must not hold NUL')
  refuse(replication >= 1 && replication <= replicationMax, `replication must be from 1 to ${replicationMax}`)
  refuse(minimum >= 1 && minimum <= replication, 'the minimum must be from 1 to the replication')
  refuse(chunkBytes > 0 && chunkBytes % chunkBytesUnit === 0, 'the chunk size must be a multiple of 64 KiB')
  checkTopology(policy.topology)
  if (draft.state.volumes.size >= volumesMax) throw new Failure('NO_SPACE', `there are ${volumesMax} volumes already`)
  for (const other of draft.state.volumes.values())
    if (other.mountPath === mountPath) throw new Failure('EXISTS', `volume ${other.name} is mounted at ${mountPath}`)
}

export function checkTopology(topology: string): void {
  if (topology !== '' && topology !== '/' && !/^(\/[^/\0]+)+$/.test(topology))
    throw new Failure('INVALID', `a topology is a path such as /rack1/node3, not ${topology}`)
}

function volumeNamed(draft: Draft, name: string): Volume {
  const volume = draft.volumes.get(name)
  if (volume === undefined) throw new Failure('NOT_FOUND', `there is no volume ${name}`)
  return volume
}

export function removeVolume(draft: Draft, request: Request<'removeVolume'>): void {
  const { name } = volumeNamed(draft, request.name)
  draft.volumes.delete(name)
  for (const id of draft.state.containersIn.get(name) ?? []) draft.remove(draft.containers.get(id)!)
}

/** Makes data containers until enough are open, or at least some can be written to. */
export function allocate(draft: Draft, request: Request<'allocate'>): void {
  const volume = volumeNamed(draft, request.volume)
  const { config } = draft.state
  const places = placesOf(draft.state, volume)
  const { open, writable } = openContainers(draft.state, volume)
  const wanted = Math.min(Math.max(config.openContainersMin, 2 * places.alive), config.openContainersMax)
  let count = Math.max(wanted - open, writable.length === 0 ? config.openContainersMin : 0)
  let made = 0
  for (; count > 0 && draft.create(volume, 'data') !== undefined; count--) made++
  if (made > 0 || writable.length > 0) return
  if (places.alive < volume.minimum)
    throw new Failure('NO_SERVERS', `volume ${volume.name} needs ${volume.minimum} servers that are alive`)
  throw new Failure('NO_SPACE', `volume ${volume.name}: fewer than ${volume.minimum} of its servers have space`)
}
