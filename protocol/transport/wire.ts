/**
 * The msgpack form of a message's wire array and of a failure, for frames and for gRPC alike.
 *
 * Pure. Bytes inside a message are copied out, so that a message never pins (or outlives) the buffer it came in.
 * What unpacks to something other than the tables' arrays, numbers, texts and bytes is refused later, by the Shapes.
 */
import { Packr, RESET_BUFFER_MODE, REUSE_BUFFER_MODE } from 'msgpackr'
import { Failure, isFailureCode } from '../failures.ts'

const packr = new Packr({ useRecords: false, copyBuffers: true, encodeUndefinedAsNil: true })
const range = { start: 0, end: 0 }

/** A region of a buffer that the next call overwrites: copy it at once. */
export type Packed = Buffer & { readonly start: number; readonly end: number }

export function packShared(wire: unknown): Packed {
  return packr.pack(wire, REUSE_BUFFER_MODE | RESET_BUFFER_MODE) as Packed
}

/** @returns bytes that are the caller's own. */
export function pack(wire: unknown): Buffer {
  const packed = packShared(wire)
  return Buffer.from(packed.subarray(packed.start, packed.end))
}

/** @throws Failure BAD_MESSAGE unless bytes [start, end) are one msgpack value. */
export function unpack(bytes: Uint8Array, start = 0, end = bytes.length): unknown {
  if (start >= end) throw new Failure('BAD_MESSAGE', 'empty message')
  range.start = start
  range.end = end
  try {
    return packr.unpack(bytes, range)
  } catch (error) {
    throw new Failure('BAD_MESSAGE', 'not msgpack', { cause: error })
  }
}

const detailLengthMax = 1024

/** What a failure says beyond its code. */
export const detailOf = (failure: Failure): string => failure.message.slice(failure.failure.length + 2)

export const writeFailure = (failure: Failure): readonly [string, string] => [
  failure.failure,
  detailOf(failure).slice(0, detailLengthMax),
]

/** A failure that a peer told. Codes that this version does not know become INTERNAL. */
export function readFailure(wire: unknown): Failure {
  const [code, detail] = Array.isArray(wire) ? wire : []
  if (typeof detail !== 'string') return new Failure('INTERNAL', 'the peer failed and did not say how')
  return isFailureCode(code)
    ? new Failure(code, detail)
    : new Failure('INTERNAL', `the peer answered ${code}: ${detail}`)
}
