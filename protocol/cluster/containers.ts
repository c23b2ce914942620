/**
 * Calls to a container's master, wherever it is now: cached locations, shared connections, retries.
 *
 * A call that finds its location cached and its connection live goes straight to it. A failure whose row says
 * `locate` drops the location that was used and asks the CLDB; `same` waits and tries again there; `never` is thrown.
 * The payload is sent again unchanged, so its buffers must stay as they are until the call is answered, and the request
 * with nothing but the epoch of the master that is asked now; tickets in requests make repeats harmless.
 */
import type { Clock } from '../clock.ts'
import { Failure } from '../failures.ts'
import type { ContainerId, Epoch } from '../ids.ts'
import type { Location } from '../messages/attributes.ts'
import type { Call, ReplyOf, RequestOf } from '../messages/service.ts'
import type { Answer, CallOptions, Transport } from '../transport/transport.ts'
import { type Backoff, backoffMs, pause, tellingOf } from './backoff.ts'
import type { Cldb } from './cldb.ts'
import { Connections } from './connections.ts'
import { Locations, type Place } from './locations.ts'

export type Containers = {
  /**
   * Sends `request` to the container's master, of the epoch that it is given; retries it by the failure table until
   * `options.timeoutMs`, then throws the last `Failure`. `call` is one of `files.calls` or `replication.calls`.
   */
  readonly call: <C extends Call<never, unknown>>(
    container: ContainerId,
    call: C,
    request: (epoch: Epoch) => RequestOf<C>,
    options: CallOptions,
  ) => Promise<Answer<ReplyOf<C>>>
  /** The cached location, or the CLDB's. STALE when there is no such container (any more). */
  readonly location: (container: ContainerId, timeoutMs: number) => Promise<Location>
  /** The next use of the container asks the CLDB again. */
  readonly forget: (container: ContainerId) => void
  readonly close: () => void
}

const backoff: Backoff = { firstMs: 5, lastMs: 250 }
/** A master that does not answer for this long is looked for elsewhere. */
const attemptTimeoutMsMax = 10_000
const connectTimeoutMs = 2000

export function openContainers(options: {
  readonly cldb: Cldb
  readonly transport: Transport
  readonly clock: Clock
  readonly random?: () => number
}): Containers {
  const { cldb, transport, clock, random = Math.random } = options
  const connections = new Connections(transport)
  const locations = new Locations(cldb, connections)
  let closed = false

  /** Runs `attempt` until it succeeds, fails for good, or the time is over. `failed`: what the first attempt already met. */
  const retry = async <T>(
    deadlineMs: number,
    attempt: (remainingMs: number) => Promise<T>,
    failed?: Failure,
  ): Promise<T> => {
    let last = failed
    for (let count = last === undefined ? 0 : 1; ; count++) {
      if (last !== undefined) {
        if (last.row.retry === 'never' || closed) throw last
        const delayMs = backoffMs(backoff, count - 1, random)
        if (clock.monotonicMs() + delayMs >= deadlineMs) throw last
        await pause(clock, delayMs)
      }
      try {
        return await attempt(deadlineMs - clock.monotonicMs())
      } catch (error) {
        if (!(error instanceof Failure)) throw error
        last = tellingOf(last, error)
      }
    }
  }

  const forgetIfMoved = (container: ContainerId, place: Place, failure: Failure): void => {
    if (failure.row.retry === 'locate') locations.forget(container, place)
  }

  const callOnce = async <C extends Call<never, unknown>>(
    container: ContainerId,
    call: C,
    request: (epoch: Epoch) => RequestOf<C>,
    { timeoutMs, ...options }: CallOptions,
  ): Promise<Answer<ReplyOf<C>>> => {
    if (closed) throw new Failure('UNAVAILABLE', 'this client was closed')
    const deadlineMs = clock.monotonicMs() + timeoutMs
    const place = await within(clock, timeoutMs, locations.find(container))
    try {
      if (place.master === undefined) throw new Failure('NOT_READY', `container ${container} has no live master`)
      const untilMs = deadlineMs - clock.monotonicMs()
      const connection = await connections.open(place.master.address, Math.min(untilMs, connectTimeoutMs))
      const remainingMs = Math.min(deadlineMs - clock.monotonicMs(), attemptTimeoutMsMax)
      return await connection.call(call, request(place.location.epoch), { ...options, timeoutMs: remainingMs })
    } catch (error) {
      if (error instanceof Failure) forgetIfMoved(container, place, error)
      throw error
    }
  }

  return {
    call: (container, call, request, callOptions) => {
      const startMs = clock.monotonicMs()
      const again = (failed?: Failure) =>
        retry(
          startMs + callOptions.timeoutMs,
          (timeoutMs) => callOnce(container, call, request, { ...callOptions, timeoutMs }),
          failed,
        )
      const place = locations.cached(container)
      const connection = place?.master?.live
      if (place === undefined || connection === undefined) return again()
      const first =
        callOptions.timeoutMs > attemptTimeoutMsMax ? { ...callOptions, timeoutMs: attemptTimeoutMsMax } : callOptions
      return connection.call(call, request(place.location.epoch), first).catch((error: unknown) => {
        if (!(error instanceof Failure)) throw error
        forgetIfMoved(container, place, error)
        return again(error)
      })
    },
    location: async (container, timeoutMs) => {
      const find = (remainingMs: number) => within(clock, remainingMs, locations.find(container))
      return (await retry(clock.monotonicMs() + timeoutMs, find)).location
    },
    forget: (container) => locations.forget(container),
    close: () => {
      closed = true
      connections.close()
    },
  }
}

/** The look-up is shared and may outlast one caller's time. @throws Failure DEADLINE when it does. */
function within<T>(clock: Clock, timeoutMs: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(timeoutMs, () => reject(new Failure('DEADLINE', 'the CLDB did not answer in time')))
    promise.finally(() => timer.cancel()).then(resolve, reject)
  })
}
