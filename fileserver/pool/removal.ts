/**
 * Removes files at once, and frees what large ones hold a moment later.
 *
 * Driver. To free a segment takes milliseconds, and whoever syncs meanwhile waits for it. A file lives on without its name as
 * long as it is open: so these are closed one after the other, by the thread pool, when what followed the removal is done.
 * A process that ends closes them too.
 */
import * as fs from 'node:fs'

const largeBytes = 512 * 1024
const laterMs = 100
/** As many as are kept open: more are freed on the spot. */
const heldMax = 256

export class Removal {
  /** Descriptors of files without a name, but for the one that is being closed. */
  readonly #held: number[] = []
  #freeing = false

  /** The name is gone; no file by that name is no error. */
  remove(path: string): void {
    const fd = this.#held.length < heldMax ? opened(path) : undefined
    try {
      fs.rmSync(path, { force: true })
    } finally {
      if (fd !== undefined) this.#free(fd)
    }
  }

  #free(fd: number): void {
    this.#held.push(fd)
    if (this.#freeing) return
    this.#freeing = true
    setTimeout(() => this.#next(), laterMs).unref()
  }

  #next(): void {
    const fd = this.#held.shift()
    if (fd === undefined) this.#freeing = false
    else fs.close(fd, () => this.#next())
  }
}

/** @returns nothing for a small file, and for one that cannot be opened, which is freed on the spot. */
function opened(path: string): number | undefined {
  try {
    return fs.statSync(path).size > largeBytes ? fs.openSync(path, 'r') : undefined
  } catch {
    return undefined
  }
}
