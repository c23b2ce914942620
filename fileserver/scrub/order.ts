/**
 * Which replica is scrubbed next, and how fast.
 *
 * Pure; the time is an argument. Replicas go in the order of how long they have not been read as a whole; one that was
 * begun goes on before others that were never read either. Nothing is read again before `againAfterMs` are over.
 */
import type { Sequence } from '../../protocol/ids.ts'

/** What is remembered of a replica. Times are of the wall clock: they have to outlast the process. */
export type Memory = {
  /** When it was last read as a whole; 0 when it never was. */
  readonly completedMs: number
  /** The first segment that was not read yet since; 0 for all of them. */
  readonly next: Sequence
}

export type Candidate = { readonly memory: Memory }

/** @returns the one that is due, if one is. */
export function nextDue<T extends Candidate>(
  candidates: Iterable<T>,
  nowMs: number,
  againAfterMs: number,
): T | undefined {
  let best: T | undefined
  for (const candidate of candidates) {
    const { completedMs } = candidate.memory
    // A time that has not come yet is that of a clock that was wrong.
    const due = completedMs > nowMs || nowMs - completedMs >= againAfterMs
    if (due && (best === undefined || goesBefore(candidate.memory, best.memory))) best = candidate
  }
  return best
}

const goesBefore = (one: Memory, other: Memory): boolean =>
  one.completedMs < other.completedMs || (one.completedMs === other.completedMs && one.next > 0 && other.next === 0)

/** While others ask for something, scrub is so much slower. */
const busyShare = 4
/** Without a fixed rate: a pause beside foreground load is so many times what the reading took. */
const busyPauses = 9
const busyPauseMsMin = 5
/** More than this from clients and masters is load. */
const idleBytesPerMs = 128

/** @param bytes that were read and written for others in the last `duringMs`. */
export const isBusy = (bytes: number, duringMs: number): boolean => bytes > idleBytesPerMs * Math.max(1, duringMs)

/**
 * @param bytesPerSecond 0: no fixed rate.
 * @returns how long to wait after `bytes` were read, which took `tookMs`.
 */
export function pauseMs(bytes: number, tookMs: number, bytesPerSecond: number, busy: boolean): number {
  if (bytesPerSecond === 0) return busy ? Math.max(busyPauseMsMin, busyPauses * tookMs) : 0
  const dueMs = (1000 * bytes * (busy ? busyShare : 1)) / bytesPerSecond
  return Math.max(0, dueMs - tookMs)
}
