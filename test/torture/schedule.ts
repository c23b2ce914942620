/**
 * What goes wrong in a run, and when: a list of faults that follows from the seed alone.
 *
 * Pure. Faults overlap; each carries every random number that it needs, so that what the cluster does in between
 * changes nothing of what comes next.
 */
import { Random } from '../sim/world/random.ts'

/** How often each kind is drawn, relative to the others. */
const weights = {
  kill: 4,
  pause: 3,
  killAll: 1,
  killCldb: 2,
  isolate: 2,
  cutPair: 2,
  cutOneWay: 3,
  cutClient: 2,
  power: 3,
  powerAll: 1,
  fill: 1,
  rot: 3,
  drain: 2,
} as const satisfies Record<string, number>

export type FaultKind = keyof typeof weights
export const faultKinds = Object.keys(weights) as readonly FaultKind[]

export type Fault = {
  readonly kind: FaultKind
  readonly atMs: number
  readonly durationMs: number
  /** All fileservers, from 0, in random order: the first is the one meant. */
  readonly servers: readonly number[]
  /** For each fileserver: in which moment it comes back after all were down. */
  readonly delaysMs: readonly number[]
  /** For whatever else is to be chosen: in [0, 1). */
  readonly choices: readonly number[]
}

const gapMs = { least: 1000, most: 5000 }
const durationMs = { least: 300, most: 8000 }
const choices = 4

/** @param kinds that are drawn. */
export function schedule(seed: number, lengthMs: number, servers: number, kinds: readonly FaultKind[]): Fault[] {
  const random = new Random(seed)
  const faults: Fault[] = []
  const bag = kinds.flatMap((kind) => Array.from({ length: weights[kind] }, () => kind))
  for (let atMs = gapMs.most; atMs < lengthMs; atMs += random.between(gapMs.least, gapMs.most)) {
    faults.push({
      kind: random.pick(bag),
      atMs,
      durationMs: random.between(durationMs.least, durationMs.most),
      servers: shuffled(servers, random),
      delaysMs: Array.from({ length: servers }, () => random.between(0, 1500)),
      choices: Array.from({ length: choices }, () => random.next()),
    })
  }
  return faults
}

function shuffled(count: number, random: Random): number[] {
  const order = Array.from({ length: count }, (_, index) => index)
  for (let last = count - 1; last > 0; last--) {
    const other = random.below(last + 1)
    const kept = order[last]!
    order[last] = order[other]!
    order[other] = kept
  }
  return order
}
