/**
 * A file that is there to be given up: when the disk is completely full, deletions and cleaning still need room in the log.
 *
 * Driver. Long before that a server takes only deletions (`reserveBytes`), but others may write to the same disk.
 */
import * as fs from 'node:fs'
import { join } from 'node:path'

const sizeBytesMax = 16 * 1024 * 1024
/** On small disks this share. */
const shareMax = 0.02
/** It is made again when so many times its size are free. */
const freeTimes = 8
const pieceBytes = 1024 * 1024

type Space = { readonly capacityBytes: number; readonly freeBytes: number }

export class Spare {
  readonly #path: string
  #exists: boolean

  /** @param directory of the storage pool. */
  constructor(directory: string) {
    this.#path = join(directory, 'spare')
    this.#exists = fs.existsSync(this.#path)
  }

  /** Gives it up just before the disk is full, and makes it again when there is room. */
  adjust({ capacityBytes, freeBytes }: Space): void {
    const sizeBytes = Math.min(sizeBytesMax, Math.floor(capacityBytes * shareMax))
    if (freeBytes < sizeBytes / 2) this.release()
    else if (!this.#exists && freeBytes > freeTimes * sizeBytes) this.#make(sizeBytes)
  }

  /** @returns whether there was one to give up. */
  release(): boolean {
    if (!this.#exists) return false
    this.#exists = false
    fs.rmSync(this.#path, { force: true })
    return true
  }

  /** Written, as a hole would hold no room. */
  #make(sizeBytes: number): void {
    const zeros = Buffer.alloc(Math.min(pieceBytes, sizeBytes))
    this.#exists = true
    try {
      const fd = fs.openSync(this.#path, 'w')
      try {
        for (let at = 0; at < sizeBytes; at += zeros.length) fs.writeSync(fd, zeros, 0, zeros.length, at)
      } finally {
        fs.closeSync(fd)
      }
    } catch {
      // The disk is fuller than it said: what there is of it would only take room.
      this.release()
    }
  }
}
