/**
 * SIGKILL of all servers at once, under load, ten times over.
 *
 * Scenario: one CLDB, four fileservers, one gateway. Writers create files, rename over files, write and sync through
 * the SDK, and write FILE_SYNC and UNSTABLE with COMMIT over NFS. All servers get SIGKILL; they return in any order;
 * masters are chosen anew. Each acknowledged write must be there, byte for byte, in every round.
 */
import t from 'tap'
import { makeScratch } from '../harness/scratch.ts'
import { crashRounds } from './rounds.ts'

t.setTimeout(240_000)

t.test('ten crashes of everything at once lose no acknowledged write', async (t) => {
  const { directory, remove } = makeScratch('crash')
  t.teardown(remove)
  await crashRounds(t, { rounds: 10, directory, outside: directory, crash: (cluster) => cluster.kill() })
})
