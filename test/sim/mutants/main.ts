/**
 * `npm run sim:mutants [-- --seeds LIMIT]`: shows that the simulator finds mistakes (mutations.ts).
 *
 * Runs each until a seed catches it, and prints the table; exits 0 only when all were caught within LIMIT seeds.
 */
import { given, number, some } from '../arguments.ts'
import { run, usual } from '../run.ts'
import { type Mutation, type MutationName, mutations } from './mutations.ts'

const values = given({
  options: {
    seeds: { type: 'string', default: '300' },
    only: { type: 'string' },
  },
})
const all = Object.keys(mutations) as MutationName[]
const limit = number('seeds', values.seeds, 1)
const names = values.only === undefined ? all : some('only', values.only, all)
let missed = 0
for (const name of names) {
  const mutation: Mutation = mutations[name]
  const began = performance.now()
  let found: string | undefined
  for (let seed = 1; seed <= limit && found === undefined; seed++) {
    const { problem } = await run(seed, { ...usual, mutation: name, only: mutation.faults })
    if (problem !== undefined) found = `caught at seed ${seed}: ${problem.split('\n')[0]!.slice(0, 110)}`
  }
  if (found === undefined) missed += 1
  const seconds = ((performance.now() - began) / 1000).toFixed(0)
  console.log(`${name.padEnd(22)} ${mutation.means}\n    ${found ?? `NOT CAUGHT in ${limit} seeds`} (${seconds} s)`)
}
console.log(`${names.length} mutations, ${missed} not caught`)
process.exit(missed === 0 ? 0 : 1)
