/**
 * What `stat` and `readdir` answer, in the shapes of Node.js's `fs.Stats` and `fs.Dirent`.
 *
 * Pure.
 */
import { constants } from 'node:fs'
import type { Fid } from '../../protocol/ids.ts'
import { type Attributes, inlineBytesMax, type Kind, type Time } from '../../protocol/messages/attributes.ts'

const typeBits: { readonly [kind in Kind]: number } = {
  file: constants.S_IFREG,
  directory: constants.S_IFDIR,
  symlink: constants.S_IFLNK,
  fifo: constants.S_IFIFO,
  socket: constants.S_IFSOCK,
  character: constants.S_IFCHR,
  block: constants.S_IFBLK,
}

const milliseconds = (time: Time): number => time.seconds * 1000 + time.nanoseconds / 1e6
const date = (ms: number): Date => new Date(Math.round(ms))

class Kinded {
  readonly kind: Kind
  constructor(kind: Kind) {
    this.kind = kind
  }
  isFile(): boolean {
    return this.kind === 'file'
  }
  isDirectory(): boolean {
    return this.kind === 'directory'
  }
  isSymbolicLink(): boolean {
    return this.kind === 'symlink'
  }
  isFIFO(): boolean {
    return this.kind === 'fifo'
  }
  isSocket(): boolean {
    return this.kind === 'socket'
  }
  isCharacterDevice(): boolean {
    return this.kind === 'character'
  }
  isBlockDevice(): boolean {
    return this.kind === 'block'
  }
}

/** As `fs.Stats`; there is no time of birth, which is given as the earliest time known. */
export class Stats extends Kinded {
  readonly fid: Fid
  readonly dev: number
  readonly ino: number
  /** Permission bits and type bits. */
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly rdev: number
  readonly size: number
  readonly blksize = inlineBytesMax
  /** Of 512 bytes. */
  readonly blocks: number
  readonly atimeMs: number
  readonly mtimeMs: number
  readonly ctimeMs: number

  constructor(attributes: Attributes) {
    super(attributes.kind)
    this.fid = attributes.fid
    this.dev = attributes.fid.container
    this.ino = attributes.fid.inode
    this.mode = attributes.mode | typeBits[attributes.kind]
    this.nlink = attributes.links
    this.uid = attributes.uid
    this.gid = attributes.gid
    this.rdev = attributes.major * 256 + attributes.minor
    this.size = attributes.sizeBytes
    this.blocks = Math.ceil(attributes.usedBytes / 512)
    this.atimeMs = milliseconds(attributes.accessed)
    this.mtimeMs = milliseconds(attributes.modified)
    this.ctimeMs = milliseconds(attributes.changed)
  }

  get birthtimeMs(): number {
    return Math.min(this.atimeMs, this.mtimeMs, this.ctimeMs)
  }
  get atime(): Date {
    return date(this.atimeMs)
  }
  get mtime(): Date {
    return date(this.mtimeMs)
  }
  get ctime(): Date {
    return date(this.ctimeMs)
  }
  get birthtime(): Date {
    return date(this.birthtimeMs)
  }
}

/** As `fs.Dirent`. */
export class Dirent<Name extends string | Buffer = string> extends Kinded {
  readonly name: Name
  /** The path of the directory as it was given. */
  readonly parentPath: string

  constructor(name: Name, parentPath: string, kind: Kind) {
    super(kind)
    this.name = name
    this.parentPath = parentPath
  }
}

/** As `fs.StatFs`, in blocks of `bsize` bytes. */
export type StatFs = {
  readonly type: number
  readonly bsize: number
  readonly blocks: number
  readonly bfree: number
  readonly bavail: number
  readonly files: number
  readonly ffree: number
}

const statFsBlockBytes = 4096

export function statFs(space: { readonly totalBytes: number; readonly freeBytes: number }): StatFs {
  const free = Math.floor(space.freeBytes / statFsBlockBytes)
  return {
    /** "HF" in ASCII. */
    type: 0x4846,
    bsize: statFsBlockBytes,
    blocks: Math.floor(space.totalBytes / statFsBlockBytes),
    bfree: free,
    bavail: free,
    // Inodes are not counted out: as many as there could be small files.
    files: Math.floor(space.totalBytes / statFsBlockBytes),
    ffree: free,
  }
}
