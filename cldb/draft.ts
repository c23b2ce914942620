/**
 * One step's view of the state: reads see what the step has already changed, and the state itself stays as it is.
 *
 * Pure towards the outside: what was changed comes out as `changes()`, what must be told as `effects`.
 */
import { assert } from '../protocol/assert.ts'
import { Failure } from '../protocol/failures.ts'
import { type ContainerId, containerId, epoch, type ServerId } from '../protocol/ids.ts'
import type { Volume } from '../protocol/messages/attributes.ts'
import { choosePlaces, pathOf, type Random, randomFrom } from './placement.ts'
import { Spots } from './replicas/spots.ts'
import {
  type Changes,
  type Container,
  type HandOver,
  isDraining,
  leaseMargin,
  type Meta,
  type Move,
  mayHoldLease,
  members,
  type Policy,
  type Server,
  type State,
} from './state.ts'

/** What must be told once the step's changes are durable. Repeating one is harmless. */
export type Effect =
  /** Send the container's location to the server: it is or was the master, or its master must see a member's news. */
  | { readonly type: 'assign'; readonly server: ServerId; readonly container: ContainerId }
  /** Tell the server to delete its replica: no configuration names it. */
  | { readonly type: 'discard'; readonly server: ServerId; readonly container: ContainerId }
  /** Send the server an update even if it is empty: the first on a stream tells it that it has heard all. */
  | { readonly type: 'greet'; readonly server: ServerId }

/** A configuration's parts that a change may replace. */
type Configuration = Pick<Container, 'master' | 'inSync' | 'resyncing'>

/** A server that was told to discard a replica surely has after this long. */
const discardSettleMs = 10_000
/** Of two servers the one with fewer replicas gets a new one: new servers fill up, but not all at once. */
const placeDraws = 2
/** Copies are shared out more evenly: the last to be done decides how long all took. */
const targetDraws = 8

class Overlay<K, V> {
  readonly changes = new Map<K, V | undefined>()
  private readonly base: ReadonlyMap<K, V>

  constructor(base: ReadonlyMap<K, V>) {
    this.base = base
  }

  get(key: K): V | undefined {
    return this.changes.has(key) ? this.changes.get(key) : this.base.get(key)
  }

  set(key: K, value: V): void {
    this.changes.set(key, value)
  }

  delete(key: K): void {
    if (this.get(key) !== undefined) this.changes.set(key, undefined)
  }
}

export class Draft {
  readonly state: State
  readonly nowMs: number
  readonly random: Random
  readonly servers: Overlay<ServerId, Server>
  readonly volumes: Overlay<string, Volume>
  readonly containers: Overlay<ContainerId, Container>
  readonly elections: Overlay<ContainerId, number>
  readonly handOvers: Overlay<ContainerId, HandOver>
  readonly moves: Overlay<ContainerId, Move>
  readonly strays: Overlay<ContainerId, ReadonlyMap<ServerId, number | undefined>>
  readonly sizes: Overlay<ContainerId, number>
  readonly placements: Overlay<ContainerId, number>
  readonly effects: Effect[] = []
  private meta: Meta
  /** Containers whose number of replicas must be looked at, or need not any more. */
  private readonly attention = new Map<ContainerId, boolean>()
  private readonly spots: Spots
  /** Masters that this step placed, by server: the state's index does not know them yet. */
  private readonly mastered = new Map<ServerId, number>()

  constructor(state: State, nowMs: number, random: number) {
    this.state = state
    this.nowMs = nowMs
    this.random = randomFrom(random)
    this.servers = new Overlay(state.servers)
    this.volumes = new Overlay(state.volumes)
    this.containers = new Overlay(state.containers)
    this.elections = new Overlay(state.elections)
    this.handOvers = new Overlay(state.handOvers)
    this.moves = new Overlay(state.moves)
    this.strays = new Overlay(state.strays)
    this.sizes = new Overlay(state.sizes)
    this.placements = new Overlay(state.placements)
    this.meta = state.meta
    this.spots = new Spots(state, nowMs, (id) => this.servers.get(id)!)
  }

  changes(): Changes {
    return {
      meta: this.meta === this.state.meta ? undefined : this.meta,
      servers: this.servers.changes,
      volumes: this.volumes.changes,
      containers: this.containers.changes,
      elections: this.elections.changes,
      attention: new Map([...this.attention].map(([id, due]) => [id, due ? this.copies(id) : undefined])),
      strays: this.strays.changes,
      sizes: this.sizes.changes,
      placements: this.placements.changes,
      handOvers: this.handOvers.changes,
      moves: this.moves.changes,
    }
  }

  /** Live in-sync copies. */
  private copies(id: ContainerId): number | undefined {
    return this.containers.get(id)?.inSync.filter((member) => mayHoldLease(this.servers.get(member))).length
  }

  /** The number of the container's replicas must be looked at. */
  attend(id: ContainerId): void {
    this.attention.set(id, true)
  }

  /** It need not be looked at until something changes. */
  rest(id: ContainerId): void {
    this.attention.set(id, false)
  }

  isAlive(server: ServerId): boolean {
    return this.servers.get(server)?.state === 'alive'
  }

  /** Whether the replica there is to be dropped by plan, once it is not needed. */
  leaves(server: ServerId, container: ContainerId): boolean {
    const move = this.moves.get(container)
    return isDraining(this.servers.get(server)) || (move?.source === server && move.doneMs === undefined)
  }

  masters(server: ServerId): number {
    return (this.state.mastersOn.get(server) ?? 0) + (this.mastered.get(server) ?? 0)
  }

  /** Whether a lease that was given to the server can still run on its own clock. */
  leaseMayRun(server: Server): boolean {
    const leaseMs = server.state === 'unknown' ? this.meta.leaseMs : this.state.config.leaseMs
    return mayHoldLease(server) && this.nowMs <= server.heardMs + leaseMs * leaseMargin
  }

  /** The server of a call, whose lease is good and whose process is the one we know. @throws Failure CONFLICT otherwise. */
  session(id: ServerId, incarnation: number): Server {
    const server = this.servers.get(id)
    if (server?.state !== 'alive' || server.record.incarnation !== incarnation || !this.leaseMayRun(server))
      throw new Failure('CONFLICT', `server ${id} is not registered with incarnation ${incarnation}: register again`)
    return server
  }

  /** A new configuration under the next epoch; those concerned are told. */
  configure(before: Container, changed: Partial<Configuration>): Container {
    const after = { ...before, ...changed, epoch: epoch(before.epoch + 1) }
    this.containers.set(before.container, after)
    this.attend(before.container)
    this.handOvers.delete(before.container)
    if (after.resyncing.length === 0) this.placements.delete(before.container)
    for (const member of members(after)) this.forgetStray(before.container, member)
    if (before.master !== undefined && before.master !== after.master) this.assign(before.master, before.container)
    if (after.master !== undefined) this.assign(after.master, before.container)
    return after
  }

  /** The master serves: every member of the in-sync set has stored its beginning. */
  created(container: Container): void {
    if (container.created) return
    this.containers.set(container.container, { ...container, created: true })
    for (const member of container.inSync) this.holds(member, container.container)
  }

  /** The server has a replica of the container (again). */
  holds(id: ServerId, container: ContainerId): void {
    const server = this.servers.get(id)
    if (!server?.missing.has(container)) return
    const missing = new Set(server.missing)
    missing.delete(container)
    this.servers.set(id, { ...server, missing })
  }

  /** The server has none, although the in-sync set names it. */
  lacks(id: ServerId, container: ContainerId): void {
    const server = this.servers.get(id)!
    this.servers.set(id, { ...server, missing: new Set([...server.missing, container]) })
  }

  assign(server: ServerId, container: ContainerId): void {
    this.effects.push({ type: 'assign', server, container })
  }

  /** Notes that the server holds a replica that no configuration names, and tells it so when `now`. */
  stray(container: ContainerId, server: ServerId, now: boolean): void {
    const holders = new Map(this.strays.get(container))
    holders.set(server, now ? this.nowMs : undefined)
    this.strays.set(container, holders)
    if (now) this.effects.push({ type: 'discard', server, container })
  }

  /** Servers that hold a replica that may be discarded at any moment: they are no targets for another. */
  settling(container: ContainerId): readonly ServerId[] {
    const isSettling = (toldMs: number | undefined): boolean =>
      toldMs === undefined || this.nowMs < toldMs + discardSettleMs
    return [...(this.strays.get(container) ?? [])].filter(([, toldMs]) => isSettling(toldMs)).map(([server]) => server)
  }

  forgetStray(container: ContainerId, server: ServerId): void {
    const holders = new Map(this.strays.get(container))
    if (!holders.delete(server)) return
    if (holders.size === 0) this.strays.delete(container)
    else this.strays.set(container, holders)
  }

  /** Servers for the first replicas of a container. */
  private place(policy: Policy): readonly ServerId[] {
    const places = this.spots.of(policy, []).map((spot) => ({ ...spot, load: [0, spot.replicas] }))
    const chosen = choosePlaces(places, policy.replication, [], this.random, placeDraws).map(({ server }) => server)
    for (const id of chosen) this.spots.take(id, 0, undefined)
    return chosen
  }

  /**
   * Targets for copies of a container, far from those in `near` and none of `except`; fewer than `count` where no others
   * have room, and no more than so many copies on their way to them.
   */
  targets(container: Container, count: number, near: readonly ServerId[], except: readonly ServerId[]): ServerId[] {
    const policy = this.volumes.get(container.volume)!
    const copyBytes = this.sizes.get(container.container) ?? 0
    const places = this.spots
      .of(policy, except)
      .filter(({ incoming, freeBytes }) => incoming < this.state.config.copiesPerServer && freeBytes > copyBytes)
      .map((spot) => ({ ...spot, load: [spot.incomingBytes, spot.incoming, spot.replicas] }))
    const paths = near.map((id) => pathOf(this.servers.get(id)?.record.topology ?? ''))
    const chosen = choosePlaces(places, count, paths, this.random, targetDraws).map(({ server }) => server)
    for (const id of chosen) this.spots.take(id, copyBytes, container.master)
    if (chosen.length > 0) this.placements.set(container.container, this.nowMs)
    return chosen
  }

  /** Whether as many copies are on their way from the server as may be, twice as many of `last` ones: others can begin meanwhile. */
  isBusySource(server: ServerId, last: boolean): boolean {
    return this.spots.copiesFrom(server) >= this.state.config.copiesPerServer * (last ? 2 : 1)
  }

  /** A container of epoch 1 whose replicas are yet to be made. @returns undefined when fewer than the minimum can be placed. */
  create(policy: Policy, kind: Container['kind']): Container | undefined {
    const servers = this.place(policy)
    if (servers.length < policy.minimum) return undefined
    const id = containerId(this.meta.nextContainer)
    this.meta = { ...this.meta, nextContainer: id + 1 }
    const master = this.lightest(servers)
    this.mastered.set(master, (this.mastered.get(master) ?? 0) + 1)
    const container: Container = {
      container: id,
      volume: policy.name,
      kind,
      epoch: epoch(1),
      master,
      inSync: servers,
      resyncing: [],
      created: false,
    }
    this.containers.set(id, container)
    this.attend(id)
    this.assign(master, id)
    return container
  }

  /** Of two drawn at random the one with fewer masters. */
  private lightest(servers: readonly ServerId[]): ServerId {
    assert(servers.length > 0, 'a container has members')
    const first = servers[Math.floor(this.random() * servers.length)]!
    const second = servers[Math.floor(this.random() * servers.length)]!
    return this.masters(second) < this.masters(first) ? second : first
  }

  /** Removes a container; its replicas on live servers are to be discarded. */
  remove(container: Container): void {
    const id = container.container
    this.containers.delete(id)
    this.elections.delete(id)
    this.rest(id)
    this.handOvers.delete(id)
    this.moves.delete(id)
    this.sizes.delete(id)
    this.placements.delete(id)
    for (const server of new Set([...members(container), ...(this.strays.get(id)?.keys() ?? [])]))
      if (this.isAlive(server)) this.stray(id, server, true)
  }
}
