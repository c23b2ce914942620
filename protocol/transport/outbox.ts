/**
 * Frames on their way into one socket: those of one tick go out together, in one writev.
 *
 * Heads and messages are packed one behind another into a shared batch; payload buffers go between them as they
 * are. A payload's `release` runs once, when its write has been handed to the kernel or the socket is gone.
 */
import type { Socket } from 'node:net'
import { Failure } from '../failures.ts'
import { type FrameKind, frameBytes, framePayloadBytesMax, messageBytesMax, writeHead } from './frame.ts'
import { type Payload, payloadBytes } from './transport.ts'
import { packShared } from './wire.ts'

const batchBytes = 64 * 1024
const noPayload: Payload = []

export class Outbox {
  private readonly socket: Socket
  private batch: Buffer = Buffer.allocUnsafeSlow(batchBytes)
  /** batch[start, end) is not yet among `pieces`. */
  private start = 0
  private end = 0
  private pieces: Uint8Array[] = []
  private unflushedBytes = 0
  private scheduled = false
  /** Of this tick's frames. */
  private releases: (() => void)[] = []
  /** Of each flush whose write is under way, in order. */
  private readonly flushed: (() => void)[][] = []

  constructor(socket: Socket) {
    this.socket = socket
    socket.once('close', () => {
      this.flushed.push(this.releases)
      this.releases = []
      while (this.flushed.length > 0) this.releaseFirst()
    })
  }

  /** Bytes that the kernel has not taken. */
  get bytes(): number {
    return this.unflushedBytes + this.socket.writableLength
  }

  /** Puts one frame into this tick's batch. @returns bytes of message and payload. @throws Failure TOO_LARGE, and then nothing was put. */
  put(
    kind: FrameKind,
    number: number,
    id: number,
    timeoutMs: number,
    wire: unknown,
    payload: Payload = noPayload,
    release?: () => void,
  ): number {
    const packed = packShared(wire)
    const messageBytes = packed.end - packed.start
    const payloadLength = payloadBytes(payload)
    if (messageBytes > messageBytesMax || payloadLength > framePayloadBytesMax)
      throw new Failure('TOO_LARGE', `message of ${messageBytes} bytes, payload of ${payloadLength} bytes`)
    const at = this.reserve(frameBytes + messageBytes)
    writeHead(this.batch, at, { kind, number, id, messageBytes, payloadBytes: payloadLength, timeoutMs })
    packed.copy(this.batch, at + frameBytes, packed.start, packed.end)
    if (payloadLength > 0) {
      this.cut()
      for (const piece of payload) if (piece.length > 0) this.pieces.push(piece)
    }
    if (release !== undefined) this.releases.push(release)
    this.unflushedBytes += frameBytes + messageBytes + payloadLength
    if (!this.scheduled) {
      this.scheduled = true
      process.nextTick(() => this.flush())
    }
    return messageBytes + payloadLength
  }

  /** @returns where in `batch` the next `bytes` go. */
  private reserve(bytes: number): number {
    if (this.end + bytes > this.batch.length) {
      this.cut()
      this.batch = Buffer.allocUnsafeSlow(Math.max(batchBytes, bytes))
      this.start = 0
      this.end = 0
    }
    const at = this.end
    this.end += bytes
    return at
  }

  private cut(): void {
    if (this.end > this.start) this.pieces.push(this.batch.subarray(this.start, this.end))
    this.start = this.end
  }

  private flush(): void {
    this.scheduled = false
    this.cut()
    const { pieces, socket } = this
    this.pieces = []
    this.unflushedBytes = 0
    if (socket.destroyed) return
    const last = pieces.length - 1
    if (last > 0) socket.cork()
    for (let i = 0; i < last; i++) socket.write(pieces[i]!)
    if (this.releases.length > 0) {
      this.flushed.push(this.releases)
      this.releases = []
      socket.write(pieces[last]!, () => this.releaseFirst())
    } else socket.write(pieces[last]!)
    if (last > 0) socket.uncork()
  }

  private releaseFirst(): void {
    for (const release of this.flushed.shift() ?? []) release()
  }
}
