/**
 * Rot on disk is never read: it is noticed, repaired from another replica, and counted.
 *
 * Scenario: three fileservers hold a file. A byte of it is flipped in the segment of each, each in another block, so
 * that every block has two good copies. Whoever is master finds its own bad block when the file is read, answers with
 * right bytes, and repairs its segment; masters are killed until each server was one. Then a byte in the head of a
 * record is flipped while its server is down: the server notices as it starts, and gets back what is right.
 */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { type Cluster, withCluster } from '../harness/cluster.ts'
import { until } from '../harness/processes.ts'
import { findBytes, flipByte, type Place } from '../harness/rot.ts'
import { makeScratch } from '../harness/scratch.ts'

t.setTimeout(180_000)

const fileBytes = 1024 * 1024
/** Beyond the bytes that live with the name, and far from each other. */
const flippedAt = [200_000, 500_000, 800_000]
const sampleBytes = 64
const healthyMs = 30_000
const failoversMax = 12

t.test('rot is repaired and never read', async (t) => {
  const { directory, remove } = makeScratch('rot')
  t.teardown(remove)
  const options = { directory, fileservers: 3, gateways: 0, cldb: { rereplicateAfterMs: 600_000 } }
  await withCluster(t, options, async (cluster) => {
    await cluster.command('volume', 'create', 'main', '--mount', '/')
    const client = await connect({ cldb: [cluster.cldb] })
    t.teardown(() => client.close())
    const content = randomBytes(fileBytes)
    await client.fs.writeFile('/file', content, { flush: true })
    await cluster.waitHealthy(healthyMs)

    const sample = (index: number): Buffer => content.subarray(flippedAt[index]!, flippedAt[index]! + sampleBytes)
    const placeOf = (index: number): Place | undefined =>
      findBytes(cluster.poolOf(cluster.fileservers[index]!), sample(index))
    for (const index of flippedAt.keys()) {
      const place = placeOf(index)
      if (place === undefined) throw new Error(`${cluster.fileservers[index]} does not hold the file`)
      flipByte(place)
      t.equal(placeOf(index), undefined, `the bytes at ${flippedAt[index]} rot on ${cluster.fileservers[index]}`)
    }

    const repaired = new Set<string>()
    for (let failover = 0; repaired.size < flippedAt.length && failover < failoversMax; failover++) {
      t.ok(content.equals(await client.fs.readFile('/file')), 'what is read is what was written')
      for (const index of flippedAt.keys()) {
        const name = cluster.fileservers[index]!
        if (placeOf(index) === undefined || repaired.has(name)) continue
        repaired.add(name)
        await counted(cluster, name)
        t.pass(`${name} repaired its segment, and counts it`)
      }
      const last = [...repaired].at(-1)
      if (last === undefined) throw new Error('a read found no rot, though every replica has some')
      if (repaired.size === flippedAt.length) break
      // Others become masters, at random, of what the repaired ones were masters of.
      await cluster.kill(last)
      t.ok(content.equals(await client.fs.readFile('/file')), `what is read is what was written, without ${last}`)
      await cluster.start(last)
      await cluster.waitHealthy(healthyMs)
    }
    t.equal(repaired.size, flippedAt.length, 'every server has repaired its own rot')
  })
})

/** Waits until the status shows rot of this server, found and repaired. */
async function counted(cluster: Cluster, name: string): Promise<void> {
  await until(`the status counts the rot of ${name}`, 5000, async () => {
    const { servers } = await cluster.status()
    const counters = servers.find(({ address }) => address === cluster.addressOf(name))!.counters
    return counters.corruptBlocks > 0 && counters.repairedBlocks > 0
  })
}
