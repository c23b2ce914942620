/**
 * Epoch history of one replica's log, and the divergence point of two of them.
 *
 * Pure. Rests on one fact: an epoch has at most one master, so two logs that hold the same epoch
 * agree on every record up to where the shorter of the two leaves it.
 *
 * Source: leader epochs of Kafka (KIP-101); log matching of Raft (§5.3).
 */
import { assert } from '../../protocol/assert.ts'
import { type Epoch, epoch, type Sequence, sequence } from '../../protocol/ids.ts'

export type EpochStart = { readonly epoch: Epoch; readonly first: Sequence }

/** Of a history: what is older is found out by comparing segments. */
export const startsMax = 4096

/** `starts` strictly ascending in both fields, the latest `startsMax`; `last` >= every `first` - 1. */
export type History = { readonly starts: readonly EpochStart[]; readonly last: Sequence }

/**
 * @param theirs as another server tells it: what comes of a history that is not true is found out by the chains (match.ts).
 * @returns the last sequence both logs share; 0 when no epoch is common (copy the whole container).
 */
export function divergencePoint(ours: History, theirs: History): Sequence {
  const known = new Set(theirs.starts.map((start) => start.epoch))
  for (let i = ours.starts.length - 1; i >= 0; i--) {
    const start = ours.starts[i]!
    if (!known.has(start.epoch)) continue
    return sequence(Math.max(0, Math.min(endOf(ours, start.epoch), endOf(theirs, start.epoch))))
  }
  return sequence(0)
}

/** @returns the last sequence that was written in `of`. */
function endOf(history: History, of: Epoch): number {
  const next = history.starts.find((start) => start.epoch > of)
  return next === undefined ? history.last : next.first - 1
}

/** @returns the epoch in which `at` was written; 0 when the log does not reach it. */
export function epochAt(history: History, at: Sequence): Epoch {
  if (at > history.last) return epoch(0)
  for (let i = history.starts.length - 1; i >= 0; i--) {
    if (history.starts[i]!.first <= at) return history.starts[i]!.epoch
  }
  return epoch(0)
}

/** The history with a record of epoch `of` at `at` appended. */
export function extended(history: History, of: Epoch, at: Sequence): History {
  const latest = history.starts.at(-1)
  if (latest !== undefined && latest.epoch === of) return { starts: history.starts, last: at }
  assert(latest === undefined || of > latest.epoch, 'epochs of a log ascend')
  return { starts: [...history.starts, { epoch: of, first: at }].slice(-startsMax), last: at }
}

/** The history of the log cut after `after`. */
export function shortened(history: History, after: Sequence): History {
  return { starts: history.starts.filter((start) => start.first <= after), last: after }
}
