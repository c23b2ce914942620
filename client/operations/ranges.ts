/**
 * Which parts of a file's byte range lie in which chunk.
 *
 * Pure. Chunk `index` holds the file's bytes [index * chunkBytes, (index + 1) * chunkBytes); the first
 * `inlineBytesMax` bytes of chunk 0 are unused, for they live in the name container.
 */
import { assert } from '../../protocol/assert.ts'
import { inlineBytesMax } from '../../protocol/messages/attributes.ts'

/** `offset` is within the chunk, `start` within the range that was split. */
export type Part = { readonly index: number; readonly offset: number; readonly start: number; readonly length: number }

/** The parts of [offset, offset + length), which lies wholly above the inline bytes, in order. */
export function split(offset: number, length: number, chunkBytes: number): Part[] {
  assert(offset >= inlineBytesMax, 'chunks begin where the inline bytes end')
  const parts: Part[] = []
  for (let start = 0; start < length; ) {
    const at = offset + start
    const index = Math.floor(at / chunkBytes)
    const within = at - index * chunkBytes
    const size = Math.min(length - start, chunkBytes - within)
    parts.push({ index, offset: within, start, length: size })
    start += size
  }
  return parts
}
