/**
 * Servers are taken out of service and back while files are written and read, as docs/operations.md tells administrators.
 *
 * Scenario: four fileservers, three copies of everything, a load that writes files and reads them back. One server is
 * drained and rejoins. One is killed and stays away: after `--rereplicate-after` its copies are on the one that was
 * drained. One is put into maintenance and stays away for longer than that: its copies are not made anew, and it comes
 * back to them. No write or read fails.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type Client, connect } from '../../client/index.ts'
import { type Cluster, withCluster } from '../harness/cluster.ts'
import { bytesOf } from '../harness/ledger.ts'
import { until } from '../harness/processes.ts'
import { makeScratch } from '../harness/scratch.ts'

t.setTimeout(240_000)

const graceMs = 5000
const withinMs = 60_000
const fileBytes = 128 * 1024
const gapMs = 30

t.test('drain, rejoin, loss and maintenance cost no copy and no call', async (t) => {
  const { directory, remove } = makeScratch('modes')
  t.teardown(remove)
  // What the command is told counts, and not the file's.
  const grace = { cldb: { rereplicateAfterMs: 600_000 }, cldbOptions: ['--rereplicate-after', `${graceMs}ms`] }
  await withCluster(t, { directory, fileservers: 4, gateways: 0, ...grace }, async (cluster) => {
    await cluster.command('volume', 'create', 'main', '--mount', '/', '--chunk-size', '256K')
    const client = await connect({ cldb: [cluster.cldb] })
    t.teardown(() => client.close())
    const load = startLoad(client)
    const [one, two, three] = cluster.fileservers as [string, string, string]
    const node = (...args: readonly string[]): Promise<string> => cluster.command('node', ...args)
    await load.goesOn()
    await cluster.waitHealthy(withinMs)

    await t.test('a drained server has nothing, and rejoins', async (t) => {
      t.match(await node('drain', cluster.addressOf(one)), /draining|drained/, 'the command says what it does')
      await until('the server is drained', withinMs, async () => (await serverOf(cluster, one)).replicas === 0, 250)
      t.match(await node('list'), /drained/, 'the list says so')
      await load.goesOn()
      await cluster.waitHealthy(withinMs)
      t.strictSame(await containersOn(cluster, one), [], 'every container has all its copies on the others')
      t.match(await node('rejoin', cluster.addressOf(one)), /alive$/m, 'the command says so')
      t.match(await serverOf(cluster, one), { mode: 'normal', state: 'alive' }, 'it takes part again')
    })

    await t.test('a lost server is replaced after the grace time', async (t) => {
      const lost = await containersOn(cluster, two)
      await cluster.kill(two)
      await cluster.waitHealthy(withinMs)
      t.equal((await serverOf(cluster, two)).state, 'dead', 'then it counts as dead')
      const held = await containersOn(cluster, one)
      t.strictSame(
        lost.filter((container) => !held.includes(container)),
        [],
        'by the one that rejoined',
      )
      await load.goesOn()
      await cluster.start(two)
      await until('what it held is removed', withinMs, async () => isFree(await serverOf(cluster, two)), 250)
    })

    await t.test('a server in maintenance is waited for', async (t) => {
      const held = await containersOn(cluster, three)
      const before = await containersOn(cluster, two)
      t.match(
        await node('maintenance', cluster.addressOf(three), '--for', '10m'),
        /maintenance for 10 min/,
        'the command says for how long',
      )
      await until(
        'it may be stopped',
        withinMs,
        async () => {
          const { masters, needed } = await serverOf(cluster, three)
          return masters === 0 && needed === 0
        },
        250,
      )
      t.match(await node('list'), /may be stopped/, 'the list says so')
      await cluster.kill(three)
      await sleep(2 * graceMs)
      t.match(await serverOf(cluster, three), { mode: 'maintenance', state: 'silent' }, 'it does not count as dead')
      t.strictSame(await containersOn(cluster, two), before, 'none of its copies was made anew, though there was room')
      await load.goesOn()
      await cluster.start(three)
      await node('rejoin', cluster.addressOf(three))
      await cluster.waitHealthy(withinMs)
      t.strictSame(await containersOn(cluster, three), held, 'and it comes back to them')
    })

    await load.end(t)
  })
})

type Load = { readonly goesOn: () => Promise<void>; readonly end: (t: Test) => Promise<void> }

/** Writes files and reads each back, one after the other. */
function startLoad({ fs }: Client): Load {
  let stopping = false
  let count = 0
  const contentOf = (index: number): Buffer => bytesOf(`file-${index}`, 1, fileBytes)
  const isThere = async (index: number): Promise<boolean> =>
    contentOf(index).equals(await fs.readFile(`/file-${index}`))
  const run = async (): Promise<void> => {
    for (; !stopping; count++) {
      await fs.writeFile(`/file-${count}`, contentOf(count), { flush: true })
      if (!(await isThere(count))) throw new Error(`/file-${count} is not what was written`)
      await sleep(gapMs)
    }
  }
  const running = run()
  running.catch(() => undefined)
  const enough = async (least: number): Promise<void> => {
    await Promise.race([running, until('files are written and read', withinMs, () => count >= least)])
  }
  return {
    goesOn: () => enough(count + 10),
    end: async (t) => {
      stopping = true
      await running
      for (let index = 0; index < count; index++) if (!(await isThere(index))) t.fail(`/file-${index} is wrong`)
      t.pass(`all ${count} files are what was written`)
    },
  }
}

async function serverOf(cluster: Cluster, name: string) {
  const { servers } = await cluster.status()
  return servers.find(({ address }) => address === cluster.addressOf(name))!
}

const isFree = ({ state, replicas }: Awaited<ReturnType<typeof serverOf>>): boolean =>
  state === 'alive' && replicas === 0

/** Those of which the server has a replica in any state, in order. */
async function containersOn(cluster: Cluster, name: string): Promise<readonly number[]> {
  const { list, servers } = await cluster.status()
  const { server } = servers.find(({ address }) => address === cluster.addressOf(name))!
  return list
    .filter(({ inSync, resyncing }) => [...inSync, ...resyncing].includes(server))
    .map(({ container }) => container)
}
