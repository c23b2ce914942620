/**
 * Finds records in the segments of a log.
 *
 * Driver: reads files, changes nothing but the marks that it adds on its way.
 */
import { Failure } from '../../protocol/failures.ts'
import { type Sequence, sequence } from '../../protocol/ids.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import { chainOf, type Header, recordBytes } from './record.ts'
import { after, type Mark, markBefore, markBytes, type Segment, scan } from './segment.ts'

/** A record in its place. `payload` is there only while the record is being appended. */
export type Entry = {
  readonly header: Header
  readonly head: Buffer
  readonly payload: Payload
  readonly segment: Sequence
  readonly offset: number
}

/** @returns the segment that holds record `at`, if any does. */
export function segmentAt(segments: readonly Segment[], at: Sequence): Segment | undefined {
  let low = 0
  let high = segments.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (segments[middle]!.first <= at) low = middle + 1
    else high = middle
  }
  const segment = segments[low - 1]
  return segment !== undefined && at < segment.end.sequence ? segment : undefined
}

/** The place of record `at` (or of the segment's end). @returns nothing when damage hides it. */
export function markAt(segment: Segment, at: Sequence): Mark | undefined {
  if (at === segment.end.sequence) return segment.end
  let mark = markBefore(segment, at)
  if (mark.sequence === at) return mark
  for (const found of scan(segment, mark, segment.end.offset, false)) {
    mark = after(found)
    if (mark.offset - segment.marks.at(-1)!.offset >= markBytes) segment.marks.push(mark)
    if (mark.sequence === at) return mark
  }
  return undefined
}

/** Whether `head` is the head of the record at `offset` of the segment, by the chain that leads to it. */
export function isHeadAt(segment: Segment, offset: number, head: Buffer): boolean {
  let before = segment.marks.findLast((mark) => mark.offset <= offset)!
  for (const found of scan(segment, before, segment.end.offset, false)) {
    if (found.offset >= offset) break
    before = after(found)
  }
  return before.offset === offset && chainOf(head, before.chain) === head.readBigUInt64LE(0)
}

/**
 * Whole records of one segment from `from` on: at least one, else as many as fit `bytesMax`.
 * @throws Failure CORRUPT when a record on disk is damaged.
 */
export function readRecords(
  segment: Segment,
  from: Sequence,
  bytesMax: number,
): { readonly payload: Payload; readonly last: Sequence } {
  const start = markAt(segment, from)
  if (start === undefined) throw new Failure('CORRUPT', `${segment.file.path} is damaged before sequence ${from}`)
  let end = start.offset
  let last = sequence(from - 1)
  for (const { header, offset } of scan(segment, start, segment.end.offset, true)) {
    const next = offset + recordBytes(header)
    if (end > start.offset && next - start.offset > bytesMax) break
    end = next
    last = header.sequence
  }
  if (end === start.offset) throw new Failure('CORRUPT', `${segment.file.path} is damaged at sequence ${from}`)
  const bytes = Buffer.allocUnsafe(end - start.offset)
  segment.file.read(bytes, start.offset)
  return { payload: [bytes], last }
}

/** Every record after `last`, heads only, in order. @throws Failure CORRUPT */
export function* entriesAfter(segments: readonly Segment[], last: Sequence): Generator<Entry> {
  for (const segment of segments) if (segment.end.sequence > last + 1) yield* entriesIn(segment, last)
}

/** The segment's records after `last`, heads only, in order. @throws Failure CORRUPT */
export function* entriesIn(segment: Segment, last: Sequence): Generator<Entry> {
  const from = segment.first > last ? segment.marks[0] : markAt(segment, sequence(last + 1))
  if (from === undefined) throw new Failure('CORRUPT', `${segment.file.path} is damaged before ${last + 1}`)
  const records = scan(segment, from, segment.end.offset, false)
  let step = records.next()
  for (; !step.done; step = records.next()) {
    const { header, head, offset } = step.value
    yield { header, head, payload: [], segment: segment.first, offset }
  }
  if (step.value !== 'end') throw new Failure('CORRUPT', `${segment.file.path} is damaged`)
}
