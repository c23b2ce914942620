/**
 * A lane: one thing after the other on files of its own, so that it knows at every moment what must be there.
 *
 * An operation that failed may have happened, may not have, and may yet happen: its files are *retired*, never touched
 * again, and either outcome is right at the end.
 */
import type { Client } from '../../../client/index.ts'
import type { Random } from '../../sim/world/random.ts'
import type { Tally } from './tally.ts'

export type Lane = {
  /** Makes the directory. */
  readonly prepare: () => Promise<void>
  /** One operation, or some. Throws what the cluster answered. */
  readonly turn: () => Promise<void>
  /** Nothing of the lane is under way. Reads all by `reader`. */
  readonly verify: (reader: Client) => Promise<void>
}

export type Ground = {
  /** Of this lane alone. */
  readonly directory: string
  readonly writer: Client
  /** Another client, with a memory of its own of where things are. */
  readonly reader: Client
  readonly random: Random
  readonly tally: Tally
  /** A broken promise. */
  readonly problem: (line: string) => void
  /** Unsynced bytes of writes that began at or after `sinceMs` (since 1970) are gone: right only after a power cut of all. */
  readonly lost: (path: string, sinceMs: number) => void
}

/** How found bytes look in a report. */
export function sketch(found: Uint8Array, from = 0): string {
  return JSON.stringify(Buffer.from(found.subarray(from, from + 48)).toString('latin1'))
}
