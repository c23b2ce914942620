/**
 * What the CLDB answers to those who only ask: locations, open containers, space, status.
 *
 * Pure: reads the state, changes nothing.
 */
import { Failure } from '../protocol/failures.ts'
import type { ContainerId, ServerId } from '../protocol/ids.ts'
import type { Location, Volume } from '../protocol/messages/attributes.ts'
import { type control, leftMax } from '../protocol/messages/control.ts'
import type { ReplyOf, RequestOf } from '../protocol/messages/service.ts'
import { isUnder } from './placement.ts'
import { modeLeftMs } from './servers/modes.ts'
import {
  type Container,
  isDraining,
  mayHoldLease,
  members,
  type Policy,
  type Server,
  type State,
  takesPart,
} from './state.ts'

type Calls = typeof control.calls
type Reply<K extends keyof Calls> = ReplyOf<Calls[K]>

/** Most containers that one `allocate` answers. */
const writableMax = 64

/** The master of a container, unless its lease is over. */
function liveMaster(state: State, container: Container): ServerId | undefined {
  const { master } = container
  return master !== undefined && mayHoldLease(state.servers.get(master)) ? master : undefined
}

function locationOf(state: State, container: Container): Location {
  const volume = state.volumes.get(container.volume)!
  return {
    container: container.container,
    volume: container.volume,
    kind: container.kind,
    epoch: container.epoch,
    master: liveMaster(state, container),
    inSync: container.inSync,
    resyncing: container.resyncing,
    minimum: volume.minimum,
    chunkBytes: volume.chunkBytes,
    servers: members(container).map((id) => {
      const server = state.servers.get(id)!
      return { server: id, address: server.record.address, alive: mayHoldLease(server) }
    }),
  }
}

/** Locations of those of `ids` that exist. */
export function locate(state: State, ids: Iterable<ContainerId>): readonly Location[] {
  const locations: Location[] = []
  for (const id of ids) {
    const container = state.containers.get(id)
    if (container !== undefined) locations.push(locationOf(state, container))
  }
  return locations
}

/** Servers that the volume may use for new containers: how many take part, and what space they have. */
export function placesOf(
  state: State,
  policy: Policy,
): { readonly alive: number; readonly capacityBytes: number; readonly freeBytes: number } {
  const places = { alive: 0, capacityBytes: 0, freeBytes: 0 }
  for (const server of state.servers.values()) {
    const { record, freeBytes } = server
    if (!takesPart(server) || !isUnder(record.topology, policy.topology)) continue
    places.alive++
    places.capacityBytes += record.capacityBytes
    places.freeBytes += freeBytes
  }
  return places
}

/** Data containers of the volume that have room: how many, and which of them can be written to now. */
export function openContainers(
  state: State,
  volume: Volume,
): { readonly open: number; readonly writable: readonly ContainerId[] } {
  let open = 0
  const writable: ContainerId[] = []
  for (const id of state.containersIn.get(volume.name) ?? []) {
    const container = state.containers.get(id)!
    if (container.kind !== 'data' || (state.sizes.get(id) ?? 0) >= state.config.containerBytesMax) continue
    if (members(container).some((member) => state.servers.get(member)?.full)) continue
    open++
    const ready = liveMaster(state, container) !== undefined && container.inSync.length >= volume.minimum
    if (ready && writable.length < writableMax) writable.push(id)
  }
  return { open, writable }
}

export function volumeOf(state: State, name: string): Volume {
  const volume = state.volumes.get(name)
  if (volume === undefined) throw new Failure('NOT_FOUND', `there is no volume ${name}`)
  return volume
}

export function space(state: State, name: string): Reply<'space'> {
  const volume = volumeOf(state, name)
  const { capacityBytes, freeBytes } = placesOf(state, volume)
  return {
    totalBytes: Math.floor(capacityBytes / volume.replication),
    freeBytes: Math.floor(freeBytes / volume.replication),
  }
}

/** In-sync replicas on servers that may be alive. */
const liveCopies = (state: State, container: Container): number =>
  container.inSync.filter((member) => mayHoldLease(state.servers.get(member))).length

/** Containers that the server should stop leading, in which epoch. */
export function handOversOf(state: State, server: ServerId): Reply<'heartbeat'>['handOver'] {
  const asked = [...state.handOvers.keys()].map((id) => state.containers.get(id))
  return asked.flatMap((named) =>
    named?.master === server ? [{ container: named.container, epoch: named.epoch }] : [],
  )
}

/** Containers that need the server: without it, and those that may stop as well, they have too few live copies. */
function needed(state: State, server: Server): number {
  const id = server.record.server
  let count = 0
  for (const container of state.containersOf.get(id) ?? []) {
    const { inSync, volume } = state.containers.get(container)!
    const others = inSync.filter((member) => member !== id && takesPart(state.servers.get(member)))
    if (others.length < state.volumes.get(volume)!.minimum) count++
  }
  return count
}

/** Containers that keep the server from being drained, when they are few. */
function left(state: State, server: Server): readonly ContainerId[] {
  const ids = state.containersOf.get(server.record.server)
  return ids === undefined || !isDraining(server) || ids.size > leftMax ? [] : [...ids]
}

export function status(state: State, nowMs: number): Reply<'status'> {
  const servers = [...state.servers.values()].map((server) => ({
    server: server.record.server,
    address: server.record.address,
    topology: server.record.topology,
    state: server.state === 'unknown' ? ('silent' as const) : server.state,
    full: server.full,
    capacityBytes: server.record.capacityBytes,
    freeBytes: server.freeBytes,
    replicas: state.containersOf.get(server.record.server)?.size ?? 0,
    masters: state.mastersOn.get(server.record.server) ?? 0,
    counters: server.counters,
    resyncs: server.resyncs,
    resyncsWaiting: server.resyncsWaiting,
    mode: server.record.mode?.kind ?? ('normal' as const),
    reason: server.record.mode?.reason ?? '',
    alarm: server.alarm ?? '',
    left: left(state, server),
    modeLeftMs: Math.ceil(modeLeftMs(server, nowMs)),
    resyncing: state.resyncingOn.get(server.record.server)?.size ?? 0,
    needed: server.record.mode === undefined ? 0 : needed(state, server),
  }))
  const volumes = [...state.volumes.values()].map((volume) => {
    const ids = state.containersIn.get(volume.name) ?? new Set()
    let underReplicated = 0
    let unavailable = 0
    let lackingBytes = 0
    for (const id of ids) {
      const container = state.containers.get(id)!
      const lacking = volume.replication - liveCopies(state, container)
      if (lacking > 0) {
        underReplicated++
        lackingBytes += lacking * (state.sizes.get(id) ?? 0)
      }
      if (liveMaster(state, container) === undefined) unavailable++
    }
    return { volume, containers: ids.size, underReplicated, unavailable, lackingBytes }
  })
  return { cluster: state.meta.cluster, servers, volumes }
}

/** One page of containers in order of id. */
export function containerPage(state: State, request: RequestOf<Calls['containers']>): readonly Location[] {
  const ids = request.volume === undefined ? state.containers.keys() : idsIn(state, request.volume)
  const page: Location[] = []
  for (const id of ids) {
    if (page.length >= request.limit) break
    if (id <= request.after) continue
    const container = state.containers.get(id)!
    const { replication } = state.volumes.get(container.volume)!
    if (request.underReplicated && liveCopies(state, container) >= replication) continue
    page.push(locationOf(state, container))
  }
  return page
}

const idsIn = (state: State, name: string): Iterable<ContainerId> =>
  state.containersIn.get(volumeOf(state, name).name) ?? []
