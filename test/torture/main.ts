/**
 * `npm run torture -- [--minutes N] [--seed S] [--only kill,pause] [--keep] [--plan]`
 *
 * Tortures a cluster of real processes for N minutes by the faults that follow from the seed. `--plan` prints them and
 * ends, `--keep` leaves the directory. The last line has the counts (report.ts) and ends with `P problems`; the exit code
 * is 0 when P is.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { report, summary } from './report.ts'
import { torture } from './run.ts'
import { type FaultKind, faultKinds, schedule } from './schedule.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string', default: String(Date.now() % 100_000) },
    only: { type: 'string' },
    plan: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
})
const seed = Number(values.seed)
const lengthMs = Number(values.minutes) * 60_000
const kinds = (values.only?.split(',') ?? faultKinds) as FaultKind[]
const unknown = kinds.filter((kind) => !faultKinds.includes(kind))
if (unknown.length > 0 || !Number.isSafeInteger(seed) || !(lengthMs > 0)) {
  console.error(`faults are ${faultKinds.join(', ')}; minutes and seed are numbers`)
  process.exit(2)
}
if (values.plan) {
  for (const fault of schedule(seed, lengthMs, 6, kinds)) console.log(JSON.stringify(fault))
  process.exit(0)
}

const directory = mkdtempSync(join(tmpdir(), 'holdfast-torture-'))
const print = (line: string): void => console.log(`${new Date().toISOString().slice(11, 19)} ${line}`)
print(`seed ${seed}, ${values.minutes} minutes, in ${directory}`)
const outcome = await torture({ seed, lengthMs, kinds, directory, print })
const good = outcome.problems.length === 0
for (const line of report(outcome)) console.log(line)
if (good && !values.keep) rmSync(directory, { recursive: true, force: true })
else {
  console.log(`kept: ${directory}: run.log (faults and problems), SERVER.log, WORKER.ledger (operations), SERVER.ext4`)
  console.log(
    `again: npm run torture -- --seed ${seed} --minutes ${values.minutes}${values.only ? ` --only ${values.only}` : ''}`,
  )
}
console.log(summary(outcome))
process.exit(good ? 0 : 1)
