/**
 * Trying again: how long to wait first, the waiting, and which failure to tell when the time is over.
 */
import type { Clock } from '../clock.ts'
import type { Failure } from '../failures.ts'

export type Backoff = { readonly firstMs: number; readonly lastMs: number }

/** Doubles from `firstMs` to `lastMs` with `attempt` (from 0), then takes off up to half, so that many callers do not return together. */
export function backoffMs(backoff: Backoff, attempt: number, random: () => number): number {
  const full = Math.min(backoff.lastMs, backoff.firstMs * 2 ** Math.min(attempt, 30))
  return full * (1 - random() / 2)
}

/** Unlike the clock's own timers this keeps the process alive: somebody waits for what comes after. */
export function pause(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    const alive = setInterval(() => undefined, 0x7fffffff)
    clock.after(delayMs, () => {
      clearInterval(alive)
      resolve()
    })
  })
}

/** The failure to tell after `latest`: not that the time ran out in the last attempt, if an earlier one said why. */
export const tellingOf = (earlier: Failure | undefined, latest: Failure): Failure =>
  latest.failure === 'DEADLINE' && earlier !== undefined ? earlier : latest
