/**
 * Rot on disk is never read: it is noticed, repaired from another replica, and counted.
 *
 * Scenario: three fileservers hold a file. A byte of it is flipped in the segment of each, each in another block, so
 * that every block has two good copies. Whoever is master finds its own bad block when the file is read, answers with
 * right bytes, and repairs its segment; masters are killed until each server was one. Then a byte of the checksums that
 * stand before the file's bytes is flipped on one server, while it is down: what it remembered would be right.
 */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { payloadSums } from '../../protocol/hash.ts'
import { inlineBytesMax, sumBlockBytes } from '../../protocol/messages/attributes.ts'
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

/** What rots, by fileserver: whether it was put right. */
type Rot = ReadonlyMap<string, () => boolean>

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

    /** Where a server holds the file's bytes from `offset` on. */
    const placeOf = (name: string, offset: number): Place => {
      const place = findBytes(cluster.poolOf(name), content.subarray(offset, offset + sampleBytes))
      if (place === undefined) throw new Error(`${name} does not hold the bytes at ${offset}`)
      return place
    }
    const read = async (when: string): Promise<void> => {
      t.ok(content.equals(await client.fs.readFile('/file')), `what is read is what was written, ${when}`)
    }

    /** Reads, with one master after the other, until every server has put its rot right. */
    async function readUntilRepaired(rot: Rot): Promise<void> {
      for (let failover = 0; failover < failoversMax; failover++) {
        const before = rotten()
        await read(before.length === 0 ? 'with no rot left' : `with rot on ${before.join(', ')}`)
        const left = rotten()
        // Counters begin anew when a server does: they are looked at before anyone is killed.
        for (const name of before.filter((name) => !left.includes(name))) await counted(cluster, name)
        if (left.length === 0) return
        // Somebody else becomes master of what a server without rot may be master of.
        const sound = cluster.fileservers.filter((name) => !left.includes(name))
        const victim = sound[failover % sound.length]
        if (victim === undefined) throw new Error('a read found no rot, though every replica has some')
        await cluster.kill(victim)
        await read(`without ${victim}`)
        await cluster.start(victim)
        await cluster.waitHealthy(healthyMs)
      }
      t.fail(`still rotten: ${rotten().join(', ')}`)

      function rotten(): readonly string[] {
        return [...rot].filter(([, repaired]) => !repaired()).map(([name]) => name)
      }
    }

    await readUntilRepaired(
      new Map(cluster.fileservers.map((name, index) => [name, flipByte(placeOf(name, flippedAt[index]!))])),
    )
    t.pass('each server has repaired its bytes, and counted it')

    const first = cluster.fileservers[0]!
    await cluster.kill(first)
    const block = content.subarray(inlineBytesMax, inlineBytesMax + sumBlockBytes)
    const place = findBytes(cluster.poolOf(first), payloadSums([block], block.length))
    if (place === undefined) throw new Error('the sum of a block does not stand where it was')
    const repaired = flipByte(place)
    await cluster.start(first)
    await cluster.waitHealthy(healthyMs)
    await readUntilRepaired(new Map([[first, repaired]]))
    t.pass('so are the checksums of a record')
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
