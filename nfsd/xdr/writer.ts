/**
 * Writes XDR as a list of buffers that goes to the socket as it is.
 *
 * Pure. Fields gather in one growing buffer; a payload's pieces are put between, not copied.
 *
 * Source: RFC 4506.
 */
import type { Payload } from '../../protocol/transport/transport.ts'

/** Holds most replies. */
const firstBytes = 512

export class XdrWriter {
  #buffer = Buffer.allocUnsafe(firstBytes)
  /** Where the bytes start that are not yet in `#pieces`. */
  #start = 0
  #at = 0
  readonly #pieces: Uint8Array[] = []
  #doneBytes = 0

  /** Bytes written so far. */
  get length(): number {
    return this.#doneBytes + this.#at - this.#start
  }

  u32(value: number): void {
    this.#room(4)
    const buffer = this.#buffer
    const at = this.#at
    buffer[at] = value >>> 24
    buffer[at + 1] = value >>> 16
    buffer[at + 2] = value >>> 8
    buffer[at + 3] = value
    this.#at = at + 4
  }

  /** @param value a safe integer, not negative. */
  u64(value: number): void {
    this.u32(Math.floor(value / 2 ** 32))
    this.u32(value)
  }

  boolean(value: boolean): void {
    this.u32(value ? 1 : 0)
  }

  /** Opaque bytes of a fixed length, padded. */
  fixed(bytes: Uint8Array): void {
    this.#room(bytes.length + 3)
    this.#buffer.set(bytes, this.#at)
    this.#at += bytes.length
    this.#pad(bytes.length)
  }

  /** Opaque bytes of a variable length. */
  opaque(bytes: Uint8Array): void {
    this.u32(bytes.length)
    this.fixed(bytes)
  }

  /** Opaque bytes of a variable length, of which the pieces go out as they are. */
  payload(pieces: Payload, length: number): void {
    this.u32(length)
    this.#flush()
    for (const piece of pieces) this.#pieces.push(piece)
    this.#doneBytes += length
    this.#room(3)
    this.#pad(length)
  }

  /** @returns all that was written; the writer is then used up. */
  finish(): Uint8Array[] {
    this.#flush()
    return this.#pieces
  }

  #pad(length: number): void {
    for (let padding = -length & 3; padding > 0; padding--) this.#buffer[this.#at++] = 0
  }

  #flush(): void {
    if (this.#at === this.#start) return
    this.#pieces.push(this.#buffer.subarray(this.#start, this.#at))
    this.#doneBytes += this.#at - this.#start
    this.#start = this.#at
  }

  #room(length: number): void {
    if (this.#buffer.length - this.#at >= length) return
    const pending = this.#at - this.#start
    const grown = Buffer.allocUnsafe(Math.max(2 * pending, pending + length, firstBytes))
    grown.set(this.#buffer.subarray(this.#start, this.#at))
    this.#buffer = grown
    this.#start = 0
    this.#at = pending
  }
}
