/**
 * The disk under a storage pool: what the log needs of a filesystem, and the real one.
 *
 * Driver. A `write` that returned is in the page cache: a crash of the process keeps it, a power cut may take it.
 * What was written, and the name of a file that was created, are durable when a `sync` that began later has settled;
 * any other change of names (a file renamed or removed) when `syncDirectory` returned. Any error is a `Failure`: NO_SPACE or DISK_FAILED; after it the file's owner must stop
 * and reopen from what is on the disk.
 *
 * Small reads are synchronous on purpose: from the page cache they take 2 µs, a trip through the thread pool 35 µs.
 */
import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { Failure, isFailure } from '../../protocol/failures.ts'
import { Removal } from './removal.ts'

export type File = {
  readonly path: string
  /** @returns how many bytes were read: fewer only at the end of the file. */
  readonly read: (target: Uint8Array, offset: number) => number
  readonly readLater: (target: Uint8Array, offset: number) => Promise<number>
  /** Writes at `offset`. */
  readonly write: (pieces: readonly Uint8Array[], offset: number) => void
  /** @returns nothing when it is done already: a fast disk is synced at once when little is dirty. */
  readonly sync: (dirtyBytes: number) => Promise<void> | undefined
  readonly truncate: (sizeBytes: number) => void
  readonly sizeBytes: () => number
  readonly close: () => void
}

export type Disk = {
  /** Names in the directory; empty when there is none. */
  readonly list: (directory: string) => readonly string[]
  /** Makes the directory and its parents, durably. */
  readonly makeDirectory: (directory: string) => void
  readonly syncDirectory: (directory: string) => void
  /** The file opens at its first use; `create` makes it empty, now. */
  readonly open: (path: string, create: boolean) => File
  /** The name is gone at once; the room that a large file held is free a moment later. */
  readonly remove: (path: string) => void
  readonly removeDirectory: (directory: string) => void
  /** The whole file, or nothing when there is none. */
  readonly load: (path: string) => Buffer | undefined
  /** Replaces the file's content atomically and durably. */
  readonly save: (path: string, content: Uint8Array) => void
  readonly space: () => { readonly capacityBytes: number; readonly freeBytes: number }
}

/** Files kept open at most; a file beyond that is reopened when it is used. */
const openFilesMax = 2048
/** A disk whose small syncs take less is synced on the spot: the thread pool alone would cost half as much. */
const fastSyncMs = 0.5
/** More dirty bytes than this are written back by the thread pool, never on the spot. */
const smallSyncBytes = 512 * 1024
/** Blocking syncs are given up for so many syncs after a slow one. */
const slowSyncs = 64

/** What the kernel says when the disk itself fails, and not its user. */
const mediaErrors = new Set(['EIO', 'EBADMSG', 'EUCLEAN', 'ENXIO', 'ENODEV', 'EREMOTEIO'])

/**
 * @param failed told of every error of the medium, with the file if one could not be read.
 * @param makeRoom asked when the disk is full: whether it is worth trying again.
 */
export function realDisk(
  root: string,
  failed: (unread?: string) => void = () => {},
  makeRoom: () => boolean = () => false,
): Disk {
  const open = new Set<RealFile>()
  const sync = { slow: 0 }
  const removal = new Removal()
  const diskFailure = (error: unknown, unread?: string): Failure => {
    const code = (error as NodeJS.ErrnoException).code
    if (code !== undefined && mediaErrors.has(code)) failed(unread)
    const kind = code === 'ENOSPC' || code === 'EDQUOT' ? 'NO_SPACE' : 'DISK_FAILED'
    return new Failure(kind, error instanceof Error ? error.message : String(error), { cause: error })
  }
  const once: Guard = (run, unread) => {
    try {
      return run()
    } catch (error) {
      throw diskFailure(error, unread)
    }
  }
  const guard: Guard = (run, unread) => {
    try {
      return once(run, unread)
    } catch (error) {
      if (!isFailure(error, 'NO_SPACE') || !makeRoom()) throw error
    }
    // What is done to a disk may be done twice, but for a sync.
    return once(run)
  }
  const shared = { open, sync, diskFailure, guard, once }
  return {
    list: (directory) => guard(() => unlessMissing(() => fs.readdirSync(directory)) ?? []),
    makeDirectory: (directory) =>
      guard(() => {
        const first = fs.mkdirSync(directory, { recursive: true })
        if (first === undefined) return
        for (let made = directory; made.length >= first.length; made = dirname(made)) syncDirectory(dirname(made))
      }),
    syncDirectory: (directory) => once(() => syncDirectory(directory)),
    open: (path, create) => guard(() => new RealFile(path, create, shared)),
    remove: (path) => guard(() => removal.remove(path)),
    removeDirectory: (directory) =>
      guard(() => {
        const names = unlessMissing(() => fs.readdirSync(directory)) ?? []
        for (const name of names) if (name.endsWith('.segment')) removal.remove(join(directory, name))
        fs.rmSync(directory, { recursive: true, force: true })
      }),
    load: (path) => guard(() => unlessMissing(() => fs.readFileSync(path))),
    save: (path, content) =>
      guard(() => {
        const draft = `${path}.new`
        const fd = fs.openSync(draft, 'w')
        try {
          fs.writeFileSync(fd, content)
          fs.fsyncSync(fd)
        } finally {
          fs.closeSync(fd)
        }
        fs.renameSync(draft, path)
        syncDirectory(dirname(path))
      }),
    space: () =>
      guard(() => {
        const { bsize, blocks, bavail } = fs.statfsSync(root)
        return { capacityBytes: bsize * blocks, freeBytes: bsize * bavail }
      }),
  }
}

export const segmentPath = (directory: string, first: number): string =>
  join(directory, `${first.toString(16).padStart(14, '0')}.segment`)

function syncDirectory(directory: string): void {
  const fd = fs.openSync(directory, 'r')
  try {
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

/** @returns nothing where there is no such file or directory; any other error is thrown. */
function unlessMissing<T>(run: () => T): T | undefined {
  try {
    return run()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  }
}

type Guard = <T>(run: () => T, unread?: string) => T

/** What the files of a disk share. */
type Shared = {
  readonly open: Set<RealFile>
  readonly sync: { slow: number }
  readonly diskFailure: (error: unknown, unread?: string) => Failure
  /** Runs it; what it throws is thrown as a `Failure`. `unread`: the file that it reads. */
  readonly guard: Guard
  /** The same for a sync: after one that failed the kernel takes what it was about for written, and a second one succeeds. */
  readonly once: Guard
}

class RealFile implements File {
  readonly path: string
  readonly #shared: Shared
  /** The file's name may be lost with a power cut. */
  #unnamed = false
  #fd: number | undefined
  #busy = 0
  /** To be closed when it is idle. */
  #closing = false

  constructor(path: string, create: boolean, shared: Shared) {
    this.path = path
    this.#shared = shared
    if (!create) return
    this.#opened('w+')
    this.#unnamed = true
  }

  read(target: Uint8Array, offset: number): number {
    return this.#shared.guard(() => fs.readSync(this.#opened(), target, 0, target.length, offset), this.path)
  }

  readLater(target: Uint8Array, offset: number): Promise<number> {
    return this.#later((fd, done) => fs.read(fd, target, 0, target.length, offset, done), this.path)
  }

  write(pieces: readonly Uint8Array[], offset: number): void {
    this.#shared.guard(() => {
      const fd = this.#opened()
      let bytes = 0
      for (const piece of pieces) bytes += piece.length
      let written = fs.writevSync(fd, pieces, offset)
      while (written < bytes) written += fs.writevSync(fd, skip(pieces, written), offset + written)
    })
  }

  sync(dirtyBytes: number): Promise<void> | undefined {
    if (this.#unnamed) return this.#syncName()
    if (dirtyBytes <= smallSyncBytes && this.#shared.sync.slow === 0) {
      const began = performance.now()
      this.#shared.once(() => fs.fdatasyncSync(this.#opened()))
      if (performance.now() - began > fastSyncMs * 8) this.#shared.sync.slow = slowSyncs
      return undefined
    }
    if (dirtyBytes <= smallSyncBytes) this.#shared.sync.slow -= 1
    return this.#later((fd, done) => fs.fdatasync(fd, (error) => done(error, undefined)))
  }

  async #syncName(): Promise<void> {
    const directory = this.#shared.guard(() => fs.openSync(dirname(this.path), 'r'))
    try {
      await this.#later((fd, done) => fs.fdatasync(fd, (error) => done(error, undefined)))
      await new Promise<void>((resolve, reject) =>
        fs.fsync(directory, (error) => (error === null ? resolve() : reject(this.#shared.diskFailure(error)))),
      )
    } finally {
      fs.closeSync(directory)
    }
    this.#unnamed = false
  }

  truncate(sizeBytes: number): void {
    this.#shared.guard(() => fs.ftruncateSync(this.#opened(), sizeBytes))
  }

  sizeBytes(): number {
    return this.#shared.guard(() => fs.fstatSync(this.#opened()).size)
  }

  close(): void {
    this.#closing = this.#busy > 0
    if (this.#fd === undefined || this.#closing) return
    fs.closeSync(this.#fd)
    this.#fd = undefined
    this.#shared.open.delete(this)
  }

  #later<T>(run: (fd: number, done: (error: Error | null, value: T) => void) => void, unread?: string): Promise<T> {
    const fd = this.#shared.guard(() => this.#opened())
    this.#busy += 1
    return new Promise((resolve, reject) => {
      run(fd, (error, value) => {
        this.#busy -= 1
        if (this.#closing) this.close()
        if (error === null) resolve(value)
        else reject(this.#shared.diskFailure(error, unread))
      })
    })
  }

  #opened(flags = 'r+'): number {
    if (this.#fd === undefined) {
      this.#fd = fs.openSync(this.path, flags)
      this.#shared.open.add(this)
      if (this.#shared.open.size > openFilesMax) this.#evict()
    }
    this.#closing = false
    return this.#fd
  }

  /** The set is in the order of opening: the first other that is idle goes. */
  #evict(): void {
    for (const file of this.#shared.open) {
      if (file === this || file.#busy > 0) continue
      file.close()
      return
    }
  }
}

function skip(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const rest: Uint8Array[] = []
  for (const piece of pieces) {
    if (bytes < piece.length) rest.push(piece.subarray(bytes))
    bytes = Math.max(0, bytes - piece.length)
  }
  return rest
}
