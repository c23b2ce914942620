/**
 * A CLDB without a network or a disk, for tests: events go into `step` at a time that the test moves.
 *
 * Durable records are kept apart, so that `restart` knows exactly what a new CLDB process would.
 */

import { cldbConfig } from '../../cldb/config.ts'
import type { Effect } from '../../cldb/draft.ts'
import { locate } from '../../cldb/query.ts'
import { apply, type Container, initialState, type Meta, type ServerRecord, type State } from '../../cldb/state.ts'
import { type Event, step } from '../../cldb/step.ts'
import type { Failure, FailureCode } from '../../protocol/failures.ts'
import { type ContainerId, containerId, epoch, type ServerId, serverId } from '../../protocol/ids.ts'
import type { Location, Volume } from '../../protocol/messages/attributes.ts'
import { zeroCounters } from '../../protocol/messages/control.ts'

type Untimed<E> = E extends Event ? Omit<E, 'nowMs' | 'random'> : never
type Request<K> = Extract<Event, { readonly type: K; readonly request: unknown }>['request']

const counters = zeroCounters()
/** `1` is server 0000000000000001. */
export const server = (number: number): ServerId => serverId(number.toString(16).padStart(16, '0'))

let attempts = 0

export const registration = (
  number: number,
  incarnation: number,
  replicas: readonly number[] = [],
  more: Partial<Request<'register'>> = {},
): Request<'register'> => ({
  cluster: '',
  server: server(number),
  incarnation,
  attempt: ++attempts,
  topology: `/rack${number}/node`,
  address: `127.0.0.1:${7000 + number}`,
  capacityBytes: 1e12,
  freeBytes: 5e11,
  replicas: replicas.map((id) => ({ container: containerId(id), epoch: epoch(1) })),
  damaged: [],
  ...more,
})

export const beat = (
  number: number,
  incarnation: number,
  more: Partial<Request<'heartbeat'>> = {},
): Request<'heartbeat'> => ({
  server: server(number),
  incarnation,
  capacityBytes: 1e12,
  freeBytes: 5e11,
  full: false,
  counters,
  sizes: [],
  resyncs: [],
  resyncsWaiting: 0,
  stuck: [],
  damaged: [],
  ...more,
})

export const volumeRequest = (more: Partial<Request<'createVolume'>> = {}): Request<'createVolume'> => ({
  name: 'home',
  mountPath: '/home',
  replication: 3,
  minimum: 2,
  topology: '/',
  chunkBytes: 0,
  ...more,
})

export class World {
  nowMs = 1000
  state: State
  effects: readonly Effect[] = []
  private readonly config
  private meta: Meta = { cluster: 'test', nextContainer: 1, leaseMs: 0 }
  private readonly servers = new Map<ServerId, ServerRecord>()
  private readonly volumes = new Map<string, Volume>()
  private readonly containers = new Map<ContainerId, Container>()
  private readonly random: () => number
  private readonly alive = new Map<number, number>()

  constructor(options: { readonly config?: object; readonly random?: () => number } = {}) {
    this.config = cldbConfig({ directory: '/nowhere', ...options.config })
    this.random = options.random ?? (() => 0.5)
    this.meta = { ...this.meta, leaseMs: this.config.leaseMs }
    this.state = this.start()
  }

  private start(): State {
    const { meta, servers, volumes, containers } = this
    return initialState(this.config, meta, { meta, servers, volumes, containers }, this.nowMs)
  }

  /** The CLDB's process ends, and another one starts from what is durable. */
  restart(): void {
    this.state = this.start()
  }

  send(event: Untimed<Event>): readonly Effect[] {
    const { changes, records, effects } = step(this.state, {
      ...event,
      nowMs: this.nowMs,
      random: this.random(),
    } as Event)
    apply(this.state, changes)
    this.meta = records.meta ?? this.meta
    for (const table of ['servers', 'volumes', 'containers'] as const)
      for (const [key, value] of records[table])
        if (value === undefined) this[table].delete(key as never)
        else this[table].set(key as never, value as never)
    this.effects = effects
    return effects
  }

  /** @returns the code of the failure that the event is refused with. */
  refusal(event: Untimed<Event>): FailureCode | undefined {
    try {
      this.send(event)
      return undefined
    } catch (error) {
      return (error as Failure).failure
    }
  }

  /** Registers the server, which has a stream and heartbeats from now on. */
  join(
    number: number,
    incarnation = 1,
    replicas: readonly number[] = [],
    more: Partial<Request<'register'>> = {},
  ): void {
    this.send({ type: 'register', request: registration(number, incarnation, replicas, more) })
    const registered = this.effects
    const opened = this.send({ type: 'assignments', request: { server: server(number), incarnation } })
    this.effects = [...registered, ...opened]
    this.alive.set(number, incarnation)
  }

  /** The server's process is gone: it heartbeats no more. */
  kill(...numbers: readonly number[]): void {
    for (const number of numbers) this.alive.delete(number)
  }

  /** Time passes, with heartbeats of those that are alive, ticks and repairs. */
  pass(ms: number): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs = Math.min(endMs, this.nowMs + 50)
      for (const [number, incarnation] of this.alive)
        this.refusal({ type: 'heartbeat', request: beat(number, incarnation) })
      this.send({ type: 'tick' })
      this.send({ type: 'repair' })
    }
  }

  createVolume(more: Partial<Request<'createVolume'>> = {}): Location {
    this.send({ type: 'createVolume', request: volumeRequest(more) })
    return this.at(this.state.volumes.get(more.name ?? 'home')!.root.container)
  }

  at(container: number): Location {
    return locate(this.state, [containerId(container)])[0]!
  }

  reconfigure(
    container: number,
    master: number,
    remove: readonly number[],
    add: readonly number[],
    lost = false,
  ): void {
    this.send({
      type: 'reconfigure',
      request: {
        server: server(master),
        incarnation: this.alive.get(master)!,
        container: containerId(container),
        epoch: this.at(container).epoch,
        remove: remove.map(server),
        add: add.map(server),
        lost,
      },
    })
  }
}

/** Last digits, to read easily: the number of a server. */
export const numberOf = (id: ServerId | undefined): number | undefined =>
  id === undefined ? undefined : Number.parseInt(id, 16)
export const numbersOf = (ids: readonly ServerId[]): readonly number[] => ids.map((id) => numberOf(id)!).sort()
