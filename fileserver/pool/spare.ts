/**
 * A file that is there to be given up: when the disk is completely full, deletions and cleaning still need room in the
 * log, and the index needs some even to open.
 *
 * Driver. Long before that a server takes only deletions (room.ts), but others may write to the same disk. One is for the
 * server that runs; whatever fills the disk may take that too, so there is another for its next start.
 */
import * as fs from 'node:fs'
import { join } from 'node:path'

const pieceBytes = 1024 * 1024

export class Spare {
  readonly #path: string
  readonly #sizeBytes: number
  #heldBytes: number
  #making = false
  #wanted = false

  /** @param directory of the storage pool. */
  constructor(directory: string, name: 'spare' | 'spare-start', sizeBytes: number) {
    this.#path = join(directory, name)
    this.#sizeBytes = sizeBytes
    this.#heldBytes = fs.statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0
  }

  /** What giving it up would free. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  /** Makes it where it is missing, if at least `leftBytes` of what is free are left then. Settles when it is made. */
  async make(freeBytes: number, leftBytes: number): Promise<void> {
    if (this.#making || this.#heldBytes > 0 || freeBytes - this.#sizeBytes < leftBytes) return
    this.#making = true
    this.#wanted = true
    try {
      await this.#write()
    } catch {
      // The disk is fuller than it said: what there is of it would only take room.
      this.#wanted = false
    }
    if (!this.#wanted) this.#remove()
    this.#making = false
  }

  /** @returns whether there was something to give up. */
  release(): boolean {
    const held = this.#heldBytes > 0
    this.#wanted = false
    if (held) this.#remove()
    return held
  }

  #remove(): void {
    this.#heldBytes = 0
    try {
      fs.rmSync(this.#path, { force: true })
    } catch {
      // A disk on which nothing can be removed has other troubles, and says so elsewhere.
    }
  }

  /** Not as a hole, which would hold no room. It may be given up meanwhile. */
  async #write(): Promise<void> {
    const zeros = Buffer.alloc(Math.min(pieceBytes, this.#sizeBytes))
    const file = await fs.promises.open(this.#path, 'w')
    try {
      for (let at = 0; at < this.#sizeBytes && this.#wanted; at += zeros.length) {
        const { bytesWritten } = await file.write(zeros, 0, Math.min(zeros.length, this.#sizeBytes - at), at)
        if (this.#wanted) this.#heldBytes = at + bytesWritten
      }
    } finally {
      await file.close()
    }
  }
}
