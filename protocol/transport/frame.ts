/**
 * The frame of the data plane (DESIGN §2): 24 bytes, a msgpack header, raw payload.
 *
 * Pure. Little-endian: magic u16, version u8, kind u8, call number u16, zero u16, request id u32, header length u32,
 * payload length u32, timeout u32 (milliseconds). The first four bytes keep their meaning in every version.
 * `Decoder` takes a stream in pieces of any size and never joins payload: it hands it on as the pieces that came, or,
 * where the pieces are only borrowed, in one buffer of its exact size that the socket may also fill directly.
 * After a failure a decoder is not used again.
 */
import { Failure } from '../failures.ts'
import { appendBytesMax } from '../messages/replication.ts'
import type { Buffers } from './buffers.ts'
import { unpack } from './wire.ts'

export const protocolVersion = 1
export const frameBytes = 24
/** Fits histories and segment lists of 100,000 entries. */
export const messageBytesMax = 8 * 1024 * 1024
export const framePayloadBytesMax = appendBytesMax
/** Until the hello is accepted nothing larger is read. */
export const helloBytesMax = 1024
const magic = 0x4648

export const kinds = { hello: 1, call: 2, reply: 3, failure: 4 } as const
export type FrameKind = (typeof kinds)[keyof typeof kinds]

/** `wire` is unpacked and not yet checked; `bytes` counts message and payload. */
export type Frame = {
  readonly kind: FrameKind
  readonly number: number
  readonly id: number
  readonly timeoutMs: number
  readonly wire: unknown
  readonly payload: readonly Uint8Array[]
  readonly bytes: number
  /** To be called when the payload is not needed any more; its buffer is then used for another. */
  readonly release: () => void
}

export type FrameHead = {
  readonly kind: FrameKind
  readonly number: number
  readonly id: number
  readonly messageBytes: number
  readonly payloadBytes: number
  readonly timeoutMs: number
}

export function writeHead(target: Buffer, at: number, head: FrameHead): void {
  target.writeUInt16LE(magic, at)
  target[at + 2] = protocolVersion
  target[at + 3] = head.kind
  target.writeUInt16LE(head.number, at + 4)
  target.writeUInt16LE(0, at + 6)
  target.writeUInt32LE(head.id, at + 8)
  target.writeUInt32LE(head.messageBytes, at + 12)
  target.writeUInt32LE(head.payloadBytes, at + 16)
  target.writeUInt32LE(head.timeoutMs, at + 20)
}

/** @throws Failure BAD_FRAME, VERSION_MISMATCH or TOO_LARGE. */
function readHead(source: Buffer, at: number, messageMax: number): FrameHead {
  if (source.readUInt16LE(at) !== magic) throw new Failure('BAD_FRAME', 'not a Holdfast frame')
  const version = source[at + 2]!
  if (version !== protocolVersion)
    throw new Failure('VERSION_MISMATCH', `peer speaks version ${version}, this is ${protocolVersion}`)
  const kind = source[at + 3]!
  if (kind < kinds.hello || kind > kinds.failure) throw new Failure('BAD_FRAME', `kind ${kind}`)
  if (source.readUInt16LE(at + 6) !== 0) throw new Failure('BAD_FRAME', 'reserved bytes are not zero')
  const head = {
    kind: kind as FrameKind,
    number: source.readUInt16LE(at + 4),
    id: source.readUInt32LE(at + 8),
    messageBytes: source.readUInt32LE(at + 12),
    payloadBytes: source.readUInt32LE(at + 16),
    timeoutMs: source.readUInt32LE(at + 20),
  }
  if (head.messageBytes === 0) throw new Failure('BAD_FRAME', 'no message')
  if (head.messageBytes > messageMax)
    throw new Failure('TOO_LARGE', `message of ${head.messageBytes} bytes, at most ${messageMax}`)
  if (head.payloadBytes > framePayloadBytesMax)
    throw new Failure('TOO_LARGE', `payload of ${head.payloadBytes} bytes, at most ${framePayloadBytesMax}`)
  if (head.payloadBytes > 0 && kind !== kinds.call && kind !== kinds.reply)
    throw new Failure('BAD_FRAME', `kind ${kind} with a payload`)
  return head
}

function unpackArray(bytes: Buffer, start: number, end: number): unknown {
  try {
    const wire = unpack(bytes, start, end)
    if (Array.isArray(wire)) return wire
  } catch (error) {
    throw new Failure('BAD_FRAME', 'the message is not msgpack', { cause: error })
  }
  throw new Failure('BAD_FRAME', 'the message is not an array')
}

const noPayload: readonly Uint8Array[] = []
const nothing = (): void => {}

/**
 * `keep`: pieces are ours, payload is cut out of them. `copy`: pieces are overwritten later, payload is copied. With
 * `Buffers` a large payload is copied either way, into one of them.
 */
export type Pieces = 'keep' | 'copy'

export class Decoder {
  /** Raised to `messageBytesMax` when the hello is accepted. */
  messageBytesMax = helloBytesMax
  private readonly onFrame: (frame: Frame) => void
  private readonly pieces: Pieces
  private readonly buffers: Buffers | undefined
  private readonly place: ((head: FrameHead) => Buffer | undefined) | undefined
  private readonly fixed = Buffer.allocUnsafeSlow(frameBytes)
  private fixedBytes = 0
  private head: FrameHead | undefined
  /** The message's first part, while the rest of it has not come. */
  private message: Buffer | undefined
  private messageBytes = 0
  private wire: unknown
  private payload: Uint8Array[] = []
  private payloadMissing = 0
  /** With `copy`: the payload that is being filled. */
  private filling: Buffer | undefined
  private chunk: Buffer | undefined
  private at = 0
  /** Pieces that came while paused. */
  private readonly later: Buffer[] = []
  private running = false
  private held = false

  /** @param buffers where the buffers of payloads are taken from and released to; from the heap where absent. */
  /** @param place where the payload of this frame goes, if its receiver wants it somewhere. */
  constructor(
    pieces: Pieces,
    onFrame: (frame: Frame) => void,
    buffers?: Buffers,
    place?: (head: FrameHead) => Buffer | undefined,
  ) {
    this.pieces = pieces
    this.buffers = buffers
    this.place = place
    this.onFrame = onFrame
  }

  get paused(): boolean {
    return this.held
  }

  /** From now on frames are held back, together with the rest of the piece they are in. */
  pause(): void {
    this.held = true
  }

  resume(): void {
    this.held = false
    this.run()
  }

  /** Calls `onFrame` for each frame that is now whole. @throws Failure BAD_FRAME, VERSION_MISMATCH or TOO_LARGE. */
  push(chunk: Buffer): void {
    if (this.chunk === undefined) this.chunk = chunk
    else this.later.push(this.pieces === 'keep' ? chunk : Buffer.from(chunk))
    this.run()
    // A borrowed piece that could not be read to its end, because of a pause, must outlive its loan.
    if (this.chunk === chunk && this.pieces === 'copy') {
      this.chunk = Buffer.from(chunk.subarray(this.at))
      this.at = 0
    }
  }

  /** With `copy`: where the socket may put the next bytes itself, if a payload is being filled. `filled` says how many came. */
  get space(): Buffer | undefined {
    return this.filling?.subarray(this.filling.length - this.payloadMissing)
  }

  filled(bytes: number): void {
    this.payloadMissing -= bytes
    if (this.payloadMissing === 0) this.deliver()
  }

  private run(): void {
    if (this.running) return
    this.running = true
    while (!this.held && this.chunk !== undefined) {
      if (this.at === this.chunk.length) {
        this.chunk = this.later.shift()
        this.at = 0
      } else if (this.head === undefined) this.readFixed(this.chunk)
      else if (this.wire === undefined) this.readMessage(this.chunk, this.head)
      else this.readPayload(this.chunk)
    }
    this.running = false
  }

  private readFixed(chunk: Buffer): void {
    const there = chunk.length - this.at
    if (this.fixedBytes === 0 && there >= frameBytes) {
      this.head = readHead(chunk, this.at, this.messageBytesMax)
      this.at += frameBytes
      return
    }
    const taken = Math.min(frameBytes - this.fixedBytes, there)
    chunk.copy(this.fixed, this.fixedBytes, this.at, this.at + taken)
    this.at += taken
    this.fixedBytes += taken
    if (this.fixedBytes < frameBytes) return
    this.fixedBytes = 0
    this.head = readHead(this.fixed, 0, this.messageBytesMax)
  }

  private readMessage(chunk: Buffer, head: FrameHead): void {
    const there = chunk.length - this.at
    if (this.message === undefined && there >= head.messageBytes) {
      const start = this.at
      this.at += head.messageBytes
      this.takeMessage(chunk, start, this.at, head)
      return
    }
    this.message ??= Buffer.allocUnsafeSlow(head.messageBytes)
    const taken = Math.min(head.messageBytes - this.messageBytes, there)
    chunk.copy(this.message, this.messageBytes, this.at, this.at + taken)
    this.at += taken
    this.messageBytes += taken
    if (this.messageBytes < head.messageBytes) return
    const message = this.message
    this.message = undefined
    this.messageBytes = 0
    this.takeMessage(message, 0, message.length, head)
  }

  private takeMessage(bytes: Buffer, start: number, end: number, head: FrameHead): void {
    this.wire = unpackArray(bytes, start, end)
    this.payloadMissing = head.payloadBytes
    if (head.payloadBytes === 0) {
      this.deliver()
      return
    }
    const place = this.place?.(head)
    if (place !== undefined) this.fill(place)
    else if (this.buffers?.holds(head.payloadBytes)) this.fill(this.buffers.take(head.payloadBytes))
    else if (this.pieces === 'copy') this.fill(Buffer.allocUnsafeSlow(head.payloadBytes))
  }

  private fill(payload: Buffer): void {
    this.filling = payload
    this.payload.push(payload)
  }

  private readPayload(chunk: Buffer): void {
    const taken = Math.min(this.payloadMissing, chunk.length - this.at)
    if (this.filling === undefined) this.payload.push(chunk.subarray(this.at, this.at + taken))
    else chunk.copy(this.filling, this.filling.length - this.payloadMissing, this.at, this.at + taken)
    this.at += taken
    this.payloadMissing -= taken
    if (this.payloadMissing === 0) this.deliver()
  }

  private deliver(): void {
    const { kind, number, id, timeoutMs, messageBytes, payloadBytes } = this.head!
    const { wire } = this
    const payload = payloadBytes > 0 ? this.payload : noPayload
    const { filling, buffers } = this
    const release = filling !== undefined && buffers !== undefined ? () => buffers.give(filling) : nothing
    this.head = undefined
    this.wire = undefined
    this.filling = undefined
    if (payloadBytes > 0) this.payload = []
    this.onFrame({ kind, number, id, timeoutMs, wire, payload, bytes: messageBytes + payloadBytes, release })
  }
}
