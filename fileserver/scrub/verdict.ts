/**
 * What it means that replicas have different chains at a sequence that is committed.
 *
 * Pure. Equal chains prove that everything before is equal; chains that differ below what is committed mean that
 * somebody holds what the others never acknowledged. Most replicas are right. Where none has a majority nobody can tell:
 * then nothing is done but to raise the alarm.
 */
import type { Sequence, ServerId } from '../../protocol/ids.ts'
import type { SegmentInfo } from '../log/log.ts'

/** As many as one call asks for. */
const samplesMax = 64

/** A replica's chains at the sequences that were asked for; nothing where its log does not hold one. */
export type Told = { readonly server: ServerId; readonly chains: readonly (bigint | undefined)[] }

export type Verdict =
  | { readonly type: 'agree' }
  /** They hold what most others do not. */
  | { readonly type: 'outvoted'; readonly at: Sequence; readonly servers: readonly ServerId[] }
  | { readonly type: 'undecided'; readonly at: Sequence }

/**
 * Where logs are compared: at the ends of segments, and at the last committed record. Every replica checks by itself that
 * each of its segments leads from one end to the next.
 *
 * @param segments of a log, oldest first.
 */
export function samples(segments: readonly SegmentInfo[], committed: Sequence): Sequence[] {
  const ends = segments
    .slice(1)
    .map(({ first }) => (first - 1) as Sequence)
    .filter((at) => at < committed)
  const step = Math.ceil(ends.length / (samplesMax - 1))
  // The newest ones first: what is compared at a later place counts for everything before.
  const picked = ends.reverse().filter((_, i) => i % step === 0)
  return [...picked.reverse(), ...(committed > 0 ? [committed] : [])]
}

/** @param sequences ascending; `told` has a chain for each. */
export function verdict(sequences: readonly Sequence[], told: readonly Told[]): Verdict {
  for (const [i, at] of sequences.entries()) {
    const votes = new Map<bigint, ServerId[]>()
    for (const { server, chains } of told) {
      const chain = chains[i]
      if (chain === undefined) continue
      const same = votes.get(chain)
      if (same === undefined) votes.set(chain, [server])
      else same.push(server)
    }
    if (votes.size < 2) continue
    const groups = [...votes.values()].sort((a, b) => b.length - a.length)
    const voters = groups.reduce((sum, { length }) => sum + length, 0)
    if (groups[0]!.length * 2 <= voters) return { type: 'undecided', at }
    return { type: 'outvoted', at, servers: groups.slice(1).flat() }
  }
  return { type: 'agree' }
}
