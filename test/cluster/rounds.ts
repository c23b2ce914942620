/**
 * Crash rounds: load, everything dies at once, everything returns in another order, every acknowledged write is looked for.
 *
 * Not pure. Whoever calls it says what a crash is: SIGKILL of all processes, or a power cut under them.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { connect } from '../../client/index.ts'
import { type Cluster, withCluster } from '../harness/cluster.ts'
import { openHardClient } from '../harness/hard-client.ts'
import { openLedger } from '../harness/ledger.ts'
import { lengthOf, prepare, startLoad, verify } from '../harness/writers.ts'

export type Rounds = {
  readonly rounds: number
  /** Where the cluster's data are. */
  readonly directory: string
  /** Where the ledger, the configuration and the logs are: outside of what crashes. */
  readonly outside: string
  /** Ends every process at once; what is on disk then stays as a crash would leave it. */
  readonly crash: (cluster: Cluster) => Promise<void>
}

const loadMs = { least: 700, spread: 800 }
/** Each round makes at most so many small files, so that looking for all of them stays quick. */
const createdMax = 400
const healthyMs = 30_000

/** @throws when the cluster does not come up. Makes the test fail for every broken promise. */
export function crashRounds(t: Test, options: Rounds): Promise<void> {
  const { directory, outside } = options
  return withCluster(t, { directory, outside }, (cluster) => run(t, options, cluster))
}

async function run(t: Test, { outside, ...options }: Rounds, cluster: Cluster): Promise<void> {
  await cluster.command('volume', 'create', 'main', '--mount', '/', '--chunk-size', '4M')
  const ledger = openLedger(join(outside, 'acknowledged'), lengthOf)
  const client = await connect({ cldb: [cluster.cldb] })
  const nfs = openHardClient(cluster.gateways[0]!)
  t.teardown(async () => {
    await nfs.close()
    await client.close()
  })
  await prepare(client)
  const masters = new Set<string>()
  for (let round = 1; round <= options.rounds; round++) {
    const before = ledger.acknowledged()
    const load = startLoad({ client, nfs, ledger, round, createdMax })
    let acknowledged = 0
    let begin = 0
    try {
      await sleep(loadMs.least + Math.random() * loadMs.spread)
      await options.crash(cluster)
      acknowledged = ledger.acknowledged() - before
      begin = performance.now()
      await returnInAnyOrder(cluster)
    } finally {
      load.stop()
    }
    const failures = await load.stopped
    const returnedMs = performance.now() - begin

    // A client that has seen nothing of all this.
    const fresh = await connect({ cldb: [cluster.cldb] })
    const broken = await verify(fresh, ledger)
    await fresh.close()
    masters.add(await masterOfNames(cluster))
    t.strictSame(
      broken.slice(0, 5),
      [],
      `round ${round}: each of ${ledger.acknowledged()} acknowledged writes is there`,
    )
    t.ok(acknowledged > 0, `round ${round}: ${acknowledged} writes were acknowledged before the crash`)
    const met = [...failures].map(([code, count]) => `${code} ${count}`).join(', ')
    t.comment(`round ${round}: served again after ${Math.round(returnedMs)} ms; failures: ${met || 'none'}`)
  }
  t.ok(masters.size > 1, `the names had ${masters.size} masters over the rounds`)
  t.comment(`healthy after ${Math.round(await cluster.waitHealthy(healthyMs))} ms`)
}

async function returnInAnyOrder(cluster: Cluster): Promise<void> {
  const servers = ['cldb', ...cluster.fileservers, 'nfsd-1']
  await Promise.all(
    servers.map(async (server) => {
      await sleep(Math.random() * 300)
      await cluster.start(server)
    }),
  )
}

async function masterOfNames(cluster: Cluster): Promise<string> {
  const { list } = await cluster.status()
  return list.find(({ kind }) => kind === 'name')?.master ?? 'none'
}
