/**
 * A simulated index: an ordered map whose latest batches a power cut may take, always the last of them.
 *
 * A batch is visible when its promise settles. The end of a process takes or leaves each batch that is under way.
 */
import type { Index, Write } from '../../../fileserver/index/store.ts'
import type { Random } from './random.ts'
import { type Process, processOver, type Timeline } from './timeline.ts'

type Undo = readonly (readonly [key: string, value: Uint8Array | undefined])[]

const unsyncedMax = 64

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')
const bytesOf = (key: string): Buffer => Buffer.from(key, 'latin1')

export class SimulatedIndex {
  readonly #timeline: Timeline
  readonly #random: Random
  readonly #values = new Map<string, Uint8Array>()
  /** What each batch that is not durable replaced, oldest first. */
  #undo: Undo[] = []
  readonly #underWay = new Set<() => void>()

  constructor(timeline: Timeline, random: Random) {
    this.#timeline = timeline
    this.#random = random
  }

  /** The process is over: what it was writing is there or not. */
  kill(): void {
    for (const finish of this.#underWay) if (this.#random.chance(0.5)) finish()
    this.#underWay.clear()
  }

  cutPower(): void {
    const kept = this.#random.below(this.#undo.length + 1)
    this.#timeline.tally.add('index batches lost', this.#undo.length - kept)
    for (const undo of this.#undo.splice(kept).reverse()) {
      for (const [key, value] of undo) {
        if (value === undefined) this.#values.delete(key)
        else this.#values.set(key, value)
      }
    }
    this.#undo = []
  }

  open(process: Process): Index {
    const look = (): void => {
      if (!process.alive) throw processOver()
    }
    const effect = (): void => {
      process.effect()
      look()
    }
    const keysIn = (from: Uint8Array, to: Uint8Array): string[] => {
      const low = text(from)
      const high = text(to)
      return [...this.#values.keys()].filter((key) => key >= low && key < high).sort()
    }
    const later = (finish: () => void): Promise<void> =>
      new Promise((resolve) => {
        this.#underWay.add(finish)
        this.#timeline.after(this.#random.between(0.01, 2), process, () => {
          this.#underWay.delete(finish)
          finish()
          resolve()
        })
      })
    return {
      get: (key) => {
        look()
        return this.#values.get(text(key))
      },
      scan: (from, to, limit) => {
        look()
        const found = keysIn(from, to).slice(0, limit)
        const answer = found.map((key) => ({ key: bytesOf(key), value: this.#values.get(key)! }))
        return new Promise((resolve) => {
          this.#timeline.after(this.#random.between(0.01, 1), process, () => resolve(answer))
        })
      },
      write: (writes, durable) => {
        effect()
        const copied = writes.map(({ key, value }) => ({ key: Buffer.from(key), value: value && Buffer.from(value) }))
        return later(() => {
          this.#apply(copied)
          if (durable) this.#undo = []
        })
      },
      clear: async (from, to) => {
        look()
        // In steps: the end of the process may come between them.
        for (let keys = keysIn(from, to); keys.length > 0; keys = keysIn(from, to)) {
          effect()
          const step = keys.slice(0, 1 + this.#random.below(keys.length))
          await later(() => this.#apply(step.map((key) => ({ key: bytesOf(key), value: undefined }))))
        }
      },
      close: async () => {},
    }
  }

  #apply(writes: readonly Write[]): void {
    const undo: (readonly [string, Uint8Array | undefined])[] = []
    for (const { key, value } of writes) {
      const name = text(key)
      undo.push([name, this.#values.get(name)])
      if (value === undefined) this.#values.delete(name)
      else this.#values.set(name, value)
    }
    this.#undo.push(undo.reverse())
    // The kernel writes back by itself what is old.
    if (this.#undo.length > unsyncedMax) this.#undo.shift()
  }
}
