/**
 * Safe integers as 8 little-endian bytes, and a cursor over a payload that came in pieces.
 *
 * Pure. Nothing is copied but a run that spans two pieces.
 */
import { assert } from './assert.ts'

export function write53(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value >>> 0, at)
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4)
}

export const read53 = (bytes: Buffer, at: number): number =>
  bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** A piece smaller than this is cheaper to copy than to hand to the kernel on its own. */
const smallBytes = 4096
const joinedBytesMax = 64 * 1024

/** @returns the same bytes, with small pieces that follow each other joined. */
export function compacted(pieces: readonly Uint8Array[]): Uint8Array[] {
  const result: Uint8Array[] = []
  let run: Uint8Array[] = []
  let runBytes = 0
  const close = (): void => {
    if (run.length === 1) result.push(run[0]!)
    else if (run.length > 1) result.push(Buffer.concat(run, runBytes))
    run = []
    runBytes = 0
  }
  for (const piece of pieces) {
    if (piece.length >= smallBytes || runBytes + piece.length > joinedBytesMax) close()
    if (piece.length >= smallBytes) {
      result.push(piece)
      continue
    }
    run.push(piece)
    runBytes += piece.length
  }
  close()
  return result
}

/** Reads a list of buffers from front to back. */
export class Cursor {
  #pieces: readonly Uint8Array[]
  #piece = 0
  #at = 0
  /** Bytes not yet taken. */
  left: number

  constructor(pieces: readonly Uint8Array[]) {
    this.#pieces = pieces
    this.left = 0
    for (const piece of pieces) this.left += piece.length
  }

  /** The next `length` bytes in one buffer, without taking them. */
  peek(length: number): Buffer {
    assert(length <= this.left, 'enough bytes to peek at')
    const piece = this.#pieces[this.#piece]
    if (piece !== undefined && piece.length - this.#at >= length)
      return asBuffer(piece).subarray(this.#at, this.#at + length)
    const gathered = Buffer.allocUnsafe(length)
    let filled = 0
    for (let i = this.#piece, at = this.#at; filled < length; i++, at = 0) {
      const from = this.#pieces[i]!
      const take = Math.min(length - filled, from.length - at)
      gathered.set(from.subarray(at, at + take), filled)
      filled += take
    }
    return gathered
  }

  /** The next `length` bytes as views of the pieces. */
  take(length: number): Uint8Array[] {
    assert(length <= this.left, 'enough bytes to take')
    const taken: Uint8Array[] = []
    this.left -= length
    while (length > 0) {
      const piece = this.#pieces[this.#piece]!
      const size = Math.min(length, piece.length - this.#at)
      if (size > 0) taken.push(piece.subarray(this.#at, this.#at + size))
      length -= size
      this.#at += size
      if (this.#at === piece.length) {
        this.#piece += 1
        this.#at = 0
      }
    }
    return taken
  }
}
