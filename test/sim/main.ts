/**
 * `npm run sim -- [--seed N] [--seeds COUNT] [--jobs J] [--seconds S] [--clients C] [--only crash,pause] [--keep 1,2]
 * [--mutation NAME] [--trace] [--shrink]`
 *
 * Runs COUNT seeds from N on, in J processes (as many as there are cores). The last line but one tells what was met, the
 * last one is `COUNT seeds, F failures`; the exit code is 0 when F is. `--shrink` makes the first run that fails smaller.
 */
import { availableParallelism } from 'node:os'
import { fraction, given, number, one, some } from './arguments.ts'
import { type FaultName, faults } from './faults.ts'
import { outcomes } from './jobs.ts'
import { type MutationName, mutations } from './mutants/mutations.ts'
import { type Outcome, run, type Settings, usual } from './run.ts'
import { commandOf, shrink } from './shrink.ts'
import { Tally } from './world/tally.ts'

const values = given({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    seconds: { type: 'string', default: String(usual.safetyMs / 1000) },
    clients: { type: 'string', default: String(usual.clients) },
    only: { type: 'string' },
    keep: { type: 'string' },
    mutation: { type: 'string' },
    trace: { type: 'boolean', default: false },
    shrink: { type: 'boolean', default: false },
  },
})
const first = number('seed', values.seed, 0)
const count = number('seeds', values.seeds, 1)
const jobs = number('jobs', values.jobs, 1)
const seconds = fraction('seconds', values.seconds)
const faultNames = Object.keys(faults) as FaultName[]
const mutationNames = Object.keys(mutations) as MutationName[]
const settings: Settings = {
  safetyMs: seconds * 1000,
  clients: number('clients', values.clients, 1),
  only: values.only === undefined ? undefined : some('only', values.only, faultNames),
  // Numbers of faults; `none` of them.
  keep: values.keep === 'none' ? [] : values.keep?.split(',').map((text) => number('keep', text, 1)),
  mutation: values.mutation === undefined ? undefined : one('mutation', values.mutation, mutationNames),
}

async function* traced(): AsyncGenerator<Outcome> {
  for (let seed = first; seed < first + count; seed++) yield await run(seed, settings, (line) => console.log(line))
}

const met = new Tally()
const failed: number[] = []
const began = performance.now()
for await (const outcome of values.trace ? traced() : outcomes(first, count, jobs, settings)) {
  const { seed, problem, hash, counts, kinds } = outcome
  met.addAll(counts)
  if (problem === undefined && count > 20) continue
  console.log(`seed ${seed}: trace ${hash}, ${counts.events} events; faults: ${kinds.join(', ')}`)
  if (problem === undefined) continue
  failed.push(seed)
  console.log(`  FAILED ${problem}`)
}
const [worst] = failed
if (values.shrink && worst !== undefined) {
  const { settings: small, outcome } = await shrink(worst, settings)
  console.log(`seed ${worst}, made smaller: ${outcome.problem}\n  ${commandOf(worst, small)}`)
}
if (failed.length > 0) console.log(`failed: ${failed.join(' ')}`)
const tookSeconds = ((performance.now() - began) / 1000).toFixed(1)
const told = Object.entries(met.counts).map(([name, value]) => `${value} ${name}`)
console.log(`${told.join(', ')}; ${tookSeconds} s`)
console.log(`${count} seeds, ${failed.length} failures`)
process.exit(failed.length === 0 ? 0 : 1)
