/**
 * Record marking: RPC messages in a byte stream, each as fragments with a length before them.
 *
 * Pure. A record's bytes stay in the buffers in which they came. Size and number of fragments of a record are
 * bounded; beyond that the stream cannot be trusted and must be closed (Failure TOO_LARGE).
 *
 * Source: RFC 5531 §11.
 */
import { assert } from '../../protocol/assert.ts'
import { Failure } from '../../protocol/failures.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import type { XdrWriter } from '../xdr/writer.ts'

const lastFragment = 0x80000000

export type CallRecord = { readonly pieces: Payload; readonly bytes: number }

export type RecordLimits = { readonly recordBytesMax: number; readonly fragmentsMax: number }

export class RecordReader {
  readonly #limits: RecordLimits
  #pieces: Uint8Array[] = []
  #bytes = 0
  #fragments = 0
  /** The fragment header, as far as it came. */
  #header = 0
  #headerBytes = 0
  #fragmentLeft = 0
  #last = false

  constructor(limits: RecordLimits) {
    this.#limits = limits
  }

  /** Whether a record has begun and not ended. */
  get partial(): boolean {
    return this.#headerBytes > 0 || this.#fragments > 0
  }

  /** @returns the records that `chunk` completes. @throws Failure TOO_LARGE: the stream is lost. */
  push(chunk: Uint8Array): CallRecord[] {
    const records: CallRecord[] = []
    for (let at = 0; at < chunk.length; ) {
      if (this.#fragmentLeft === 0 && this.#headerBytes < 4) {
        this.#header = ((this.#header << 8) | chunk[at++]!) >>> 0
        if (++this.#headerBytes < 4) continue
        this.#begin(this.#header)
      } else {
        const size = Math.min(this.#fragmentLeft, chunk.length - at)
        this.#pieces.push(chunk.subarray(at, at + size))
        this.#bytes += size
        this.#fragmentLeft -= size
        at += size
      }
      if (this.#fragmentLeft > 0) continue
      this.#header = 0
      this.#headerBytes = 0
      if (this.#last) records.push(this.#end())
    }
    return records
  }

  #begin(header: number): void {
    const length = header & ~lastFragment
    this.#last = (header & lastFragment) !== 0
    this.#fragments++
    if (this.#bytes + length > this.#limits.recordBytesMax)
      throw new Failure('TOO_LARGE', `a record of more than ${this.#limits.recordBytesMax} bytes`)
    if (this.#fragments > this.#limits.fragmentsMax)
      throw new Failure('TOO_LARGE', `a record of more than ${this.#limits.fragmentsMax} fragments`)
    this.#fragmentLeft = length
  }

  #end(): CallRecord {
    const record = { pieces: this.#pieces, bytes: this.#bytes }
    this.#pieces = []
    this.#bytes = 0
    this.#fragments = 0
    this.#last = false
    return record
  }
}

/** Leaves room for the mark that `sealRecord` sets. */
export function openRecord(xdr: XdrWriter): void {
  assert(xdr.length === 0, 'the mark stands first')
  xdr.u32(0)
}

/** @returns the written message as one record of one fragment. */
export function sealRecord(xdr: XdrWriter): Payload {
  const length = xdr.length - 4
  const pieces = xdr.finish()
  const first = pieces[0]!
  new DataView(first.buffer, first.byteOffset).setUint32(0, (lastFragment | length) >>> 0)
  return pieces
}
