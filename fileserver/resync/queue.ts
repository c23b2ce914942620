/**
 * Whose turn it is: resyncs that wait at their source, and those that a target has taken on.
 *
 * Pure; time comes in as monotonic milliseconds.
 */
import type { ContainerId } from '../../protocol/ids.ts'

export type Waiting = {
  /** Replicas of the container that hold everything and are alive, the master among them. */
  readonly copies: () => number
  readonly sinceMs: number
}

/** @returns the one whose turn it is: of those with the fewest copies the one that waits longest. */
export function nextTurn<T extends Waiting>(waiting: readonly T[]): T | undefined {
  let best: { readonly entry: T; readonly copies: number } | undefined
  for (const entry of waiting) {
    const copies = entry.copies()
    if (best === undefined || copies < best.copies || (copies === best.copies && entry.sinceMs < best.entry.sinceMs))
      best = { entry, copies }
  }
  return best?.entry
}

/** The containers that a target lets be resynced at a time. One that is not heard of for `forgottenMs` has lost its place. */
export class Places {
  readonly #max: number
  readonly #forgottenMs: number
  readonly #heardMs = new Map<ContainerId, number>()

  constructor(max: number, forgottenMs: number) {
    this.#max = max
    this.#forgottenMs = forgottenMs
  }

  /** @returns whether the container has a place, or gets one. */
  take(container: ContainerId, nowMs: number): boolean {
    if (!this.#heardMs.has(container) && this.#heardMs.size >= this.#max)
      for (const [other, heardMs] of this.#heardMs) if (nowMs - heardMs > this.#forgottenMs) this.#heardMs.delete(other)
    if (!this.#heardMs.has(container) && this.#heardMs.size >= this.#max) return false
    this.#heardMs.set(container, nowMs)
    return true
  }

  leave(container: ContainerId): void {
    this.#heardMs.delete(container)
  }
}
