/**
 * Reads a log in large pieces of whole records, for a stream that has to catch up.
 *
 * Driver. Payloads are not checked here: whoever receives records checks every one of them (`parseRecords`), and what it
 * refuses the sender reads again with care (`Log.read`). Buffers are used again.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import { type Sequence, sequence } from '../../protocol/ids.ts'
import { Buffers } from '../../protocol/transport/buffers.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import type { Log } from '../log/log.ts'
import { decodeHeader, headerBytes, recordBytes } from '../log/record.ts'

/** Records [first, last], as they stand in the log. */
export type Piece = {
  readonly first: Sequence
  readonly last: Sequence
  readonly payload: Payload
  readonly bytes: number
  /** Gives the buffer back, when nobody looks at it any more. */
  readonly release: () => void
}

/** For all streams of the process. */
const buffers = new Buffers()

export class Pieces {
  readonly #log: Log
  #next: Sequence
  /** Where `#next` stands, if that is known. */
  #place: { segment: Sequence; offset: number } | undefined

  constructor(log: Log, next: Sequence) {
    this.#log = log
    this.#next = next
  }

  /** The first record that was not read yet. */
  get next(): Sequence {
    return this.#next
  }

  /** Records up to `last` were sent from elsewhere. */
  skip(last: Sequence): void {
    this.#next = sequence(last + 1)
    this.#place = undefined
  }

  /** From the next record to the end of the log. */
  gapBytes(): number {
    if (this.#next > this.#log.last) return 0
    const place = this.#placed()
    if (place === undefined) return this.#log.sizeBytes
    let bytes = -place.offset
    for (const { first, sizeBytes } of this.#log.manifest()) if (first >= place.segment) bytes += sizeBytes
    return bytes
  }

  /**
   * The next records up to `last`: at least one, else as many as fit `bytesMax`.
   * @throws Failure NOT_FOUND when the log no longer holds them, CORRUPT when it is damaged there.
   */
  async read(last: Sequence, bytesMax: number): Promise<Piece> {
    const place = this.#placed()
    if (place === undefined) return this.#readWithCare(bytesMax)
    const left = this.#log.manifest().find(({ first }) => first === place.segment)!.sizeBytes - place.offset
    let buffer = buffers.take(Math.max(Math.min(bytesMax, left), headerBytes))
    let count = await this.#log.readSegmentLater(place.segment, buffer, place.offset)
    const largeBytes = largeRecordBytes(buffer.subarray(0, count))
    if (largeBytes > 0 && largeBytes <= left) {
      buffers.give(buffer)
      buffer = buffers.take(largeBytes)
      count = await this.#log.readSegmentLater(place.segment, buffer, place.offset)
    }
    const whole = wholeRecords(buffer.subarray(0, Math.min(count, left)), this.#next, last)
    if (whole === undefined) {
      buffers.give(buffer)
      return this.#readWithCare(bytesMax)
    }
    const piece = {
      first: this.#next,
      last: whole.last,
      payload: [buffer.subarray(0, whole.bytes)],
      bytes: whole.bytes,
    }
    this.#next = sequence(whole.last + 1)
    this.#place = whole.bytes === left ? undefined : { ...place, offset: place.offset + whole.bytes }
    return { ...piece, release: () => buffers.give(buffer) }
  }

  /** Damage, or nothing that is known. */
  #readWithCare(bytesMax: number): Piece {
    const read = this.#log.read(this.#next, bytesMax)
    if (read === undefined) throw new Failure('NOT_FOUND', `the log no longer reaches back to ${this.#next}`)
    const { last, payload } = read
    const piece = { first: this.#next, last, payload, bytes: payload[0]!.length, release: () => {} }
    this.skip(last)
    return piece
  }

  #placed(): { segment: Sequence; offset: number } | undefined {
    // Its segment may have been dropped since.
    if (this.#place?.segment !== this.#log.segmentOf(this.#next)) this.#place = undefined
    this.#place ??= this.#log.placeOf(this.#next)
    return this.#place
  }
}

/** @returns the size of the record with which `bytes` begin, if they are only a part of it; else 0. */
export function largeRecordBytes(bytes: Buffer): number {
  if (bytes.length < headerBytes) return 0
  try {
    const size = recordBytes(decodeHeader(bytes))
    return size > bytes.length ? size : 0
  } catch (error) {
    if (!isFailure(error, 'CORRUPT')) throw error
    return 0
  }
}

/** @returns how many bytes whole records take; nothing when the first is not whole, or what is there is none. */
export function wholeRecords(
  bytes: Buffer,
  next: Sequence,
  lastWanted: Sequence,
): { readonly bytes: number; readonly last: Sequence } | undefined {
  let at = 0
  let expected: number = next
  while (expected <= lastWanted && bytes.length - at >= headerBytes) {
    let size: number
    try {
      const header = decodeHeader(bytes.subarray(at, at + headerBytes))
      if (header.sequence !== expected) break
      size = recordBytes(header)
    } catch (error) {
      if (!isFailure(error, 'CORRUPT')) throw error
      break
    }
    if (at + size > bytes.length) break
    at += size
    expected += 1
  }
  return at === 0 ? undefined : { bytes: at, last: sequence(expected - 1) }
}
