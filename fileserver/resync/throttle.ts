/**
 * How fast resync may go: a token bucket, and the rule by which it gives way to foreground load.
 *
 * Pure; time comes in as monotonic milliseconds. A bucket may go into debt: who takes more than is there waits until the
 * debt is paid, and who comes later waits behind it. So pieces larger than the bucket pass too, and in order.
 */

/** What may gather unused. */
const burstMs = 100
/** Foreground load is what came in the latest one to two of these. */
const windowMs = 100
/** What an operation without bytes costs beside the bytes of one that has some: a server does as many of either. */
const operationBytes = 64 * 1024
/** Resync always gets this: a trickle of operations must not stop it. */
const leastBytesPerSecond = 32 * 1024 * 1024

/** `tokens`: bytes that may go at once, or, below 0, the debt, as of `atMs`. */
export type Bucket = { readonly tokens: number; readonly atMs: number }

export const emptyBucket: Bucket = { tokens: 0, atMs: 0 }

/** @param bytesPerSecond may differ from call to call; Infinity forgives all debt. @returns how long to wait before the bytes may go. */
export function take(
  bucket: Bucket,
  bytes: number,
  bytesPerSecond: number,
  nowMs: number,
): { readonly bucket: Bucket; readonly waitMs: number } {
  if (bytesPerSecond === Number.POSITIVE_INFINITY) return { bucket: { tokens: 0, atMs: nowMs }, waitMs: 0 }
  const perMs = bytesPerSecond / 1000
  const gathered = bucket.tokens + perMs * Math.max(0, nowMs - bucket.atMs)
  const tokens = Math.min(gathered, perMs * burstMs) - bytes
  return { bucket: { tokens, atMs: nowMs }, waitMs: tokens < 0 ? -tokens / perMs : 0 }
}

/** Foreground load of a server: operations and their bytes, over the latest 100 to 200 ms. */
export class Foreground {
  #startMs = Number.NEGATIVE_INFINITY
  #bytes = 0
  #bytesBefore = 0

  note(bytes: number, nowMs: number): void {
    this.#turn(nowMs)
    this.#bytes += bytes + operationBytes
  }

  /** 0 when there was no operation. */
  bytesPerSecond(nowMs: number): number {
    this.#turn(nowMs)
    return (1000 * (this.#bytesBefore + this.#bytes)) / (windowMs + nowMs - this.#startMs)
  }

  #turn(nowMs: number): void {
    const elapsedMs = nowMs - this.#startMs
    if (elapsedMs < windowMs) return
    this.#bytesBefore = elapsedMs < 2 * windowMs ? this.#bytes : 0
    this.#bytes = 0
    this.#startMs = elapsedMs < 2 * windowMs ? this.#startMs + windowMs : nowMs
  }
}

/**
 * @param limit the configured rate; 0: none.
 * @returns on an idle server the limit, or Infinity without one; else no more than a third of the foreground load (so a
 * quarter of all).
 */
export function resyncRate(limit: number, foregroundBytesPerSecond: number): number {
  const free = limit === 0 ? Number.POSITIVE_INFINITY : limit
  if (foregroundBytesPerSecond === 0) return free
  return Math.min(free, Math.max(leastBytesPerSecond, foregroundBytesPerSecond / 3))
}
