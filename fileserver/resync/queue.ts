/**
 * Whose turn it is: resyncs that wait at their source, and those that a target has taken on.
 *
 * Pure; time comes in as monotonic milliseconds.
 */
import type { ContainerId, ServerId } from '../../protocol/ids.ts'

export type Waiting = {
  readonly target: ServerId
  /** Replicas of the container that hold everything and are alive, the master among them. */
  readonly copies: () => number
  readonly sinceMs: number
}

/**
 * @param running those that have their turns.
 * @returns the one whose turn it is: of those with the fewest copies one whose target has the fewest turns, so that no target
 * is idle while others share what comes in; and of such the one that waits longest.
 */
export function nextTurn<T extends Waiting>(waiting: readonly T[], running: readonly Waiting[]): T | undefined {
  const ranked = waiting.map((entry) => {
    const turns = running.filter(({ target }) => target === entry.target).length
    return { entry, rank: [entry.copies(), turns, entry.sinceMs] }
  })
  return ranked.reduce<(typeof ranked)[0] | undefined>(
    (best, other) => (best === undefined || isBefore(other.rank, best.rank) ? other : best),
    undefined,
  )?.entry
}

function isBefore(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((figure, index) => figure !== b[index])
  return at !== -1 && a[at]! < b[at]!
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
