/**
 * Where an object's bytes stand in the log: lists of extents, one list for each 256 KiB of the object.
 *
 * Pure. A list is ascending and without overlaps; what no extent covers is a hole. The size of a block bounds what a
 * small overwrite rewrites in the index (64 extents of 30 bytes for 4 KiB writes) and how many keys a large file needs.
 */
import { assert } from '../../protocol/assert.ts'
import { type Sequence, sequence } from '../../protocol/ids.ts'

export const blockBytes = 256 * 1024
const extentBytes = 30

export type Extent = {
  /** In the block. */
  readonly offset: number
  readonly length: number
  readonly segment: Sequence
  /** Of the record, in the segment's file. */
  readonly record: number
  readonly headBytes: number
  readonly payloadBytes: number
  /** Of the extent's first byte, in the record's payload. */
  readonly payloadOffset: number
}

export function encodeExtents(extents: readonly Extent[]): Buffer {
  const bytes = Buffer.allocUnsafe(extents.length * extentBytes)
  for (const [i, extent] of extents.entries()) {
    const at = i * extentBytes
    bytes.writeUInt32LE(extent.offset, at)
    bytes.writeUInt32LE(extent.length, at + 4)
    bytes.writeUIntLE(extent.segment, at + 8, 6)
    bytes.writeUInt32LE(extent.record, at + 14)
    bytes.writeUInt32LE(extent.headBytes, at + 18)
    bytes.writeUInt32LE(extent.payloadBytes, at + 22)
    bytes.writeUInt32LE(extent.payloadOffset, at + 26)
  }
  return bytes
}

export function decodeExtents(value: Uint8Array): Extent[] {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  assert(bytes.length % extentBytes === 0, 'a list of whole extents')
  const extents: Extent[] = []
  for (let at = 0; at < bytes.length; at += extentBytes) {
    extents.push({
      offset: bytes.readUInt32LE(at),
      length: bytes.readUInt32LE(at + 4),
      segment: sequence(bytes.readUIntLE(at + 8, 6)),
      record: bytes.readUInt32LE(at + 14),
      headBytes: bytes.readUInt32LE(at + 18),
      payloadBytes: bytes.readUInt32LE(at + 22),
      payloadOffset: bytes.readUInt32LE(at + 26),
    })
  }
  return extents
}

/** @returns the part of `extent` in [from, to), which must not be empty. */
export function clip(extent: Extent, from: number, to: number): Extent {
  const start = Math.max(extent.offset, from)
  const end = Math.min(extent.offset + extent.length, to)
  assert(start < end, 'a part that is not empty')
  if (start === extent.offset && end === extent.offset + extent.length) return extent
  return { ...extent, offset: start, length: end - start, payloadOffset: extent.payloadOffset + start - extent.offset }
}

/** A part of an extent that was taken away, and in how many pieces the rest of it stays. */
type Gone = { readonly part: Extent; readonly pieces: number }

/** @returns `extents` without [from, to), and the parts that were taken away. */
export function cut(extents: readonly Extent[], from: number, to: number): { kept: Extent[]; gone: Gone[] } {
  const kept: Extent[] = []
  const gone: Gone[] = []
  for (const extent of extents) {
    const end = extent.offset + extent.length
    if (end <= from || extent.offset >= to) {
      kept.push(extent)
      continue
    }
    const before = kept.length
    if (extent.offset < from) kept.push(clip(extent, extent.offset, from))
    if (end > to) kept.push(clip(extent, to, end))
    gone.push({ part: clip(extent, from, to), pieces: kept.length - before })
  }
  return { kept, gone }
}

/** @returns `kept` (which has a hole there) with `extent` in its place. */
export function inserted(kept: readonly Extent[], extent: Extent): Extent[] {
  const at = kept.findIndex((other) => other.offset > extent.offset)
  return at < 0 ? [...kept, extent] : [...kept.slice(0, at), extent, ...kept.slice(at)]
}
