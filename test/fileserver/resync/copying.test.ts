/**
 * Claims about replicas that are brought up: what a copy costs, and that it goes on where it was.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Pieces } from '../../../fileserver/resync/pieces.ts'
import { Resyncs } from '../../../fileserver/resync/resyncs.ts'
import { systemClock } from '../../../protocol/clock.ts'
import { pause } from '../../../protocol/cluster/backoff.ts'
import { Failure, isFailure } from '../../../protocol/failures.ts'
import { sequence } from '../../../protocol/ids.ts'
import { type Node, Nodes, serves, unlimited, until, write } from '../nodes.ts'
import { extent } from '../stored.ts'
import { container, contents, create, fill, flip, large, place, segmentFiles } from '../world.ts'

const segmentBytes = 2 ** 20
const recordBytes = 40_000

type World = { readonly nodes: Nodes; readonly a: Node; readonly b: Node; readonly c: Node }

/** A container whose log no longer reaches back to its first record. */
async function world(t: Test): Promise<World> {
  const nodes = await Nodes.make(t, 3, segmentBytes)
  const [a, b, c] = nodes.all as [Node, Node, Node]
  await nodes.govern(1, [a])
  await serves(a)
  const first = extent('overwritten', 0, recordBytes)
  for (let i = 0; i < 30; i++) await write(a, { changes: [first], payload: [Buffer.alloc(recordBytes, i)] })
  await grow(a, 200)
  await until(
    () => a.replica.storage.log.contiguousFrom > 1 || segmentFiles(a.directory).length < 9,
    'a segment is dropped',
  )
  return { nodes, a, b, c }
}

async function grow(node: Node, count: number): Promise<void> {
  const from = node.replica.storage.log.last
  for (let i = 0; i < count; i++) {
    const changes = [extent('file', (from + i) * recordBytes, recordBytes)]
    await write(node, { changes, payload: [Buffer.alloc(recordBytes, `${from + i}`)] })
  }
}

const isIn = (leader: Node, member: Node): Promise<void> =>
  until(() => leader.replica.location?.inSync.includes(member.server) === true, 'it is in', 20_000)

/** A replica that is added to the in-sync set is so in a new epoch. @returns false. */
const isChangingEpoch = (error: unknown): boolean => {
  if (!isFailure(error, 'NOT_READY')) throw error
  return false
}

const like = async (t: Test, one: Node, other: Node): Promise<void> => {
  const settled = ({ replica: { core, storage } }: Node): boolean => core.committed === storage.log.last
  const serves = (): boolean => [one, other].some(({ replica }) => replica.core.role === 'master')
  const equal = (): boolean => one.replica.storage.log.last === other.replica.storage.log.last
  await until(() => serves() && settled(one) && settled(other) && equal(), 'both have all')
  t.strictSame(contents(one.directory), contents(other.directory))
}

t.test('one damaged block costs one block', async (t) => {
  const { nodes, a, b } = await world(t)
  await nodes.govern(2, [a], [b])
  await isIn(a, b)
  await b.replicas.close()
  flip(join(b.directory, segmentFiles(b.directory)[2]!), 500_000)
  await b.index.clear(Buffer.alloc(0), Buffer.alloc(7, 255))
  const again = await b.reopened(nodes)
  t.throws(() => again.replica, /NOT_MASTER/, 'it is damaged')
  await nodes.govern(9, [a], [again])
  await isIn(a, again)
  t.ok(again.calls.includes('install'))
  t.ok(
    again.environment.counters.resyncBytes <= 2 * 65_536,
    `${again.environment.counters.resyncBytes} bytes were fetched`,
  )
  await like(t, again, a)
})

t.test('what is damaged at the source of a copy is mended there first', async (t) => {
  const { nodes, a, b, c } = await world(t)
  await nodes.govern(2, [a], [b])
  await isIn(a, b)
  flip(join(a.directory, segmentFiles(a.directory)[2]!), 500_000)
  await nodes.govern(9, [a, b], [c])
  await isIn(a, c)
  t.equal(a.environment.counters.repairedBlocks, 1)
  await like(t, a, c)
  await like(t, a, b)
})

t.test('a copy that ends early goes on where it was, whoever of the two it was that died, and whenever', async (t) => {
  const { nodes, a, b } = await world(t)
  const whole = a.replica.storage.log.sizeBytes
  let target = b
  let received = 0
  let attempts = 0
  for (const pieces of [1, 3, 20, 45, 70, 100, 1000]) {
    // After so many pieces the target's process, or the way to the source, is gone.
    let left = pieces
    const { resyncs } = target.environment
    const receives = resyncs.receives.bind(resyncs)
    resyncs.receives = (bytes) => {
      if (left-- <= 0) throw new Failure('UNAVAILABLE', 'the source is gone')
      return receives(bytes)
    }
    await nodes.govern(2 + 2 * attempts, [a], [target])
    await until(
      () => left < 0 || a.replica.location?.inSync.includes(target.server) === true,
      'so many pieces came',
      20_000,
    )
    target.cut = true
    await target.replicas.close()
    received += target.environment.counters.resyncBytes
    attempts += 1
    if (left >= 0) break
    t.ok(existsSync(join(target.directory, 'installing')), `after ${pieces} pieces it counts as nothing`)
    target = await target.reopened(nodes)
    t.throws(() => target.replica, /NOT_MASTER/)
  }
  t.ok(attempts > 3, `${attempts} attempts`)
  t.ok(received < whole * 1.5, `${received} bytes were fetched for ${whole}`)
  const last = await target.reopened(nodes)
  await nodes.govern(99, [a], [last])
  await isIn(a, last)
  await like(t, last, a)
})

t.test('no more is copied or streamed than the limits of both sides let through', async (t) => {
  const limit = 4 * 2 ** 20
  const { nodes, a, b, c } = await world(t)
  let epoch = 2
  for (const [how, target, limited, limits] of [
    ['what the target takes', b, b, { ...unlimited, resyncInBytesPerSecond: limit }],
    ['what the source gives', c, a, { ...unlimited, resyncOutBytesPerSecond: limit }],
  ] as const)
    for (const way of ['copied', 'streamed']) {
      if (way === 'streamed') {
        // What it misses is in the log: it was there a moment ago.
        epoch += 10
        await nodes.govern(epoch, [a])
        await serves(a)
        await grow(a, 150)
      }
      Object.assign(limited.environment, { resyncs: new Resyncs(systemClock, limits) })
      const { counters } = target.environment
      const before = counters.resyncBytes
      const calls = target.calls.length
      const startMs = performance.now()
      epoch += 10
      await nodes.govern(epoch, [a], [target])
      await isIn(a, target)
      const tookMs = performance.now() - startMs
      const bytes = counters.resyncBytes - before
      t.ok(bytes > 5e6, `${bytes} bytes are ${way}`)
      t.equal(target.calls.slice(calls).includes('install'), way === 'copied')
      // What gathered before it began goes at once, 100 ms of it; and what is on its way at the end waits for nobody.
      const leastMs = (1000 * (bytes - segmentBytes / 4)) / limit - 100
      t.ok(tookMs >= leastMs, `${how}: ${Math.round(tookMs)} ms, at least ${Math.round(leastMs)}`)
      Object.assign(limited.environment, { resyncs: new Resyncs(systemClock, unlimited) })
    }
})

t.test('a small replica has a turn too, and is not in before its server has let it pass', async (t) => {
  const nodes = await Nodes.make(t, 2, segmentBytes)
  const [a, b] = nodes.all as [Node, Node]
  const limits = { ...unlimited, resyncInBytesPerSecond: recordBytes }
  Object.assign(b.environment, { resyncs: new Resyncs(systemClock, limits) })
  await nodes.govern(1, [a])
  await serves(a)
  await grow(a, 2)
  const startMs = performance.now()
  await nodes.govern(2, [a], [b])
  await until(() => a.environment.resyncs.status().resyncs.length === 1, 'it has its turn')
  await isIn(a, b)
  const tookMs = performance.now() - startMs
  t.ok(tookMs >= 1900 - 100, `${Math.round(tookMs)} ms for two seconds' bytes`)
  t.equal(a.environment.resyncs.status().resyncs.length, 0)
})

t.test('writes do not wait for the throttle once they wait for the replica', async (t) => {
  const nodes = await Nodes.make(t, 2, segmentBytes)
  const [a, b] = nodes.all as [Node, Node]
  await nodes.govern(1, [a])
  await serves(a)
  await grow(a, 2)
  Object.assign(a.environment, { resyncs: new Resyncs(systemClock, { ...unlimited, resyncOutBytesPerSecond: 20_000 }) })
  Object.assign(b.environment, { resyncs: new Resyncs(systemClock, { ...unlimited, resyncInBytesPerSecond: 80_000 }) })
  const counts = (): boolean =>
    a.replica.core.members.some(({ server, joining, inSync }) => server === b.server && (joining || inSync))
  await nodes.govern(2, [a], [b])
  await until(
    () => b.replicas.find(container)?.storage.log.last === a.replica.storage.log.last,
    'all is there, and not answered',
    20_000,
  )
  // The stream waits two seconds before it may send this, and the replica joins meanwhile.
  await grow(a, 1)
  t.notOk(counts())
  await until(counts, 'it joins', 20_000)
  const startMs = performance.now()
  while (!(await grow(a, 1).then(() => true, isChangingEpoch))) await pause(systemClock, 5)
  const tookMs = performance.now() - startMs
  t.ok(tookMs < 1000, `a write took ${Math.round(tookMs)} ms`)
})

t.test('a replica catches up although its master is written to faster than the limit', async (t) => {
  const { nodes, a, c } = await world(t)
  const limit = 5e6
  Object.assign(a.environment, { resyncs: new Resyncs(systemClock, { ...unlimited, resyncOutBytesPerSecond: limit }) })
  const ending = new AbortController()
  let written = 0
  const writing = (async () => {
    const beganMs = performance.now()
    const rate = (): number => (1000 * written) / (performance.now() - beganMs)
    while (!ending.signal.aborted)
      if (rate() > 2.5 * limit) await pause(systemClock, 1)
      else if (await grow(a, 1).then(() => true, isChangingEpoch)) written += recordBytes
      else await pause(systemClock, 5)
    return rate()
  })()
  await nodes.govern(2, [a], [c])
  await isIn(a, c).finally(() => ending.abort())
  const rate = await writing
  t.ok(rate > limit, `${Math.round(rate / 1e6)} MB/s were written meanwhile`)
  await like(t, a, c)
})

t.test('a replica that does not follow for a while is told of, until it does', async (t) => {
  const { nodes, a, b, c } = await world(t)
  const stuckAfterMs = 300
  Object.assign(a.environment, { resyncs: new Resyncs(systemClock, { ...unlimited, stuckAfterMs }) })
  const stuck = () => a.environment.resyncs.status().stuck
  c.cut = true
  const beganMs = performance.now()
  await nodes.govern(2, [a, b], [c])
  await serves(a)
  await until(() => stuck().length > 0, 'it is told of')
  t.ok(performance.now() - beganMs >= stuckAfterMs)
  t.strictSame(stuck(), [{ container, target: c.server }])
  c.cut = false
  await until(() => stuck().length === 0, 'it follows')
  await until(() => a.replica.location?.inSync.length === 3, 'it is in sync')
  c.cut = true
  await nodes.govern(10, [a, b], [c])
  await until(() => stuck().length > 0, 'it is told of again')
  await nodes.govern(20, [b, a], [c])
  await until(() => stuck().length === 0, 'who leads no more tells nothing')
})

t.test('resyncs of different containers wait for nothing but the bound', async (t) => {
  const resyncs = new Resyncs(systemClock, { ...unlimited, resyncsMax: 2 })
  const [one, two, three, four] = [1, 2, 3, 4].map((id) =>
    resyncs.turn(id as never, '2'.repeat(16) as never, () => 5 - id),
  )
  t.ok((await one!.granted) && (await two!.granted))
  t.match(resyncs.status(), { resyncsWaiting: 2, resyncs: [{ container: 1 }, { container: 2 }] })
  four!.end()
  t.notOk(await four!.granted, 'it ended before')
  one!.end()
  one!.end()
  t.ok(await three!.granted)
  t.equal(resyncs.status().resyncs.length, 2)
})

t.test('a stream whose next records are dropped says that they are gone', async (t) => {
  const log = create(place(t))
  for (let i = 0; i < 3; i++) fill(log)
  const pieces = new Pieces(log, sequence(1))
  const { last } = await pieces.read(log.last, 5 * large.length)
  t.ok(last < 17, 'what follows stands in the same segment')
  log.drop(sequence(1))
  await t.rejects(pieces.read(log.last, large.length), /NOT_FOUND/)
})

t.test('a segment that could not be synced is fetched anew', async (t) => {
  const { nodes, a, b } = await world(t)
  // What a failed sync was about counts as clean: no later one brings it to the disk.
  const unsynced = new Map<string, number>()
  const lost = new Map<string, number>()
  const { disk } = b.place
  const { open } = disk
  Object.assign(disk, {
    open: (path: string, create: boolean) => {
      const file = open(path, create)
      const write = (pieces: readonly Uint8Array[], offset: number): void => {
        const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0)
        unsynced.set(path, (unsynced.get(path) ?? 0) + bytes)
        if (lost.has(path)) lost.set(path, lost.get(path)! - bytes)
        file.write(pieces, offset)
      }
      const sync = (dirtyBytes: number) => {
        const bytes = unsynced.get(path) ?? 0
        unsynced.delete(path)
        if (lost.size > 0 || bytes < segmentBytes / 2) return file.sync(dirtyBytes)
        lost.set(path, bytes)
        return Promise.reject(new Failure('DISK_FAILED', 'EIO'))
      }
      const { read, readLater, truncate, sizeBytes, close } = file
      const others = { read, readLater, truncate, sizeBytes, close }
      const bound = Object.fromEntries(Object.entries(others).map(([name, method]) => [name, method.bind(file)]))
      return { path, ...bound, write, sync }
    },
  })
  await nodes.govern(2, [a], [b])
  await isIn(a, b)
  t.equal(lost.size, 1)
  for (const bytes of lost.values()) t.ok(bytes <= 0, `${bytes} bytes never reached the disk`)
  await like(t, a, b)
})
