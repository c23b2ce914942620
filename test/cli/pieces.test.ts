/**
 * The parts of the command that need no cluster: units, tables, the lock, bounded parallel work, ports.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { acquire } from '../../cli/dev/lock.ts'
import { freePort } from '../../cli/dev/ports.ts'
import { formatBytes, parseBytes, table } from '../../cli/output.ts'
import { parallel } from '../../cli/parallel.ts'

for (const [bytes, expected] of [
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KiB'],
  [256 * 2 ** 20, '256 MiB'],
  [2 ** 60, '1024 PiB'],
] as const)
  t.equal(formatBytes(bytes), expected)

for (const [text, expected] of [
  ['0', 0],
  ['64K', 65_536],
  ['256M', 2 ** 28],
  ['1.5GiB', 1.5 * 2 ** 30],
  ['12 B', 12],
  ['M', undefined],
  ['12X', undefined],
  ['-1', undefined],
] as const)
  t.equal(parseBytes(text), expected, `${text} bytes`)

t.test('a table has no lines, and numbers stand at the right', async (t) => {
  const drawn = table(
    ['name', '>size'],
    [
      ['a', 5],
      ['longer', 12345],
    ],
  )
  t.strictSame(drawn.split('\n'), ['NAME     SIZE', 'a           5', 'longer  12345'])
})

t.test('a lock is held by one process at a time', async (t) => {
  const path = join(t.testdir(), 'lock')
  const lock = await acquire(path)
  if ('heldBy' in lock) return t.fail('nobody else holds it')
  t.strictSame(await acquire(path), { heldBy: process.pid })
  await lock.release()
  const again = await acquire(path)
  t.notOk('heldBy' in again, 'released, it can be had again')
})

t.test('a lock of a process that is gone is taken over', async (t) => {
  const path = join(t.testdir(), 'lock')
  const { pid } = spawnSync('true')
  for (const left of [`${pid} 12345\n`, `${process.pid} 1\n`, 'nonsense', '']) {
    writeFileSync(path, left)
    const lock = await acquire(path)
    t.notOk('heldBy' in lock, `left behind: ${JSON.stringify(left)}`)
    t.ok(readFileSync(path, 'utf8').startsWith(`${process.pid} `))
  }
})

t.test('parallel work keeps to its limit and does everything once', async (t) => {
  let running = 0
  let most = 0
  const done: number[] = []
  await parallel(
    Array.from({ length: 50 }, (_, i) => i),
    7,
    async (item) => {
      most = Math.max(most, ++running)
      await sleep(1)
      running--
      done.push(item)
    },
  )
  t.equal(most, 7)
  t.strictSame(
    done.sort((a, b) => a - b),
    Array.from({ length: 50 }, (_, i) => i),
  )
})

t.test('the first failure ends parallel work', async (t) => {
  let started = 0
  const work = parallel(
    (async function* () {
      for (let i = 0; i < 1000; i++) yield i
    })(),
    4,
    async (item) => {
      started++
      await sleep(1)
      if (item === 10) throw new Error('the tenth')
    },
  )
  await t.rejects(work, /the tenth/)
  await sleep(20)
  t.ok(started < 30, 'nothing new is begun after it')
})

t.test('a port that is taken is replaced by a free one', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const other = await freePort('127.0.0.1', port)
  t.not(other, port)
  t.equal(await freePort('127.0.0.1', other), other)
})
