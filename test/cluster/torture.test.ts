/**
 * A short torture of a whole cluster: see test/torture/README.md.
 *
 * Scenario: six fileservers and a CLDB, each with a namespace and a disk of its own; three workers write, append, rename, remove and
 * read while servers are killed, stopped and drained, links cut, disks filled and rotten, and the power goes. Everything that was
 * acknowledged is there at the end, all replicas are identical, and nothing is left that no configuration or file names.
 */
import t from 'tap'
import { needs } from '../harness/needs.ts'
import { makeScratch } from '../harness/scratch.ts'
import { report, summary } from '../torture/report.ts'
import { torture } from '../torture/run.ts'
import { faultKinds } from '../torture/schedule.ts'

t.setTimeout(600_000)

/** Eleven kinds of faults in half a minute. */
const seed = Number(process.env.SEED ?? 2796)
const lengthMs = 30_000

t.test('half a minute of torture breaks no promise', needs('root', 'loop', 'namespaces'), async (t) => {
  const { directory, remove } = makeScratch('torture')
  t.teardown(remove)
  const outcome = await torture({ seed, lengthMs, kinds: faultKinds, directory, print: () => undefined })
  for (const line of report(outcome)) t.comment(line)
  t.strictSame(outcome.problems, [], `SEED=${seed}: ${summary(outcome)}`)
  t.ok(Object.keys(outcome.counts.operations).length > 8, 'operations of all kinds were acknowledged')
  t.ok(outcome.changes.masters > 0, 'and masters changed')
})
