/**
 * A server whose disk has no room takes no copies, and starts again; when there is room, it has everything.
 *
 * Scenario: three fileservers, one of them on a small ext4 of its own. While this one is down the others take more than
 * its disk may take: back again, it is brought up to its reserve and no further. Then its disk is filled to the last byte
 * while it is down: it gives up its spare files and starts. Filled once more, it says what it lacks. With room again,
 * it is in sync with all there is.
 */
import { existsSync, rmSync, statfsSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { withCluster } from '../harness/cluster.ts'
import { bytesOf } from '../harness/ledger.ts'
import { needs } from '../harness/needs.ts'
import { fillDisk, makeLoopDisk } from '../harness/power.ts'
import { until } from '../harness/processes.ts'
import { makeScratch } from '../harness/scratch.ts'

t.setTimeout(180_000)

const MiB = 1024 * 1024
const diskBytes = 320 * MiB
const reserveBytes = 32 * MiB
const fileBytes = 4 * MiB
const healthyMs = 60_000

t.test('a full disk is left room in by copies, and does not keep its server down', needs('root', 'loop'), async (t) => {
  const { directory, remove } = makeScratch('no-room')
  t.teardown(remove)
  const disk = makeLoopDisk(directory, 'small', diskBytes)
  t.teardown(disk.remove)
  const pool = (index: number): string | undefined => (index === 1 ? join(disk.directory, 'pool') : undefined)
  const options = { directory, pool, reserveBytes, fileservers: 3, gateways: 0 }
  await withCluster(t, options, async (cluster) => {
    const small = cluster.fileservers[0]!
    const spares = ['spare', 'spare-start'].map((name) => join(cluster.poolOf(small), name))
    const filler = join(disk.directory, 'filler')
    const freeBytes = (): number => {
      const { bsize, bavail } = statfsSync(disk.directory)
      return bsize * bavail
    }
    const state = async () => {
      const { servers } = await cluster.status()
      return servers.find(({ address }) => address === cluster.addressOf(small))!
    }
    await cluster.command('volume', 'create', 'main', '--mount', '/', '--chunk-size', '1M')
    const client = await connect({ cldb: [cluster.cldb] })
    t.teardown(() => client.close())
    const written: string[] = []
    const write = async (name: string): Promise<void> => {
      await client.fs.writeFile(`/${name}`, bytesOf(name, 1, fileBytes), { flush: true })
      written.push(name)
    }
    const isWhole = async (): Promise<boolean> => {
      for (const name of written)
        if (!bytesOf(name, 1, fileBytes).equals(await client.fs.readFile(`/${name}`))) return false
      return true
    }
    for (let i = 0; i < 4; i++) await write(`before-${i}`)
    const spared = (): boolean => spares.every((spare) => existsSync(spare))
    await until('there are spare files', healthyMs, spared)

    await cluster.kill(small)
    for (let i = 0; i < 24; i++) await write(`meanwhile-${i}`)
    fillDisk(filler)
    truncateSync(filler, statSync(filler).size - reserveBytes - 16 * MiB)
    await cluster.start(small)
    await until('the disk is full', healthyMs, async () => (await state()).full)
    let leastBytes = freeBytes()
    for (let i = 0; i < 30; i++) {
      await sleep(200)
      leastBytes = Math.min(leastBytes, freeBytes())
    }
    t.comment(`a resync left ${(leastBytes / MiB).toFixed(1)} MiB of the ${reserveBytes / MiB} that are kept`)
    t.ok(leastBytes > reserveBytes / 2, 'copies leave the reserve alone')
    t.ok(cluster.running(small), 'the server goes on')
    t.ok(await isWhole(), 'every file can be read')

    await cluster.kill(small)
    fillDisk(filler)
    t.equal(freeBytes(), 0)
    await cluster.start(small)
    await until('the server is alive', healthyMs, async () => (await state()).state === 'alive')
    t.ok((await state()).full)
    t.notOk(spared(), 'it gave up what it kept for that')
    await cluster.kill(small)
    for (const spare of spares) rmSync(spare, { force: true })
    fillDisk(filler)
    await t.rejects(cluster.start(small), /NO_SPACE.*is full: its index needs/s, 'without one it says what it lacks')

    rmSync(filler)
    await cluster.start(small)
    await cluster.waitHealthy(healthyMs)
    t.ok(await isWhole(), 'with room again, it is in sync with all there is')
    t.notOk((await state()).full)
    await until('the spare files are back', healthyMs, spared)
  })
})
