/**
 * Three crashed replicas with real logs agree over TCP, at the cost of a few messages.
 */
import { join } from 'node:path'
import t from 'tap'
import { runTrial } from '../../bench/divergence/trial.ts'
import { randomFrom } from '../../cldb/placement.ts'
import { makeScratch } from '../harness/scratch.ts'

const logBytes = 2e6

t.test('a random master finds where the logs part, cuts them, and all are equal', async (t) => {
  const { directory, remove } = makeScratch('divergence')
  t.teardown(remove)
  for (const seed of [0.2, 0.8]) {
    const trial = await runTrial(join(directory, String(seed)), logBytes, randomFrom(seed))
    t.ok(trial.messages >= 8, 'histories and chains of both others')
    t.ok(trial.messages <= 12, 'and at most a rollback of each')
    t.ok(trial.bytes < 1024, `${trial.bytes} bytes`)
    t.ok(trial.undone > 0, 'what one began alone is undone')
    t.ok(trial.foundMs <= trial.agreedMs)
    t.ok(trial.agreedMs <= trial.equalMs)
  }
})
