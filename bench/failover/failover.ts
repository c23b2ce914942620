/**
 * `npm run bench -- failover`: how long is nothing served when a master is killed under load?
 *
 * Not pure; prints its seed, of when each is killed. Five fileservers with the default settings, three copies. In each
 * trial the master of the names gets SIGKILL, which masters some of the data too; then it returns.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import Table from 'cli-table3'
import { randomFrom } from '../../cldb/placement.ts'
import { type Client, connect } from '../../client/index.ts'
import { control } from '../../protocol/messages/control.ts'
import { makeVolume, startCluster } from '../cluster.ts'
import { median, quantile } from '../measure.ts'
import { isReplicated, stateOf, statusOf, until } from '../resync/watch.ts'
import type { Findings, Scene } from '../scene.ts'
import { type Load, startLoad, type Waits } from './load.ts'

export type FailoverOptions = { readonly trials?: number; readonly seed?: number }

const fileservers = 5
const trialsDefault = 50
const trialsQuick = 3
const budgetMs = 3000
/** Watched after each kill: longer than the budget, so that a miss is seen. */
const watchedMs = 3200
const watchedMsMax = 60_000
/** Up to so long the cluster works between its recovery and the next kill. */
const calmMsMax = 1000
const callMs = 10_000
const seeds = 2 ** 32

export async function failover(scene: Scene, options: FailoverOptions): Promise<Findings> {
  const { trials = scene.quick ? trialsQuick : trialsDefault, seed = Math.floor(Math.random() * seeds) } = options
  const random = randomFrom(seed / seeds)
  const cluster = await startCluster({ directory: scene.directory, fileservers })
  scene.undo(cluster.stop)
  const client = await connect({ cldb: [cluster.cldb] })
  scene.undo(client.close)
  await makeVolume(client, 'bench', '/', 2 ** 20)
  const load = await startLoad(client.fs, '/load')

  const waits: Waits[] = []
  for (let trial = 1; trial <= trials; trial++) {
    await sleep(500 + random() * calmMsMax)
    const address = await masterOfNames(client)
    const victim = cluster.fileservers.find((fileserver) => fileserver.address === address)
    if (victim === undefined) throw new Error(`the master of the names is at ${address}, which is no server of ours`)
    load.reset()
    await victim.kill()
    await served(load)
    waits.push(load.waits())
    await victim.restart()
    await until(client, 'the server is back', (status) => stateOf(status, victim.address) === 'alive')
    await until(client, 'all copies are there again', isReplicated)
    const { gapMs, longestMs } = waits.at(-1)!
    scene.say(`trial ${trial} of ${trials}: nothing for ${ms(gapMs)}, the longest operation ${ms(longestMs)}`)
  }
  const operations = load.acknowledged()
  await load.stop()
  return { text: page(waits, operations, seed), figures: figuresOf(waits, operations, seed) }
}

/** Watches the load for a while, and until nothing waits any more for what the kill began. */
async function served(load: Load): Promise<void> {
  const endMs = performance.now() + watchedMsMax
  await sleep(watchedMs)
  for (;;) {
    const before = load.waits().longestMs
    await sleep(100)
    // An operation that still waits makes the longest wait grow.
    if (load.waits().longestMs === before) return
    if (performance.now() > endMs) throw new Error(`no service for ${watchedMsMax} ms`)
  }
}

async function masterOfNames(client: Client): Promise<string | undefined> {
  const request = { volume: 'bench', after: 0 as never, limit: 1000, underReplicated: false }
  const { locations } = await client.cldb.call(control.calls.containers, request, callMs)
  const master = locations.find(({ kind }) => kind === 'name')?.master
  return (await statusOf(client)).servers.find(({ server }) => server === master)?.address
}

const ms = (value: number): string => `${Math.round(value)} ms`

const summary = (values: readonly number[]) => ({
  median: median(values),
  p90: quantile(values, 0.9),
  worst: Math.max(...values),
})

function figuresOf(waits: readonly Waits[], operations: number, seed: number): object {
  return {
    seed,
    trials: waits.length,
    operations,
    gapMs: summary(waits.map(({ gapMs }) => gapMs)),
    longestMs: summary(waits.map(({ longestMs }) => longestMs)),
    waits,
  }
}

function page(waits: readonly Waits[], operations: number, seed: number): string {
  const table = new Table({
    head: ['after SIGKILL of a master', 'median', 'p90', 'worst', 'goal', ''],
    style: { head: [], border: [] },
  })
  for (const [title, key] of [
    ['nothing was acknowledged for', 'gapMs'],
    ['the longest operation took', 'longestMs'],
  ] as const) {
    const { median, p90, worst } = summary(waits.map((wait) => wait[key]))
    const reached = worst <= budgetMs ? 'reached' : 'MISSED'
    table.push([title, ms(median), ms(p90), ms(worst), `worst <= ${ms(budgetMs)}`, reached])
  }
  const title = `${waits.length} trials, seed ${seed}; ${operations} operations acknowledged, none failed.`
  return `${title}\n${table.toString()}`
}
