/**
 * The value of an inode: what is stored, its bytes, and what a caller sees of it.
 *
 * Pure. Layout, version 2, big-endian: version (1), kind (1), mode (2), links (4), uid (4), gid (4), generation (4),
 * three times (accessed, modified, changed: seconds 8, nanoseconds 4), and then by kind: a file's size, chunk size,
 * chunk bound, cut and trimmed (8 each) and perhaps its verifier (8); a directory's parent and count of entries (8 each); a symlink's
 * target; a device's major and minor (4 each). Fixed fields rather than msgpack, which measured slower both ways.
 *
 * Nothing updates `accessed` but setattr: volumes behave as if mounted `noatime`.
 */
import { Failure } from '../../protocol/failures.ts'
import type { ContainerId, Fid, Inode } from '../../protocol/ids.ts'
import type { Attributes, Before, Kind, Time } from '../../protocol/messages/attributes.ts'
import { get16, get32, get64, put16, put32, put64 } from './keys.ts'

export type InodeValue = {
  readonly kind: Kind
  readonly mode: number
  readonly links: number
  readonly uid: number
  readonly gid: number
  readonly generation: number
  readonly accessed: Time
  readonly modified: Time
  readonly changed: Time
  /** A symlink's is its target's; a directory's is always `directoryBytes`. */
  readonly sizeBytes: number
  /** Files only, as the next: 0 elsewhere. */
  readonly chunkBytes: number
  /** Every chunk that was ever mapped has an index below this. */
  readonly chunkBound: number
  /** How often the file became shorter. */
  readonly cut: number
  /** The same, as of when nothing that it was cut by was left in its chunks. */
  readonly trimmed: number
  /** Of an exclusive create: 8 bytes; empty otherwise. */
  readonly verifier: Uint8Array
  /** Directories only, as the next: 0 elsewhere. The root is its own parent. */
  readonly parent: Inode
  readonly entries: number
  /** Symlinks only. */
  readonly target: Uint8Array
  /** Devices only, as the next. */
  readonly major: number
  readonly minor: number
}

/** Numbers of inodes are never given twice, so every generation is the first. */
export const generationFirst = 1
export const directoryBytes = 4096
export const noBytes = new Uint8Array(0)

export const blank = (now: Time): InodeValue => ({
  kind: 'file',
  mode: 0,
  links: 1,
  uid: 0,
  gid: 0,
  generation: generationFirst,
  accessed: now,
  modified: now,
  changed: now,
  sizeBytes: 0,
  chunkBytes: 0,
  chunkBound: 0,
  cut: 0,
  trimmed: 0,
  verifier: noBytes,
  parent: 0 as Inode,
  entries: 0,
  target: noBytes,
  major: 0,
  minor: 0,
})

const version = 2
const headBytes = 56
const kinds: readonly Kind[] = ['file', 'directory', 'symlink', 'fifo', 'socket', 'character', 'block']
/** In values on disk: a kind's place here never changes. */
export const kindNumber = (kind: Kind): number => kinds.indexOf(kind)
export const kindOf = (value: number): Kind => kinds[value]!

const tailBytes = (inode: InodeValue): number => {
  switch (inode.kind) {
    case 'file':
      return 40 + inode.verifier.length
    case 'directory':
      return 16
    case 'symlink':
      return inode.target.length
    case 'character':
    case 'block':
      return 8
    default:
      return 0
  }
}

function putTime(bytes: Uint8Array, time: Time, at: number): void {
  put64(bytes, time.seconds, at)
  put32(bytes, time.nanoseconds, at + 8)
}

const getTime = (bytes: Uint8Array, at: number): Time => ({
  seconds: get64(bytes, at),
  nanoseconds: get32(bytes, at + 8),
})

export function encodeInode(inode: InodeValue): Uint8Array {
  const bytes = Buffer.allocUnsafe(headBytes + tailBytes(inode))
  bytes[0] = version
  bytes[1] = kindNumber(inode.kind)
  put16(bytes, inode.mode, 2)
  put32(bytes, inode.links, 4)
  put32(bytes, inode.uid, 8)
  put32(bytes, inode.gid, 12)
  put32(bytes, inode.generation, 16)
  putTime(bytes, inode.accessed, 20)
  putTime(bytes, inode.modified, 32)
  putTime(bytes, inode.changed, 44)
  switch (inode.kind) {
    case 'file':
      put64(bytes, inode.sizeBytes, headBytes)
      put64(bytes, inode.chunkBytes, headBytes + 8)
      put64(bytes, inode.chunkBound, headBytes + 16)
      put64(bytes, inode.cut, headBytes + 24)
      put64(bytes, inode.trimmed, headBytes + 32)
      bytes.set(inode.verifier, headBytes + 40)
      break
    case 'directory':
      put64(bytes, inode.parent, headBytes)
      put64(bytes, inode.entries, headBytes + 8)
      break
    case 'symlink':
      bytes.set(inode.target, headBytes)
      break
    case 'character':
    case 'block':
      put32(bytes, inode.major, headBytes)
      put32(bytes, inode.minor, headBytes + 4)
      break
  }
  return bytes
}

/** The result shares the bytes. @throws Failure VERSION_MISMATCH when a later release wrote them. */
export function decodeInode(bytes: Uint8Array): InodeValue {
  if (bytes[0] !== version) throw new Failure('VERSION_MISMATCH', `inode of version ${bytes[0]}, not ${version}`)
  const kind = kindOf(bytes[1]!)
  const file = kind === 'file'
  const directory = kind === 'directory'
  const symlink = kind === 'symlink'
  const device = kind === 'character' || kind === 'block'
  return {
    kind,
    mode: get16(bytes, 2),
    links: get32(bytes, 4),
    uid: get32(bytes, 8),
    gid: get32(bytes, 12),
    generation: get32(bytes, 16),
    accessed: getTime(bytes, 20),
    modified: getTime(bytes, 32),
    changed: getTime(bytes, 44),
    sizeBytes: file ? get64(bytes, headBytes) : directory ? directoryBytes : symlink ? bytes.length - headBytes : 0,
    chunkBytes: file ? get64(bytes, headBytes + 8) : 0,
    chunkBound: file ? get64(bytes, headBytes + 16) : 0,
    cut: file ? get64(bytes, headBytes + 24) : 0,
    trimmed: file ? get64(bytes, headBytes + 32) : 0,
    verifier: file ? bytes.subarray(headBytes + 40) : noBytes,
    parent: (directory ? get64(bytes, headBytes) : 0) as Inode,
    entries: directory ? get64(bytes, headBytes + 8) : 0,
    target: symlink ? bytes.subarray(headBytes) : noBytes,
    major: device ? get32(bytes, headBytes) : 0,
    minor: device ? get32(bytes, headBytes + 4) : 0,
  }
}

export const fidOf = (container: ContainerId, inode: Inode): Fid => ({ container, inode, generation: generationFirst })

/** `usedBytes` is the size in whole blocks of 512: holes are not known here, and count as used. */
export const attributesOf = (fid: Fid, inode: InodeValue): Attributes => ({
  fid,
  kind: inode.kind,
  mode: inode.mode,
  links: inode.links,
  uid: inode.uid,
  gid: inode.gid,
  sizeBytes: inode.sizeBytes,
  usedBytes: Math.ceil(inode.sizeBytes / 512) * 512,
  major: inode.major,
  minor: inode.minor,
  accessed: inode.accessed,
  modified: inode.modified,
  changed: inode.changed,
  chunkBytes: inode.chunkBytes,
  cut: inode.cut,
  trimmed: inode.trimmed,
})

export const beforeOf = (inode: InodeValue): Before => ({
  sizeBytes: inode.sizeBytes,
  modified: inode.modified,
  changed: inode.changed,
})

export const sameTime = (a: Time, b: Time): boolean => a.seconds === b.seconds && a.nanoseconds === b.nanoseconds

/**
 * The time that an update of `inode` carries: now, but always later than `changed`, so that a coarse clock or one
 * that jumped back cannot hide a change from caches that compare times.
 */
export function stamp(inode: InodeValue, now: Time): Time {
  const { seconds, nanoseconds } = inode.changed
  if (now.seconds > seconds || (now.seconds === seconds && now.nanoseconds > nanoseconds)) return now
  if (nanoseconds < 999_999_999) return { seconds, nanoseconds: nanoseconds + 1 }
  return { seconds: seconds + 1, nanoseconds: 0 }
}
