/**
 * The serving half of a connection: finds the handler of a call, runs it, answers.
 *
 * A handler that answers at once costs no promise and no tick. Calls that are not answered yet count, with their
 * bytes, against the window; `busy` tells the connection to stop reading.
 */
import { AssertionError } from '../assert.ts'
import { Failure } from '../failures.ts'
import type { Call } from '../messages/service.ts'
import { type Ends, type Half, type Line, ownWindow } from './connection.ts'
import { type Frame, kinds } from './frame.ts'
import type { Context, Payload, Reply, Served } from './transport.ts'
import { writeFailure } from './wire.ts'

type Handler = (request: unknown, payload: Payload, context: Context) => Reply<unknown> | Promise<Reply<unknown>>
type Entry = { readonly name: string; readonly call: Call<unknown, unknown>; readonly handler: Handler }
export type Routes = ReadonlyMap<number, Entry>

export function routes(services: readonly Served[]): Routes {
  const table = new Map<number, Entry>()
  for (const { name: service, calls, handlers } of services)
    for (const [name, call] of Object.entries(calls))
      table.set(call.number, {
        name: `${service}.${name}`,
        call: call as unknown as Call<unknown, unknown>,
        handler: handlers[name] as unknown as Handler,
      })
  return table
}

/** Answers that the kernel has not taken: beyond this no more calls are read. */
const unsentBytesMax = 16 * 1024 * 1024

export class Dispatcher implements Half {
  private readonly line: Line
  private readonly routes: Routes
  private readonly ends: Ends
  /** Not answered yet. */
  private calls = 0
  private bytes = 0
  private id = 0
  private closed = false

  constructor(line: Line, routes: Routes, ends: Ends) {
    this.line = line
    this.routes = routes
    this.ends = ends
  }

  get busy(): boolean {
    return this.calls > ownWindow.calls || this.bytes > ownWindow.bytes || this.line.outbox.bytes > unsentBytesMax
  }

  /** Answers go nowhere from now on; their `release` still runs. */
  close(): void {
    this.closed = true
  }

  receive(frame: Frame): void {
    const { id } = frame
    if (frame.kind !== kinds.call) throw new Failure('BAD_FRAME', `kind ${frame.kind} where a call was due`)
    if (id !== this.id + 1 && !(id === 1 && this.id === 0xffffffff))
      throw new Failure('BAD_FRAME', `call ${id} after call ${this.id}`)
    this.id = id
    const entry = this.routes.get(frame.number)
    if (entry === undefined) {
      this.refuse(id, new Failure('NOT_SUPPORTED', `no call 0x${frame.number.toString(16)} here`), 'unknown')
      return
    }
    try {
      const request = entry.call.request.read(frame.wire, entry.name)
      const context = { deadlineMs: this.ends.clock.monotonicMs() + frame.timeoutMs, peer: this.line.peer }
      const answer = entry.handler(request, frame.payload, context)
      if (answer instanceof Promise) {
        this.answerLater(entry, frame, answer)
        return
      }
      this.answer(entry, frame, answer)
    } catch (error) {
      this.refuse(id, error, entry.name)
      frame.release()
    }
  }

  private answerLater(entry: Entry, frame: Frame, promise: Promise<Reply<unknown>>): void {
    this.calls++
    this.bytes += frame.bytes
    const done = (): void => {
      this.calls--
      this.bytes -= frame.bytes
      this.line.wake()
    }
    const refuse = (error: unknown): void => {
      this.refuse(frame.id, error, entry.name)
      frame.release()
      done()
    }
    promise.then((answer) => {
      try {
        this.answer(entry, frame, answer)
        done()
      } catch (error) {
        refuse(error)
      }
    }, refuse)
  }

  /** Both payloads are released when the answer, which may hold parts of the call's, has been handed to the kernel. */
  private answer(entry: Entry, frame: Frame, answer: Reply<unknown>): void {
    const { release } = answer
    if (this.closed) {
      release?.()
      frame.release()
      return
    }
    const both = (): void => {
      release?.()
      frame.release()
    }
    const wanted = release === undefined && frame.payload.length === 0 ? undefined : both
    try {
      const wire = entry.call.reply.write(answer.reply)
      this.line.outbox.put(kinds.reply, entry.call.number, frame.id, 0, wire, answer.payload, wanted)
    } catch (error) {
      release?.()
      throw error
    }
  }

  private refuse(id: number, error: unknown, name: string): void {
    if (error instanceof AssertionError) {
      this.ends.onFatal(error)
      this.line.fail(new Failure('UNAVAILABLE', 'the server stopped on an assertion'))
      return
    }
    if (!(error instanceof Failure))
      this.ends.log.error({ error, call: name, peer: this.line.peer }, 'a call failed unexpectedly')
    if (this.closed) return
    const failure = error instanceof Failure ? error : new Failure('INTERNAL', `${name} failed unexpectedly`)
    this.line.outbox.put(kinds.failure, 0, id, 0, writeFailure(failure))
  }
}
