/**
 * The CLDB's driver: calls become events, steps become commits, and only then replies and news.
 *
 * Not pure. The state in memory runs ahead of the store by the batches under way, so everything that leaves (the
 * answer to a mere question too) first waits for what was decided before it. After a failed commit, or a broken
 * invariant, nothing more is answered: the process ends and starts again from what is durable.
 */
import type { Clock, Timer } from '../protocol/clock.ts'
import { Failure } from '../protocol/failures.ts'
import type { ContainerId, ServerId } from '../protocol/ids.ts'
import type { Log } from '../protocol/logging.ts'
import type { control } from '../protocol/messages/control.ts'
import type { ReplyOf } from '../protocol/messages/service.ts'
import type { ControlHandlers, ControlStream } from '../protocol/transport/grpc.ts'
import { containerPage, handOversOf, locate, openContainers, space, status, volumeOf } from './query.ts'
import { askedFor } from './servers/modes.ts'
import { apply, type State } from './state.ts'
import { type Event, type Step, step } from './step.ts'
import type { Store } from './store.ts'

type Update = ReplyOf<typeof control.calls.assignments>
type Stream = ControlStream<Update>
type Untimed<E> = E extends Event ? Omit<E, 'nowMs' | 'random'> : never

export type Service = {
  readonly handlers: ControlHandlers
  /** Ends streams and timers and answers nothing more; what was decided may still be on its way to the store. */
  readonly close: () => void
}

export type ServiceOptions = {
  readonly state: State
  readonly store: Store
  readonly clock: Clock
  /** @returns the next number in [0, 1). */
  readonly random: () => number
  readonly log: Log
  /** Called once, when the service cannot go on. */
  readonly onFatal: (error: unknown) => void
}

const none = (): Record<string, never> => ({})

export function createService({ state, store, clock, random, log, onFatal }: ServiceOptions): Service {
  const { config } = state
  const streams = new Map<ServerId, Stream>()
  const timers = new Map<string, Timer>()
  const noRecords = { meta: undefined, servers: new Map(), volumes: new Map(), containers: new Map() }
  let broken: Failure | undefined

  const close = (): void => {
    broken ??= new Failure('UNAVAILABLE', 'this CLDB is closing')
    for (const timer of timers.values()) timer.cancel()
    for (const stream of streams.values()) stream.close()
    streams.clear()
  }

  const fail = (error: unknown): Failure => {
    if (broken !== undefined) return broken
    broken = new Failure('UNAVAILABLE', 'this CLDB has failed', { cause: error })
    log.error({ error }, 'the CLDB cannot go on')
    close()
    onFatal(error)
    return broken
  }

  /** @returns `reply`, once all that was decided so far is durable. */
  const settle = async <R>(durable: Promise<void>, reply: R): Promise<R> => {
    try {
      await durable
    } catch (error) {
      throw fail(error)
    }
    if (broken !== undefined) throw broken
    return reply
  }

  const ask = async <R>(question: () => R): Promise<R> => {
    if (broken !== undefined) throw broken
    return settle(store.commit(noRecords), question())
  }

  /** Decides at once, in the order of the calls. Settles with the answer when the decision is durable and the servers are being told. */
  const submit = async <R>(untimed: Untimed<Event>, question: () => R): Promise<R> => {
    if (broken !== undefined) throw broken
    const decided = decide({ ...untimed, nowMs: clock.monotonicMs(), random: random() } as Event)
    report(decided)
    apply(state, decided.changes)
    const reply = question()
    const updates = updatesOf(decided)
    await settle(store.commit(decided.records), undefined)
    for (const [stream, update] of updates) stream.send(update)
    return reply
  }

  const decide = (event: Event): Step => {
    try {
      return step(state, event)
    } catch (error) {
      throw error instanceof Failure ? error : fail(error)
    }
  }

  const report = ({ changes }: Step): void => {
    for (const [server, after] of changes.servers) {
      const before = state.servers.get(server)
      if (after === undefined) continue
      const { address, mode } = after.record
      if (after.alarm !== undefined && before?.alarm === undefined)
        log.error({ server, address, reason: after.alarm }, 'the disk of a server fails')
      if (after.state !== before?.state) log.info({ server, address }, `server is ${after.state}`)
      if (mode === before?.record.mode) continue
      const isAlarm = mode !== undefined && mode.reason !== askedFor
      const fields = { server, address, reason: mode?.reason }
      log[isAlarm ? 'error' : 'info'](fields, `server is ${mode?.kind ?? 'back in service'}`)
    }
    for (const [container, after] of changes.containers)
      if (after !== undefined)
        log.debug({ container, epoch: after.epoch, master: after.master, inSync: after.inSync }, 'configuration')
  }

  /** What a step tells to each open stream, as things stand just after it. */
  const updatesOf = ({ effects }: Step): ReadonlyMap<Stream, Update> => {
    const told = new Map<Stream, { readonly assign: Set<ContainerId>; readonly discard: Set<ContainerId> }>()
    for (const effect of effects) {
      const stream = streams.get(effect.server)
      if (stream === undefined) continue
      const sets = told.get(stream) ?? { assign: new Set(), discard: new Set() }
      told.set(stream, sets)
      if (effect.type !== 'greet') sets[effect.type].add(effect.container)
    }
    const updates = new Map<Stream, Update>()
    for (const [stream, { assign, discard }] of told)
      updates.set(stream, { locations: locate(state, assign), discard: [...discard] })
    return updates
  }

  /** One stream to each server: the latest. */
  const replaceStream = (server: ServerId, stream: Stream | undefined): void => {
    streams.get(server)?.close()
    if (stream === undefined) streams.delete(server)
    else streams.set(server, stream)
  }

  const handlers: ControlHandlers = {
    register: (request) =>
      submit({ type: 'register', request }, () => {
        // What it was told on its stream until now ends here: it opens the next one, and hears all of it anew.
        if (state.servers.get(request.server)?.record.incarnation === request.incarnation)
          replaceStream(request.server, undefined)
        return { cluster: state.meta.cluster, leaseMs: config.leaseMs, heartbeatMs: config.heartbeatMs }
      }).catch((error) => {
        log.error({ server: request.server, address: request.address, error }, 'a server is refused')
        throw error
      }),
    heartbeat: (request) =>
      submit({ type: 'heartbeat', request }, () => ({ handOver: handOversOf(state, request.server) })),
    assignments: (request, stream) => {
      void stream.closed.then(() => {
        if (streams.get(request.server) === stream) streams.delete(request.server)
      })
      submit({ type: 'assignments', request }, () => replaceStream(request.server, stream)).catch((error) =>
        stream.close(error),
      )
    },
    reconfigure: (request) =>
      submit({ type: 'reconfigure', request }, () => ({ location: locate(state, [request.container])[0]! })),
    locate: ({ containers }) => ask(() => ({ locations: locate(state, containers) })),
    createVolume: (request) =>
      submit({ type: 'createVolume', request }, () => ({ volume: volumeOf(state, request.name) })),
    removeVolume: (request) => submit({ type: 'removeVolume', request }, none),
    volumes: () => ask(() => ({ volumes: [...state.volumes.values()] })),
    allocate: (request) =>
      submit({ type: 'allocate', request }, () => {
        const { writable } = openContainers(state, volumeOf(state, request.volume))
        return { containers: writable }
      }),
    setMode: (request) => submit({ type: 'setMode', request }, none),
    space: ({ volume }) => ask(() => space(state, volume)),
    status: () => ask(() => status(state, clock.monotonicMs())),
    containers: (request) => ask(() => ({ locations: containerPage(state, request) })),
  }

  /** Submits the event again and again; a failure has been dealt with by `fail`. */
  const every = (periodMs: number, type: 'tick' | 'repair', lastMs = clock.monotonicMs()): void => {
    const run = (): void => {
      const nowMs = clock.monotonicMs()
      every(periodMs, type, nowMs)
      // After a stand-still of the process the heartbeats that wait in its sockets are read first.
      if (nowMs - lastMs - periodMs > config.leaseMs / 2) return
      submit({ type }, none).catch(fail)
    }
    timers.set(type, clock.after(periodMs, run))
  }
  every(config.tickMs, 'tick')
  every(config.repairMs, 'repair')

  return { handlers, close }
}
