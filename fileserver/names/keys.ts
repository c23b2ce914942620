/**
 * Keys of a container's state, the objects that file bytes belong to, and the numbers in keys and values.
 *
 * Pure. In a name container: `i` inode -> inode value; `d` directory, cookie -> entry; `c` inode, chunk index -> its
 * data container; `o` inode -> chunk bytes that wait to be forgotten; `n` -> the next inode number. In a data
 * container: `l` and a chunk's object -> the chunk's stored length, and the latest cut that it was trimmed for. Numbers in
 * keys are 8 bytes. All numbers, in values too, are big-endian, so that keys sort as their numbers do.
 */
import type { ContainerId, Inode } from '../../protocol/ids.ts'

const high = 2 ** 32

// Byte by byte: Buffer's own methods check their arguments, which measured twice as slow.
export function put16(bytes: Uint8Array, value: number, at: number): void {
  bytes[at] = value >>> 8
  bytes[at + 1] = value
}

export function put32(bytes: Uint8Array, value: number, at: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}

/** `value`: any safe integer. */
export function put64(bytes: Uint8Array, value: number, at: number): void {
  put32(bytes, Math.floor(value / high), at)
  put32(bytes, value, at + 4)
}

export const get16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!

const getInt32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!

export const get32 = (bytes: Uint8Array, at: number): number => getInt32(bytes, at) >>> 0

export const get64 = (bytes: Uint8Array, at: number): number => getInt32(bytes, at) * high + get32(bytes, at + 4)

/** A value that is one number. */
export function number64(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  put64(bytes, value, 0)
  return bytes
}

/** @returns whether `a` from `at` to its end is `b`. */
export function endsWith(a: Uint8Array, at: number, b: Uint8Array): boolean {
  if (a.length - at !== b.length) return false
  for (let i = 0; i < b.length; i++) if (a[at + i] !== b[i]) return false
  return true
}

export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => endsWith(a, 0, b)

export type KeyRange = { readonly from: Uint8Array; readonly to: Uint8Array }

function key(tag: string, first: number): Buffer {
  const bytes = Buffer.allocUnsafe(9)
  bytes[0] = tag.charCodeAt(0)
  put64(bytes, first, 1)
  return bytes
}

function pair(tag: string, first: number, second: number): Buffer {
  const bytes = Buffer.allocUnsafe(17)
  bytes[0] = tag.charCodeAt(0)
  put64(bytes, first, 1)
  put64(bytes, second, 9)
  return bytes
}

export const nextInodeKey: Uint8Array = Buffer.from('n')
export const inodeKey = (inode: Inode): Uint8Array => key('i', inode)
export const entryKey = (directory: Inode, cookie: number): Uint8Array => pair('d', directory, cookie)
export const chunkKey = (inode: Inode, index: number): Uint8Array => pair('c', inode, index)
export const trimKey = (inode: Inode): Uint8Array => key('o', inode)
export const lengthKey = (object: Uint8Array): Uint8Array => Buffer.concat([Buffer.from('l'), object])

/** What the bytes below `inlineBytesMax` of a file belong to. */
export const inodeObject = (inode: Inode): Uint8Array => key('i', inode)

/** What the bytes of a chunk belong to, in its data container. */
export function chunkObject(owner: ContainerId, inode: Inode, index: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(24)
  put64(bytes, owner, 0)
  put64(bytes, inode, 8)
  put64(bytes, index, 16)
  return bytes
}

/** Entries with a cookie greater than `cookie`. */
export const entriesAfter = (directory: Inode, cookie: number): KeyRange => ({
  from: entryKey(directory, cookie + 1),
  to: key('d', directory + 1),
})

/** Chunks from `first` on. */
export const chunksFrom = (inode: Inode, first: number): KeyRange => ({
  from: chunkKey(inode, first),
  to: key('c', inode + 1),
})

/** Lengths of all chunks whose objects come after `object`, or of all. */
export const lengthsAfter = (object?: Uint8Array): KeyRange => ({
  from: object === undefined ? Buffer.from('l') : Buffer.concat([lengthKey(object), Buffer.alloc(1)]),
  to: Buffer.from('m'),
})

export const allTrims: KeyRange = { from: Buffer.from('o'), to: Buffer.from('p') }

/** What an `l` key is about, as `chunkObject` takes it. */
export const chunkOfKey = (bytes: Uint8Array) => ({
  owner: get64(bytes, 1) as ContainerId,
  inode: get64(bytes, 9) as Inode,
  index: get64(bytes, 17),
})
/** The inode of an `i` or `o` key. */
export const inodeOfKey = (bytes: Uint8Array): Inode => get64(bytes, 1) as Inode
/** The cookie of a `d` key, or the index of a `c` key. */
export const secondOfKey = (bytes: Uint8Array): number => get64(bytes, 9)
