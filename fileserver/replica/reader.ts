/**
 * Reads an object's bytes from the log, checking every block, and repairs what the disk has spoiled.
 *
 * Driver. A read touches only the blocks (16 KiB) that it needs, and their sums. Small reads are synchronous: from the
 * page cache they cost less than a turn of the event loop.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import { hash64, sumCount } from '../../protocol/hash.ts'
import type { Sequence } from '../../protocol/ids.ts'
import { sumBlockBytes } from '../../protocol/messages/attributes.ts'
import { Buffers } from '../../protocol/transport/buffers.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import type { Extent } from '../index/extents.ts'
import type { Log } from '../log/log.ts'
import { headerBytes } from '../log/record.ts'

const smallBytes = 64 * 1024
/** Records of a log whose sums are remembered. */
const recordsMax = 4096
const zeros = Buffer.alloc(64 * 1024)

/** Bytes of a record's payload that are wanted, and where they go. */
type Run = {
  readonly segment: Sequence
  readonly record: number
  readonly headBytes: number
  readonly payloadBytes: number
  payloadOffset: number
  length: number
}

export type Damage = {
  /** The same bytes of a segment as each other in-sync replica has them, one after the other. */
  readonly copies: (segment: Sequence, offset: number, length: number) => AsyncIterable<Payload>
  /** Told where the damaged record begins. */
  readonly found: (segment: Sequence, record: number) => void
  /** Puts a segment right as far as others have it: damage before a record hides whether a head is the record's. */
  readonly mend: (segment: Sequence) => Promise<void>
  readonly repaired: () => void
}

/** Bytes that were read, and what to do when they are not needed any more: their buffers are then used again. */
export type Reading = { readonly payload: Payload; readonly release?: () => void }

/** For all reads of the process. */
const buffers = new Buffers()

/** @returns the bytes [offset, offset + length) of the object; what no extent covers is zeros. */
export function readObject(
  log: Log,
  extents: readonly Extent[],
  offset: number,
  length: number,
  damage: Damage,
): Reading | Promise<Reading> {
  const parts: (Uint8Array | Run)[] = []
  let at = offset
  for (const extent of extents) {
    pushZeros(parts, extent.offset - at)
    const latest = parts.at(-1)
    if (latest !== undefined && !(latest instanceof Uint8Array) && continues(latest, extent))
      latest.length += extent.length
    else parts.push({ ...extent })
    at = extent.offset + extent.length
  }
  pushZeros(parts, offset + length - at)
  const taken: Buffer[] = []
  const read: (Uint8Array | Promise<Uint8Array>)[] = []
  let later = false
  for (const part of parts) {
    const bytes: Uint8Array | Promise<Uint8Array> =
      part instanceof Uint8Array ? part : started(() => readRun(log, part, damage, taken), later)
    later ||= bytes instanceof Promise
    read.push(bytes)
  }
  const release = (): void => {
    for (const buffer of taken) buffers.give(buffer)
  }
  // After a failure other parts may still be being read: the garbage collector takes care of those buffers.
  if (later) return Promise.all(read).then((payload) => ({ payload, release }))
  const payload = read as Uint8Array[]
  return taken.length === 0 ? { payload } : { payload, release }
}

/** @param later earlier parts are still being read: a failure has to wait with theirs, or nobody would hear those. */
function started<T>(read: () => T | Promise<T>, later: boolean): T | Promise<T> {
  if (!later) return read()
  return new Promise((resolve) => resolve(read()))
}

const continues = (run: Run, extent: Extent): boolean =>
  run.segment === extent.segment &&
  run.record === extent.record &&
  run.payloadOffset + run.length === extent.payloadOffset

function pushZeros(parts: (Uint8Array | Run)[], length: number): void {
  for (let left = length; left > 0; left -= zeros.length) parts.push(zeros.subarray(0, Math.min(left, zeros.length)))
}

/** @param taken gets the buffer that was taken from `buffers`, if any. */
function readRun(log: Log, run: Run, damage: Damage, taken: Buffer[]): Uint8Array | Promise<Uint8Array> {
  const from = Math.floor(run.payloadOffset / sumBlockBytes) * sumBlockBytes
  const to = Math.min(Math.ceil((run.payloadOffset + run.length) / sumBlockBytes) * sumBlockBytes, run.payloadBytes)
  const place = run.record + run.headBytes + from
  const wanted = (bytes: Uint8Array): Uint8Array =>
    bytes.subarray(run.payloadOffset - from, run.payloadOffset - from + run.length)
  const bytes = buffers.holds(to - from) ? buffers.take(to - from) : Buffer.allocUnsafe(to - from)
  if (buffers.holds(bytes.length)) taken.push(bytes)
  // Before any waiting: the segment may be dropped meanwhile. The bytes that are being read stay readable.
  const sums = sumsOf(log, run)
  if (bytes.length > smallBytes) {
    return log
      .readSegmentLater(run.segment, bytes, place)
      .catch(unreadable)
      .then((count) => {
        if (count === bytes.length && blocksHold(sums, bytes, from)) return wanted(bytes)
        return mended(log, run, damage).then((payload) => wanted(payload.subarray(from, to)))
      })
  }
  const count = readable(() => log.readSegment(run.segment, bytes, place), 0)
  if (count === bytes.length && blocksHold(sums, bytes, from)) return wanted(bytes)
  return mended(log, run, damage).then((payload) => wanted(payload.subarray(from, to)))
}

/** What the disk does not give is damaged, as what it gives wrong. */
function unreadable(error: unknown): 0 {
  if (!isFailure(error, 'DISK_FAILED')) throw error
  return 0
}

function readable<T>(read: () => T, otherwise: T): T {
  try {
    return read()
  } catch (error) {
    unreadable(error)
    return otherwise
  }
}

/** @param from where in the payload `bytes` begin: a multiple of the block's size. */
function blocksHold(sums: BigUint64Array, bytes: Buffer, from: number): boolean {
  const first = from / sumBlockBytes
  for (let at = 0, i = first; at < bytes.length; at += sumBlockBytes, i++)
    if (hash64(bytes.subarray(at, at + sumBlockBytes)) !== sums[i]) return false
  return true
}

type Known = { readonly changes: number; readonly records: Map<string, BigUint64Array> }

const sumsKnown = new WeakMap<Log, Known>()

/** The sums of a record's payload; those of lately read records are remembered until the log changes behind its end. */
function sumsOf(log: Log, run: Run): BigUint64Array {
  let known = sumsKnown.get(log)
  if (known?.changes !== log.changes || known.records.size > recordsMax) {
    known = { changes: log.changes, records: new Map() }
    sumsKnown.set(log, known)
  }
  const name = `${run.segment}.${run.record}`
  let sums = known.records.get(name)
  if (sums === undefined) {
    sums = new BigUint64Array(sumCount(run.payloadBytes))
    const target = new Uint8Array(sums.buffer)
    if (readable(() => log.readSegment(run.segment, target, run.record + headerBytes), 0) === target.length)
      known.records.set(name, sums)
  }
  return sums
}

/** @throws Failure NOT_READY when the segment was dropped meanwhile: the bytes stand elsewhere now. */
async function mended(log: Log, run: Run, damage: Damage): Promise<Uint8Array> {
  const { segment, record } = run
  damage.found(segment, record)
  try {
    const payload = await repair(log, run, damage)
    if (payload !== undefined) return payload
    await damage.mend(segment)
    const again = await repair(log, run, damage)
    if (again !== undefined) return again
    throw new Failure('CORRUPT', `no replica of container ${log.container} has the head at ${segment}+${record} whole`)
  } catch (error) {
    if (!isFailure(error, 'NOT_FOUND')) throw error
    throw new Failure('NOT_READY', `segment ${segment} of container ${log.container} was dropped meanwhile`)
  }
}

/**
 * Puts a damaged record together again: its head and each wanted block from whichever replica has it whole, our own
 * first, and writes what was mended back.
 * @returns the payload, of which the wanted blocks are right; nothing when no head is known to be the record's. @throws Failure CORRUPT when one of them is nowhere whole.
 */
async function repair(log: Log, run: Run, damage: Damage): Promise<Uint8Array | undefined> {
  const { segment, record: place, headBytes, payloadBytes } = run
  const { cuts } = log
  const length = headBytes + payloadBytes
  const mended = Buffer.alloc(length)
  await log.readSegmentLater(segment, mended, place).catch(unreadable)
  const headHolds = (bytes: Buffer): boolean =>
    readable(() => log.isHead(segment, place, bytes.subarray(0, headBytes)), false)
  const first = Math.floor(run.payloadOffset / sumBlockBytes)
  const last = Math.ceil((run.payloadOffset + run.length) / sumBlockBytes)
  let headIsRight = headHolds(mended)
  let wrong = headIsRight ? blocksWrong(mended, headBytes, first, last) : []
  const copies = damage.copies(segment, place, length)[Symbol.asyncIterator]()
  while (!headIsRight || wrong.length > 0) {
    const next = await copies.next()
    if (next.done && !headIsRight) return undefined
    if (next.done)
      throw new Failure(
        'CORRUPT',
        `no replica of container ${log.container} has the record at ${segment}+${place} whole`,
      )
    const copy = Buffer.concat([...next.value])
    if (copy.length < length) continue
    if (!headIsRight) {
      if (!headHolds(copy)) continue
      copy.copy(mended, 0, 0, headBytes)
      headIsRight = true
      wrong = blocksWrong(mended, headBytes, first, last)
    }
    for (const block of wrong) {
      const at = headBytes + block * sumBlockBytes
      copy.copy(mended, at, at, Math.min(at + sumBlockBytes, length))
    }
    wrong = blocksWrong(mended, headBytes, first, last)
  }
  // Where the log was cut meanwhile, another record may stand there.
  if (log.cuts !== cuts) return mended.subarray(headBytes)
  try {
    log.repair(segment, place, mended.subarray(0, headBytes))
    const from = headBytes + first * sumBlockBytes
    log.repair(segment, place + from, mended.subarray(from, Math.min(headBytes + last * sumBlockBytes, length)))
    damage.repaired()
  } catch (error) {
    // The bytes are right all the same: what cannot be written back now is repaired at the next read.
    if (!isFailure(error)) throw error
  }
  return mended.subarray(headBytes)
}

/** @returns the blocks [first, last) of a record's payload that differ from the sums in its head. */
function blocksWrong(record: Buffer, headBytes: number, first: number, last: number): number[] {
  const wrong: number[] = []
  for (let block = first; block < last; block++) {
    const at = headBytes + block * sumBlockBytes
    const sum = record.readBigUInt64LE(headerBytes + block * 8)
    if (hash64(record.subarray(at, Math.min(at + sumBlockBytes, record.length))) !== sum) wrong.push(block)
  }
  return wrong
}
