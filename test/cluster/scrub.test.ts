/**
 * Rot that nobody reads: `holdfast scrub` has every server find and mend its own, and says when it cannot.
 *
 * Scenario: three fileservers hold a file. On each another place of a segment is spoiled: bytes of the file, heads of
 * records that follow each other, the segment's first bytes. One scrub, and all have equal bytes again. Then one byte is
 * spoiled everywhere: that is told, and nothing is given up for it.
 */
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { connect } from '../../client/index.ts'
import type { ScrubReport } from '../../protocol/messages/maintenance.ts'
import { withCluster } from '../harness/cluster.ts'
import { until } from '../harness/processes.ts'
import { findBytes, flipByte } from '../harness/rot.ts'
import { makeScratch } from '../harness/scratch.ts'

t.setTimeout(120_000)

const fileBytes = 1024 * 1024
const flippedAt = 500_000
const sampleBytes = 64
/** A segment's header, and of a record's head the part that has its chain. */
const segmentHeaderBytes = 64
const healthyMs = 30_000

type Result = ScrubReport & { readonly address: string; readonly run: number; readonly failure?: string }

t.test('scrub mends what is spoiled on any server, and tells what it cannot mend', async (t) => {
  const { directory, remove } = makeScratch('scrub')
  t.teardown(remove)
  const options = { directory, fileservers: 3, gateways: 0, cldb: { rereplicateAfterMs: 600_000 } }
  await withCluster(t, options, async (cluster) => {
    await cluster.command('volume', 'create', 'main', '--mount', '/')
    const client = await connect({ cldb: [cluster.cldb] })
    t.teardown(() => client.close())
    const content = randomBytes(fileBytes)
    await client.fs.writeFile('/file', content, { flush: true })
    for (let i = 0; i < 50; i++) await client.fs.writeFile(`/small ${i}`, `${i}`)
    await cluster.waitHealthy(healthyMs)

    const scrub = async (...args: readonly string[]): Promise<readonly Result[]> =>
      JSON.parse(await cluster.command('scrub', ...args, '--wait', '--json')).servers
    /** The segments of the container that holds the file's bytes. */
    const sample = content.subarray(flippedAt, flippedAt + sampleBytes)
    const placeOn = (name: string) => findBytes(cluster.poolOf(name), sample)!
    const segmentsOn = (name: string): Buffer => {
      const containers = join(cluster.poolOf(name), 'containers')
      const files = readdirSync(containers, { recursive: true, encoding: 'utf8' }).filter((path) =>
        path.endsWith('.segment'),
      )
      return Buffer.concat(files.sort().map((path) => readFileSync(join(containers, path))))
    }
    const allEqual = (): boolean => {
      const [first, ...others] = cluster.fileservers.map(segmentsOn)
      return others.every((other) => other.equals(first!))
    }

    t.ok(allEqual(), 'replicas are equal to begin with')
    for (const { found, checkedBytes } of await scrub('--all')) {
      t.equal(found, 0, 'nothing is wrong')
      t.ok(checkedBytes > fileBytes, 'all of it was read')
    }

    const begun: readonly Result[] = JSON.parse(await cluster.command('scrub', '--all', '--json')).servers
    const known = async (): Promise<readonly Result[]> =>
      JSON.parse(await cluster.command('scrub', '--status', '--json')).servers
    const isBegun = ({ address, run }: Result): boolean =>
      begun.some((other) => other.address === address && other.run === run)
    await until('the scrub that nobody waited for is done', healthyMs, async () => {
      const found = (await known()).filter(isBegun)
      return found.length === begun.length && found.every(({ done, checkedBytes }) => done && checkedBytes > fileBytes)
    })
    t.match(begun, [{ run: 2 }, { run: 2 }, { run: 2 }], 'it said which it was, and anybody can ask for it')
    t.match(await cluster.command('scrub', '--status'), /RUN +CHECKED +OF/, 'in a table too')

    const [one, two, three] = cluster.fileservers as [string, string, string]
    flipByte(placeOn(one))
    const { path } = placeOn(two)
    const segment = readFileSync(path)
    let head = segmentHeaderBytes
    for (let i = 0; i < 2; i++) {
      flipByte({ path, offset: head + 20 })
      head += segment.readUInt32LE(head + 12) + segment.readUInt32LE(head + 16)
    }
    flipByte({ path: placeOn(three).path, offset: 3 })
    t.notOk(allEqual(), 'now they differ')

    const results = await scrub('--volume', 'main')
    const ofServer = (name: string): Result => results.find(({ address }) => address === cluster.addressOf(name))!
    t.match(ofServer(one), { done: true, found: 1, repaired: 1, remaining: 0, unchecked: 0 }, 'bytes of a file')
    t.match(ofServer(two), { done: true, found: 2, repaired: 2, remaining: 0, unchecked: 0 }, 'heads in a row')
    t.match(
      ofServer(three),
      { done: true, found: 1, repaired: 1, remaining: 0, unchecked: 0 },
      "a segment's first bytes",
    )
    t.ok(allEqual(), 'all are equal again, byte for byte')
    t.ok(content.equals(await client.fs.readFile('/file')), 'and right')

    for (const name of cluster.fileservers) flipByte(placeOn(name))
    const { list } = await cluster.status()
    const container = path.split('/').at(-2)!
    const lost = t.rejects(cluster.command('scrub', '--container', container, '--wait'), /failed/)
    await lost
    const after = await cluster.status()
    t.strictSame(
      after.list.map(({ epoch }) => epoch),
      list.map(({ epoch }) => epoch),
      'no replica is given up for what no other has either',
    )
    await t.rejects(cluster.command('scrub'), /says what to scrub/)
    await t.rejects(cluster.command('scrub', '--status', '--all'), /goes with no other option/)
  })
})
