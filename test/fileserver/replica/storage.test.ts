/**
 * Claims about what one replica has on its disk: a crash at any moment leaves the log up to some record, and its state.
 */
import { cpSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { randomFrom } from '../../names/random.ts'
import { add, close, difference, dump, Model, put, type Stored, stored } from '../stored.ts'
import { append, bytes, e, flip, place, s } from '../world.ts'

type Done = { readonly changes: Parameters<Model['apply']>[0]; readonly payload: Buffer }

const modelOf = (done: readonly Done[]): Model => {
  const model = new Model()
  for (const { changes, payload } of done) model.apply(changes, payload)
  return model
}

t.test('whenever the process dies, what was synced is there, and the state is that of what is there', async (t) => {
  for (let seed = 1; seed <= 3; seed++) {
    const random = randomFrom(seed)
    const here = place(t)
    const now = await stored(here, 'a', 'create')
    const done: Done[] = []
    const { storage } = now
    const working = new Set<Promise<unknown>>()
    for (let round = 0; round < 8; round++) {
      for (let i = random(40); i > 0; i--) {
        const model = modelOf([])
        const invented = model.invent(random, done.length)
        // Nothing is known of the keys here, so none is fresh.
        const changes = invented.changes.map((change) => (change.type === 'put' ? { ...change, fresh: false } : change))
        add(now, { changes, payload: [invented.payload] }, 1, storage.log.durable)
        done.push({ changes, payload: invented.payload })
        if (random(4) === 0) storage.log.write()
        if (random(9) === 0) working.add(storage.sync())
        if (random(9) === 0) working.add(storage.flush(storage.log.durable))
        if (random(5) === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      const { durable } = storage.log
      const copy = `copy-${round}`
      for (const part of ['', '-index'])
        cpSync(join(here.directory, `a${part}`), join(here.directory, `${copy}${part}`), {
          recursive: true,
          filter: (path) => !path.endsWith('LOCK'),
        })
      const again = await stored(here, copy, 'open')
      const { last } = again.storage.log
      t.ok(last >= durable && last <= done.length, `${last} records, of ${done.length}; ${durable} were durable`)
      t.equal(again.storage.log.durable, last, 'what is there counts as durable, as it was synced again')
      const model = modelOf(done.slice(0, last))
      t.equal(await difference(again, model, random), undefined, `seed ${seed}, round ${round}`)
      await again.storage.flush(s(last))
      const incremental = await dump(again)
      await close(again)
      rmSync(join(here.directory, `${copy}-index`), { recursive: true })
      const rebuilt = await stored(here, copy, 'open')
      t.equal(await difference(rebuilt, model, random), undefined, 'without its index')
      await rebuilt.storage.flush(s(last))
      t.strictSame(await dump(rebuilt), incremental)
      await close(rebuilt)
    }
    await Promise.all(working)
    await close(now)
  }
})

t.test('an index that fell behind catches up', async (t) => {
  const here = place(t)
  let now: Stored = await stored(here, 'a', 'create')
  const random = randomFrom(9)
  const model = new Model()
  for (let i = 0; i < 60; i++) {
    const { changes, payload } = model.invent(random, i)
    add(now, { changes, payload: [payload] })
    model.apply(changes, payload)
    if (i === 20) await now.storage.flush(s(15))
    if (i === 20) cpSync(join(here.directory, 'a-index'), join(here.directory, 'old'), { recursive: true })
    if (i % 7 === 0) await now.storage.flush(s(i))
  }
  await now.storage.flush(s(60))
  const expected = await dump(now)
  await close(now)
  rmSync(join(here.directory, 'a-index'), { recursive: true })
  cpSync(join(here.directory, 'old'), join(here.directory, 'a-index'), { recursive: true })
  now = await stored(here, 'a', 'open')
  t.equal(now.storage.index.applied, 15)
  t.equal(await difference(now, model, random), undefined)
  await now.storage.flush(s(60))
  t.strictSame(await dump(now), expected)
  await close(now)
})

t.test('the index is never ahead of what is durable', async (t) => {
  const now = await stored(place(t), 'a', 'create')
  add(now, { changes: [put('k', 'v', true)] })
  t.equal(now.storage.log.durable, 0)
  await now.storage.flush(s(1))
  t.equal(now.storage.log.durable, 1)
  t.equal(now.storage.index.applied, 1)
  await close(now)
})

t.test('a segment that was dropped when the process died goes when the replica is opened', async (t) => {
  const here = place(t)
  let now = await stored(here, 'a', 'create')
  add(now, { changes: [put('k', 'old', true)] })
  const dropped = now.storage.log.manifest()[0]!.first
  add(now, { changes: [{ type: 'delete', key: bytes('k') }] })
  const { disk } = here
  add(now, { kind: 'dropSegment', result: dropped })
  const { remove } = disk
  Object.assign(disk, {
    remove: () => {
      throw new Error('the process ends')
    },
  })
  await t.rejects(now.storage.flush(s(3)), /the process ends/)
  Object.assign(disk, { remove })
  await close(now)
  t.equal(segmentsIn(join(here.directory, 'a')), 2)
  now = await stored(here, 'a', 'open')
  t.equal(now.storage.log.manifest().length, 1, 'as on every other replica')
  t.equal(segmentsIn(join(here.directory, 'a')), 1)
  await close(now)
})

t.test('an opening that drops a segment while it reads the log reads all of it', async (t) => {
  const here = place(t)
  let now = await stored(here, 'a', 'create', 32 * 1024)
  for (let i = 0; now.storage.log.manifest().length < 2; i++) add(now, { changes: [put('k', `${i}`)] })
  add(now, { changes: [put('k', 'elsewhere')] })
  await now.storage.sync()
  await now.storage.flush(s(50))
  add(now, { kind: 'dropSegment', result: 1 })
  for (let i = 0; i < 3000; i++) add(now, { changes: [put(`k${i}`, 'v'.repeat(20), true)] }, 1, now.storage.log.last)
  await now.storage.sync()
  await close(now)
  now = await stored(here, 'a', 'open', 32 * 1024)
  t.ok(now.storage.index.applied > 1024)
  const missing = Array.from({ length: 3000 }, (_, i) => `k${i}`).filter(
    (key) => now.storage.index.view.get(bytes(key)) === undefined,
  )
  t.strictSame(missing, [])
  await close(now)
})

t.test('the highest epoch is remembered', async (t) => {
  const here = place(t)
  let now = await stored(here, 'a', 'create')
  now.storage.saveEpoch(e(7))
  t.throws(() => now.storage.saveEpoch(e(6)), /never falls/)
  await close(now)
  now = await stored(here, 'a', 'open')
  t.equal(now.storage.epoch, 7)
  await close(now)
})

t.test('a directory that is not a whole replica is refused', async (t) => {
  const here = place(t)
  const now = await stored(here, 'a', 'create')
  append(now.storage.log, 'one')
  now.storage.saveEpoch(e(7))
  await close(now)
  const state = join(here.directory, 'a', 'state')
  const refused = async (why: string, pattern = /CORRUPT/): Promise<void> => {
    await t.rejects(stored(here, 'a', 'open'), pattern, why)
  }
  flip(state, 10)
  const again = await stored(here, 'a', 'open')
  t.equal(again.storage.epoch, 7, 'one of the two copies of its state is enough')
  await close(again)
  flip(state, 4096 + 10)
  await refused('its state is damaged')
  writeFileSync(state, bytes('short'))
  await refused('its state is cut short')
  rmSync(state)
  await refused('its state is gone: nobody knows what epochs it has seen')
  writeFileSync(join(here.directory, 'a', 'installing'), '')
  await refused('a copy was not finished')
  const fresh = await stored(here, 'a', 'create')
  t.equal(fresh.storage.log.last, 0)
  t.notOk(existsSync(join(here.directory, 'a', 'installing')), 'an empty one takes its place')
  await close(fresh)
})

t.test('a replica that is made in place of another has nothing of it', async (t) => {
  const here = place(t)
  let now = await stored(here, 'a', 'create')
  add(now, { changes: [put('k', 'v', true)] })
  await now.storage.flush(s(1))
  await close(now)
  now = await stored(here, 'a', 'create')
  t.equal(now.storage.index.view.get(bytes('k')), undefined)
  t.strictSame(await dump(now), {})
  await close(now)
})

t.test('records that make no sense stop the replica: the log has them already', async (t) => {
  const here = place(t)
  const master = await stored(here, 'a', 'create')
  add(master, { changes: [put('k', 'v', true)] })
  const { payload } = master.storage.log.read(s(1), 100)!
  const follower = await stored(here, 'b', 'create')
  follower.storage.receive(payload)
  t.equal(Buffer.from(follower.storage.index.view.get(bytes('k'))!).toString(), 'v')
  const broken = await stored(here, 'c', 'create')
  broken.storage.append({ ...draftOf(bytes('\x09')) }, [], e(1), s(0))
  const nonsense = broken.storage.log.read(s(1), 100)!
  const other = await stored(here, 'd', 'create')
  t.throws(() => other.storage.receive(nonsense.payload), /makes no sense/)
  for (const one of [master, follower, broken, other]) await close(one)
})

const segmentsIn = (directory: string): number =>
  readdirSync(directory).filter((name) => name.endsWith('.segment')).length

function draftOf(changes: Buffer) {
  const { sums, payload, payloadBytes } = { sums: Buffer.alloc(0), payload: [], payloadBytes: 0 }
  const ticket = { client: 0 as never, number: 0, oldest: 0 }
  return { kind: 'operation', stable: true, ticket, result: 0, sums, payload, payloadBytes, changes } as const
}
