/**
 * How far a resync has come, and how fast it goes.
 *
 * Pure; time comes in as monotonic milliseconds.
 */

const sampleMs = 500
const samplesMax = 10

export class Progress {
  doneBytes = 0
  totalBytes = 0
  /** The latest seconds; the oldest first. */
  readonly #samples: { readonly atMs: number; readonly doneBytes: number }[] = []

  constructor(nowMs: number) {
    this.#samples.push({ atMs: nowMs, doneBytes: 0 })
  }

  note(doneBytes: number, totalBytes: number, nowMs: number): void {
    this.doneBytes = doneBytes
    this.totalBytes = Math.max(doneBytes, totalBytes)
    if (nowMs - this.#samples.at(-1)!.atMs < sampleMs) return
    this.#samples.push({ atMs: nowMs, doneBytes })
    if (this.#samples.length > samplesMax) this.#samples.shift()
  }

  /** Over the latest seconds. */
  bytesPerSecond(nowMs: number): number {
    const { atMs, doneBytes } = this.#samples[0]!
    return nowMs <= atMs ? 0 : Math.max(0, Math.round((1000 * (this.doneBytes - doneBytes)) / (nowMs - atMs)))
  }
}
