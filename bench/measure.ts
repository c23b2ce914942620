/**
 * How things are counted: operations kept in flight for a time, and medians.
 *
 * Not pure: reads the monotonic clock. A rate counts every operation that was begun, over the time until the last one ended.
 */

/** `amount`: operations or bytes. */
export type Sample = { readonly amount: number; readonly seconds: number }

export const rate = (sample: Sample): number => sample.amount / sample.seconds

/** @returns the middle of the values, or the mean of the middle two; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2
}

/** @returns the smallest value that at least `share` of the values do not exceed; NaN of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

export type Limits = {
  readonly inFlight: number
  /** No operation begins after so many seconds. */
  readonly seconds: number
  readonly countMax?: number
  /** Runs after the last operation and counts in the time: a sync. */
  readonly finish?: () => Promise<void>
}

/** Calls `operation` with 0, 1, 2, ..., `inFlight` at a time; the second argument tells the lanes apart, from 0. */
export async function repeat(
  { inFlight, seconds, countMax = Number.POSITIVE_INFINITY, finish }: Limits,
  operation: (index: number, lane: number) => Promise<unknown>,
): Promise<Sample> {
  const begin = performance.now()
  const end = begin + seconds * 1000
  let count = 0
  const run = async (lane: number): Promise<void> => {
    while (count < countMax && performance.now() < end) await operation(count++, lane)
  }
  await Promise.all(Array.from({ length: inFlight }, (_, lane) => run(lane)))
  await finish?.()
  return { amount: count, seconds: (performance.now() - begin) / 1000 }
}
