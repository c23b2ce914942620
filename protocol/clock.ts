/**
 * Time, as an argument: the real clock here, the simulator's own in the tests.
 *
 * `monotonicMs` never goes back and is what leases and deadlines are measured by; `now` is the wall clock that
 * stamps files, and may jump.
 */
import type { Time } from './messages/attributes.ts'

export type Timer = { readonly cancel: () => void }

export type Clock = {
  readonly monotonicMs: () => number
  readonly now: () => Time
  /** Calls `run` once, after the events that are at hand. */
  readonly soon: (run: () => void) => void
  /** Calls `run` once, `delayMs` from now; a pending timer does not keep the process alive. */
  readonly after: (delayMs: number, run: () => void) => Timer
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  now: () => {
    const ms = Date.now()
    const seconds = Math.floor(ms / 1000)
    // Node.js has no finer wall clock: the digits below the millisecond are the monotonic clock's.
    const nanoseconds = (ms - seconds * 1000) * 1e6 + Math.floor((performance.now() % 1) * 1e6)
    return { seconds, nanoseconds }
  },
  soon: (run) => {
    setImmediate(run)
  },
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs)
    timer.unref()
    return { cancel: () => clearTimeout(timer) }
  },
}
