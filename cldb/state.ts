/**
 * What the CLDB knows: durable records (servers, volumes, containers), soft state beside them, and indexes over both.
 *
 * Values are immutable; `step` describes how they change and `apply` alone changes the maps. Soft state (liveness,
 * sizes, elections) is forgotten when the CLDB restarts and is learned again from registrations and heartbeats.
 */
import type { Of } from '../protocol/check.ts'
import type { ContainerId, Epoch, ServerId } from '../protocol/ids.ts'
import { replicationMax, type Volume } from '../protocol/messages/attributes.ts'
import { type Counters, type control, type resyncShape, zeroCounters } from '../protocol/messages/control.ts'
import type { RequestOf } from '../protocol/messages/service.ts'
import type { CldbConfig } from './config.ts'

/** Durable facts about the cluster. `nextContainer` is never given out twice; `leaseMs` is the longest lease ever promised. */
export type Meta = { readonly cluster: string; readonly nextContainer: number; readonly leaseMs: number }

/**
 * What a server is kept from by plan. `draining`: its replicas go elsewhere; `maintenance`: for `forMs` it may be silent
 * and is not dead (from when it was asked for, and anew from each start of the CLDB). Neither gets replicas or masters.
 */
export type Mode = { readonly kind: 'draining' | 'maintenance'; readonly reason: string; readonly forMs: number }

/** Durable facts about a fileserver. `incarnation` is that of the process that may hold its lease. */
export type ServerRecord = {
  readonly server: ServerId
  readonly incarnation: number
  readonly topology: string
  readonly address: string
  readonly capacityBytes: number
  /** Absent as long as it takes part in everything. */
  readonly mode: Mode | undefined
}

export type Registration = RequestOf<typeof control.calls.register>

/** `unknown`: not heard of since the CLDB's own start; it may hold a lease from before. */
export type ServerState = 'unknown' | 'alive' | 'silent' | 'dead'

export type Server = {
  readonly record: ServerRecord
  /** The number of its process's registration that is in force; 0: none is. */
  readonly attempt: number
  readonly state: ServerState
  /** When the server came into this state. */
  readonly sinceMs: number
  /** When its last registration or heartbeat was received. */
  readonly heardMs: number
  /** When this process was first heard of; absent when that was before the CLDB's start, or the server is new. */
  readonly bornMs: number | undefined
  readonly modeSinceMs: number
  /** From where its disk's errors are counted; absent until they are known. */
  readonly errors: { readonly sinceMs: number; readonly base: number } | undefined
  /** That its disk fails, and why its replicas cannot go elsewhere. */
  readonly alarm: string | undefined
  readonly freeBytes: number
  readonly full: boolean
  readonly counters: Counters
  readonly resyncs: readonly Of<typeof resyncShape>[]
  readonly resyncsWaiting: number
  /** Replicas of its containers that do not follow it, although their servers are alive. */
  readonly stuck: RequestOf<typeof control.calls.heartbeat>['stuck']
  /** Containers whose in-sync set names this server although it has no replica of them: it must not master them. */
  readonly missing: ReadonlySet<ContainerId>
  /** Containers whose newer configuration its process did not know when it registered again: it may take itself for their master. */
  readonly behind: readonly ContainerId[]
  /** A registration as another process, until that process is heard again: it may come late, from one that is over. */
  readonly pending: Registration | undefined
  /** Incarnations that are over: their messages come late, or from a copy of the storage pool. */
  readonly retired: readonly number[]
}

/**
 * A container's configuration, durable. `master` is absent from the loss of its process until the next is chosen.
 * `created`: a master has served it, so every member holds a replica; before that a member without one has lost nothing.
 */
export type Container = {
  readonly container: ContainerId
  readonly volume: string
  readonly kind: 'name' | 'data'
  readonly epoch: Epoch
  readonly master: ServerId | undefined
  readonly inSync: readonly ServerId[]
  readonly resyncing: readonly ServerId[]
  readonly created: boolean
}

/** When a server was told to discard a replica; `undefined` while it is not decided. */
type Discarded = number | undefined

/** A container's master on `server` is to give way to another member. */
export type HandOver = { readonly server: ServerId; readonly sinceMs: number }

/** A replica that goes from one server to another, to even out their disks. `doneMs`: when the source was dropped. */
export type Move = {
  readonly source: ServerId
  readonly target: ServerId
  readonly doneMs: number | undefined
}

type Tables = {
  readonly servers: Map<ServerId, Server>
  readonly volumes: Map<string, Volume>
  /** In order of id. */
  readonly containers: Map<ContainerId, Container>
  /** Soft: containers without a live master, and when one may be chosen (Infinity while no candidate is alive). */
  readonly elections: Map<ContainerId, number>
  /** Soft: containers whose number of replicas must be looked at, with how many live in-sync copies they have. */
  readonly attention: Map<ContainerId, number>
  /** Soft: replicas that live servers hold and no configuration names. */
  readonly strays: Map<ContainerId, ReadonlyMap<ServerId, Discarded>>
  /** Soft: bytes of each container's log, as its master reported. */
  readonly sizes: Map<ContainerId, number>
  /** Soft: when a target was last named for a container that lacks copies. */
  readonly placements: Map<ContainerId, number>
  /** Soft: what masters are asked to give up. */
  readonly handOvers: Map<ContainerId, HandOver>
  /** Soft. One that is done stays until the disks' free space tells of it. */
  readonly moves: Map<ContainerId, Move>
}

type Frozen<T> = { readonly [K in keyof T]: T[K] extends Map<infer K2, infer V> ? ReadonlyMap<K2, V> : T[K] }
type Writable = Tables & {
  meta: Meta
  readonly config: CldbConfig
  readonly containersOf: Map<ServerId, Set<ContainerId>>
  readonly containersIn: Map<string, Set<ContainerId>>
  readonly resyncingOn: Map<ServerId, Set<ContainerId>>
  readonly mastersOn: Map<ServerId, number>
  readonly queues: Set<ContainerId>[]
}
type Index<K> = ReadonlyMap<K, ReadonlySet<ContainerId>>

/**
 * To read from; only `apply` writes. `containersOf`, `resyncingOn`, `containersIn` and `mastersOn` are indexes of
 * `containers`; `queues` of `attention`: at each number of live copies the containers that have so many, the longest
 * unseen first.
 */
export type State = Frozen<Omit<Writable, 'containersOf' | 'resyncingOn' | 'containersIn' | 'queues'>> & {
  readonly containersOf: Index<ServerId>
  readonly resyncingOn: Index<ServerId>
  readonly containersIn: Index<string>
  readonly queues: readonly ReadonlySet<ContainerId>[]
}

/** New values by table and key; `undefined` deletes. */
export type Changes = {
  readonly meta: Meta | undefined
} & { readonly [K in keyof Tables]: Tables[K] extends Map<infer K2, infer V> ? ReadonlyMap<K2, V | undefined> : never }

/** What is durable: all of it at start-up, and a batch of changes afterwards (`undefined` deletes). */
export type Records = {
  readonly meta: Meta | undefined
  readonly servers: ReadonlyMap<ServerId, ServerRecord>
  readonly volumes: ReadonlyMap<string, Volume>
  readonly containers: ReadonlyMap<ContainerId, Container>
}
export type RecordChanges = { readonly meta: Meta | undefined } & {
  readonly [K in 'servers' | 'volumes' | 'containers']: Records[K] extends ReadonlyMap<infer K2, infer V>
    ? ReadonlyMap<K2, V | undefined>
    : never
}

/** What a volume wants of its containers. */
export type Policy = Omit<Volume, 'root'>

/** Most members of a container's sets: as many as its volume wants, and others on their way in and out. */
export const copiesMax = replicationMax * 2

/** A lease ends for the CLDB this much later than for its holder, whose clock may run slower. */
export const leaseMargin = 1.2

/** What a server is before it is heard. */
export const unheard = (record: ServerRecord, nowMs: number): Server => ({
  record,
  attempt: 0,
  state: 'unknown',
  sinceMs: nowMs,
  heardMs: nowMs,
  bornMs: undefined,
  modeSinceMs: nowMs,
  errors: undefined,
  alarm: undefined,
  freeBytes: 0,
  full: false,
  counters: zeroCounters(),
  resyncs: [],
  resyncsWaiting: 0,
  stuck: [],
  missing: new Set(),
  behind: [],
  pending: undefined,
  retired: [],
})

/** Whether the server may act as a master: it is alive, or the previous CLDB process may have given it a lease. */
export const mayHoldLease = (server: Server | undefined): boolean =>
  server !== undefined && (server.state === 'alive' || server.state === 'unknown')

/** Whether new replicas and masters may be put there. */
export const takesPart = (server: Server | undefined): boolean =>
  server?.state === 'alive' && server.record.mode === undefined

export const isDraining = (server: Server | undefined): boolean => server?.record.mode?.kind === 'draining'

export const members = (container: Container): readonly ServerId[] => [...container.inSync, ...container.resyncing]

/** The state after a start of the CLDB at `nowMs`; `meta` must be there. */
export function initialState(config: CldbConfig, meta: Meta, records: Records, nowMs: number): State {
  const state: Writable = {
    config,
    meta,
    servers: new Map(),
    volumes: new Map(records.volumes),
    containers: new Map(),
    elections: new Map(),
    attention: new Map(),
    strays: new Map(),
    sizes: new Map(),
    placements: new Map(),
    handOvers: new Map(),
    moves: new Map(),
    containersOf: new Map(),
    containersIn: new Map(),
    resyncingOn: new Map(),
    mastersOn: new Map(),
    queues: Array.from({ length: copiesMax + 1 }, () => new Set()),
  }
  for (const [id, record] of records.servers) state.servers.set(id, unheard(record, nowMs))
  for (const container of records.containers.values()) {
    putContainer(state, container.container, container)
    attend(state, container.container, container.inSync.length)
    if (container.master === undefined) state.elections.set(container.container, Number.POSITIVE_INFINITY)
  }
  return state
}

/** The one place where the state changes. */
export function apply(state: State, changes: Changes): void {
  const target = state as Writable
  if (changes.meta !== undefined) target.meta = changes.meta
  for (const [id, value] of changes.containers) putContainer(target, id, value)
  put(target.servers, changes.servers)
  put(target.volumes, changes.volumes)
  put(target.elections, changes.elections)
  put(target.strays, changes.strays)
  put(target.sizes, changes.sizes)
  put(target.placements, changes.placements)
  put(target.handOvers, changes.handOvers)
  put(target.moves, changes.moves)
  for (const [id, copies] of changes.attention) attend(target, id, copies)
}

/** What is looked at goes to the end. */
function attend(state: Writable, id: ContainerId, copies: number | undefined): void {
  const before = state.attention.get(id)
  if (before !== undefined) state.queues[before]!.delete(id)
  state.attention.delete(id)
  if (copies === undefined) return
  state.attention.set(id, copies)
  state.queues[copies]!.add(id)
}

function put<K, V>(table: Map<K, V>, changes: ReadonlyMap<K, V | undefined>): void {
  for (const [key, value] of changes)
    if (value === undefined) table.delete(key)
    else table.set(key, value)
}

function putContainer(state: Writable, id: ContainerId, after: Container | undefined): void {
  const before = state.containers.get(id)
  if (before !== undefined) {
    for (const server of members(before)) state.containersOf.get(server)?.delete(id)
    for (const server of before.resyncing) state.resyncingOn.get(server)?.delete(id)
    if (before.master !== undefined) addTo(state.mastersOn, before.master, -1)
  }
  if (after === undefined) {
    state.containers.delete(id)
    if (before !== undefined) state.containersIn.get(before.volume)?.delete(id)
    return
  }
  state.containers.set(id, after)
  if (before === undefined) setIn(state.containersIn, after.volume, id)
  for (const server of members(after)) setIn(state.containersOf, server, id)
  for (const server of after.resyncing) setIn(state.resyncingOn, server, id)
  if (after.master !== undefined) addTo(state.mastersOn, after.master, 1)
}

function setIn<K>(index: Map<K, Set<ContainerId>>, key: K, id: ContainerId): void {
  const ids = index.get(key)
  if (ids === undefined) index.set(key, new Set([id]))
  else ids.add(id)
}

export function addTo<K>(counts: Map<K, number>, key: K, difference: number): void {
  counts.set(key, (counts.get(key) ?? 0) + difference)
}
