/**
 * Which segment of a container's log is cleaned next.
 *
 * Pure. A sealed segment less than half of which is needed is cleaned; of several the one with the best ratio of
 * benefit to cost, (1 - u) · age / (1 + u): cold segments are worth more, as hot ones go on dying by themselves.
 * Deletions are needed as long as an older segment is there, so that a segment full of them is never half dead; once
 * they outweigh, the oldest segments go, whatever is in them, until the deletions stand in the oldest.
 *
 * The last segment goes when all of it is dead; where space is short it is sealed early and treated as any other.
 *
 * So at rest: log <= 2.5 · live + 2 segments. (Sealed segments hold at most 2 · (live + deletions) bytes, and
 * deletions come to at most a quarter of what is live and half a segment; the last segment is the other one.)
 *
 * Source: Rosenblum and Ousterhout, The Design and Implementation of a Log-Structured File System (1992), §3.5; for
 * deletions, the tombstones of RAMCloud (Rumble et al., 2014).
 */
import type { Sequence } from '../../protocol/ids.ts'

export type Candidate = {
  readonly first: Sequence
  readonly sizeBytes: number
  /** Of puts and of file bytes. */
  readonly liveBytes: number
  readonly deletionBytes: number
}

/** A sealed segment of which a smaller share is needed is cleaned. */
const neededMax = 0.5
/** The same when the disk has little left: what is moved is packed densely, so even this gains. */
const neededUrgentMax = 0.85
/** Several masters may clean onto the same disk. */
const roomShare = 0.5

export type Situation = {
  /** Every record of the log is in the index, so that the last segment may be dropped too. */
  readonly settled: boolean
  /** A disk has little left. */
  readonly urgent: boolean
  /** What every replica has room for: what is needed of a segment is written again before it is dropped. */
  readonly roomBytes: number
  /** A last segment of which less is dead stays. */
  readonly lastBytesMin: number
}

/** @param segments all of a log, oldest first. */
export function victim(
  segments: readonly Candidate[],
  { settled, urgent, roomBytes, lastBytesMin }: Situation,
): Candidate | undefined {
  const last = segments.at(-1)
  if (last === undefined) return undefined
  const sealed = segments.slice(0, -1)
  const max = urgent ? neededUrgentMax : neededMax
  const fits = (neededBytes: number): boolean => neededBytes <= roomBytes * roomShare
  let best: { segment: Candidate; score: number } | undefined
  let ageBytes = last.sizeBytes
  for (const [i, segment] of [...sealed.entries()].reverse()) {
    const bytes = neededBytes(segment, i)
    const share = bytes / segment.sizeBytes
    const score = urgent ? 1 - share : ((1 - share) * ageBytes) / (1 + share)
    if (share < max && fits(bytes) && (best === undefined || score > best.score)) best = { segment, score }
    ageBytes += segment.sizeBytes
  }
  if (best !== undefined) return best.segment
  const lastBytes = neededBytes(last, sealed.length)
  const pays = lastBytes === 0 || (urgent && lastBytes < last.sizeBytes * max && fits(lastBytes))
  if (settled && pays && last.sizeBytes - lastBytes >= lastBytesMin) return last
  const [oldest] = sealed
  return oldest !== undefined && fits(oldest.liveBytes) && deletionsOutweigh(sealed) ? oldest : undefined
}

/** In the oldest segment a deletion has nothing left to delete. */
const neededBytes = ({ liveBytes, deletionBytes }: Candidate, index: number): number =>
  liveBytes + (index === 0 ? 0 : deletionBytes)

function deletionsOutweigh(sealed: readonly Candidate[]): boolean {
  let deletionBytes = 0
  let liveBytes = 0
  let largestBytes = 0
  for (const [i, segment] of sealed.entries()) {
    if (i > 0) deletionBytes += segment.deletionBytes
    liveBytes += segment.liveBytes
    largestBytes = Math.max(largestBytes, segment.sizeBytes)
  }
  return deletionBytes > liveBytes / 4 + largestBytes / 2
}
