/**
 * Claims about the state that a container's log defines: staged or stored, it is the same; it can be undone as far as
 * it is not committed, and made anew from the log.
 */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ContainerIndex, containerPrefix } from '../../../fileserver/index/container-index.ts'
import { Liveness } from '../../../fileserver/index/liveness.ts'
import type { Index } from '../../../fileserver/index/store.ts'
import { randomFrom } from '../../names/random.ts'
import {
  add,
  close,
  closing,
  difference,
  dump,
  extent,
  Model,
  punch,
  put,
  read,
  remove,
  type Stored,
  stored,
} from '../stored.ts'
import { bytes, container, fill, large, place, s, segmentFiles, ticket } from '../world.ts'

t.test('the state is that of the log, however much of it is in the index', async (t) => {
  for (let seed = 1; seed <= 4; seed++) {
    const random = randomFrom(seed)
    const here = place(t)
    let now = await stored(here, 'a', 'create')
    const done: { changes: Parameters<Model['apply']>[0]; payload: Buffer }[] = []
    let model = new Model()
    const claim = async (what: string): Promise<void> => {
      const found = await difference(now, model, random)
      if (found !== undefined) t.fail(`seed ${seed}, after ${done.length} records, ${what}: ${found}`)
    }
    for (let step = 0; step < 250; step++) {
      const what = random(20)
      const { storage } = now
      const { applied } = storage.index
      if (what === 0) {
        // Cut back, as a replica does for a new master.
        const after = applied + random(storage.log.last - applied + 1)
        await storage.rollback(s(after), () => {})
        done.length = after
        model = new Model()
        for (const { changes, payload } of done) model.apply(changes, payload)
        await claim('cut')
      } else if (what <= 3) {
        const committed = s(applied + random(storage.log.last - applied + 1))
        const running = storage.flush(committed)
        // The state is the same while it is on its way.
        if (random(2) === 0) await claim('while it is stored')
        await running
        t.ok(storage.index.applied >= Math.min(committed, storage.log.last))
        await claim('stored')
      } else if (what === 4 && step % 3 === 0) {
        await close(now)
        now = await stored(here, 'a', 'open')
        await claim('opened again')
      } else {
        const invented = model.invent(random, step)
        add(now, {
          changes: invented.changes,
          payload: [invented.payload],
          stable: random(2) === 0,
          ticket: ticket(1 + random(3), step + 1),
          result: step,
        })
        done.push(invented)
        model.apply(invented.changes, invented.payload)
      }
    }
    await claim('at the end')
    await now.storage.flush(now.storage.log.last)
    const incremental = await dump(now)
    await close(now)
    rmSync(join(here.directory, 'a-index'), { recursive: true })
    now = await stored(here, 'a', 'open')
    await claim('without the index')
    await now.storage.flush(now.storage.log.last)
    t.strictSame(await dump(now), incremental, `seed ${seed}: made anew, the index is the same`)
    await close(now)
  }
})

t.test('a value that is not committed hides the stored one, and only it', async (t) => {
  const here = place(t)
  const now = await stored(here, 'a', 'create')
  closing(t, () => now)
  const value = (): string | undefined => {
    const found = now.storage.index.view.get(bytes('hot'))
    return found && Buffer.from(found).toString()
  }
  add(now, { changes: [put('hot', 'one', true)] })
  add(now, { changes: [put('hot', 'two')] })
  await now.storage.flush(s(1))
  t.equal(value(), 'two', 'the first is stored, the second is newer')
  add(now, { changes: [remove('hot')] })
  await now.storage.flush(s(2))
  t.equal(value(), undefined, 'a deletion hides it too')
  t.strictSame(await now.storage.index.view.scan(bytes('a'), bytes('z'), 1), [])
  await now.storage.rollback(s(2), () => {})
  t.equal(value(), 'two', 'undone')
})

t.test('a list is complete, however many of its keys were deleted lately', async (t) => {
  const now = await stored(place(t), 'a', 'create')
  closing(t, () => now)
  const name = (i: number): string => `n${String(i).padStart(4, '0')}`
  const all = Array.from({ length: 3000 }, (_, i) => i)
  add(now, { changes: all.map((i) => put(name(i), 'x'.repeat(50), true)) })
  await now.storage.flush(s(1))
  add(now, { changes: all.filter((i) => i % 3 !== 0).map((i) => remove(name(i))) })
  add(now, { changes: [put('n0000a', 'new', true), put('n9999', 'last', true)] })
  const expected = ['n0000', 'n0000a', ...all.filter((i) => i > 0 && i % 3 === 0).map(name), 'n9999']
  const found = await now.storage.index.view.scan(bytes('n'), bytes('o'), 10_000)
  t.strictSame(
    found.map(({ key }) => Buffer.from(key).toString()),
    expected,
  )
  const few = await now.storage.index.view.scan(bytes('n0001'), bytes('o'), 5)
  t.strictSame(
    few.map(({ key }) => Buffer.from(key).toString()),
    ['n0003', 'n0006', 'n0009', 'n0012', 'n0015'],
  )
})

t.test('an operation knows what it saw of records that can still be undone', async (t) => {
  const now = await stored(place(t), 'a', 'create')
  closing(t, () => now)
  const { index } = now.storage
  add(now, { changes: [put('a', '1', true)], stable: true })
  add(now, { changes: [put('b', '1', true)], stable: false })
  add(now, { changes: [put('c', '1', true)], stable: true })
  const seen = (...keys: string[]): unknown => {
    index.look()
    for (const key of keys) index.view.get(bytes(key))
    return index.seen()
  }
  t.strictSame(seen(), { stable: 0, unstable: 0 })
  t.strictSame(seen('a', 'none'), { stable: 1, unstable: 0 })
  t.strictSame(seen('c', 'a', 'b'), { stable: 3, unstable: 2 })
  t.strictSame(index.latest, { stable: 3, unstable: 2 }, 'what can be seen at all')
  await now.storage.flush(s(2))
  t.strictSame(seen('a', 'b'), { stable: 0, unstable: 0 }, 'what is stored is committed')
  await now.storage.rollback(s(2), () => {})
  t.strictSame(index.latest, { stable: 2, unstable: 2 })
})

t.test('a repeated call is known after a crash, and one that was undone is not', async (t) => {
  const here = place(t)
  let now = await stored(here, 'a', 'create')
  closing(t, () => now)
  add(now, { ticket: ticket(5, 1), result: 11 })
  add(now, { ticket: ticket(5, 2), result: 22 })
  await now.storage.flush(s(1))
  await close(now)
  now = await stored(here, 'a', 'open')
  const { retries } = now.storage.index
  t.match(retries.find(ticket(5, 1)), { result: 11, sequence: 0 }, 'surely committed')
  t.match(retries.find(ticket(5, 2)), { result: 22, sequence: 2 }, 'from the log')
  await now.storage.rollback(s(1), () => {})
  t.equal(retries.find(ticket(5, 2)), undefined)
  t.ok(retries.find(ticket(5, 1)))
})

t.test('clients are forgotten in the index too, also those of before a start', async (t) => {
  const here = place(t)
  let now = await stored(here, 'a', 'create')
  closing(t, () => now)
  const clients = async (): Promise<number> => {
    await now.storage.flush(now.storage.log.last)
    const keyOf = (space: string) => Buffer.concat([containerPrefix(container), bytes(space)])
    return (await now.index.scan(keyOf('r'), keyOf('s'), 10_000)).length
  }
  for (let client = 1; client <= 1000; client++) add(now, { ticket: ticket(client, 1) })
  t.equal(await clients(), 1000)
  await close(now)
  now = await stored(here, 'a', 'open')
  for (let client = 2001; client <= 4000; client++) add(now, { ticket: ticket(client, 1) })
  t.ok((await clients()) <= 1536)
})

t.test('liveness', async (t) => {
  const liveness = new Liveness([])
  liveness.add(s(1), 30, 5)
  liveness.add(s(100), 9, 7)
  t.strictSame(liveness.live(), [1, 100])
  t.strictSame(liveness.of(s(100)), { liveBytes: 9, deletionBytes: 7 })
  t.strictSame(liveness.of(s(200)), { liveBytes: 0, deletionBytes: 0 }, 'it never held anything')
  const values = liveness.changed().map(({ segment, value }) => [segment, value!] as const)
  t.strictSame(liveness.changed(), [], 'told once')
  const again = new Liveness(values)
  again.add(s(1), -30, 0)
  t.strictSame(again.live(), [100], 'as bytes and back')
  t.strictSame(again.of(s(1)), { liveBytes: 0, deletionBytes: 5 })
  again.changed()
  again.drop(s(1))
  t.strictSame(again.changed(), [{ segment: 1, value: Buffer.alloc(0) }])
  again.gone(s(1))
  t.strictSame(again.changed(), [{ segment: 1, value: undefined }])
})

t.test('segments are dropped when nothing in them is live, and what they held stays gone', async (t) => {
  const here = place(t)
  let now: Stored = await stored(here, 'a', 'create')
  closing(t, () => now)
  const files = (): number => segmentFiles(join(here.directory, 'a')).length
  const overwrite = (): void => {
    const from = now.storage.log.last
    while (now.storage.log.last < from + 16 && now.storage.log.manifest().at(-1)!.first <= from + 1)
      add(now, { payload: [large], changes: [extent('file', 0, large.length)] }, 1, now.storage.log.durable)
  }
  const flush = (): Promise<void> => now.storage.flush(now.storage.log.last)

  add(now, { changes: [put('stays', 'x', true), put('goes', 'x', true), put('pin', 'x', true)] }, 1)
  add(now, { payload: [bytes('old bytes')], changes: [extent('other', 0, 9)] })
  overwrite()
  await flush()
  add(now, { changes: [remove('goes'), punch('other', 0, 9), put('stays', 'y')] })
  overwrite()
  const newest = extent('file', 0, large.length)
  add(now, { payload: [large], changes: [newest, put('late', 'x', true), put('stays', 'z')] })
  await flush()
  t.equal(files(), 3)
  const liveBytes = (): number[] =>
    now.storage.log.manifest().map(({ first }) => now.storage.index.liveness.of(first).liveBytes)
  t.strictSame(
    liveBytes().map((count) => count > 0),
    [true, false, true],
    'the first holds a live key; the second only deletes what the first holds',
  )

  await t.test('made anew with every segment there, the state is the same', async (t) => {
    const before = await dump(now)
    await close(now)
    rmSync(join(here.directory, 'a-index'), { recursive: true })
    now = await stored(here, 'a', 'open')
    await flush()
    t.strictSame(await dump(now), before)
  })

  add(now, { changes: [put('pin', 'y')] })
  await flush()
  t.equal(liveBytes()[0], 0, 'the live key was the last')
  add(now, { kind: 'dropSegment', result: 1 })
  t.equal(files(), 3, 'not before it is committed')
  await flush()
  t.equal(files(), 2)
  const second = now.storage.log.manifest()[0]!.first
  add(now, { kind: 'dropSegment', result: second })
  await flush()
  t.equal(files(), 1)

  const state = async (): Promise<unknown> => {
    const found: Record<string, string> = {}
    for (const { key, value } of await now.storage.index.view.scan(bytes('a'), bytes('z'), 100))
      found[Buffer.from(key).toString()] = Buffer.from(value).toString()
    return { ...found, other: (await read(now, 'other', 0, 9)).toString('hex') }
  }
  const expected = { late: 'x', pin: 'y', stays: 'z', other: '00'.repeat(9) }
  t.strictSame(await state(), expected)
  const before = await dump(now)
  await close(now)
  now = await stored(here, 'a', 'open')
  t.strictSame(await state(), expected, 'opened again')
  await close(now)
  rmSync(join(here.directory, 'a-index'), { recursive: true })
  now = await stored(here, 'a', 'open')
  t.strictSame(await state(), expected, 'made anew, nothing comes back')
  await flush()
  t.strictSame(await dump(now), before)
})

t.test('the newest segment can be dropped too', async (t) => {
  const here = place(t)
  let now = await stored(here, 'a', 'create')
  closing(t, () => now)
  add(now, { payload: [large], changes: [extent('file', 0, large.length)] })
  add(now, { changes: [punch('file', 0, large.length)] })
  await now.storage.flush(s(2))
  t.strictSame(now.storage.index.liveness.live(), [])
  add(now, { kind: 'dropSegment', result: 1 })
  await now.storage.flush(s(3))
  t.strictSame(
    now.storage.log.manifest().map(({ first }) => first),
    [3],
    'the record that drops it begins the next',
  )
  t.notOk((await read(now, 'file', 0, large.length)).some((byte) => byte !== 0))
  const before = await dump(now)
  await close(now)
  rmSync(join(here.directory, 'a-index'), { recursive: true })
  now = await stored(here, 'a', 'open')
  await now.storage.flush(s(3))
  t.strictSame(await dump(now), before)
})

t.test(
  'an index that was being cleared when the power went does not count over the log that is still there',
  async (t) => {
    const here = place(t)
    const now = await stored(here, 'a', 'create')
    for (let i = 0; i < 4; i++) add(now, { changes: [put(`k${i}`, 'v', true)] })
    await now.storage.flush(s(4))
    const before = await dump(now)
    const index: Index = {
      ...now.index,
      clear: async (from) => {
        await now.index.clear(from, Buffer.concat([containerPrefix(container), Buffer.from('kk2')]))
        throw new Error('the power is gone')
      },
    }
    await t.rejects(ContainerIndex.clear(index, container), /power/)
    t.notSame(await dump(now), before)
    await close(now)
    const again = await stored(here, 'a', 'open')
    closing(t, () => again)
    await again.storage.flush(s(4))
    t.strictSame(await dump(again), before)
  },
)

t.test('a segment that goes missing is noticed', async (t) => {
  const here = place(t)
  const now = await stored(here, 'a', 'create')
  for (let i = 0; i < 16; i++) add(now, { payload: [large], changes: [extent('file', i * large.length, large.length)] })
  fill(now.storage.log)
  add(now, { changes: [put('k', 'v', true)] })
  add(now, {})
  t.equal(segmentFiles(join(here.directory, 'a')).length, 3)
  await close(now)
  const again = await stored(here, 'a', 'open')
  await again.storage.flush(again.storage.log.last)
  await close(again)
  rmSync(join(here.directory, 'a', segmentFiles(join(here.directory, 'a'))[0]!))
  await t.rejects(stored(here, 'a', 'open'), /CORRUPT/)
})
