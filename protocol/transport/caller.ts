/**
 * The calling half of a connection: calls that wait for the peer's window, calls in flight, deadlines.
 *
 * A call past its deadline fails at once here, yet fills its place in the window until its reply comes (and is
 * dropped): the peer is still working on it. A peer that never answers it is given up. One coarse timer serves all
 * deadlines, and runs only while there are calls.
 */
import type { Clock, Timer } from '../clock.ts'
import { Failure } from '../failures.ts'
import type { Call, ReplyOf, RequestOf } from '../messages/service.ts'
import type { Half, Line, Window } from './connection.ts'
import { type Frame, type FrameHead, framePayloadBytesMax, kinds } from './frame.ts'
import { type Answer, type CallOptions, type Payload, payloadBytes } from './transport.ts'
import { detailOf, readFailure } from './wire.ts'

const sweepMs = 50
/** A call this long past its deadline and still unanswered: the peer is stuck. */
const stuckMs = 30_000
/** Calls and payload bytes that wait for the window; more are OVERLOADED. */
const waitingCallsMax = 8192
const waitingBytesMax = 256 * 1024 * 1024
const timeoutMsMax = 0xffffffff
const idMax = 0xffffffff

type Pending = {
  readonly call: Call
  readonly request: unknown
  readonly payload: Payload
  readonly payloadBytes: number
  readonly deadlineMs: number
  readonly into: Uint8Array | undefined
  /** The reply's payload is on its way into `into`: the call is settled by its end, or by the connection's. */
  arriving: boolean
  bytes: number
  /** Absent once the deadline has passed. */
  settle: { readonly resolve: (answer: Answer<never>) => void; readonly reject: (error: unknown) => void } | undefined
}

export class Caller implements Half {
  /** Replies were asked for: there is always room for them. */
  readonly busy = false
  private readonly line: Line
  private readonly window: Window
  private readonly clock: Clock
  private readonly inFlight = new Map<number, Pending>()
  /** A queue: those before `first` are gone. */
  private waiting: Pending[] = []
  private first = 0
  private waitingBytes = 0
  private bytesInFlight = 0
  private id = 0
  private timer: Timer | undefined
  private closed: Failure | undefined

  /** `window`: the peer's, from its hello. */
  constructor(line: Line, window: Window, clock: Clock) {
    this.line = line
    this.window = window
    this.clock = clock
  }

  call<C extends Call<never, unknown>>(
    call: C,
    request: RequestOf<C>,
    options: CallOptions,
  ): Promise<Answer<ReplyOf<C>>> {
    return new Promise((resolve, reject) => {
      if (this.closed !== undefined) throw new Failure(this.closed.failure, detailOf(this.closed))
      const payload = options.payload ?? noPayload
      const pending: Pending = {
        call: call as unknown as Call,
        request,
        payload,
        payloadBytes: payloadBytes(payload),
        deadlineMs: this.clock.monotonicMs() + options.timeoutMs,
        into: options.into,
        arriving: false,
        bytes: 0,
        settle: { resolve, reject },
      }
      if (this.first === this.waiting.length && this.fits(pending)) this.send(pending, options.timeoutMs)
      else this.wait(pending)
      this.timer ??= this.clock.after(sweepMs, this.sweep)
    })
  }

  place({ kind, id, payloadBytes: bytes }: FrameHead): Buffer | undefined {
    const pending = this.inFlight.get(id)
    const into = pending?.into
    if (kind !== kinds.reply || pending?.settle === undefined || into === undefined || into.length < bytes)
      return undefined
    pending.arriving = true
    return Buffer.from(into.buffer, into.byteOffset, bytes)
  }

  receive(frame: Frame): void {
    const pending = this.inFlight.get(frame.id)
    if (pending === undefined || (frame.kind !== kinds.reply && frame.kind !== kinds.failure))
      throw new Failure('BAD_FRAME', `kind ${frame.kind} for call ${frame.id}, which is not in flight`)
    this.inFlight.delete(frame.id)
    this.bytesInFlight -= pending.bytes
    if (pending.settle !== undefined) {
      try {
        if (frame.kind === kinds.failure) pending.settle.reject(readFailure(frame.wire))
        else {
          const reply = pending.call.reply.read(frame.wire, 'reply')
          pending.settle.resolve({ reply: reply as never, payload: frame.payload })
        }
      } catch (error) {
        pending.settle.reject(error)
      }
    }
    if (this.first < this.waiting.length) this.sendWaiting()
  }

  /** Fails every call with `failure`'s code, now and later. */
  close(failure: Failure): void {
    if (this.closed !== undefined) return
    this.closed = failure
    this.timer?.cancel()
    const all = [...this.inFlight.values(), ...this.waiting.slice(this.first)]
    this.inFlight.clear()
    this.waiting = []
    this.first = 0
    for (const pending of all) pending.settle?.reject(new Failure(failure.failure, detailOf(failure)))
  }

  private fits(pending: Pending): boolean {
    if (this.inFlight.size === 0) return true
    return this.inFlight.size < this.window.calls && this.bytesInFlight + pending.payloadBytes <= this.window.bytes
  }

  private send(pending: Pending, timeoutMs: number): void {
    const id = this.id === idMax ? 1 : this.id + 1
    const wire = pending.call.request.write(pending.request as never)
    const timeout = Math.min(timeoutMsMax, Math.max(1, Math.ceil(timeoutMs)))
    pending.bytes = this.line.outbox.put(kinds.call, pending.call.number, id, timeout, wire, pending.payload)
    this.id = id
    this.bytesInFlight += pending.bytes
    this.inFlight.set(id, pending)
  }

  private wait(pending: Pending): void {
    if (pending.payloadBytes > framePayloadBytesMax)
      throw new Failure('TOO_LARGE', `payload of ${pending.payloadBytes} bytes`)
    if (
      this.waiting.length - this.first >= waitingCallsMax ||
      this.waitingBytes + pending.payloadBytes > waitingBytesMax
    )
      throw new Failure('OVERLOADED', 'too many calls wait for this connection')
    this.waiting.push(pending)
    this.waitingBytes += pending.payloadBytes
  }

  private sendWaiting(): void {
    const now = this.clock.monotonicMs()
    while (this.first < this.waiting.length && this.fits(this.waiting[this.first]!)) {
      const pending = this.waiting[this.first++]!
      this.waitingBytes -= pending.payloadBytes
      try {
        if (pending.settle !== undefined) this.send(pending, pending.deadlineMs - now)
      } catch (error) {
        pending.settle?.reject(error)
      }
    }
    if (this.first * 2 > this.waiting.length) {
      this.waiting = this.waiting.slice(this.first)
      this.first = 0
    }
  }

  private readonly sweep = (): void => {
    const now = this.clock.monotonicMs()
    for (const pending of this.inFlight.values()) {
      if (pending.deadlineMs > now) continue
      this.expire(pending)
      if (pending.deadlineMs + stuckMs < now) {
        this.line.fail(new Failure('UNAVAILABLE', `peer left a call unanswered for ${stuckMs} ms past its deadline`))
        return
      }
    }
    this.sweepWaiting(now)
    const idle = this.inFlight.size === 0 && this.waiting.length === 0
    this.timer = idle ? undefined : this.clock.after(sweepMs, this.sweep)
  }

  private sweepWaiting(now: number): void {
    const kept: Pending[] = []
    for (let i = this.first; i < this.waiting.length; i++) {
      const pending = this.waiting[i]!
      if (pending.deadlineMs > now) kept.push(pending)
      else {
        this.waitingBytes -= pending.payloadBytes
        this.expire(pending)
      }
    }
    this.waiting = kept
    this.first = 0
  }

  private expire(pending: Pending): void {
    if (pending.arriving) return
    pending.settle?.reject(new Failure('DEADLINE', `call 0x${pending.call.number.toString(16)} got no answer in time`))
    pending.settle = undefined
  }
}

const noPayload: Payload = []
