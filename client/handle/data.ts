/**
 * File contents and encodings, from what programs give.
 *
 * Pure.
 */
import { Failure } from '../../protocol/failures.ts'

export type Encoding = BufferEncoding | { readonly encoding?: BufferEncoding | null } | null
/** What `writeFile` takes; a stream is an async iterable. */
export type Data = string | Uint8Array | Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>

export function encodingOf(options: Encoding | undefined): BufferEncoding | undefined {
  const encoding = typeof options === 'string' ? options : (options?.encoding ?? undefined)
  if (encoding !== undefined && !Buffer.isEncoding(encoding)) throw new Failure('INVALID', `no encoding: ${encoding}`)
  return encoding
}

export const isWhole = (data: Data): data is string | Uint8Array =>
  typeof data === 'string' || data instanceof Uint8Array

export const piecesOfData = (data: Data): Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array> =>
  isWhole(data) ? [data] : data

/** The part of `buffer` that a read or a write is about. */
export function slice(buffer: Uint8Array, offset: number, length: number): Uint8Array {
  if (
    !Number.isInteger(offset) ||
    !Number.isInteger(length) ||
    offset < 0 ||
    length < 0 ||
    offset + length > buffer.length
  )
    throw new Failure('INVALID', `bytes ${offset} to ${offset + length} of a buffer of ${buffer.length}`)
  return offset === 0 && length === buffer.length ? buffer : buffer.subarray(offset, offset + length)
}
