/**
 * Power cuts under load: what SIGKILL can't show, because the kernel keeps what a dead process wrote.
 *
 * Scenario: all data of one CLDB, four fileservers and one gateway are on one ext4 on a loop device. The power of this
 * disk is cut in the midst of the load of crash.test.ts (no journal is flushed, every page that was not synced is
 * gone), all servers get SIGKILL, the disk is mounted again and they return. Each write that was acknowledged as
 * durable must be there, in every round.
 */
import t from 'tap'
import { needs } from '../harness/needs.ts'
import { makeLoopDisk } from '../harness/power.ts'
import { makeScratch } from '../harness/scratch.ts'
import { crashRounds } from './rounds.ts'

t.setTimeout(240_000)

t.test('power cuts lose no write that was acknowledged as durable', needs('root', 'loop'), async (t) => {
  const { directory, remove } = makeScratch('power')
  const disk = makeLoopDisk(directory, 'disk', 8 * 2 ** 30)
  t.teardown(() => {
    disk.remove()
    remove()
  })
  await crashRounds(t, {
    rounds: 5,
    directory: disk.directory,
    outside: directory,
    crash: async (cluster) => {
      disk.cut()
      await cluster.kill()
      disk.restore()
    },
  })
})
