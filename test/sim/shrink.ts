/**
 * Makes a failing run smaller: less time, fewer clients, fewer faults, as long as something is still wrong.
 *
 * Faults have numbers, and each draws from numbers of its own: leaving one out leaves the others as they were. What is
 * left out is found by halves, then quarters and so on (Zeller, "Simplifying and isolating failure-inducing input", 2002).
 */
import { type Outcome, run, type Settings } from './run.ts'

/** Runs at most. */
const runsMax = 150

/** @returns the smallest settings that were found to fail, and how. */
export async function shrink(seed: number, settings: Settings): Promise<{ settings: Settings; outcome: Outcome }> {
  let runs = 0
  let best = settings
  let outcome = await run(seed, settings)
  const fails = async (candidate: Settings): Promise<boolean> => {
    if (runs++ >= runsMax) return false
    const found = await run(seed, candidate)
    if (found.problem === undefined) return false
    best = candidate
    outcome = found
    return true
  }
  const shorten = async (): Promise<void> => {
    for (const safetyMs of [500, 1000, 2000, 3000, 4000, 6000, 8000])
      if (safetyMs < best.safetyMs && (await fails({ ...best, safetyMs }))) return
  }
  await shorten()
  for (let clients = 1; clients < best.clients; clients++) if (await fails({ ...best, clients })) break
  const all = best.keep ?? Array.from({ length: outcome.faults }, (_, i) => i + 1)
  if (!(await fails({ ...best, keep: [] })))
    for (let kept = all, size = Math.ceil(all.length / 2); size > 0; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let at = 0; at < kept.length; ) {
        const keep = [...kept.slice(0, at), ...kept.slice(at + size)]
        if (await fails({ ...best, keep })) kept = keep
        else at += size
      }
    }
  await shorten()
  return { settings: best, outcome }
}

/** The command that runs it again. */
export function commandOf(seed: number, { safetyMs, clients, mutation, only, keep }: Settings): string {
  const given = [
    `--seed ${seed} --seconds ${safetyMs / 1000} --clients ${clients}`,
    mutation && `--mutation ${mutation}`,
    only && `--only ${only.join()}`,
    keep && `--keep ${keep.join() || 'none'}`,
  ]
  return `npm run sim -- ${given.filter((part) => part !== undefined).join(' ')}`
}
