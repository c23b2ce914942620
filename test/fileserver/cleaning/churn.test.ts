/**
 * Claims about cleaning at work: ten times what is live is written over it, masters change, and at rest the log is within
 * its bound, every replica has the same log and every byte, and an index made anew from it is the same.
 */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { victim } from '../../../fileserver/cleaning/victim.ts'
import type { Change } from '../../../fileserver/index/changes.ts'
import { type Random, randomFrom } from '../../names/random.ts'
import { type Node, Nodes, serves, until, write } from '../nodes.ts'
import { difference, dump, extent, Model, objectBytes, punch, put, read, remove, type Stored } from '../stored.ts'
import { bytes, contents, flip, s, segmentFiles, ticket } from '../world.ts'

const segmentBytes = 256 * 1024
const restMs = 60_000

const storedOf = ({ index, replica }: Node): Stored => ({ index, storage: replica.storage })

/** All have the same log, the same segments, and everything in their index. */
const agree = (nodes: readonly Node[]): Promise<void> =>
  until(() => {
    const files = nodes.map(({ directory }) => segmentFiles(directory).join())
    const { last } = nodes[0]!.replica.storage.log
    return nodes.every(({ replica: { storage } }, i) => storage.index.applied === last && files[i] === files[0])
  }, 'all have everything')

const sizes = ({ replica: { storage } }: Node): { logBytes: number; liveBytes: number } => {
  let liveBytes = 0
  for (const { first } of storage.log.manifest()) liveBytes += storage.index.liveness.of(first).liveBytes
  return { logBytes: storage.log.sizeBytes, liveBytes }
}

/** Everything that the index holds, but for what it notes of segments that are gone. */
const state = async (node: Node): Promise<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(await dump(storedOf(node))).filter(([key, value]) => key[0] !== 's' || value !== ''),
  )

/** Whether there is nothing to clean. */
const isClean = ({ replica: { storage } }: Node): boolean => {
  const { log, index } = storage
  const segments = log.manifest().map(({ first, sizeBytes }) => ({ first, sizeBytes, ...index.liveness.of(first) }))
  return (
    index.applied === log.last &&
    victim(segments, { settled: true, urgent: false, roomBytes: Number.MAX_SAFE_INTEGER, lastBytesMin: 2 ** 20 }) ===
      undefined
  )
}

/** Mostly bytes, all over three objects; some keys and deletions. */
function invented(model: Model, random: Random, number: number): { changes: Change[]; payload: Buffer } {
  const object = `object ${random(3)}`
  const key = `key ${random(60)}`
  const offset = random(objectBytes - 20_000)
  const what = random(10)
  if (what === 0) return { changes: [remove(key)], payload: Buffer.alloc(0) }
  if (what === 1) return { changes: [punch(object, offset, offset + random(20_000))], payload: Buffer.alloc(0) }
  const payload = Buffer.alloc(1 + random(20_000), `${number} `)
  return { changes: [extent(object, offset, payload.length), put(key, `${number}`, !model.keys.has(key))], payload }
}

/** Writes `count` records, some at a time. */
async function churn(node: Node, model: Model, random: Random, count: number, from: number): Promise<void> {
  let underWay: Promise<unknown>[] = []
  for (let i = 0; i < count; i++) {
    const number = from + i
    const { changes, payload } = invented(model, random, number)
    const call = ticket(1 + random(3), number, Math.max(0, number - 30))
    underWay.push(
      write(node, {
        changes,
        payload: payload.length === 0 ? [] : [payload],
        stable: random(4) > 0,
        ticket: call,
        result: number,
      }),
    )
    model.apply(changes, payload)
    if (underWay.length < 32) continue
    await Promise.all(underWay)
    underWay = []
  }
  await Promise.all(underWay)
}

async function claim(t: Test, nodes: readonly Node[], model: Model, random: Random, what: string): Promise<void> {
  for (const [i, node] of nodes.entries()) {
    for (let looks = 0; looks < 5; looks++) {
      const found = await difference(storedOf(node), model, random)
      if (found !== undefined) t.fail(`${what}, replica ${i}: ${found}`)
    }
  }
}

t.test('overwritten ten times, the log stays within its bound and every byte is right', async (t) => {
  const seed = Number(process.env.SEED ?? 1)
  t.comment(`SEED=${seed}`)
  const random = randomFrom(seed)
  const nodes = await Nodes.make(t, 3, segmentBytes)
  const all = nodes.all as [Node, Node, Node]
  const model = new Model()
  const rounds = 5
  const records = 480
  for (let round = 0; round < rounds; round++) {
    const master = all[round % 3]!
    await nodes.configure(round + 1, [master, ...all.filter((node) => node !== master)])
    await serves(master)
    await churn(master, model, random, records, 1 + round * records)
    await claim(t, all.slice(round % 3, (round % 3) + 1), model, random, `round ${round}`)
  }
  const master = all[(rounds - 1) % 3]!
  await until(() => isClean(master), 'nothing is left to clean', restMs)
  await agree(all)
  const { logBytes, liveBytes } = sizes(master)
  t.comment(`${logBytes} bytes of log for ${liveBytes} live bytes`)
  t.ok(logBytes <= 2.5 * liveBytes + 2 * (segmentBytes + 32 * 1024), 'the log is within its bound')
  let cleanedBytes = 0
  for (const { environment } of all) cleanedBytes += environment.counters.cleanedBytes
  t.ok(cleanedBytes > 5 * liveBytes, 'much was cleaned')
  t.strictSame(contents(all[1].directory), contents(all[0].directory))
  t.strictSame(contents(all[2].directory), contents(all[0].directory))
  await claim(t, all, model, random, 'at rest')

  await t.test('and an index made anew is the same', async (t) => {
    const kept = await state(all[0])
    t.strictSame(await state(all[1]), kept)
    const calls = (node: Node): unknown[] =>
      Array.from(
        { length: 3 * 400 },
        (_, i) =>
          node.replica.storage.index.retries.find(ticket(1 + (i % 3), rounds * records - Math.floor(i / 3)))?.result,
      )
    const known = calls(all[0])
    t.ok(known.filter((result) => result !== undefined).length >= 30, 'clients may repeat their latest calls')
    for (const node of [...all]) {
      await node.replicas.close()
      await node.index.clear(Buffer.alloc(0), Buffer.alloc(7, 255))
      const again = await node.reopened(nodes)
      const { storage } = again.replica
      await storage.flush(storage.log.last)
      t.strictSame(await state(again), kept)
      t.strictSame(calls(again), known)
    }
    await claim(t, nodes.all, model, random, 'opened without an index')
  })
})

t.test('damaged bytes are mended before they are moved', async (t) => {
  const nodes = await Nodes.make(t, 2, segmentBytes)
  const [a, b] = nodes.all as [Node, Node]
  await nodes.configure(1, [a, b])
  await serves(a)
  const content = Buffer.alloc(20_000, 'live bytes ')
  const other = Buffer.alloc(20_000, 'overwritten')
  await write(a, { changes: [extent('stays', 0, content.length)], payload: [content] })
  const overwrite = async (): Promise<void> => {
    for (let i = 0; i < 15; i++) await write(a, { changes: [extent('hot', 0, other.length)], payload: [other] })
  }
  await overwrite()
  const [first] = segmentFiles(a.directory)
  flip(join(a.directory, first!), 10_000)
  await overwrite()
  await until(() => segmentFiles(a.directory)[0] !== first, 'the segment is gone')
  await agree([a, b])
  t.equal(a.environment.counters.repairedBlocks, 1)
  for (const node of [a, b]) t.ok((await read(storedOf(node), 'stays', 0, content.length)).equals(content))
  t.strictSame(contents(b.directory), contents(a.directory))
})

t.test('what was deleted stays so, however its deletion is moved', async (t) => {
  const nodes = await Nodes.make(t, 1, segmentBytes)
  const [a] = nodes.all as [Node]
  await nodes.configure(1, [a])
  await serves(a)
  const large = Buffer.alloc(60_000, 'x')
  const fill = async (object: string): Promise<void> => {
    for (let i = 0; i < 5; i++) await write(a, { changes: [extent(object, i * 60_000, 60_000)], payload: [large] })
  }
  // The oldest segment stays, as all but a few keys in it are live.
  await write(a, { changes: Array.from({ length: 20 }, (_, i) => put(`k${i}`, 'old', true)) })
  await fill('cold')
  await write(a, { changes: Array.from({ length: 10 }, (_, i) => remove(`k${i}`)) })
  await fill('hot')
  await write(a, { changes: [put('k3', 'new', true), put('k4', 'soon gone', true)] })
  const [, second] = segmentFiles(a.directory)
  await fill('hot')
  await write(a, { changes: [remove('k4')] })
  await until(() => !segmentFiles(a.directory).includes(second!), 'the segment with the deletions is gone')
  const values = (node: Node): (string | undefined)[] =>
    Array.from({ length: 20 }, (_, i) => {
      const value = node.replica.view.get(bytes(`k${i}`))
      return value && Buffer.from(value).toString()
    })
  const expected = Array.from({ length: 20 }, (_, i) => (i === 3 ? 'new' : i < 10 ? undefined : 'old'))
  t.strictSame(values(a), expected)
  await until(() => isClean(a), 'nothing is left to clean')
  const kept = await state(a)
  await a.replicas.close()
  await a.index.clear(Buffer.alloc(0), Buffer.alloc(7, 255))
  const again = await a.reopened(nodes)
  await again.replica.storage.flush(s(again.replica.storage.log.last))
  t.strictSame(values(again), expected)
  t.strictSame(await state(again), kept, 'and it counts the same')
})
