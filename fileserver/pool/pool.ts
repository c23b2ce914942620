/**
 * A storage pool: the directory that one fileserver process owns.
 *
 * Driver. `pool.json` says whose it is, `index/` is the index, `containers/ID/` holds a replica each. The index's own
 * lock keeps a second process out.
 */
import { Failure } from '../../protocol/failures.ts'
import { type ContainerId, containerId, type ServerId, serverId } from '../../protocol/ids.ts'
import type { Disk } from './disk.ts'

const format = 1

export type Identity = { readonly server: ServerId; readonly cluster: string }

/** @param newId for a directory that is no pool yet. @throws Failure INVALID when the directory holds something else. */
export function openPool(disk: Disk, directory: string, newId: () => ServerId): Identity {
  disk.makeDirectory(`${directory}/containers`)
  const file = disk.load(`${directory}/pool.json`)
  if (file === undefined) {
    if (disk.list(`${directory}/containers`).length > 0)
      throw new Failure('INVALID', `${directory} holds containers but no pool.json: it is not a whole storage pool`)
    const identity = { server: newId(), cluster: '' }
    saveIdentity(disk, directory, identity)
    return identity
  }
  try {
    const stored = JSON.parse(file.toString()) as { format: number; server: string; cluster: string }
    if (stored.format !== format) throw new Error(`it has format ${stored.format}`)
    return { server: serverId(stored.server), cluster: String(stored.cluster) }
  } catch (error) {
    throw new Failure('INVALID', `${directory}/pool.json is not a pool of this version: ${(error as Error).message}`)
  }
}

export const saveIdentity = (disk: Disk, directory: string, identity: Identity): void =>
  disk.save(`${directory}/pool.json`, Buffer.from(`${JSON.stringify({ format, ...identity }, undefined, 2)}\n`))

export const containerDirectory = (containers: string, container: ContainerId): string => `${containers}/${container}`

export const containersIn = (disk: Disk, containers: string): ContainerId[] =>
  disk
    .list(containers)
    .filter((name) => /^\d+$/.test(name))
    .map((name) => containerId(Number(name)))
