/**
 * One step's view of the state: reads see what the step has already changed, and the state itself stays as it is.
 *
 * Pure towards the outside: what was changed comes out as `changes()`, what must be told as `effects`.
 */
import { assert } from '../protocol/assert.ts'
import { Failure } from '../protocol/failures.ts'
import { type ContainerId, containerId, epoch, type ServerId } from '../protocol/ids.ts'
import type { Volume } from '../protocol/messages/attributes.ts'
import { choosePlaces, isUnder, type Place, type Random, randomFrom } from './placement.ts'
import {
  type Changes,
  type Container,
  leaseMargin,
  type Meta,
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
  readonly attention: Overlay<ContainerId, true>
  readonly strays: Overlay<ContainerId, ReadonlyMap<ServerId, number | undefined>>
  readonly sizes: Overlay<ContainerId, number>
  readonly effects: Effect[] = []
  private meta: Meta
  private places: readonly Server[] | undefined
  /** Replicas and masters that this step placed, by server: the state's indexes do not know them yet. */
  private readonly placed = new Map<ServerId, number>()
  private readonly mastered = new Map<ServerId, number>()

  constructor(state: State, nowMs: number, random: number) {
    this.state = state
    this.nowMs = nowMs
    this.random = randomFrom(random)
    this.servers = new Overlay(state.servers)
    this.volumes = new Overlay(state.volumes)
    this.containers = new Overlay(state.containers)
    this.elections = new Overlay(state.elections)
    this.attention = new Overlay(state.attention)
    this.strays = new Overlay(state.strays)
    this.sizes = new Overlay(state.sizes)
    this.meta = state.meta
  }

  changes(): Changes {
    return {
      meta: this.meta === this.state.meta ? undefined : this.meta,
      servers: this.servers.changes,
      volumes: this.volumes.changes,
      containers: this.containers.changes,
      elections: this.elections.changes,
      attention: this.attention.changes,
      strays: this.strays.changes,
      sizes: this.sizes.changes,
    }
  }

  isAlive(server: ServerId): boolean {
    return this.servers.get(server)?.state === 'alive'
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
    this.attention.set(before.container, true)
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

  forgetStray(container: ContainerId, server: ServerId): void {
    const holders = new Map(this.strays.get(container))
    if (!holders.delete(server)) return
    if (holders.size === 0) this.strays.delete(container)
    else this.strays.set(container, holders)
  }

  /** Servers for new replicas of a container, beside those in `near`; fewer than `count` where there are no more. */
  place(policy: Policy, count: number, near: readonly ServerId[], except: readonly ServerId[]): readonly ServerId[] {
    this.places ??= [...this.state.servers.keys()]
      .map((id) => this.servers.get(id)!)
      .filter((server) => server.state === 'alive' && !server.full)
    const places: Place[] = []
    for (const { record, freeBytes } of this.places) {
      const id = record.server
      if (near.includes(id) || except.includes(id) || !isUnder(record.topology, policy.topology)) continue
      const load = (this.state.containersOf.get(id)?.size ?? 0) + (this.placed.get(id) ?? 0)
      places.push({ server: id, topology: record.topology, freeBytes, load })
    }
    const topologies = near.map((id) => this.servers.get(id)?.record.topology ?? '')
    const chosen = choosePlaces(places, count, topologies, this.random).map((place) => place.server)
    for (const id of chosen) this.placed.set(id, (this.placed.get(id) ?? 0) + 1)
    return chosen
  }

  /** A container of epoch 1 whose replicas are yet to be made. @returns undefined when fewer than the minimum can be placed. */
  create(policy: Policy, kind: Container['kind']): Container | undefined {
    const servers = this.place(policy, policy.replication, [], [])
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
    this.attention.set(id, true)
    this.assign(master, id)
    return container
  }

  /** Of two drawn at random the one with fewer masters. */
  private lightest(servers: readonly ServerId[]): ServerId {
    assert(servers.length > 0, 'a container has members')
    const masters = (id: ServerId): number => (this.state.mastersOn.get(id) ?? 0) + (this.mastered.get(id) ?? 0)
    const first = servers[Math.floor(this.random() * servers.length)]!
    const second = servers[Math.floor(this.random() * servers.length)]!
    return masters(second) < masters(first) ? second : first
  }

  /** Removes a container; its replicas on live servers are to be discarded. */
  remove(container: Container): void {
    const id = container.container
    this.containers.delete(id)
    this.elections.delete(id)
    this.attention.delete(id)
    this.sizes.delete(id)
    for (const server of new Set([...members(container), ...(this.strays.get(id)?.keys() ?? [])]))
      if (this.isAlive(server)) this.stray(id, server, true)
  }
}
