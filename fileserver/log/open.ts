/**
 * Opens the segments of a log, and decides what of them counts (DESIGN §3: "a torn tail is cut at start-up; a bad
 * checksum in the middle is never skipped").
 *
 * Driver. From the checkpoint on every record is read, up to the first place where the next one does not stand whole.
 * What comes there was torn by a crash, or was spoiled later; a power cut may well keep bytes after a hole. They are
 * told apart by what is known to be committed, so durable here: by the checkpoint, by the state file, and by every
 * whole record further on, which says what was committed when it was appended. A place that was committed is damaged:
 * the replica is given up. Any other was never acknowledged as durable: it is cut, with all that follows.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import { type ContainerId, type Sequence, sequence } from '../../protocol/ids.ts'
import { type Disk, type File, segmentPath } from '../pool/disk.ts'
import { markAt } from './find.ts'
import type { EpochStart } from './history.ts'
import { chainOf, decodeHeader, type Header, headerBytes, magicBytes, magicOffset, recordBytes } from './record.ts'
import { advance, type Mark, openSegment, type Segment, scan, segmentHeaderBytes } from './segment.ts'

/** Up to where a log was already checked: nothing before it is read again at opening. */
export type Checkpoint = {
  readonly segment: Sequence
  readonly end: Mark
  readonly starts: readonly EpochStart[]
}

/** What is known of a log before it is opened. */
export type Known = {
  readonly checkpoint: Checkpoint | undefined
  /** Epochs of committed records, some of which may be in segments that were dropped. */
  readonly starts: readonly EpochStart[]
  /** A sequence that was committed, and durable here. */
  readonly committed: Sequence
  /** The last sequence that a sync covered, where a process knows that one failed since. */
  readonly durable?: Sequence | undefined
}

/** @returns the last sequence that is surely on the disk, and not only in the page cache. */
export const surelyDurable = ({ checkpoint, committed, durable }: Known): Sequence =>
  sequence(Math.min(durable ?? Number.POSITIVE_INFINITY, Math.max(committed, (checkpoint?.end.sequence ?? 1) - 1)))

/**
 * Writes again what follows `after`, as it stands. A sync that failed leaves bytes in the page cache that the kernel takes
 * for written: no later sync would bring them to the disk.
 * @returns the segments that have to be synced.
 */
export function writeAgain(segments: readonly Segment[], after: Sequence): Segment[] {
  const dirty = segments.filter(({ first, end }) => first > after || end.sequence > after + 1)
  for (const segment of dirty) {
    const { first, file, end } = segment
    const mark = first > after ? undefined : markAt(segment, sequence(after + 1))
    for (let offset = mark?.offset ?? 0; offset < end.offset; ) {
      const bytes = Buffer.allocUnsafe(Math.min(searchBytes, end.offset - offset))
      const count = file.read(bytes, offset)
      if (count === 0) throw new Failure('CORRUPT', `${file.path} is shorter than ${end.offset} bytes`)
      file.write([bytes.subarray(0, count)], offset)
      offset += count
    }
  }
  return dirty
}

const searchBytes = 1024 * 1024

/**
 * @param found told of every record that is read, in order.
 * @throws Failure CORRUPT when something committed is damaged or missing: the replica must be made anew.
 */
export function openSegments(
  disk: Disk,
  directory: string,
  container: ContainerId,
  known: Known,
  found: (header: Header) => void,
): Segment[] {
  const firsts = disk
    .list(directory)
    .filter((name) => name.endsWith('.segment'))
    .map((name) => sequence(Number.parseInt(name, 16)))
    .sort((a, b) => a - b)
  const files: (Segment | undefined)[] = []
  try {
    for (const first of firsts) files.push(openWhole(disk, directory, container, first))
    const surely = sequence(Math.max(known.committed, (known.checkpoint?.end.sequence ?? 1) - 1))
    const segments = wholeSegments(files, known.checkpoint, surely, found)
    const next = nextOf(segments)
    // Whether the next record begins a segment is its own matter (log.ts): the one that was to begin this was lost.
    if (segments.length > 1 && segments.at(-1)!.first === next) segments.pop()
    const rest = files.slice(segments.length)
    const last = segments.at(-1)
    const torn = rest.length > 0 || (last !== undefined && last.file.sizeBytes() !== last.end.offset)
    const damaged =
      next <= surely ||
      (torn && last !== undefined && provesCommitted(last.file, last.end.offset, last.end.chain, next)) ||
      firsts.slice(segments.length).some((first) => {
        const file = disk.open(segmentPath(directory, first), false)
        const chain = first === next ? segments.at(-1)?.end.chain : undefined
        try {
          return provesCommitted(file, segmentHeaderBytes, chain, next)
        } finally {
          file.close()
        }
      })
    if (damaged) throw new Failure('CORRUPT', `${directory} is not whole at sequence ${next}, which was committed`)
    if (torn) {
      for (const segment of rest) segment?.file.close()
      for (const first of firsts.slice(segments.length).reverse()) disk.remove(segmentPath(directory, first))
      last?.file.truncate(last.end.offset)
    }
    // A process that crashed may have left files whose names are not durable.
    if (files.length > 0) disk.syncDirectory(directory)
    return segments
  } catch (error) {
    for (const segment of files) segment?.file.close()
    throw error
  }
}

/** @returns the segments up to the first record that does not stand whole; it would stand at the end of the last. */
function wholeSegments(
  files: readonly (Segment | undefined)[],
  checkpoint: Checkpoint | undefined,
  surely: Sequence,
  found: (header: Header) => void,
): Segment[] {
  const segments: Segment[] = []
  for (const [i, segment] of files.entries()) {
    if (segment === undefined || !follows(segment, segments.at(-1), surely)) break
    segments.push(segment)
    const fileBytes = segment.file.sizeBytes()
    const following = files[i + 1]
    const old = checkpoint !== undefined && segment.first < checkpoint.segment
    if (old && following?.previous === segment.first) {
      // Committed long ago, and the next segment says where it ends.
      segment.end = { sequence: following.first, offset: fileBytes, chain: following.marks[0]!.chain }
      continue
    }
    if (segment.first === checkpoint?.segment && checkpoint.end.offset <= fileBytes) {
      segment.marks.push(checkpoint.end)
      segment.end = checkpoint.end
    }
    const records = scan(segment, segment.end, fileBytes, !old)
    let step = records.next()
    for (; !step.done; step = records.next()) {
      advance(segment, step.value.header)
      if (!old) found(step.value.header)
    }
    if (step.value !== 'end') break
  }
  return segments
}

const nextOf = (segments: readonly Segment[]): Sequence => segments.at(-1)?.end.sequence ?? sequence(1)

/** @returns nothing when the file has no whole header. @throws Failure VERSION_MISMATCH */
function openWhole(disk: Disk, directory: string, container: ContainerId, first: Sequence): Segment | undefined {
  try {
    return openSegment(disk, directory, container, first)
  } catch (error) {
    if (isFailure(error, 'CORRUPT')) return undefined
    throw error
  }
}

/** Whether the segment continues the log: at its end, or after segments that were dropped, so committed. */
function follows(segment: Segment, last: Segment | undefined, committed: Sequence): boolean {
  if (segment.previous !== (last?.first ?? 0))
    return segment.first > (last?.end.sequence ?? 0) && segment.first <= committed
  const end = last?.end ?? { sequence: sequence(1), chain: 0n }
  return segment.first === end.sequence && segment.marks[0]!.chain === end.chain
}

/**
 * Whether a whole record from a damaged place on says that record `at` was committed. A record counts when its chain
 * follows from that of the one seen before it: that doesn't happen by chance.
 *
 * @param chain before the place; undefined when it is not known.
 */
function provesCommitted(file: File, from: number, chain: bigint | undefined, at: Sequence): boolean {
  const fileBytes = file.sizeBytes()
  let before = chain === undefined ? [] : [chain]
  for (let offset: number | undefined = from; offset !== undefined; ) {
    const head = headAt(file, offset, fileBytes)
    const header = head && decodeHeader(head)
    const proven = header !== undefined && before.some((one) => chainOf(head!, one) === header.chain)
    if (proven && header.committed >= at) return true
    // Where the damage hit the chain itself, the rest of the head still tells what it was.
    if (header !== undefined) before = [header.chain, ...before.map((one) => chainOf(head!, one))].slice(0, 2)
    offset = proven ? offset + recordBytes(header) : nextMagic(file, offset + 1, fileBytes)
  }
  return false
}

/** The first place from `from` on that looks like the beginning of a record. */
function nextMagic(file: File, from: number, fileBytes: number): number | undefined {
  const window = Buffer.allocUnsafe(searchBytes)
  for (let start = from + magicOffset; start < fileBytes; start += searchBytes - magicBytes.length + 1) {
    const count = file.read(window, start)
    const at = window.subarray(0, count).indexOf(magicBytes)
    if (at >= 0) return start + at - magicOffset
  }
  return undefined
}

function headAt(file: File, offset: number, fileBytes: number): Buffer | undefined {
  const fixed = Buffer.allocUnsafe(headerBytes)
  if (file.read(fixed, offset) < headerBytes) return undefined
  try {
    const header = decodeHeader(fixed)
    if (offset + recordBytes(header) > fileBytes) return undefined
    const head = Buffer.allocUnsafe(header.headBytes)
    return file.read(head, offset) === head.length ? head : undefined
  } catch (error) {
    if (isFailure(error, 'CORRUPT')) return undefined
    throw error
  }
}
