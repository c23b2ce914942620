/**
 * What the data plane offers its users: calls with a message and raw payload, over connections that multiplex.
 *
 * Types only. The TCP implementation is in `tcp.ts`; the simulator brings its own. A payload is a list of buffers,
 * never joined on the way.
 */
import type { FailureCode } from '../failures.ts'
import type { Call, ReplyOf, RequestOf } from '../messages/service.ts'

export type Payload = readonly Uint8Array[]

export const payloadBytes = (payload: Payload): number => {
  let sum = 0
  for (const piece of payload) sum += piece.length
  return sum
}

export type CallOptions = {
  readonly payload?: Payload
  /**
   * Where the reply's payload goes, if it fits: then the answer's payload is that part of it, and nothing was copied. Nobody
   * else may touch it until the call has settled.
   */
  readonly into?: Uint8Array
  /** After this the call fails with DEADLINE, here and at the server (which stops waiting for it). */
  readonly timeoutMs: number
}

export type Answer<R> = {
  readonly reply: R
  readonly payload: Payload
}

export type Connection = {
  readonly address: string
  /** Sends at once, or waits while the peer's window (calls and bytes in flight) is full. Fails with UNAVAILABLE when the connection is lost. */
  readonly call: <C extends Call<never, unknown>>(
    call: C,
    request: RequestOf<C>,
    options: CallOptions,
  ) => Promise<Answer<ReplyOf<C>>>
  /** Settles once, when the connection is gone, with the reason. Never rejects. */
  readonly closed: Promise<FailureCode>
  readonly close: () => void
}

/** What a handler answers. `release` runs once, when the payload's buffers have been handed to the kernel (or the connection is gone). */
export type Reply<R> = {
  readonly reply: R
  readonly payload?: Payload
  readonly release?: () => void
}

export type Context = {
  /** Monotonic milliseconds (`Clock`) after which nobody waits for the answer. */
  readonly deadlineMs: number
  readonly peer: string
}

/**
 * One per call of a service. It may answer at once or later; it fails by throwing a `Failure`. The payload's buffers are
 * its own until it has answered, and used for other payloads afterwards.
 */
export type Handlers<Calls> = {
  readonly [K in keyof Calls]: (
    request: RequestOf<Calls[K]>,
    payload: Payload,
    context: Context,
  ) => Reply<ReplyOf<Calls[K]>> | Promise<Reply<ReplyOf<Calls[K]>>>
}

export type Listener = {
  /** `host:port` with the port that was really bound. */
  readonly address: string
  readonly close: () => Promise<void>
}

export type Transport = {
  /** Connects and exchanges hellos, or fails with UNAVAILABLE, VERSION_MISMATCH or WRONG_CLUSTER. */
  readonly connect: (address: string, timeoutMs: number) => Promise<Connection>
  /** Serves `services` (table and handlers) on `host:port`; port 0 picks a free one. */
  readonly listen: (address: string, services: readonly Served[]) => Promise<Listener>
}

/** A service's table with its handlers; make it with `served`. */
export type Served = {
  readonly name: string
  readonly calls: { readonly [name: string]: Call<never, unknown> }
  readonly handlers: { readonly [name: string]: (request: never, payload: Payload, context: Context) => unknown }
}

export const served = <Calls extends { readonly [name: string]: Call<never, unknown> }>(
  service: { readonly name: string; readonly calls: Calls },
  handlers: Handlers<Calls>,
): Served => ({ name: service.name, calls: service.calls, handlers: handlers as unknown as Served['handlers'] })
