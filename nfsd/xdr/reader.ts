/**
 * Reads XDR from the buffers that a socket delivered, in place.
 *
 * Pure. The message may be split over buffers anywhere; only a field that spans two of them is copied, and a long
 * opaque is given out as the list of its pieces. Everything that does not fit is a Failure BAD_MESSAGE, which RPC
 * answers as GARBAGE_ARGS. What `fixed` and `opaque` return is a view of the input.
 *
 * Source: RFC 4506.
 */
import { Failure } from '../../protocol/failures.ts'
import { type Payload, payloadBytes } from '../../protocol/transport/transport.ts'

const empty = new Uint8Array(0)

export class XdrReader {
  readonly #pieces: Payload
  #piece: Uint8Array = empty
  #next = 0
  #at = 0
  #left: number

  constructor(pieces: Payload) {
    this.#pieces = pieces
    this.#left = payloadBytes(pieces)
  }

  /** Bytes that were not read yet. */
  get left(): number {
    return this.#left
  }

  u32(): number {
    if (this.#piece.length - this.#at < 4) {
      const bytes = this.fixed(4)
      return ((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0
    }
    const at = this.#at
    const piece = this.#piece
    this.#at = at + 4
    this.#left -= 4
    return ((piece[at]! << 24) | (piece[at + 1]! << 16) | (piece[at + 2]! << 8) | piece[at + 3]!) >>> 0
  }

  /** An unsigned hyper as a number: exact below 2^53, rounded above, so that a check of its range is always right. */
  u64(): number {
    const high = this.u32()
    return high * 2 ** 32 + this.u32()
  }

  boolean(): boolean {
    return this.choice(1) === 1
  }

  /** An enumeration from 0 to `max`. */
  choice(max: number): number {
    const value = this.u32()
    if (value > max) throw new Failure('BAD_MESSAGE', `${value} is none of the values 0 to ${max}`)
    return value
  }

  /** Opaque bytes of a fixed length, with their padding. */
  fixed(length: number): Uint8Array {
    this.#need(length)
    this.#fill()
    if (this.#piece.length - this.#at >= length) {
      const bytes = this.#piece.subarray(this.#at, this.#at + length)
      this.#skip(length)
      this.#pad(length)
      return bytes
    }
    const bytes = new Uint8Array(length)
    let done = 0
    for (const piece of this.#take(length)) {
      bytes.set(piece, done)
      done += piece.length
    }
    this.#pad(length)
    return bytes
  }

  /** Opaque bytes of a variable length up to `max`. */
  opaque(max: number): Uint8Array {
    return this.fixed(this.#length(max))
  }

  /** Opaque bytes of a variable length up to `max`, as the pieces in which they came. */
  payload(max: number): Payload {
    const length = this.#length(max)
    this.#need(length)
    const pieces = this.#take(length)
    this.#pad(length)
    return pieces
  }

  /** @returns at most `length` of the bytes that come next, without reading them. */
  peek(length: number): Uint8Array {
    this.#fill()
    const wanted = Math.min(length, this.#left)
    if (this.#piece.length - this.#at >= wanted) return this.#piece.subarray(this.#at, this.#at + wanted)
    const bytes = new Uint8Array(wanted)
    let done = 0
    let piece = this.#piece.subarray(this.#at)
    for (let next = this.#next; done < wanted; piece = this.#pieces[next++]!) {
      bytes.set(piece.subarray(0, wanted - done), done)
      done += piece.length
    }
    return bytes
  }

  #length(max: number): number {
    const length = this.u32()
    if (length > max) throw new Failure('BAD_MESSAGE', `${length} bytes where at most ${max} may be`)
    return length
  }

  #need(length: number): void {
    if (length > this.#left) throw new Failure('BAD_MESSAGE', `${length} bytes wanted, ${this.#left} left`)
  }

  #skip(length: number): void {
    this.#at += length
    this.#left -= length
  }

  #pad(length: number): void {
    for (let padding = -length & 3; padding > 0; padding--) {
      this.#need(1)
      this.#fill()
      this.#skip(1)
    }
  }

  /** Moves to the next buffer that has bytes, when this one is used up. */
  #fill(): void {
    while (this.#at === this.#piece.length && this.#left > 0) {
      this.#piece = this.#pieces[this.#next++]!
      this.#at = 0
    }
  }

  #take(length: number): Uint8Array[] {
    const pieces: Uint8Array[] = []
    for (let wanted = length; wanted > 0; ) {
      this.#fill()
      const size = Math.min(wanted, this.#piece.length - this.#at)
      pieces.push(this.#piece.subarray(this.#at, this.#at + size))
      this.#skip(size)
      wanted -= size
    }
    return pieces
  }
}
