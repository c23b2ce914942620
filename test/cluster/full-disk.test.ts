/**
 * A full disk costs nothing but space: the cluster goes on elsewhere or says ENOSPC, and goes on when space returns.
 *
 * Scenario: four fileservers, one of them on a small ext4 of its own. Something else fills this disk to the last byte
 * while files are written. Each file is either written, and then read back, or refused with NO_SPACE. When the disk
 * has room again, writes succeed, and every container has its full in-sync set. Then all pools are on the full disk:
 * writes are refused at once, what was written can be read and removed, and writes succeed when there is room again.
 */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { type Client, connect } from '../../client/index.ts'
import { Failure } from '../../protocol/failures.ts'
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

t.test('a full disk loses nothing, and the cluster goes on when space returns', needs('root', 'loop'), async (t) => {
  const { directory, remove } = makeScratch('full')
  t.teardown(remove)
  const disk = makeLoopDisk(directory, 'small', diskBytes)
  t.teardown(disk.remove)
  const pool = (index: number): string | undefined => (index === 1 ? join(disk.directory, 'pool') : undefined)
  await withCluster(t, { directory, pool, reserveBytes, gateways: 0 }, async (cluster) => {
    await cluster.command('volume', 'create', 'main', '--mount', '/', '--chunk-size', '1M')
    const client = await connect({ cldb: [cluster.cldb] })
    t.teardown(() => client.close())
    const written: string[] = []
    const refused: string[] = []
    const write = async (name: string): Promise<void> => {
      try {
        await client.fs.writeFile(`/${name}`, bytesOf(name, 1, fileBytes), { flush: true })
        written.push(name)
      } catch (error) {
        if (!(error instanceof Failure) || error.failure !== 'NO_SPACE') throw error
        refused.push(name)
      }
    }
    for (let i = 0; i < 8; i++) await write(`before-${i}`)
    t.strictSame(refused, [], 'there is space at first')

    const filler = join(disk.directory, 'filler')
    fillDisk(filler)
    // Now, and not later: what is moved from it to emptier disks gives it room again.
    const anyFull = async (): Promise<boolean> => (await cluster.status()).servers.some(({ full }) => full)
    await until('the status shows that a server is full', healthyMs, anyFull, 100)
    for (let i = 0; i < 16; i++) await write(`during-${i}`)
    t.comment(`with one full disk: ${refused.length} of 16 files were refused with NO_SPACE`)
    t.strictSame(await differing(client, written), [], 'every file that was written is read back')

    rmSync(filler)
    await sleep(1000)
    refused.length = 0
    for (let i = 0; i < 8; i++) await write(`after-${i}`)
    t.strictSame(refused, [], 'with space again, every write succeeds')
    await cluster.waitHealthy(healthyMs)
    t.strictSame(await differing(client, written), [], 'every file is what was written')
    t.notOk(await anyFull(), 'no server is full any more')
  })
})

t.test('when every disk is full, writes say so and all else goes on', needs('root', 'loop'), async (t) => {
  const { directory, remove } = makeScratch('all-full')
  t.teardown(remove)
  const disk = makeLoopDisk(directory, 'small', diskBytes)
  t.teardown(disk.remove)
  const pool = (index: number): string => join(disk.directory, `pool-${index}`)
  // Three pools share the disk: so each has to leave the room for three indexes and logs.
  await withCluster(
    t,
    { directory, pool, reserveBytes: 3 * reserveBytes, fileservers: 3, gateways: 0 },
    async (cluster) => {
      await cluster.command('volume', 'create', 'main', '--mount', '/', '--chunk-size', '1M')
      const client = await connect({ cldb: [cluster.cldb] })
      t.teardown(() => client.close())
      const write = (name: string): Promise<void> =>
        client.fs.writeFile(`/${name}`, bytesOf(name, 1, fileBytes), { flush: true })
      await write('first')
      await write('second')
      const filler = join(disk.directory, 'filler')
      fillDisk(filler)
      await t.rejects(write('third'), { failure: 'NO_SPACE', code: 'ENOSPC' })
      await t.rejects(client.fs.writeFile('/small', 'x'), { failure: 'NO_SPACE', code: 'ENOSPC' })
      t.strictSame(await differing(client, ['first']), [], 'what was written can be read')
      await client.fs.rm('/second')
      t.pass('what was written can be removed')

      rmSync(filler)
      await until('the next write succeeds', healthyMs, () => write('fourth').then(...settled), 250)
      await cluster.waitHealthy(healthyMs)
      t.strictSame(await differing(client, ['first', 'fourth']), [], 'every file is what was written')

      const own: string[] = []
      while (own.length * fileBytes < diskBytes && (await write(`own-${own.length}`).then(...settled)))
        own.push(`own-${own.length}`)
      t.ok(own.length * fileBytes < diskBytes, `our own files fill the disk: the ${own.length + 1}th was refused`)
      t.strictSame(await differing(client, own), [], 'those before are what was written')
      for (const name of own) await client.fs.rm(`/${name}`)
      await until('what was removed gives room', healthyMs, () => write('fifth').then(...settled), 250)
      t.strictSame(await differing(client, ['first', 'fourth', 'fifth']), [], 'every file is what was written')
    },
  )
})

/** Success is true, NO_SPACE is false, and all else is an error. */
const settled = [
  () => true,
  (error: unknown) => {
    if (error instanceof Failure && error.failure === 'NO_SPACE') return false
    throw error
  },
] as const

async function differing(client: Client, names: readonly string[]): Promise<readonly string[]> {
  const bad: string[] = []
  for (const name of names)
    if (!bytesOf(name, 1, fileBytes).equals(await client.fs.readFile(`/${name}`))) bad.push(name)
  return bad
}
