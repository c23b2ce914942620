/**
 * How much room the disk of a storage pool has left, and what is done about it.
 *
 * Driver over the disk's own word. With less than `reserveBytes` free the server is `full`: it takes what is on its way,
 * deletions and what cleaning moves, but nothing that is to grow, and no copy. Below the floor it takes no records at
 * all, as a replica that says no is taken out of the in-sync set, while an index that finds no room ends the server.
 * Others may write to the same disk: then the spare files are given up.
 */
import type { Clock } from '../../protocol/clock.ts'
import { Failure, isFailure } from '../../protocol/failures.ts'
import type { Index } from '../index/store.ts'
import { isInstalling } from '../resync/marker.ts'
import type { Disk } from './disk.ts'
import { containerDirectory, containersIn } from './pool.ts'
import { Spare } from './spare.ts'

const MiB = 1024 * 1024
/** How long a look at the disk's free space is good for: others may write to it, and fast. */
const spaceMs = 10
/** The index's log, and the table that is made of it. */
const floorBytesMax = 32 * MiB

export const floorBytesOf = (reserveBytes: number): number => Math.min(floorBytesMax, Math.floor(reserveBytes / 8))

export type Spares = { readonly running: Spare; readonly start: Spare }

export function sparesOf(directory: string, reserveBytes: number): Spares {
  const floorBytes = floorBytesOf(reserveBytes)
  // Given up, it leaves as much above the floor as below.
  const running = new Spare(directory, 'spare', 2 * floorBytes)
  return { running, start: new Spare(directory, 'spare-start', floorBytes) }
}

/** An index that keeps no more in memory needs no more than the floor to open, or to write that to a table. */
export const indexBufferBytesOf = (reserveBytes: number): number => Math.floor(floorBytesOf(reserveBytes) / 2)

export class Room {
  readonly #disk: Disk
  readonly #spares: Spares
  readonly #clock: Clock
  readonly #reserveBytes: number
  readonly #writtenBytes: () => number
  #seen = { atMs: Number.NEGATIVE_INFINITY, freeBytes: 0, writtenBytes: 0 }

  /** @param writtenBytes by this process so far: what was written since the last look is gone from what was free. */
  constructor(disk: Disk, spares: Spares, clock: Clock, reserveBytes: number, writtenBytes: () => number) {
    this.#disk = disk
    this.#spares = spares
    this.#clock = clock
    this.#reserveBytes = reserveBytes
    this.#writtenBytes = writtenBytes
  }

  /** Whether only deletions are taken. */
  get full(): boolean {
    return this.#freeBytes() < this.#reserveBytes
  }

  /** What may still be appended before nothing is taken any more. */
  get leftBytes(): number {
    return Math.max(0, this.#freeBytes() + this.#spares.running.heldBytes - floorBytesOf(this.#reserveBytes))
  }

  /** Looks now, and gives up the spare file where next to nothing is left: the disk may have been filled at one stroke. */
  look(): void {
    this.#seen = { ...this.#seen, atMs: Number.NEGATIVE_INFINITY }
    try {
      this.#freeBytes()
    } catch (error) {
      // A disk that does not say what is free may take the write all the same.
      if (!isFailure(error)) throw error
    }
  }

  #freeBytes(): number {
    const now = this.#clock.monotonicMs()
    const writtenBytes = this.#writtenBytes()
    if (now - this.#seen.atMs > spaceMs) {
      let { freeBytes } = this.#disk.space()
      if (freeBytes < floorBytesOf(this.#reserveBytes) && this.#spares.running.release())
        freeBytes = this.#disk.space().freeBytes
      this.#seen = { atMs: now, freeBytes, writtenBytes }
      const { running, start } = this.#spares
      // First the one for the next start.
      void start.make(freeBytes, this.#reserveBytes / 2).then(() => running.make(freeBytes, this.#reserveBytes / 2))
    }
    return this.#seen.freeBytes - (writtenBytes - this.#seen.writtenBytes)
  }
}

/**
 * Opens the index, which needs room, also where the disk has none: first without the spare files, then without the segments
 * of copies that were not finished, which count as nothing.
 * @throws Failure NO_SPACE when nothing more can be given up.
 */
export async function openOnFullDisk(
  open: () => Promise<Index>,
  disk: Disk,
  directory: string,
  { running, start }: Spares,
): Promise<Index> {
  const sources = [
    () => start.release(),
    () => running.release(),
    () => removeUnfinished(disk, `${directory}/containers`),
  ]
  for (;;) {
    try {
      return await open()
    } catch (error) {
      if (!isFailure(error, 'NO_SPACE')) throw error
      let freed = false
      while (!freed && sources.length > 0) freed = sources.shift()!()
      if (freed) continue
      throw new Failure(
        'NO_SPACE',
        `the disk of ${directory} is full: its index needs up to ${floorBytesMax / MiB} MiB to open. Make room beside the pool, or the disk larger, and start again; leave what is in the pool alone`,
        { cause: error },
      )
    }
  }
}

/** @returns whether there was anything. */
function removeUnfinished(disk: Disk, containers: string): boolean {
  let found = false
  for (const container of containersIn(disk, containers)) {
    const directory = containerDirectory(containers, container)
    if (!isInstalling(disk, directory)) continue
    for (const name of disk.list(directory)) {
      if (!name.endsWith('.segment')) continue
      const path = `${directory}/${name}`
      const file = disk.open(path, false)
      // The room is needed now, not a moment after the removal.
      file.truncate(0)
      file.close()
      disk.remove(path)
      found = true
    }
  }
  return found
}
