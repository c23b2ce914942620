/**
 * Attribute changes and times, from what programs give.
 *
 * Pure.
 */
import { Failure } from '../../protocol/failures.ts'
import type { Changes, NewTime } from '../../protocol/messages/attributes.ts'

/** Seconds since 1970 (as Node.js takes numbers and numeric strings), or a date. */
export type TimeLike = number | string | Date

const unchanged: Changes = {
  mode: undefined,
  uid: undefined,
  gid: undefined,
  sizeBytes: undefined,
  accessed: undefined,
  modified: undefined,
}

export const changes = (some: Partial<Changes>): Changes => ({ ...unchanged, ...some })

/** @throws Failure INVALID for what is no time. */
export function timeOf(time: TimeLike): NewTime {
  const ms = time instanceof Date ? time.getTime() : Number(time) * 1000
  if (!Number.isFinite(ms)) throw new Failure('INVALID', `not a time: ${time}`)
  const seconds = Math.floor(ms / 1000)
  const nanoseconds = Math.min(999_999_999, Math.round((ms - seconds * 1000) * 1e6))
  return { now: false, time: { seconds, nanoseconds } }
}

/** Permission bits from a number, or from octal digits as Node.js takes them. */
export function modeOf(mode: number | string): number {
  const bits = typeof mode === 'string' ? Number.parseInt(mode, 8) : mode
  if (!Number.isInteger(bits) || bits < 0) throw new Failure('INVALID', `not a mode: ${mode}`)
  return bits & 0o7777
}

/** An owner to set: -1 leaves it as it is. */
export const ownerOf = (id: number): number | undefined => (id === -1 ? undefined : id)
