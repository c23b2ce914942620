/**
 * Memory that all connections of a server may fill together with calls and replies.
 *
 * Not pure, no I/O. A connection that finds the budget spent stops reading its socket and is woken when there is
 * room again, so that a flood of large calls costs time and not memory.
 */
import { assert } from '../../protocol/assert.ts'

export class Budget {
  readonly #bytesMax: number
  #bytes = 0
  readonly #waiting = new Set<() => void>()

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get spent(): boolean {
    return this.#bytes >= this.#bytesMax
  }

  take(bytes: number): void {
    this.#bytes += bytes
  }

  give(bytes: number): void {
    this.#bytes -= bytes
    assert(this.#bytes >= 0, 'more given back than taken')
    if (this.spent || this.#waiting.size === 0) return
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }

  /** Calls `wake` once, when there is room. */
  wait(wake: () => void): void {
    this.#waiting.add(wake)
  }

  forget(wake: () => void): void {
    this.#waiting.delete(wake)
  }
}
