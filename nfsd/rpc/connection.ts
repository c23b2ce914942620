/**
 * One client's TCP connection: calls in, replies out in the order in which they are ready.
 *
 * Not pure. Back-pressure: while more calls or bytes are in flight than the limits say (here, or over all
 * connections), the socket is not read. A call's bytes count until its reply is handed to the kernel. A
 * client that takes nothing, or stops in the middle of a record, for `stallMs` is cut off; an idle one may stay.
 */
import type { Socket } from 'node:net'
import { isFailure } from '../../protocol/failures.ts'
import type { Log } from '../../protocol/logging.ts'
import { type Payload, payloadBytes } from '../../protocol/transport/transport.ts'
import type { Budget } from './budget.ts'
import type { Dispatch } from './dispatch.ts'
import { type CallRecord, RecordReader } from './record.ts'

export type ConnectionLimits = {
  readonly recordBytesMax: number
  readonly fragmentsMax: number
  /** Calls of one connection that may run, or wait for their reply to be sent, at a time. */
  readonly callsMax: number
  /** Bytes of calls and replies of one connection in flight; a single record may exceed it. */
  readonly bytesMax: number
  readonly stallMs: number
}

export class Connection {
  readonly #socket: Socket
  readonly #address: string
  readonly #limits: ConnectionLimits
  readonly #budget: Budget
  readonly #dispatch: Dispatch
  readonly #log: Log
  readonly #records: RecordReader
  /** Read but not begun: at most what one chunk of the socket held. */
  #waiting: CallRecord[] = []
  #calls = 0
  #bytes = 0
  #corked = false
  readonly #wake = () => this.#advance()

  constructor(socket: Socket, address: string, dispatch: Dispatch, limits: ConnectionLimits, budget: Budget, log: Log) {
    this.#socket = socket
    this.#address = address
    this.#dispatch = dispatch
    this.#limits = limits
    this.#budget = budget
    this.#log = log
    this.#records = new RecordReader(limits)
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 60_000)
    socket.setTimeout(limits.stallMs)
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('timeout', () => {
      if (socket.writableLength > 0 || this.#records.partial) this.#cut('it takes no replies or sends half a call')
    })
    socket.on('error', (error) => this.#log.debug({ client: address, error }, 'a connection failed'))
    socket.on('close', () => {
      this.#waiting = []
      this.#budget.forget(this.#wake)
    })
  }

  #receive(chunk: Buffer): void {
    try {
      for (const record of this.#records.push(chunk)) this.#waiting.push(record)
    } catch (error) {
      this.#refuse(error)
    }
    this.#advance()
  }

  /** Begins what may begin, and reads on only when nothing waits. */
  #advance(): void {
    if (this.#socket.destroyed) return
    let begun = 0
    while (begun < this.#waiting.length && !this.#full()) this.#begin(this.#waiting[begun++]!)
    if (begun > 0) this.#waiting = this.#waiting.slice(begun)
    if (this.#full() || this.#waiting.length > 0) this.#socket.pause()
    else if (this.#socket.isPaused()) this.#socket.resume()
    if (this.#budget.spent) this.#budget.wait(this.#wake)
  }

  #full(): boolean {
    return this.#calls >= this.#limits.callsMax || this.#bytes >= this.#limits.bytesMax || this.#budget.spent
  }

  #begin(record: CallRecord): void {
    this.#calls++
    this.#take(record.bytes)
    this.#dispatch(record, this.#address).then(
      (reply) => this.#send(reply, record.bytes),
      (error) => {
        this.#end(record.bytes)
        this.#refuse(error)
      },
    )
  }

  /** Replies that are ready in the same turn leave in one `writev`. */
  #send(reply: Payload, callBytes: number): void {
    if (this.#socket.destroyed) {
      this.#end(callBytes)
      return
    }
    const replyBytes = payloadBytes(reply)
    this.#take(replyBytes)
    if (!this.#corked) {
      this.#corked = true
      this.#socket.cork()
      setImmediate(() => {
        this.#corked = false
        this.#socket.uncork()
      })
    }
    const last = reply.length - 1
    for (let i = 0; i < last; i++) this.#socket.write(reply[i]!)
    this.#socket.write(reply[last]!, () => this.#end(callBytes + replyBytes))
  }

  #take(bytes: number): void {
    this.#bytes += bytes
    this.#budget.take(bytes)
  }

  #end(bytes: number): void {
    this.#calls--
    this.#bytes -= bytes
    this.#budget.give(bytes)
    if (!this.#full()) this.#advance()
  }

  #refuse(error: unknown): void {
    if (!isFailure(error)) this.#log.error({ client: this.#address, error }, 'a connection failed unexpectedly')
    this.#cut(error instanceof Error ? error.message : String(error))
  }

  #cut(reason: string): void {
    if (this.#socket.destroyed) return
    this.#log.warn({ client: this.#address, reason }, 'closing a connection')
    this.#socket.destroy()
  }
}
