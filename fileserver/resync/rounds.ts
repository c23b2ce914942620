/**
 * How a replica that takes the stream catches up with a master that goes on writing.
 *
 * Pure. The stream goes in rounds: each ends where the log ended when it began. As long as rounds shrink it stays
 * throttled. One that did not shrink makes the next free of the throttle: what was written meanwhile is foreground. If
 * that does not help, the master holds new writes back so far that no more than half of what is streamed comes anew: then it ends
 * surely. A replica that lacks little joins the quorum, whose answers wait for it (sizes.ts).
 */

/** A round shrinks if it leaves no more than this share of the one before. */
const shrinks = 0.75

export type Rounds = {
  readonly pace: 'throttled' | 'free' | 'holding'
  /** What the round began with, and what of that is not streamed yet. */
  readonly roundBytes: number
  readonly leftBytes: number
}

/** @param gapBytes from the replica's end to the log's. */
export const begun = (gapBytes: number): Rounds => ({ pace: 'throttled', roundBytes: gapBytes, leftBytes: gapBytes })

const slower = { throttled: 'free', free: 'holding', holding: 'holding' } as const

/** `bytes` more are streamed; what is left then is `gapBytes`. */
export function streamed(rounds: Rounds, bytes: number, gapBytes: number): Rounds {
  const leftBytes = rounds.leftBytes - bytes
  if (leftBytes > 0) return { ...rounds, leftBytes }
  const pace = gapBytes > rounds.roundBytes * shrinks ? slower[rounds.pace] : rounds.pace
  return { pace, roundBytes: gapBytes, leftBytes: gapBytes }
}

/** Whether new writes have to wait: more than half of what was streamed in this round has come anew. */
export function holds(rounds: Rounds, gapBytes: number): boolean {
  if (rounds.pace !== 'holding') return false
  const streamedBytes = rounds.roundBytes - rounds.leftBytes
  const newBytes = gapBytes - rounds.leftBytes
  return newBytes > streamedBytes / 2
}
