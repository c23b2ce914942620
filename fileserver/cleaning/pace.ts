/**
 * How fast cleaning goes: at once while nobody asks for anything, else a small share of the time.
 *
 * Pure; the time is an argument. A pause as long as nine times what the work took leaves nine tenths of disk, network and
 * processor to others, however fast these are.
 */

/** As many operations of clients per millisecond are no load. */
const idleOperationsPerMs = 0.02
const busyPauses = 9
const busyPauseMsMin = 20
/** Less than this share of the disk free: space is short. */
const shortShare = 0.05

/** @param operations so many were there in the last `duringMs`. */
export const isBusy = (operations: number, duringMs: number): boolean => operations > 1 + idleOperationsPerMs * duringMs

/** @returns how long to wait after a piece of work that took `tookMs`. */
export function pauseMs(
  tookMs: number,
  { busy, urgent }: { readonly busy: boolean; readonly urgent: boolean },
): number {
  if (!busy) return 0
  return urgent ? tookMs : Math.max(busyPauseMsMin, busyPauses * tookMs)
}

/** @param full so little is left that only deletions are taken. */
export const isUrgent = (
  { capacityBytes, freeBytes }: { readonly capacityBytes: number; readonly freeBytes: number },
  full: boolean,
): boolean => full || freeBytes < capacityBytes * shortShare
