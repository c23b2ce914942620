/**
 * One TCP connection of the data plane: hello first, then frames for its one half, until it ends.
 *
 * The side that dialled calls (`Caller`), the side that accepted serves (`Dispatcher`). States: `hello` (the peer's
 * hello has not come), `open`, `closed`. Whatever the peer does wrong closes this connection, with a failure frame
 * of request id 0, and touches nothing else. Reading stops while the half is busy, so a peer that sends faster than
 * it is served, or does not read its answers, is held back by TCP.
 */

import type { Socket } from 'node:net'
import { AssertionError } from '../assert.ts'
import { natural, type Of, message as shape, text } from '../check.ts'
import type { Clock, Timer } from '../clock.ts'
import { Failure, type FailureCode } from '../failures.ts'
import type { Log } from '../logging.ts'
import type { Buffers } from './buffers.ts'
import { Decoder, type Frame, type FrameHead, kinds, messageBytesMax, type Pieces } from './frame.ts'
import { Outbox } from './outbox.ts'
import { detailOf, readFailure, writeFailure } from './wire.ts'

/** What a side takes before it has answered: calls, and bytes of messages and payloads. */
export type Window = { readonly calls: number; readonly bytes: number }
/** Enough to keep a 10 Gbit/s network busy for 50 ms. */
export const ownWindow: Window = { calls: 1024, bytes: 64 * 1024 * 1024 }

/** `cluster` is empty where it is not known yet: any will do. */
const helloShape = shape({ cluster: text(64), role: text(64), calls: natural(), bytes: natural() })
export type Hello = Of<typeof helloShape>

/** How long a peer may take to read why it is turned away. */
const partingMs = 1000

/** What a process says of itself and lends to all its connections. */
export type Ends = {
  readonly role: string
  /** Id of the cluster, or empty while it is not known. */
  readonly cluster: () => string
  readonly clock: Clock
  readonly log: Log
  /** An assertion failed in a handler: the process (or the replica) must stop. */
  readonly onFatal: (error: unknown) => void
}

/** What a connection does once it is open. */
export type Half = {
  /** @throws Failure when the frame is out of order; the connection then closes. */
  readonly receive: (frame: Frame) => void
  /** While true nothing more is read; `wake` is called when it may have become false. */
  readonly busy: boolean
  /** Where the payload of a frame that is coming goes, if its receiver said. */
  readonly place?: (head: FrameHead) => Buffer | undefined
  readonly close: (failure: Failure) => void
}

/** A half's way back to its connection. */
export type Line = {
  readonly peer: string
  readonly outbox: Outbox
  readonly wake: () => void
  readonly fail: (failure: Failure) => void
}

export class FramedConnection<H extends Half> {
  /** Settles when the connection is gone, with the reason. Never rejects. */
  readonly closed: Promise<FailureCode>
  /** The half, when hellos have been exchanged; rejects with a `Failure` when the connection ends before. */
  readonly opened: Promise<H>
  private readonly socket: Socket
  private readonly ends: Ends
  private readonly line: Line
  private readonly dialled: boolean
  private readonly decoder: Decoder
  private readonly makeHalf: (line: Line, hello: Hello) => H
  private half: H | undefined
  private failure: Failure | undefined
  private readonly helloTimer: Timer
  private onOpened!: (half: H) => void
  private onRefused!: (failure: Failure) => void
  private onClosed!: (code: FailureCode) => void

  constructor(options: {
    readonly socket: Socket
    readonly peer: string
    readonly ends: Ends
    readonly dialled: boolean
    readonly pieces: Pieces
    readonly buffers?: Buffers
    readonly helloTimeoutMs: number
    readonly half: (line: Line, hello: Hello) => H
  }) {
    const { socket, peer, ends } = options
    this.socket = socket
    this.ends = ends
    this.dialled = options.dialled
    this.makeHalf = options.half
    this.decoder = new Decoder(
      options.pieces,
      (frame) => this.receive(frame),
      options.buffers,
      (head) => this.half?.place?.(head),
    )
    this.line = {
      peer,
      outbox: new Outbox(socket),
      wake: () => this.wake(),
      fail: (failure) => this.fail(failure),
    }
    this.closed = new Promise((resolve) => {
      this.onClosed = resolve
    })
    this.opened = new Promise((resolve, reject) => {
      this.onOpened = resolve
      this.onRefused = reject
    })
    this.opened.catch(() => undefined)
    this.helloTimer = ends.clock.after(options.helloTimeoutMs, () =>
      this.fail(new Failure('UNAVAILABLE', `${peer} sent no hello within ${options.helloTimeoutMs} ms`)),
    )
    socket.on('drain', this.line.wake)
    socket.on('error', (error) => this.end(new Failure('UNAVAILABLE', `${peer}: ${error.message}`)))
    socket.on('close', () => this.end(new Failure('UNAVAILABLE', `${peer} closed the connection`)))
    if (this.dialled) this.sendHello()
  }

  /** Where the socket may put the next bytes itself; see `Decoder.space`. */
  get space(): Buffer | undefined {
    return this.decoder.space
  }

  /** Bytes that came; `direct` when they were put into `space`. */
  read(bytes: Buffer, direct = false): void {
    if (this.failure !== undefined) return
    try {
      if (direct) this.decoder.filled(bytes.length)
      else this.decoder.push(bytes)
    } catch (error) {
      this.stop(error)
    }
  }

  /** Ends the connection from this side: calls in flight fail with UNAVAILABLE. */
  close(): void {
    this.end(new Failure('UNAVAILABLE', 'the connection was closed'))
  }

  private receive(frame: Frame): void {
    if (frame.kind === kinds.failure && frame.id === 0) {
      const told = readFailure(frame.wire)
      this.end(new Failure(told.failure, `${this.line.peer} closed the connection: ${detailOf(told)}`))
    } else if (this.half === undefined) this.receiveHello(frame)
    else {
      this.half.receive(frame)
      if (this.half.busy) this.sleep()
    }
  }

  private receiveHello(frame: Frame): void {
    if (frame.kind !== kinds.hello || frame.id !== 0) throw new Failure('BAD_FRAME', 'a connection starts with a hello')
    const hello = helloShape.read(frame.wire, 'hello')
    const cluster = this.ends.cluster()
    if (hello.cluster !== '' && cluster !== '' && hello.cluster !== cluster)
      throw new Failure('WRONG_CLUSTER', `cluster ${hello.cluster} called ${cluster}`)
    this.helloTimer.cancel()
    this.decoder.messageBytesMax = messageBytesMax
    if (!this.dialled) this.sendHello()
    this.half = this.makeHalf(this.line, hello)
    this.onOpened(this.half)
  }

  private sendHello(): void {
    const hello = { cluster: this.ends.cluster(), role: this.ends.role, ...ownWindow }
    this.line.outbox.put(kinds.hello, 0, 0, 0, helloShape.write(hello))
  }

  private sleep(): void {
    this.decoder.pause()
    this.socket.pause()
  }

  private wake(): void {
    if (this.failure !== undefined || !this.decoder.paused || this.half?.busy) return
    this.socket.resume()
    try {
      this.decoder.resume()
    } catch (error) {
      this.stop(error)
    }
  }

  private stop(error: unknown): void {
    if (error instanceof Failure) this.fail(error)
    else {
      this.end(new Failure('INTERNAL', 'the connection failed unexpectedly'))
      if (error instanceof AssertionError) this.ends.onFatal(error)
      else this.ends.log.error({ error, peer: this.line.peer }, 'connection failed unexpectedly')
    }
  }

  /** Tells the peer why, then ends. */
  private fail(failure: Failure): void {
    if (this.failure !== undefined) return
    this.ends.log.warn({ peer: this.line.peer, failure: failure.failure }, failure.message)
    // The socket goes on writing into the buffer of a payload that is half there, and its caller has it back now.
    if (this.decoder.space !== undefined) {
      this.end(failure)
      return
    }
    this.line.outbox.put(kinds.failure, 0, 0, 0, writeFailure(failure))
    this.over(failure)
    // What still comes is read and dropped: a socket closed with unread bytes would reset the connection, and the peer would not see why.
    this.socket.resume()
    process.nextTick(() => this.socket.end())
    this.ends.clock.after(partingMs, () => this.socket.destroy())
  }

  private end(failure: Failure): void {
    if (this.failure !== undefined) return
    this.over(failure)
    this.socket.destroy()
  }

  private over(failure: Failure): void {
    this.failure = failure
    this.helloTimer.cancel()
    this.decoder.pause()
    this.half?.close(failure)
    this.onRefused(failure)
    this.onClosed(failure.failure)
  }
}
