/**
 * The CLDB in the simulator: the real service over a simulated store and network, and how others call it.
 *
 * The store's batches become durable one after the other; the end of the process keeps a beginning of those under way.
 */
import { type CldbConfig, cldbConfig } from '../../../cldb/config.ts'
import { createService, type Service } from '../../../cldb/service.ts'
import { type Container, initialState, type RecordChanges, type Records, type State } from '../../../cldb/state.ts'
import type { Store } from '../../../cldb/store.ts'
import { Failure, isFailure } from '../../../protocol/failures.ts'
import type { Log } from '../../../protocol/logging.ts'
import { control } from '../../../protocol/messages/control.ts'
import type { Call } from '../../../protocol/messages/service.ts'
import type { ControlClient, ControlStream } from '../../../protocol/transport/grpc.ts'
import { pack, readFailure, unpack, writeFailure } from '../../../protocol/transport/wire.ts'
import { isAssertion } from '../checker/problems.ts'
import type { Mutation } from '../mutants/mutations.ts'
import { Lane, type Network } from '../world/network.ts'
import type { Random } from '../world/random.ts'
import { clockOf, Oscillator, Process, type Timeline } from '../world/timeline.ts'

type Writable = {
  -readonly [K in keyof Records]: Records[K] extends ReadonlyMap<infer K2, infer V> ? Map<K2, V> : Records[K]
}
type AnyHandler = (request: unknown, context: { readonly peer: string }) => Promise<unknown>

const nameOf = new Map(Object.entries(control.calls).map(([name, call]) => [call.number, name]))

/** Told of every configuration when it is durable. */
type OnConfigured = (container: Pick<Container, 'container' | 'inSync'>) => void

/** What the CLDB's disk holds. */
class SimulatedStore {
  readonly #records: Writable = { meta: undefined, servers: new Map(), volumes: new Map(), containers: new Map() }
  readonly #timeline: Timeline
  readonly #random: Random
  readonly #onConfigured: OnConfigured
  #underWay: RecordChanges[] = []

  constructor(timeline: Timeline, random: Random, onConfigured: OnConfigured) {
    this.#timeline = timeline
    this.#random = random
    this.#onConfigured = onConfigured
  }

  kill(): void {
    for (const changes of this.#underWay.splice(0, this.#random.below(this.#underWay.length + 1))) this.#apply(changes)
    this.#timeline.tally.add('CLDB batches lost', this.#underWay.length)
    this.#underWay = []
  }

  get records(): Records {
    const { meta, servers, volumes, containers } = this.#records
    return { meta, servers: new Map(servers), volumes: new Map(volumes), containers: new Map(containers) }
  }

  open(process: Process): Store {
    let tailMs = 0
    return {
      load: async () => this.records,
      commit: (changes) => {
        if (!process.effect()) return new Promise(() => {})
        this.#underWay.push(changes)
        tailMs = Math.max(
          tailMs,
          this.#timeline.nowMs + this.#random.between(0.05, this.#random.chance(0.02) ? 200 : 3),
        )
        return new Promise((resolve) => {
          this.#timeline.after(tailMs - this.#timeline.nowMs, process, () => {
            // Where the process stood still, one may be heard of before those that are durable with it.
            for (const done of this.#underWay.splice(0, this.#underWay.indexOf(changes) + 1)) this.#apply(done)
            resolve()
          })
        })
      },
      close: async () => {},
    }
  }

  #apply(changes: RecordChanges): void {
    if (changes.meta !== undefined) this.#records.meta = changes.meta
    merge(this.#records.servers, changes.servers)
    merge(this.#records.volumes, changes.volumes)
    merge(this.#records.containers, changes.containers)
    for (const record of changes.containers.values()) if (record !== undefined) this.#onConfigured(record)
  }
}

function merge<K, V>(table: Map<K, V>, changes: ReadonlyMap<K, V | undefined>): void {
  for (const [key, value] of changes)
    if (value === undefined) table.delete(key)
    else table.set(key, value)
}

export const cldbName = 'cldb'

export class CldbNode {
  /** Absent while no process runs. */
  process: Process | undefined
  state: State | undefined
  readonly config: CldbConfig
  readonly oscillator: Oscillator
  readonly #network: Network
  readonly #random: Random
  readonly #log: Log
  readonly #mutation: Mutation | undefined
  readonly #report: (problem: string, error: unknown) => void
  readonly #store: SimulatedStore
  readonly #streams = new Set<ServedStream>()
  #service: Service | undefined

  constructor(
    network: Network,
    random: Random,
    log: Log,
    settings: object,
    mutation: Mutation | undefined,
    report: (problem: string, error: unknown) => void,
    onConfigured: OnConfigured,
  ) {
    this.#network = network
    this.#random = random
    this.#log = log
    this.#mutation = mutation
    this.#report = report
    this.#store = new SimulatedStore(network.timeline, random.split(), onConfigured)
    this.oscillator = new Oscillator(network.timeline, 1)
    this.config = cldbConfig({ directory: '/cldb', ...settings })
  }

  /** What is durable. */
  get records(): Records {
    return this.#store.records
  }

  start(): void {
    const { timeline } = this.#network
    const process = new Process(cldbName)
    const sound = this.#store.open(process)
    const store = this.#mutation?.store?.(sound) ?? sound
    const { records } = this
    const meta = records.meta ?? { cluster: 'simulated', nextContainer: 1, leaseMs: this.config.leaseMs }
    const clock = clockOf(timeline, process, this.oscillator)
    this.process = process
    this.state = initialState(this.config, meta, records, clock.monotonicMs())
    this.#mutation?.state?.(this.state)
    if (records.meta === undefined)
      void store.commit({ meta, servers: new Map(), volumes: new Map(), containers: new Map() })
    this.#service = createService({
      state: this.state,
      store,
      clock,
      random: this.#random.next,
      log: this.#log,
      onFatal: (error) => {
        if (process.alive) this.#report('the CLDB cannot go on', error)
      },
    })
  }

  kill(): void {
    const { process } = this
    if (process === undefined) return
    process.alive = false
    this.process = undefined
    this.#service = undefined
    this.state = undefined
    this.#store.kill()
    for (const stream of this.#streams) stream.over()
    this.#streams.clear()
  }

  /** The process `client` is over: its streams end, now or when that is noticed. */
  gone(client: Process, told: boolean): void {
    for (const stream of this.#streams) {
      if (stream.client !== client) continue
      this.#network.timeline.after(told ? 1 : this.#random.between(1000, 10_000), this.process, () => stream.ended())
    }
  }

  /** The way of one process to the CLDB, as gRPC gives it. */
  dial(client: Process): ControlClient {
    return {
      call: (call, request, timeoutMs) =>
        this.#call(client, call as unknown as Call<typeof request, never>, request, timeoutMs),
      assignments: (request, onUpdate, onClosed) => {
        const server = this.process
        const stream = new ServedStream(this.#network, client, server, onUpdate, onClosed)
        if (server === undefined) {
          this.#network.timeline.after(1, client, () => stream.failed(new Failure('UNAVAILABLE', 'no CLDB')))
          return stream
        }
        this.#network.post(client, server, () => {
          this.#streams.add(stream)
          void stream.closed.then(() => this.#streams.delete(stream))
          this.#service!.handlers.assignments(request, stream, { peer: client.name })
        })
        return stream
      },
      close: () => {},
    }
  }

  #call<Q, R>(client: Process, call: Call<Q, R>, request: Q, timeoutMs: number): Promise<R> {
    return new Promise((resolve, reject) => {
      const server = this.process
      const timer = this.#network.timeline.after(timeoutMs, client, () =>
        reject(new Failure('DEADLINE', 'the CLDB did not answer in time')),
      )
      const settle = (run: () => void): void => {
        timer.cancel()
        run()
      }
      if (server === undefined) {
        this.#network.timeline.after(this.#network.delayMs(), client, () =>
          settle(() => reject(new Failure('UNAVAILABLE', 'no CLDB listens'))),
        )
        return
      }
      const wire = pack(call.request.write(request))
      const network = this.#network
      const serve = (): void => {
        const handlers = this.#service!.handlers as unknown as Readonly<Record<string, AnyHandler>>
        const refuse = (error: unknown): void => {
          if (!isFailure(error) || isAssertion(error.cause)) this.#report('a call to the CLDB failed', error)
          const told = writeFailure(isFailure(error) ? error : new Failure('INTERNAL', 'failed unexpectedly'))
          if (!network.loses()) network.post(server, client, () => settle(() => reject(readFailure(told))))
        }
        try {
          handlers[nameOf.get(call.number)!]!(call.request.read(unpack(wire), 'request'), { peer: client.name }).then(
            (reply) => {
              const packed = pack(call.reply.write(reply as R))
              if (network.loses()) return
              network.post(server, client, () => settle(() => resolve(call.reply.read(unpack(packed), 'reply'))))
            },
            refuse,
          )
        } catch (error) {
          refuse(error)
        }
      }
      // An administrator's word counts when it is said.
      if (call.number !== control.calls.setMode.number && network.repeats())
        network.post(client, server, serve, network.repeatMs())
      if (!network.loses()) network.post(client, server, serve)
    })
  }
}

type Update = Parameters<Parameters<ControlClient['assignments']>[1]>[0]

/** One stream of assignments, both its ends. */
class ServedStream implements ControlStream<Update> {
  readonly client: Process
  readonly closed: Promise<void>
  readonly #network: Network
  readonly #server: Process | undefined
  readonly #lane: Lane | undefined
  readonly #onUpdate: (update: Update) => void
  readonly #onClosed: (failure: Failure) => void
  #ended!: () => void
  #over = false

  constructor(
    network: Network,
    client: Process,
    server: Process | undefined,
    onUpdate: (update: Update) => void,
    onClosed: (failure: Failure) => void,
  ) {
    this.client = client
    this.#network = network
    this.#server = server
    this.#lane = server && new Lane(network, server, client)
    this.#onUpdate = onUpdate
    this.#onClosed = onClosed
    this.closed = new Promise((resolve) => {
      this.#ended = resolve
    })
  }

  send(update: Update): void {
    const { reply } = control.calls.assignments
    const wire = pack(reply.write(update))
    this.#lane!.send(() => {
      if (!this.#over) this.#onUpdate(reply.read(unpack(wire), 'update'))
    })
  }

  /** By either end: the server's with a failure or none, the client's without. */
  close(failure?: Failure): void {
    if (this.#server === undefined) return
    this.#lane!.end(() => this.failed(failure ?? new Failure('UNAVAILABLE', 'the stream has ended')))
    this.#network.post(this.client, this.#server, () => this.#ended())
  }

  /** The server's process is over. */
  over(): void {
    this.#lane!.end(() => this.failed(new Failure('UNAVAILABLE', 'the CLDB is gone')))
  }

  ended(): void {
    this.#ended()
  }

  failed(failure: Failure): void {
    if (this.#over) return
    this.#over = true
    this.#onClosed(failure)
  }
}
