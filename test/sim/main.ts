/**
 * `npm run sim -- [--seed N] [--seeds COUNT] [--jobs J] [--seconds S] [--clients C] [--only crash,pause] [--keep 1,2]
 * [--mutation NAME] [--trace] [--shrink]`
 *
 * Runs COUNT seeds from N on, in J processes (as many as there are cores). The last line but one tells what was met, the
 * last one is `COUNT seeds, F failures`; the exit code is 0 when F is. `--shrink` makes the first run that fails smaller.
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import type { FaultName } from './faults.ts'
import { outcomes } from './jobs.ts'
import type { MutationName } from './mutants/mutations.ts'
import { type Outcome, run, type Settings, usual } from './run.ts'
import { commandOf, shrink } from './shrink.ts'
import { Tally } from './world/tally.ts'

const { values } = parseArgs({
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
const first = Number(values.seed)
const count = Number(values.seeds)
const settings: Settings = {
  safetyMs: Number(values.seconds) * 1000,
  clients: Number(values.clients),
  only: values.only?.split(',') as FaultName[] | undefined,
  keep: values.keep
    ?.split(',')
    .map(Number)
    .filter((number) => number > 0),
  mutation: values.mutation as MutationName | undefined,
}

async function* traced(): AsyncGenerator<Outcome> {
  for (let seed = first; seed < first + count; seed++) yield await run(seed, settings, (line) => console.log(line))
}

const met = new Tally()
const failed: number[] = []
const began = performance.now()
for await (const outcome of values.trace ? traced() : outcomes(first, count, Number(values.jobs), settings)) {
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
const seconds = ((performance.now() - began) / 1000).toFixed(1)
const told = Object.entries(met.counts).map(([name, value]) => `${value} ${name}`)
console.log(`${told.join(', ')}; ${seconds} s`)
console.log(`${count} seeds, ${failed.length} failures`)
process.exit(failed.length === 0 ? 0 : 1)
