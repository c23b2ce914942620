/**
 * The bare chain moves every byte, and says so truthfully.
 */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { startChain } from '../../bench/chain/chain.ts'

const messages = 40
const bytes = messages * 2 ** 20

t.test('every stage of the chain writes every message', async (t) => {
  const directory = t.testdir()
  const chain = await startChain(directory)
  t.teardown(() => chain.stop())

  for (const [sync, why] of [
    [false, 'more messages than the window holds'],
    [true, 'a second run, onto the disk'],
  ] as const) {
    const sample = await chain.run(messages, sync)
    t.equal(sample.bytes, bytes, why)
    t.ok(sample.seconds > 0)
    t.ok(sample.cpuSeconds > 0, 'the CPU time of four processes')
  }

  const files = ['chain-A', 'chain-B', 'chain-C'].map((name) => join(directory, name))
  t.same(await Promise.all(files.map(async (file) => (await stat(file)).size)), [bytes, bytes, bytes])
  const [first, ...others] = await Promise.all(files.map((file) => readFile(file)))
  for (const other of others) t.ok(first?.equals(other), 'the same bytes')
  t.notSame(first?.subarray(0, 64), Buffer.alloc(64), 'and no zeros')
})
