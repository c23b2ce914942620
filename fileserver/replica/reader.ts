/**
 * Reads an object's bytes from the log, checking every block, and repairs what the disk has spoiled.
 *
 * Driver. A read touches only the blocks (16 KiB) that it needs, and their sums. Small reads are synchronous: from the
 * page cache they cost less than a turn of the event loop.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import { hash64, verifyPayload } from '../../protocol/hash.ts'
import type { Sequence } from '../../protocol/ids.ts'
import { sumBlockBytes } from '../../protocol/messages/attributes.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import type { Extent } from '../index/extents.ts'
import type { Log } from '../log/log.ts'
import { decodeHeader, headerBytes, sumsOf } from '../log/record.ts'

const smallBytes = 64 * 1024
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

/** Fetches a whole record as another replica has it. @throws Failure */
export type Fetch = (segment: Sequence, offset: number, length: number) => Promise<Payload>

export type Damage = {
  readonly fetch: Fetch
  readonly found: () => void
  readonly repaired: () => void
}

/** @returns the bytes [offset, offset + length) of the object; what no extent covers is zeros. */
export function readObject(
  log: Log,
  extents: readonly Extent[],
  offset: number,
  length: number,
  damage: Damage,
): Payload | Promise<Payload> {
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
  const read: (Uint8Array | Promise<Uint8Array>)[] = []
  let later = false
  for (const part of parts) {
    const bytes = part instanceof Uint8Array ? part : readRun(log, part, damage)
    later ||= bytes instanceof Promise
    read.push(bytes)
  }
  return later ? Promise.all(read) : (read as Uint8Array[])
}

const continues = (run: Run, extent: Extent): boolean =>
  run.segment === extent.segment &&
  run.record === extent.record &&
  run.payloadOffset + run.length === extent.payloadOffset

function pushZeros(parts: (Uint8Array | Run)[], length: number): void {
  for (let left = length; left > 0; left -= zeros.length) parts.push(zeros.subarray(0, Math.min(left, zeros.length)))
}

function readRun(log: Log, run: Run, damage: Damage): Uint8Array | Promise<Uint8Array> {
  const from = Math.floor(run.payloadOffset / sumBlockBytes) * sumBlockBytes
  const to = Math.min(Math.ceil((run.payloadOffset + run.length) / sumBlockBytes) * sumBlockBytes, run.payloadBytes)
  const place = run.record + run.headBytes + from
  const wanted = (bytes: Uint8Array): Uint8Array =>
    bytes.subarray(run.payloadOffset - from, run.payloadOffset - from + run.length)
  const bytes = Buffer.allocUnsafe(to - from)
  if (bytes.length > smallBytes) {
    return log.readSegmentLater(run.segment, bytes, place).then((count) => {
      if (count === bytes.length && blocksHold(log, run, bytes, from)) return wanted(bytes)
      return repair(log, run, damage).then((payload) => wanted(payload.subarray(from, to)))
    })
  }
  if (log.readSegment(run.segment, bytes, place) === bytes.length && blocksHold(log, run, bytes, from))
    return wanted(bytes)
  return repair(log, run, damage).then((payload) => wanted(payload.subarray(from, to)))
}

/** @param from where in the payload `bytes` begin: a multiple of the block's size. */
function blocksHold(log: Log, run: Run, bytes: Buffer, from: number): boolean {
  const count = Math.ceil(bytes.length / sumBlockBytes)
  const sums = Buffer.allocUnsafe(count * 8)
  const place = run.record + headerBytes + (from / sumBlockBytes) * 8
  if (log.readSegment(run.segment, sums, place) < sums.length) return false
  for (let i = 0; i < count; i++) {
    const block = bytes.subarray(i * sumBlockBytes, (i + 1) * sumBlockBytes)
    if (hash64(block) !== sums.readBigUInt64LE(i * 8)) return false
  }
  return true
}

/** Replaces a damaged record by another replica's. @returns its payload. @throws Failure CORRUPT when there is no right one. */
async function repair(log: Log, run: Run, damage: Damage): Promise<Uint8Array> {
  damage.found()
  const pieces = await damage.fetch(run.segment, run.record, run.headBytes + run.payloadBytes)
  const record = Buffer.concat(pieces)
  const payload = record.subarray(run.headBytes)
  const header = record.length < headerBytes ? undefined : decodeHeader(record)
  if (header?.headBytes !== run.headBytes || header.payloadBytes !== payload.length)
    throw new Failure('CORRUPT', `no replica has a whole record at ${run.segment}+${run.record}`)
  verifyPayload([payload], payload.length, sumsOf(record.subarray(0, run.headBytes), header))
  try {
    log.repair(run.segment, run.record, record)
    damage.repaired()
  } catch (error) {
    // The bytes are right all the same: what cannot be written back now is repaired at the next read.
    if (!isFailure(error)) throw error
  }
  return payload
}
