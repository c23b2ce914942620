/**
 * The data plane (`Transport`) over the simulated network, call by call.
 *
 * Messages take their wire form and back, so that nothing is shared between processes. Deadlines are the caller's. A
 * connection that breaks may still deliver what is on its way to the server, whose answers are lost then.
 */
import { Failure, type FailureCode, isFailure } from '../../../protocol/failures.ts'
import type { Call, ReplyOf, RequestOf } from '../../../protocol/messages/service.ts'
import type {
  Answer,
  CallOptions,
  Connection,
  Payload,
  Reply,
  Served,
  Transport,
} from '../../../protocol/transport/transport.ts'
import { detailOf, pack, readFailure, unpack, writeFailure } from '../../../protocol/transport/wire.ts'
import { Lane, type Network } from './network.ts'
import type { Random } from './random.ts'
import type { Process } from './timeline.ts'

type AnyCall = Call<never, unknown>
type Handler = (request: unknown, payload: Payload, context: object) => Reply<unknown> | Promise<Reply<unknown>>
type Route = { readonly name: string; readonly call: AnyCall; readonly handler: Handler }
type Served1 = { readonly process: Process; readonly routes: ReadonlyMap<number, Route> }

const copied = (payload: Payload): Payload => payload.map((piece) => Buffer.from(piece))

export class Wires {
  readonly #network: Network
  readonly #random: Random
  readonly #report: (problem: string, error: unknown) => void
  readonly #listening = new Map<string, Served1>()
  readonly #open = new Set<Wire>()

  /** @param report told of failures that are no `Failure`: the real server would log or end. */
  constructor(network: Network, random: Random, report: (problem: string, error: unknown) => void) {
    this.#network = network
    this.#random = random
    this.#report = report
  }

  /** @param address as clients know it. */
  listen(address: string, process: Process, services: readonly Served[]): void {
    if (!process.alive) return
    const routes = new Map<number, Route>()
    for (const { name: service, calls, handlers } of services)
      for (const [name, call] of Object.entries(calls))
        routes.set(call.number, { name: `${service}.${name}`, call, handler: handlers[name] as unknown as Handler })
    this.#listening.set(address, { process, routes })
  }

  /** The process's connections end: at once for the other side (`told`), or when it finds out. */
  over(process: Process, told: boolean): void {
    for (const [address, served] of this.#listening) if (served.process === process) this.#listening.delete(address)
    for (const wire of this.#open) {
      if (wire.client === process) this.#open.delete(wire)
      else if (wire.server === process) {
        this.#open.delete(wire)
        if (told) wire.end()
        else this.#network.timeline.after(this.#random.between(1000, 10_000), wire.client, () => wire.fail())
      }
    }
  }

  /** Breaks some connections. @returns how many. */
  break(share: number): number {
    let count = 0
    for (const wire of this.#open) {
      if (!this.#random.chance(share)) continue
      this.#open.delete(wire)
      // What is still on its way arrives, perhaps after what is sent on the next connection; or it does not.
      const way = this.#random.next()
      wire.break(way < 0.7, way < 0.5 ? this.#random.between(0, 2000) : 0)
      count += 1
    }
    return count
  }

  transport(process: Process): Transport {
    return {
      connect: (address, timeoutMs) =>
        new Promise((resolve, reject) => {
          const { timeline } = this.#network
          const host = address.split(':')[0]!
          const late = timeline.after(timeoutMs, process, () => refuse('no answer'))
          const refuse = (why: string): void => {
            late.cancel()
            reject(new Failure('UNAVAILABLE', `${address}: ${why}`))
          }
          // There and back, if both directions are open then.
          timeline.after(this.#network.delayMs(), process, () => {
            if (this.#network.isCut(process.name, host) || this.#network.isCut(host, process.name)) return
            const served = this.#listening.get(address)
            if (served === undefined) {
              refuse('connection refused')
              return
            }
            late.cancel()
            const wire = new Wire(this.#network, process, served, address, this.#report)
            this.#open.add(wire)
            void wire.closed.then(() => this.#open.delete(wire))
            resolve(wire)
          })
        }),
      listen: () => Promise.reject(new Failure('NOT_SUPPORTED', 'the simulation listens itself')),
    }
  }
}

type Pending = { readonly resolve: (answer: Answer<never>) => void; readonly reject: (failure: Failure) => void }

class Wire implements Connection {
  readonly address: string
  readonly closed: Promise<FailureCode>
  readonly client: Process
  readonly server: Process
  readonly #network: Network
  readonly #routes: ReadonlyMap<number, Route>
  readonly #report: (problem: string, error: unknown) => void
  readonly #there: Lane
  readonly #back: Lane
  readonly #pending = new Set<Pending>()
  #over = false
  #onClosed!: (code: FailureCode) => void

  constructor(
    network: Network,
    client: Process,
    served: Served1,
    address: string,
    report: (problem: string, error: unknown) => void,
  ) {
    this.#network = network
    this.client = client
    this.server = served.process
    this.address = address
    this.#routes = served.routes
    this.#report = report
    this.#there = new Lane(network, client, served.process)
    this.#back = new Lane(network, served.process, client)
    this.closed = new Promise((resolve) => {
      this.#onClosed = resolve
    })
  }

  call<C extends AnyCall>(call: C, request: RequestOf<C>, options: CallOptions): Promise<Answer<ReplyOf<C>>> {
    return new Promise((resolve, reject) => {
      if (this.#over) {
        reject(new Failure('UNAVAILABLE', `${this.address}: the connection is gone`))
        return
      }
      const pending = { resolve: resolve as Pending['resolve'], reject }
      this.#pending.add(pending)
      const timer = this.#network.timeline.after(options.timeoutMs, this.client, () => {
        if (this.#pending.delete(pending))
          reject(new Failure('DEADLINE', `call 0x${call.number.toString(16)} got no answer in time`))
      })
      const wire = pack(call.request.write(request as never))
      const payload = copied(options.payload ?? [])
      const network = this.#network
      const answer = (run: () => void): void => {
        if (network.loses()) return
        this.#back.send(() => {
          timer.cancel()
          if (this.#pending.delete(pending)) run()
        })
      }
      const serve = (bytes: Payload) => (): void => this.#serve(call, wire, bytes, options.timeoutMs, pending, answer)
      if (network.repeats()) network.post(this.client, this.server, serve(copied(payload)), network.repeatMs())
      if (!network.loses()) this.#there.send(serve(payload))
    })
  }

  close(): void {
    this.fail()
  }

  /** The client's side is told. */
  fail(): void {
    if (this.#over) return
    this.#over = true
    this.#back.drop()
    for (const { reject } of this.#pending)
      reject(new Failure('UNAVAILABLE', `${this.address}: the connection is lost`))
    this.#pending.clear()
    this.#onClosed('UNAVAILABLE')
  }

  /** The server's kernel closes the connection. */
  end(): void {
    this.#back.end(() => this.fail())
  }

  break(delivers: boolean, lateMs: number): void {
    if (delivers) this.#there.delay(lateMs)
    else this.#there.drop()
    this.#network.timeline.after(this.#network.delayMs(), this.client, () => this.fail())
  }

  #serve(
    call: AnyCall,
    wire: Uint8Array,
    payload: Payload,
    timeoutMs: number,
    pending: Pending,
    answer: (run: () => void) => void,
  ): void {
    const route = this.#routes.get(call.number)!
    const refuse = (error: unknown): void => {
      if (!isFailure(error) && this.server.alive) this.#report(`${route.name} failed unexpectedly`, error)
      const failure = isFailure(error) ? error : new Failure('INTERNAL', `${route.name} failed unexpectedly`)
      const told = readFailure(writeFailure(failure))
      answer(() => pending.reject(new Failure(told.failure, detailOf(told))))
    }
    const reply = (done: Reply<unknown>): void => {
      const packed = pack(route.call.reply.write(done.reply))
      const bytes = copied(done.payload ?? [])
      done.release?.()
      answer(() => pending.resolve({ reply: call.reply.read(unpack(packed), 'reply') as never, payload: bytes }))
    }
    try {
      const request = route.call.request.read(unpack(wire), route.name)
      const context = { deadlineMs: this.#network.timeline.nowMs + timeoutMs, peer: this.client.name }
      const done = route.handler(request, payload, context)
      if (done instanceof Promise) done.then(reply, refuse).catch(refuse)
      else reply(done)
    } catch (error) {
      refuse(error)
    }
  }
}
