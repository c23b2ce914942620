/**
 * Long reads and writes: cut into pieces, several of them under way at a time.
 */
import { constants } from 'node:buffer'
import { Failure } from '../../protocol/failures.ts'
import type { Fid } from '../../protocol/ids.ts'
import { type Payload, payloadBytes } from '../../protocol/transport/transport.ts'
import type { Operations } from '../operations.ts'

/** Large enough that a call's cost does not show, small enough that several keep every server of a chain busy. */
export const pieceBytes = 1024 * 1024
export const inFlightMax = 8

/** Runs `run(0)` to `run(count - 1)`, `inFlight` at a time; after a failure begins no more, and throws it. */
export async function pipelined(
  count: number,
  inFlight: number,
  run: (index: number) => Promise<unknown>,
): Promise<void> {
  let next = 0
  let failed = false
  const worker = async (): Promise<void> => {
    while (next < count && !failed) {
      try {
        await run(next++)
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  const settled = await Promise.allSettled(Array.from({ length: Math.min(inFlight, count) }, worker))
  for (const outcome of settled) if (outcome.status === 'rejected') throw outcome.reason
}

/** Copies a payload to `target` from `start` on. @returns its length. */
export function copyTo(target: Uint8Array, start: number, payload: Payload): number {
  let at = start
  for (const piece of payload) {
    // What was read straight into the target is there already.
    if (piece.buffer !== target.buffer || piece.byteOffset !== target.byteOffset + at) target.set(piece, at)
    at += piece.length
  }
  return at - start
}

/** A payload as one buffer: itself where it is one already. */
export function joined(payload: Payload): Buffer {
  const [only] = payload
  // A small view would keep the whole buffer alive in which it arrived.
  if (payload.length === 1 && only !== undefined && only.byteLength * 2 > only.buffer.byteLength)
    return Buffer.from(only.buffer, only.byteOffset, only.byteLength)
  return Buffer.concat(payload)
}

/** Fills `target` with the file's bytes from `offset` on. @returns how many there were: fewer at the file's end. */
export async function readInto(operations: Operations, fid: Fid, target: Uint8Array, offset: number): Promise<number> {
  if (target.length === 0) return 0
  if (target.length <= pieceBytes) {
    return copyTo(target, 0, (await operations.read(fid, offset, target.length, target)).payload)
  }
  const pieces = piecesOf(offset, target.length)
  let total = target.length
  await pipelined(pieces.length, inFlightMax, async (index) => {
    const { start, length } = pieces[index]!
    const place = target.subarray(start, start + length)
    const { payload } = await operations.read(fid, offset + start, length, place)
    const got = copyTo(target, start, payload)
    if (got < length) total = Math.min(total, start + got)
  })
  return total
}

/** All bytes from `offset` to the file's end, which is expected near `sizeBytes`. */
export async function readToEnd(operations: Operations, fid: Fid, offset: number, sizeBytes: number): Promise<Buffer> {
  const expected = Math.max(0, sizeBytes - offset)
  if (expected > constants.MAX_LENGTH) throw new Failure('FILE_TOO_LARGE', `${expected} bytes do not fit a buffer`)
  const read: Uint8Array[] = []
  let at = offset
  if (expected > pieceBytes) {
    const target = Buffer.allocUnsafeSlow(expected)
    const got = await readInto(operations, fid, target, at)
    read.push(target.subarray(0, got))
    at += got
  }
  for (;;) {
    const { payload, end } = await operations.read(fid, at, pieceBytes)
    for (const piece of payload) if (piece.length > 0) read.push(piece)
    at += payloadBytes(payload)
    if (end) return joined(read)
  }
}

/** The pieces of [offset, offset + length), each but the first and the last a whole one of the file. `start` counts from `offset`. */
export function piecesOf(offset: number, length: number): { readonly start: number; readonly length: number }[] {
  const pieces = []
  for (let start = 0; start < length; ) {
    const size = Math.min(length - start, pieceBytes - ((offset + start) % pieceBytes))
    pieces.push({ start, length: size })
    start += size
  }
  return pieces
}
