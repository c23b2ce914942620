/**
 * Claims about replicas at work together: what is acknowledged stays, whoever leads, and nothing whole is thrown away.
 */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Failure } from '../../../protocol/failures.ts'
import { replication } from '../../../protocol/messages/replication.ts'
import { bytesOf } from '../../names/world.ts'
import { type Node, Nodes, serves, three, until, write } from '../nodes.ts'
import { extent, put } from '../stored.ts'
import { chains, container, contents, e, flip, s, segmentFiles, ticket } from '../world.ts'

const held = (node: Node, key: string): string | undefined => {
  const value = node.replica.view.get(bytesOf(key))
  return value && Buffer.from(value).toString()
}

/** All have the same log, and have applied all of it. */
const agree = (...nodes: Node[]): Promise<void> =>
  until(() => {
    const last = nodes[0]!.replica.storage.log.last
    return nodes.every(({ replica }) => replica.storage.log.last === last && replica.core.committed === last)
  }, 'all have everything')

/** What a node would do later it does soon. */
function hasten({ environment }: Node): void {
  const { clock } = environment
  Object.assign(environment, {
    clock: { ...clock, after: (ms: number, run: () => void) => clock.after(ms / 50, run) },
  })
}

t.test('a write is on every replica, byte for byte, when it is acknowledged', async (t) => {
  const { nodes, a, b, c } = await three(t)
  await nodes.configure(1, [a, b, c])
  await serves(a)
  const payload = [Buffer.alloc(100_000, 'x')]
  const all = Array.from({ length: 50 }, (_, i) =>
    write(a, {
      changes: [put(`k${i}`, `${i}`, true), extent('file', i * 100_000, 100_000)],
      payload,
      stable: i % 3 > 0,
    }),
  )
  const sequences = await Promise.all(all)
  t.strictSame(
    sequences,
    Array.from({ length: 50 }, (_, i) => i + 2),
    'in the order of the calls',
  )
  for (const node of [a, b, c]) t.ok(node.replica.storage.log.durable >= 51, 'durably')
  t.strictSame(contents(b.directory), contents(a.directory))
  t.strictSame(contents(c.directory), contents(a.directory))
  await agree(a, b, c)
  t.equal(held(c, 'k49'), '49')
})

t.test('whoever leads next has what was acknowledged, and a master that returns undoes the rest', async (t) => {
  const { nodes, a, b, c } = await three(t)
  await nodes.configure(1, [a, b, c])
  await serves(a)
  await write(a, { changes: [put('k', 'acknowledged', true)] })
  a.cut = true
  const refused = t.rejects(write(a, { changes: [put('k', 'never answered')] }), /NOT_MASTER/)
  await until(() => a.replica.storage.log.last === 3, 'it stands in the log of the lost master')
  await nodes.configure(2, [b, c], [a])
  await serves(b)
  t.equal(held(b, 'k'), 'acknowledged')
  await write(b, { changes: [put('k', 'the next')] })
  a.cut = false
  await until(() => a.replica.core.role === 'follower', 'it is asked to follow')
  await refused
  await agree(b, c, a)
  t.strictSame(chains(a.replica.storage.log), chains(b.replica.storage.log))
  t.strictSame(contents(a.directory), contents(b.directory))
  t.equal(held(a, 'k'), 'the next')
})

t.test('a new replica catches up, counts, and is put in the in-sync set', async (t) => {
  const { nodes, a, b, c } = await three(t)
  await nodes.govern(1, [a, b])
  await serves(a)
  for (let i = 0; i < 30; i++) await write(a, { changes: [put('k', `${i}`)] })
  await nodes.govern(2, [a, b], [c])
  await until(() => a.replica.location?.inSync.includes(c.server) === true, 'it is in')
  await serves(a)
  t.strictSame(nodes.asked.at(-1), { server: a.server, remove: [], add: [c.server] })
  await write(a, { changes: [put('k', 'with three')] })
  t.ok(c.replica.storage.log.durable >= 34)
  await agree(a, b, c)
  t.equal(held(c, 'k'), 'with three')
})

t.test('without a member that is lost writes go on in a new epoch', async (t) => {
  const { nodes, a, b, c } = await three(t)
  await nodes.govern(1, [a, b, c])
  await serves(a)
  c.cut = true
  await write(a, { changes: [put('k', 'with two')] })
  t.ok(nodes.asked.some(({ remove }) => remove.includes(c.server)))
  c.cut = false
  await until(() => a.replica.location?.inSync.length === 3, 'it comes back by itself')
  await agree(a, b, c)
})

t.test('without a lease nothing is acknowledged', async (t) => {
  const { nodes, a, b } = await three(t)
  let leased = true
  Object.assign(a.environment, { leased: () => leased })
  await nodes.configure(1, [a, b])
  await serves(a)
  leased = false
  t.throws(() => a.replica.demandMaster(), /NOT_READY/)
  leased = true
  const writing = write(a, { changes: [put('k', 'v', true)] })
  leased = false
  await until(() => a.replica.core.committed === 2, 'all have it')
  t.equal(await Promise.race([writing, new Promise((resolve) => setTimeout(resolve, 40, 'waits'))]), 'waits')
  leased = true
  t.equal(await writing, 2)
})

t.test('a replica that stopped is opened again, never made anew', async (t) => {
  const { nodes, a, b } = await three(t)
  await nodes.configure(1, [a])
  await serves(a)
  await write(a, { changes: [put('k', 'precious', true)] })
  // A failed assertion, as a mistake of ours would be.
  a.replica.dispatch({ type: 'rolledBack', last: s(0) })
  t.throws(() => a.replica, /NOT_MASTER/)
  await until(() => nodes.asked.length > 0, 'it resigns')
  // The CLDB has nobody else; another replica is asked to follow at the same time.
  await nodes.configure(2, [a])
  const follow = { container, epoch: e(3) }
  const connection = nodes.connect(b, a.server)
  await t.rejects(connection.call(replication.calls.follow, follow, { timeoutMs: 100 }), /NOT_READY/)
  await serves(a)
  t.equal(held(a, 'k'), 'precious')
  t.equal(a.replica.core.epoch, 2, 'what it was assigned meanwhile it takes up')
})

t.test('a follower that stopped is found although nothing is written', async (t) => {
  const { nodes, a, b } = await three(t)
  let laterMs = 0
  const { clock } = a.environment
  Object.assign(a.environment, { clock: { ...clock, monotonicMs: () => clock.monotonicMs() + laterMs } })
  await nodes.govern(1, [a, b])
  await serves(a)
  await write(a, { changes: [put('k', 'v', true)] })
  await agree(a, b)
  hasten(b)
  b.replica.dispatch({ type: 'rolledBack', last: s(0) })
  await until(() => b.replicas.holds(container), 'it is open again')
  t.equal(b.replica.core.role, 'idle')
  laterMs = 30_000
  await until(() => b.replica.core.role === 'follower', 'it follows again')
  await until(() => a.replica.location?.inSync.length === 2, 'and is in sync')
})

t.test('a replica that cannot be opened just now is not made anew either', async (t) => {
  const { nodes, a } = await three(t)
  await nodes.configure(1, [a])
  await serves(a)
  await write(a, { changes: [put('k', 'precious', true)] })
  // The disk fails at the state file, as long as a directory stands there.
  const state = join(a.directory, 'state')
  const whole = a.place.disk.load(state)!
  a.replica.dispatch({ type: 'rolledBack', last: s(0) })
  rmSync(state)
  mkdirSync(state)
  await new Promise((resolve) => setTimeout(resolve, 1200))
  t.strictSame(a.replicas.registered().replicas, [{ container, epoch: 0 }], 'the CLDB counts on it still')
  await nodes.configure(2, [a])
  t.equal(segmentFiles(a.directory).length, 1)
  rmSync(state, { recursive: true })
  a.place.disk.save(state, whole)
  await serves(a)
  t.equal(held(a, 'k'), 'precious')
})

t.test('who cannot open the replica that it is to lead gives way, and does not begin that epoch late', async (t) => {
  const { nodes, a, b } = await three(t)
  const resigned: number[] = []
  nodes.reconfigured = async (epoch) => {
    resigned.push(epoch)
    return nodes.location(epoch, [a, b])
  }
  await nodes.configure(1, [a, b])
  await serves(a)
  hasten(a)
  const { load } = a.place.disk
  const noSpace = (): never => {
    throw new Failure('NO_SPACE', 'ENOSPC')
  }
  Object.assign(a.place.disk, { load: noSpace })
  a.replica.dispatch({ type: 'rolledBack', last: s(0) })
  await a.replicas.assign(nodes.location(2, [a, b]))
  await until(() => resigned.includes(2), 'it gives way')
  Object.assign(a.place.disk, { load })
  await until(() => a.replicas.holds(container), 'it is open')
  await a.replicas.assign(nodes.location(2, [a, b]))
  t.match(a.replica.core, { role: 'idle', epoch: 1 })
  await nodes.configure(3, [a, b])
  await serves(a)
})

t.test('a replica that the disk does not read any more is made anew', async (t) => {
  const { nodes, a, b } = await three(t)
  await nodes.govern(1, [a, b])
  await serves(a)
  await write(a, { changes: [put('k', 'v', true)] })
  await agree(a, b)
  hasten(b)
  const { load, save } = b.place.disk
  Object.assign(b.place.disk, {
    load: () => {
      throw new Failure('DISK_FAILED', 'EIO')
    },
    // What is written anew can be read.
    save: (path: string, content: Buffer) => {
      Object.assign(b.place.disk, { load })
      save(path, content)
    },
  })
  b.replica.dispatch({ type: 'rolledBack', last: s(0) })
  await until(() => b.replicas.damaged().length > 0, 'it is found damaged')
  t.strictSame(b.replicas.damaged(), [{ container, epoch: 1 }], 'its epoch is known from before')
  await write(a, { changes: [put('k', 'without b')] })
  await until(() => nodes.asked.some(({ add }) => add.includes(b.server)), 'it is made anew')
  await agree(a, b)
  t.strictSame(contents(b.directory), contents(a.directory))
})

t.test('a damaged replica does not lead, and is made anew by one that is whole', async (t) => {
  const { nodes, a, b } = await three(t)
  await nodes.govern(1, [a, b])
  await serves(a)
  for (let i = 0; i < 5; i++) await write(a, { changes: [put(`k${i}`, 'v', true)] })
  await agree(a, b)
  await b.replicas.close()
  flip(join(b.directory, segmentFiles(b.directory)[0]!), 150)
  await b.index.clear(Buffer.alloc(0), Buffer.alloc(7, 255))
  const again = await b.reopened(nodes)
  t.throws(() => again.replica, /NOT_MASTER/, 'it is not whole')
  await again.replicas.assign(nodes.location(2, [again]))
  t.strictSame(nodes.asked.at(-1), { server: b.server, remove: [b.server], add: [] }, 'asked to lead it resigns')
  await nodes.govern(3, [a], [again])
  await until(() => a.replica.location?.inSync.length === 2, 'it is made anew')
  await agree(a, again)
  t.strictSame(contents(again.directory), contents(a.directory))
})

t.test('a replica whose beginning is no longer in the log is copied', async (t) => {
  const { nodes, a, b, c } = await three(t)
  await nodes.govern(1, [a, b])
  await serves(a)
  const payload = [Buffer.alloc(4 * 2 ** 20, 'x')]
  const same = extent('file', 0, 4 * 2 ** 20)
  for (let i = 0; i < 20; i++) await write(a, { changes: [same], payload })
  await until(
    () => segmentFiles(a.directory).length === 1 && segmentFiles(b.directory).length === 1,
    'the dead segment is dropped',
  )
  await nodes.govern(2, [a, b], [c])
  await until(() => a.replica.location?.inSync.length === 3, 'it is in')
  t.ok(c.calls.includes('install'))
  await agree(a, b, c)
  t.strictSame(c.replica.storage.log.history, a.replica.storage.log.history)
  t.strictSame(contents(c.directory), contents(a.directory))
  await nodes.configure(9, [c, a, b])
  await serves(c)
  await write(c, { changes: [put('k', 'led by the copy', true)] })
})

t.test('a token names the epoch of its record, so that a repeated write can still be synced', async (t) => {
  const { nodes, a, b } = await three(t)
  await nodes.configure(1, [a, b])
  await serves(a)
  const at = await write(a, { stable: false, ticket: ticket(5, 1) })
  const token = a.replica.token(at)
  await nodes.configure(2, [a, b])
  await serves(a)
  const done = a.replica.storage.index.retries.find(ticket(5, 1))!
  t.strictSame(a.replica.token(s(done.sequence)), token)
  await a.replica.syncTo(token)
  await a.replica.syncTo(a.replica.token(s(0)))
  await t.rejects(a.replica.syncTo({ ...token, epoch: e(9) }), /UNSYNCED_LOST/)
  await t.rejects(a.replica.syncTo({ ...token, sequence: s(99) }), /UNSYNCED_LOST/)
})

t.test('what a query saw is settled before it is answered', async (t) => {
  const { nodes, a, b } = await three(t)
  await nodes.configure(1, [a, b])
  await serves(a)
  const writing = write(a, { changes: [put('k', 'v', true)] })
  const seen = a.replica.query(() => held(a, 'k'))
  t.ok(seen instanceof Promise)
  t.ok(a.replica.settled(a.replica.storage.index.latest) instanceof Promise, 'one that looked in several turns too')
  t.equal(await seen, 'v')
  t.ok(a.replica.core.committed >= 2)
  await writing
  t.equal(
    a.replica.query(() => held(a, 'k')),
    'v',
    'at once, when nothing can be undone',
  )
})

t.test('a replica that is given up counts as nothing, also where the disk does not take that', async (t) => {
  const { nodes, a, b } = await three(t)
  await nodes.configure(1, [a, b])
  await serves(a)
  await write(a, { changes: [put('k', 'v')] })
  const { disk } = b.place
  const { save } = disk
  Object.assign(disk, {
    save: () => {
      throw new Failure('DISK_FAILED', 'EIO')
    },
  })
  await t.rejects(b.replicas.giveUp(container, new Failure('CORRUPT', 'rotten')), /EIO/)
  Object.assign(disk, { save })
  t.strictSame(b.replicas.registered(), { replicas: [], damaged: [container] })
  t.strictSame(b.replicas.damaged(), [{ container, epoch: 1 }])
})

t.test('a member that was asked to be durable before it had everything is asked again', async (t) => {
  const { nodes, a, b } = await three(t)
  await nodes.configure(1, [a, b])
  await serves(a)
  b.cut = true
  write(a, { changes: [put('k', 'v', true)] }).catch(() => {})
  await until(() => a.replica.storage.log.last === 2, 'it lacks a record')
  b.cut = false
  // The network brings a request twice, and the first of them overtakes the records.
  const answer = b.answer.bind(b)
  let overtake = (): void => {}
  const overtaken = new Promise<void>((resolve) => {
    overtake = resolve
  })
  b.answer = async (call, request, payload) => {
    if (call.number === replication.calls.append.number && payload.length > 0) await overtaken
    const answered = await answer(call, request, payload)
    if (call.number === replication.calls.append.number) overtake()
    return answered
  }
  await nodes.configure(2, [a, b])
  await until(() => a.replica.core.role === 'master' && a.replica.core.epoch === 2, 'it serves')
  t.equal(b.replica.storage.log.durable, 3)
})

t.test('a replica that stopped is opened again only when nothing of it is at work', async (t) => {
  const nodes = await Nodes.make(t, 1)
  const [a] = nodes.all as [Node]
  await nodes.configure(1, [a])
  await serves(a)
  await write(a, { changes: [put('k', '1', true)] })
  const { write: writeIndex } = a.index
  let end = (): void => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  let begun = false
  t.teardown(() => Object.assign(a.index, { write: writeIndex }))
  Object.assign(a.index, {
    write: async (...what: Parameters<typeof writeIndex>) => {
      begun = true
      await ended
      return writeIndex(...what)
    },
  })
  await until(() => begun, 'committed records are on their way into the index')
  const old = a.replica
  old.dispatch({ type: 'heard', committed: -1 as never })
  t.ok(old.stopped, 'an assertion failed')
  await new Promise((resolve) => setTimeout(resolve, 1200))
  t.notOk(a.replicas.holds(container))
  t.ok(
    a.replicas.registered().replicas.some((held) => held.container === container),
    'and counts as held meanwhile',
  )
  end()
  await until(() => a.replicas.holds(container), 'it is open again')
  t.equal(held(a, 'k'), '1')
})

t.test('a master whose index does not take what its log has stops', async (t) => {
  const { nodes, a, b } = await three(t)
  await nodes.configure(1, [a, b])
  await serves(a)
  const { get } = a.index
  Object.assign(a.index, {
    get: () => {
      throw new Error('a read error')
    },
  })
  const { replica } = a
  await t.rejects(write(a, { changes: [put('k', '2', false)] }), /read error/)
  Object.assign(a.index, { get })
  t.ok(replica.stopped)
  t.equal(b.replica.storage.log.last, 1, 'nobody else was given the record')
})
