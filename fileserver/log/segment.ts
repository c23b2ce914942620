/**
 * One segment: an append-only file of whole records, and how its records are found.
 *
 * Driver. File: a header of 64 bytes {magic u32, version u32, container u64, first sequence u64, chain before the
 * first record u64, first sequence of the segment before u64 (0: none), xxh64 of these}, then records without gaps.
 * Marks (a place in the file with its sequence and the chain before it) are kept for every 256 KiB, so that finding a
 * record reads little.
 */
import { read53, write53 } from '../../protocol/bytes.ts'
import { Failure } from '../../protocol/failures.ts'
import { hash64, verifyPayload } from '../../protocol/hash.ts'
import { type ContainerId, containerId, type Sequence, sequence } from '../../protocol/ids.ts'
import { type Disk, type File, segmentPath } from '../pool/disk.ts'
import { chainOf, decodeHeader, type Header, headerBytes, recordBytes, sumsOf } from './record.ts'

export const segmentHeaderBytes = 64
const magic = 0x53464448
const version = 1
export const markBytes = 256 * 1024

/** Where a record stands: `sequence` begins at `offset`, and `chain` is that of the record before it. */
export type Mark = { readonly sequence: Sequence; readonly offset: number; readonly chain: bigint }

export type Segment = {
  readonly first: Sequence
  readonly file: File
  /** The first sequence of the segment before, which may have been dropped since; 0 in the first of all. */
  readonly previous: Sequence
  /** Ascending; the first is the segment's own beginning. */
  readonly marks: Mark[]
  /** The end: where the next record of the log would stand in this file. */
  end: Mark
}

/** The segment's first bytes. */
export function encodeHeader(container: ContainerId, start: Mark, previous: Sequence): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes)
  bytes.writeUInt32LE(magic, 0)
  bytes.writeUInt32LE(version, 4)
  write53(bytes, container, 8)
  write53(bytes, start.sequence, 16)
  bytes.writeBigUInt64LE(start.chain, 24)
  write53(bytes, previous, 32)
  bytes.writeBigUInt64LE(hash64(bytes.subarray(0, 56)), 56)
  return bytes
}

export function createSegment(
  disk: Disk,
  directory: string,
  container: ContainerId,
  before: { readonly next: Sequence; readonly chain: bigint; readonly previous: Sequence },
): Segment {
  const start = { sequence: before.next, offset: segmentHeaderBytes, chain: before.chain }
  const file = disk.open(segmentPath(directory, before.next), true)
  try {
    file.write([encodeHeader(container, start, before.previous)], 0)
  } catch (error) {
    file.close()
    disk.remove(file.path)
    throw error
  }
  return { first: before.next, file, previous: before.previous, marks: [start], end: start }
}

/** @returns the segment, whose end is still its beginning. @throws Failure CORRUPT when the file is not this container's segment. */
export function openSegment(disk: Disk, directory: string, container: ContainerId, first: Sequence): Segment {
  const file = disk.open(segmentPath(directory, first), false)
  const bytes = Buffer.alloc(segmentHeaderBytes)
  const whole =
    file.read(bytes, 0) === segmentHeaderBytes &&
    bytes.readUInt32LE(0) === magic &&
    bytes.readBigUInt64LE(56) === hash64(bytes.subarray(0, 56))
  if (!whole) throw new Failure('CORRUPT', `${file.path} has no whole segment header`)
  if (bytes.readUInt32LE(4) !== version)
    throw new Failure('VERSION_MISMATCH', `${file.path} has format ${bytes.readUInt32LE(4)}, not ${version}`)
  if (containerId(read53(bytes, 8)) !== container || read53(bytes, 16) !== first)
    throw new Failure('CORRUPT', `${file.path} belongs to container ${read53(bytes, 8)}, sequence ${read53(bytes, 16)}`)
  const start = { sequence: first, offset: segmentHeaderBytes, chain: bytes.readBigUInt64LE(24) }
  return { first, file, previous: sequence(read53(bytes, 32)), marks: [start], end: start }
}

/** The place after a record. */
export const after = ({ header, offset }: { readonly header: Header; readonly offset: number }): Mark => ({
  sequence: sequence(header.sequence + 1),
  offset: offset + recordBytes(header),
  chain: header.chain,
})

/** Moves the segment's end over one more record. */
export function advance(segment: Segment, header: Header): void {
  const { end, marks } = segment
  if (end.offset - marks.at(-1)!.offset >= markBytes) marks.push(end)
  segment.end = after({ header, offset: end.offset })
}

/** The last mark at or before `at`. */
export function markBefore(segment: Segment, at: Sequence): Mark {
  let low = 0
  let high = segment.marks.length
  while (high - low > 1) {
    const middle = (low + high) >>> 1
    if (segment.marks[middle]!.sequence <= at) low = middle
    else high = middle
  }
  return segment.marks[low]!
}

export type Found = {
  readonly header: Header
  readonly head: Buffer
  readonly offset: number
}

/**
 * Reads records from `from` on, as far as they are whole, up to `endOffset`.
 *
 * @param verify also check every payload (its bytes are read).
 * @returns why it ended: `end` at `endOffset`, `damaged` where bytes are not the next record, whole.
 */
export function* scan(
  segment: Segment,
  from: Mark,
  endOffset: number,
  verify: boolean,
): Generator<Found, 'end' | 'damaged'> {
  const read = windowed(segment.file, endOffset)
  let mark = from
  while (mark.offset < endOffset) {
    const found = recordAt(read, mark, endOffset)
    if (found === undefined || (verify && !payloadHolds(segment.file, found))) return 'damaged'
    yield found
    mark = after(found)
  }
  return 'end'
}

/** Reads through a buffer of 256 KiB, as most records are small. @returns nothing where the file is too short. */
function windowed(file: File, endOffset: number): (offset: number, length: number) => Buffer | undefined {
  let window = Buffer.alloc(0)
  let start = 0
  return (offset, length) => {
    if (offset + length > endOffset) return undefined
    if (offset < start || offset + length > start + window.length) {
      const size = Math.min(Math.max(length, markBytes), endOffset - offset)
      window = Buffer.allocUnsafe(size)
      start = offset
      window = window.subarray(0, file.read(window, offset))
      if (window.length < length) return undefined
    }
    return window.subarray(offset - start, offset - start + length)
  }
}

function recordAt(
  read: (offset: number, length: number) => Buffer | undefined,
  mark: Mark,
  endOffset: number,
): Found | undefined {
  const fixed = read(mark.offset, headerBytes)
  if (fixed === undefined || fixed.readUInt32LE(8) === 0) return undefined
  let header: Header
  try {
    header = decodeHeader(fixed)
  } catch {
    return undefined
  }
  if (header.sequence !== mark.sequence || mark.offset + recordBytes(header) > endOffset) return undefined
  const head = read(mark.offset, header.headBytes)
  if (head === undefined || chainOf(head, mark.chain) !== header.chain) return undefined
  return { header, head, offset: mark.offset }
}

function payloadHolds(file: File, found: Found): boolean {
  if (found.header.payloadBytes === 0) return true
  const payload = Buffer.allocUnsafe(found.header.payloadBytes)
  if (file.read(payload, found.offset + found.header.headBytes) < payload.length) return false
  try {
    verifyPayload([payload], payload.length, sumsOf(found.head, found.header))
    return true
  } catch {
    return false
  }
}
