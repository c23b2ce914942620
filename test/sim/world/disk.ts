/**
 * A simulated disk: what is written is in the page cache; what is synced stays when the power goes.
 *
 * A machine's disk outlives its processes; `open(process)` is one process's view of it. A power cut takes unsynced
 * writes wholly, leaves a torn beginning of them, or (`scattered`) any of their sectors; of the names that were not
 * synced a beginning stays.
 */
import type { Disk, File } from '../../../fileserver/pool/disk.ts'
import { Failure } from '../../../protocol/failures.ts'
import type { Random } from './random.ts'
import type { Tally } from './tally.ts'
import { type Process, processOver, type Timeline } from './timeline.ts'

const sectorBytes = 512
/** What a reader of a bad sector takes for lost with it: a page. */
const pageBytes = 4096

class Bytes {
  buffer: Buffer = Buffer.alloc(0)
  size = 0

  write(piece: Uint8Array, offset: number): void {
    const end = offset + piece.length
    if (end > this.buffer.length) {
      const grown = Buffer.alloc(Math.max(end, 2 * this.buffer.length, 1024))
      this.buffer.copy(grown, 0, 0, this.size)
      this.buffer = grown
    }
    this.buffer.set(piece, offset)
    if (end > this.size) this.size = end
  }

  truncate(sizeBytes: number): void {
    if (sizeBytes < this.size) this.buffer.fill(0, sizeBytes, this.size)
    else if (sizeBytes > this.size) this.write(Buffer.alloc(sizeBytes - this.size), this.size)
    this.size = sizeBytes
  }

  get content(): Buffer {
    return this.buffer.subarray(0, this.size)
  }

  static of(content: Uint8Array): Bytes {
    const bytes = new Bytes()
    bytes.write(content, 0)
    return bytes
  }
}

/** A write at `offset`, or without bytes a truncation to it. */
type Change = { readonly offset: number; readonly bytes: Uint8Array | undefined }

class Inode {
  cached = new Bytes()
  durable = new Bytes()
  unsynced: Change[] = []
  /** Sectors that the disk cannot read. */
  readonly unreadable = new Set<number>()

  change(change: Change): void {
    apply(this.cached, change)
    const { offset, bytes } = change
    const end = bytes === undefined ? Number.POSITIVE_INFINITY : offset + bytes.length
    for (const sector of this.unreadable)
      if (sector * sectorBytes < end && (sector + 1) * sectorBytes > offset) this.unreadable.delete(sector)
    this.unsynced.push(change)
  }

  /** A sync has failed: the kernel takes the first `count` changes for written, although they never reached the disk. */
  forget(count: number): void {
    this.unsynced.splice(0, count)
  }

  /** Makes the first `count` changes durable. */
  persist(count: number): void {
    for (const change of this.unsynced.splice(0, count)) apply(this.durable, change)
  }

  lose(random: Random, scattered: boolean, tally: Tally): void {
    const changes = this.unsynced.splice(0)
    const kept = random.chance(0.4) ? 0 : random.chance(0.3) ? changes.length : random.below(changes.length + 1)
    for (const [i, change] of changes.entries()) {
      if (i < kept) apply(this.durable, change)
      else tally.add('unsynced changes lost')
      if (i >= kept && scattered)
        for (const sector of sectorsOf(change)) if (random.chance(0.5)) apply(this.durable, sector)
      if (i === kept && change.bytes !== undefined && random.chance(0.5)) {
        const torn = change.bytes.subarray(0, random.below(change.bytes.length))
        apply(this.durable, { offset: change.offset, bytes: torn })
        tally.add('writes torn')
      }
    }
    this.cached = Bytes.of(this.durable.content)
  }
}

function apply(bytes: Bytes, { offset, bytes: piece }: Change): void {
  if (piece === undefined) bytes.truncate(offset)
  else bytes.write(piece, offset)
}

function sectorsOf({ offset, bytes }: Change): Change[] {
  if (bytes === undefined) return []
  const sectors: Change[] = []
  for (let at = 0; at < bytes.length; ) {
    const next = Math.min(bytes.length, (Math.floor((offset + at) / sectorBytes) + 1) * sectorBytes - offset)
    sectors.push({ offset: offset + at, bytes: bytes.subarray(at, next) })
    at = next
  }
  return sectors
}

/** A name that was made or, without an inode, removed. */
type Naming = { readonly path: string; readonly inode: Inode | undefined }

export type DiskFaults = {
  /** Share of writes, of syncs and of reads that fail. */
  writeFails: number
  syncFails: number
  readFails: number
  /** Share of syncs that take long. */
  slowSyncs: number
  /** A power cut may leave any sectors of what was not synced, later ones without earlier ones. */
  scattered: boolean
}

/** More than a run ever needs. */
export const roomBytes = 2 ** 30

/** Nothing fails. */
export const sound = { writeFails: 0, syncFails: 0, readFails: 0, slowSyncs: 0.02 }

const directoryOf = (path: string): string => path.slice(0, path.lastIndexOf('/'))
const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1)

export class SimulatedDisk {
  readonly faults: DiskFaults = { ...sound, scattered: false }
  capacityBytes: number = roomBytes
  readonly #timeline: Timeline
  readonly #random: Random
  readonly #cached = new Map<string, Inode>()
  readonly #durable = new Map<string, Inode>()
  readonly #directories = new Set<string>()
  readonly #unsynced = new Map<string, Naming[]>()

  constructor(timeline: Timeline, random: Random) {
    this.#timeline = timeline
    this.#random = random
  }

  /** Everything that was not synced goes, or some of it. */
  cutPower(): void {
    for (const namings of this.#unsynced.values()) {
      const kept = this.#random.below(namings.length + 1)
      for (const naming of namings.slice(0, kept)) this.#name(this.#durable, naming)
    }
    this.#unsynced.clear()
    this.#cached.clear()
    for (const [path, inode] of this.#durable) {
      inode.lose(this.#random, this.faults.scattered, this.#timeline.tally)
      this.#cached.set(path, inode)
    }
    for (const directory of this.#directories)
      if (![...this.#cached.keys()].some((path) => path.startsWith(`${directory}/`)) && this.#random.chance(0.5))
        this.#directories.delete(directory)
  }

  /**
   * Spoils a place in the synced bytes of a file: a bit turns, or a sector cannot be read until it is written again.
   * @param within how many bytes at the beginning of the file it may be.
   * @returns the file's path, or nothing when there is no such byte.
   */
  rot(within: (path: string) => number, unreadable: boolean): string | undefined {
    // Of what is beyond `within` nothing may be lost with the page.
    const whole = (bytes: number): number => (unreadable ? bytes - (bytes % pageBytes) : bytes)
    const candidates = [...this.#cached]
      .map(([path, inode]) => ({ path, inode, end: whole(Math.min(within(path), inode.durable.size)) }))
      .filter(({ end }) => end > 0)
    if (candidates.length === 0) return undefined
    const { path, inode, end } = this.#random.pick(candidates)
    const at = this.#random.below(end)
    if (unreadable) inode.unreadable.add(Math.floor(at / sectorBytes))
    else for (const bytes of [inode.durable, inode.cached]) if (at < bytes.size) bytes.buffer[at]! ^= 1 << (at & 7)
    return path
  }

  /** The files' contents, as a process would read them. */
  contents(prefix: string): ReadonlyMap<string, Buffer> {
    return new Map(
      [...this.#cached].filter(([path]) => path.startsWith(prefix)).map(([path, { cached }]) => [path, cached.content]),
    )
  }

  /** Whether a part of the files cannot be read. */
  isUnreadable(prefix: string): boolean {
    return [...this.#cached].some(([path, { unreadable }]) => path.startsWith(prefix) && unreadable.size > 0)
  }

  get usedBytes(): number {
    let used = 0
    for (const inode of this.#cached.values()) used += inode.cached.size
    return used
  }

  open(process: Process): Disk {
    const effect = (): void => {
      if (!process.effect()) throw processOver()
    }
    const look = (): void => {
      if (!process.alive) throw processOver()
    }
    return {
      list: (directory) => {
        look()
        const names = new Set<string>()
        for (const path of [...this.#cached.keys(), ...this.#directories])
          if (path.startsWith(`${directory}/`)) names.add(path.slice(directory.length + 1).split('/')[0]!)
        return [...names].sort()
      },
      makeDirectory: (directory) => {
        effect()
        if (this.#directories.has(directory)) return
        this.#directories.add(directory)
        this.#syncDirectory(directoryOf(directory))
      },
      syncDirectory: (directory) => {
        effect()
        this.#syncDirectory(directory)
      },
      open: (path, create) => {
        if (create) {
          effect()
          const old = this.#cached.get(path)
          if (old !== undefined) old.change({ offset: 0, bytes: undefined })
          else this.#rename({ path, inode: new Inode() })
        }
        return this.#file(path, effect, look, process)
      },
      remove: (path) => {
        effect()
        if (this.#cached.has(path)) this.#rename({ path, inode: undefined })
      },
      removeDirectory: (directory) => {
        effect()
        for (const path of this.#cached.keys())
          if (path.startsWith(`${directory}/`)) this.#rename({ path, inode: undefined })
        this.#directories.delete(directory)
      },
      load: (path) => {
        look()
        const inode = this.#cached.get(path)
        return inode === undefined ? undefined : Buffer.from(inode.cached.content)
      },
      save: (path, content) => {
        effect()
        const inode = new Inode()
        inode.change({ offset: 0, bytes: Buffer.from(content) })
        inode.persist(1)
        this.#rename({ path, inode })
        this.#syncDirectory(directoryOf(path))
      },
      space: () => {
        look()
        return { capacityBytes: this.capacityBytes, freeBytes: Math.max(0, this.capacityBytes - this.usedBytes) }
      },
    }
  }

  #rename(naming: Naming): void {
    this.#name(this.#cached, naming)
    const directory = directoryOf(naming.path)
    const namings = this.#unsynced.get(directory)
    if (namings === undefined) this.#unsynced.set(directory, [naming])
    else namings.push(naming)
  }

  #name(table: Map<string, Inode>, { path, inode }: Naming): void {
    if (inode === undefined) table.delete(path)
    else table.set(path, inode)
  }

  #syncDirectory(directory: string): void {
    for (const naming of this.#unsynced.get(directory) ?? []) this.#name(this.#durable, naming)
    this.#unsynced.delete(directory)
  }

  #file(path: string, effect: () => void, look: () => void, process: Process): File {
    let opened: Inode | undefined
    const inode = (): Inode => {
      opened ??= this.#cached.get(path)
      if (opened === undefined) throw new Failure('DISK_FAILED', `there is no ${path}`)
      return opened
    }
    const fails = (share: number, what: string): boolean => {
      const failed = this.#random.chance(share)
      if (failed) this.#timeline.tally.add(`${what} that failed`)
      return failed
    }
    const read = (target: Uint8Array, offset: number): number => {
      const { cached } = inode()
      if (fails(this.faults.readFails, 'reads')) throw new Failure('DISK_FAILED', `${nameOf(path)}: EIO`)
      for (const sector of inode().unreadable) {
        if (sector * sectorBytes >= offset + target.length || (sector + 1) * sectorBytes <= offset) continue
        this.#timeline.tally.add('bad sectors met')
        throw new Failure('DISK_FAILED', `${nameOf(path)}: EIO in sector ${sector}`)
      }
      const end = Math.min(cached.size, offset + target.length)
      if (end <= offset) return 0
      target.set(cached.buffer.subarray(offset, end))
      return end - offset
    }
    return {
      path,
      read: (target, offset) => {
        look()
        return read(target, offset)
      },
      readLater: (target, offset) => {
        look()
        return new Promise((resolve, reject) => {
          this.#timeline.after(this.#random.between(0.01, 1), process, () => {
            try {
              resolve(read(target, offset))
            } catch (error) {
              reject(error)
            }
          })
        })
      },
      write: (pieces, offset) => {
        effect()
        const bytes = Buffer.concat(pieces)
        const grows = offset + bytes.length > inode().cached.size
        if (grows && this.usedBytes + bytes.length > this.capacityBytes) {
          this.#timeline.tally.add('writes without room')
          throw new Failure('NO_SPACE', `${nameOf(path)} cannot grow`)
        }
        if (fails(this.faults.writeFails, 'writes')) throw new Failure('DISK_FAILED', `${nameOf(path)}: EIO`)
        inode().change({ offset, bytes })
      },
      sync: () => {
        effect()
        const target = inode()
        const count = target.unsynced.length
        const failed = fails(this.faults.syncFails, 'syncs')
        if (!failed && this.#random.chance(0.4)) {
          target.persist(count)
          this.#syncDirectory(directoryOf(path))
          return undefined
        }
        const tookMs = this.#random.chance(this.faults.slowSyncs)
          ? this.#random.between(20, 800)
          : this.#random.between(0.05, 3)
        return new Promise((resolve, reject) => {
          this.#timeline.after(tookMs, process, () => {
            if (failed) {
              target.forget(count)
              reject(new Failure('DISK_FAILED', `${nameOf(path)}: EIO at fdatasync`))
            } else {
              target.persist(Math.min(count, target.unsynced.length))
              this.#syncDirectory(directoryOf(path))
              resolve()
            }
          })
        })
      },
      truncate: (sizeBytes) => {
        effect()
        inode().change({ offset: sizeBytes, bytes: undefined })
      },
      sizeBytes: () => {
        look()
        return inode().cached.size
      },
      close: () => {},
    }
  }
}
