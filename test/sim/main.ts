/**
 * `npm run sim -- [--seed N] [--seeds COUNT] [--seconds S] [--only crash,pause] [--trace]`
 *
 * Runs COUNT seeds from N on. The last line is `COUNT seeds, F failures`; the exit code is 0 when F is.
 */
import { parseArgs } from 'node:util'
import type { FaultName } from './faults.ts'
import { type MutationName, mutations } from './mutants/mutations.ts'
import { run } from './run.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '10' },
    only: { type: 'string' },
    mutation: { type: 'string' },
    trace: { type: 'boolean', default: false },
  },
})
const first = Number(values.seed)
const count = Number(values.seeds)
const only = values.only?.split(',') as FaultName[] | undefined
const mutation = values.mutation === undefined ? undefined : mutations[values.mutation as MutationName]
const print = values.trace ? (line: string) => console.log(line) : undefined
const totals = new Map<string, number>()
const failed: number[] = []
const began = performance.now()
for (let seed = first; seed < first + count; seed++) {
  const { problem, hash, counts, kinds } = await run({
    seed,
    safetyMs: Number(values.seconds) * 1000,
    only,
    mutation,
    ...(print && { print }),
  })
  for (const [name, value] of Object.entries(counts)) totals.set(name, (totals.get(name) ?? 0) + value)
  if (problem === undefined && count > 20) continue
  console.log(`seed ${seed}: trace ${hash}, ${counts.events} events; faults: ${kinds.join(', ')}`)
  if (problem === undefined) continue
  failed.push(seed)
  console.log(`  FAILED ${problem.message}`)
}
const seconds = ((performance.now() - began) / 1000).toFixed(1)
console.log(`${[...totals].map(([name, value]) => `${value} ${name}`).join(', ')}; ${seconds} s`)
if (failed.length > 0) console.log(`failed: ${failed.join(' ')}`)
console.log(`${count} seeds, ${failed.length} failures`)
process.exit(failed.length === 0 ? 0 : 1)
