/**
 * Claims about how a master brings another replica's log to agree with its own (DESIGN §4, rule 5).
 */
import t, { type Test } from 'tap'
import type { Log } from '../../../fileserver/log/log.ts'
import { match } from '../../../fileserver/replica/match.ts'
import { Progress } from '../../../fileserver/resync/progress.ts'
import { systemClock } from '../../../protocol/clock.ts'
import * as messages from '../../../protocol/messages/replication.ts'
import { randomFrom } from '../../names/random.ts'
import { type Node, Nodes } from '../nodes.ts'
import { append, chains, container, contents, create, draft, e, fill, place, s, stream } from '../world.ts'

/** `1x5 2x3`: five records of epoch 1, three of epoch 2. Records with the same place and epoch are the same. */
function grow(log: Log, text: string, name = ''): Log {
  for (const word of text.split(' ').filter((word) => word !== '')) {
    const [epoch, count] = word.split('x').map(Number) as [number, number]
    for (let i = 0; i < count; i++) append(log, `${name}${epoch}.${log.next}`, epoch)
  }
  return log
}

type World = { readonly nodes: Nodes; readonly node: Node; readonly log: Log; readonly replica: () => Log }

/** A master's log, and a replica that it reaches. */
async function world(t: Test, ours: string, theirs: string): Promise<World> {
  const nodes = await Nodes.make(t, 2)
  const node = nodes.all[1]!
  await node.replicas.followed(container, e(0))
  grow(node.replica.storage.log, theirs)
  const log = grow(create(place(t)), ours)
  return { nodes, node, log, replica: () => node.replica.storage.log }
}

const options = { inSync: false, committed: 0, epoch: 9 }

function matched({ nodes, node, log }: World, given: Partial<typeof options> = {}): Promise<number> {
  const { inSync, committed, epoch } = { ...options, ...given }
  const from = nodes.all[0]!
  node.calls.length = 0
  return match({
    connection: nodes.connect(from, node.server),
    container,
    epoch: e(epoch),
    master: from.server,
    log,
    committed: () => s(committed),
    timeoutMs: 1000,
    inSync,
    turn: async () => new Progress(0),
    clock: systemClock,
  })
}

t.test('histories give the divergence point, the chain there proves it, the rest is cut', async (t) => {
  for (const [ours, theirs, expected, calls, why] of [
    ['1x5 3x4', '1x5 2x3', 5, ['follow', 'chains', 'rollback'], 'they wrote in an epoch that we never saw'],
    ['1x5 3x4', '1x3', 3, ['follow', 'chains'], 'they are behind'],
    ['1x5', '1x5', 5, ['follow', 'chains'], 'equal'],
    ['1x5', '', 0, ['follow'], 'they are empty'],
    ['1x2 3x1', '1x9 2x9', 2, ['follow', 'chains', 'rollback'], 'they are ahead, alone'],
    ['3x4', '2x4', 0, ['follow', 'rollback'], 'nothing in common'],
  ] as const) {
    const here = await world(t, ours, theirs)
    t.equal(await matched(here), expected, `${ours} and ${theirs}: ${why}`)
    t.strictSame(here.node.calls, calls)
    t.strictSame(chains(here.replica()), chains(here.log).slice(0, expected + 1))
    t.equal(here.node.replica.core.epoch, 9, 'it stored the epoch')
  }
})

t.test('whatever the logs, one becomes a beginning of the other', async (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const random = randomFrom(seed)
    const common = `1x${1 + random(20)} 2x${random(20)}`
    const here = await world(t, `${common} 4x${random(15)} 6x1`, `${common} 3x${random(15)} 5x${random(9)}`)
    const before = chains(here.replica())
    const ours = chains(here.log)
    const shared = ours.findLastIndex((chain, at) => chain === before[at])
    t.equal(await matched(here), shared, `seed ${seed}: nothing that agrees is cut`)
    const rest = shared < here.log.last ? stream(here.log, shared + 1) : []
    here.replica().receive(rest)
    t.strictSame(chains(here.replica()), ours)
  }
})

t.test('where histories lie the chains tell, in few calls', async (t) => {
  const here = await world(t, '1x300', '1x123')
  grow(here.replica(), '1x170', 'spoiled')
  t.equal(await matched(here), 123)
  t.ok(here.node.calls.filter((name) => name === 'chains').length <= 5, here.node.calls.join(' '))
  t.strictSame(chains(here.replica()), chains(here.log).slice(0, 124))
  const other = await world(t, '1x40', '')
  grow(other.replica(), '1x40', 'spoiled')
  t.equal(await matched(other), 0, 'not even the first agrees')
})

t.test('an in-sync replica is not cut where a chain cannot be read that its history says is ours', async (t) => {
  const here = await world(t, '1x5 3x4', '1x5 2x3')
  const log = here.replica()
  const { chainAt } = log
  Object.assign(log, { chainAt: (at: number) => (at === 5 ? undefined : chainAt.call(log, s(at))) })
  await t.rejects(matched(here, { inSync: true }), /CORRUPT.*up to 4 only, and not up to 5/)
  t.equal(log.last, 8, 'it may be committed')
  t.equal(await matched(here, { epoch: 10 }), 4, 'one that does not count is')
})

t.test('a replica that lacks what is committed', async (t) => {
  const lacking = await world(t, '1x5 3x4', '1x5 2x3')
  await t.rejects(matched(lacking, { inSync: true, committed: 6 }), /CORRUPT/, 'in-sync: it is not trusted any more')
  t.equal(lacking.replica().last, 8, 'and nothing of it is touched')
  t.equal(await matched(lacking, { inSync: true, committed: 5 }), 5, 'what is not committed may be lacking')
  const behind = await world(t, '1x5 3x4', '1x3')
  t.equal(await matched(behind, { committed: 9 }), 3, 'resyncing: it rolls forward')
})

t.test('an in-sync replica that knows more to be committed than we hold stops us', async (t) => {
  const here = await world(t, '1x5 3x1', '1x8')
  here.node.replica.dispatch({ type: 'followed', epoch: e(2) })
  here.node.replica.dispatch({ type: 'appended', last: s(8) })
  here.node.replica.dispatch({ type: 'heard', committed: s(7) })
  await t.rejects(matched(here, { inSync: true }), /our own log lacks sequence 7/)
  t.equal(here.replica().last, 8)
})

t.test('a log that no longer reaches back is copied whole', async (t) => {
  const here = await world(t, '', '1x20')
  const [master] = here.nodes.all
  await master!.replicas.followed(container, e(0))
  const { log } = master!.replica.storage
  append(log, 'another first')
  fill(log)
  append(log, 'in the second', 4)
  log.drop(s(1))
  append(log, 'the last', 5, 18)
  const copied = { ...here, log }
  t.equal(await matched(copied, { committed: 19, epoch: 9 }), 19)
  t.strictSame(here.node.calls.slice(0, 2), ['follow', 'chains'])
  t.ok(here.node.calls.includes('install'))
  const made = here.replica()
  t.strictSame(contents(here.node.directory), contents(master!.directory))
  t.strictSame(made.history, log.history, 'it knows of the epochs that were in dropped segments')
  t.equal(made.contiguousFrom, 18)
  t.match(here.node.replica.core, { epoch: 9, role: 'follower' })
  t.equal(await matched(copied, { committed: 19, epoch: 10 }), 19, 'next time it is as any other')
  t.strictSame(here.node.calls, ['follow', 'chains'])
})

t.test('a follower takes orders of its epoch only', async (t) => {
  const here = await world(t, '1x5', '1x5')
  await matched(here, { epoch: 9 })
  const [master] = here.nodes.all
  const connection = here.nodes.connect(master!, here.node.server)
  const order = (name: string, request: object): Promise<unknown> => {
    const { replication } = messages
    const call = replication.calls[name as 'append']
    return connection.call(call, { container, ...request } as never, { timeoutMs: 1000, payload: [] })
  }
  const chain = Buffer.alloc(8)
  chain.writeBigUInt64LE(here.log.chainAt(s(4))!)
  const append = { first: s(6), committed: s(0), durable: false, resync: false }
  for (const [name, request] of [
    ['append', append],
    ['rollback', { after: s(4), chain }],
    ['chains', { sequences: [s(1)] }],
    ['install', { master: master!.server, committed: s(0), segments: [], starts: [] }],
  ] as const) {
    await t.rejects(order(name, { epoch: e(8), ...request }), /STALE_EPOCH/, `${name} of an epoch that is over`)
    await t.rejects(order(name, { epoch: e(10), ...request }), /CONFLICT/, `${name} of one that it doesn't follow`)
  }
  await t.rejects(order('follow', { epoch: e(8) }), /STALE_EPOCH/)
  await t.rejects(
    order('rollback', { epoch: e(9), attempt: 1, after: s(4), chain: Buffer.alloc(8) }),
    /BAD_MESSAGE/,
    'another chain',
  )
  await t.rejects(order('rollback', { epoch: e(9), attempt: 1, after: s(6), chain }), /BAD_MESSAGE/, 'beyond its end')
  here.node.replica.dispatch({ type: 'appended', last: s(5) })
  await order('append', { epoch: e(9), ...append, committed: s(5) })
  await t.rejects(
    order('rollback', { epoch: e(9), attempt: 1, after: s(4), chain }),
    /BAD_MESSAGE/,
    'below what is committed',
  )
  t.equal(here.replica().last, 5)
})

t.test('a rollback that was overtaken by another epoch is not done', async (t) => {
  const here = await world(t, '1x2 3x1', '1x5')
  const [master] = here.nodes.all
  const connection = here.nodes.connect(master!, here.node.server)
  const { follow, rollback } = messages.replication.calls
  const { reply } = await connection.call(follow, { container, epoch: e(3) }, { timeoutMs: 1000 })
  const { attempt } = reply
  const chain = Buffer.alloc(8)
  chain.writeBigUInt64LE(here.log.chainAt(s(2))!)
  // Something to wait for, in which the next master comes.
  append(here.replica(), 'one more')
  const { storage } = here.node.replica
  storage.append(draft(), [], e(1), s(0))
  const syncing = here.node.replica.synced()
  const late = connection.call(rollback, { container, epoch: e(3), attempt, after: s(2), chain }, { timeoutMs: 1000 })
  const next = connection.call(follow, { container, epoch: e(4) }, { timeoutMs: 1000 })
  await t.rejects(late, /STALE_EPOCH/)
  await Promise.all([syncing, next])
  t.equal(here.replica().last, 7)
})

t.test('what a follow led to is not done after another one, in the same epoch too', async (t) => {
  const here = await world(t, '1x5', '1x5')
  const [master] = here.nodes.all
  const connection = here.nodes.connect(master!, here.node.server)
  const { follow, rollback, install } = messages.replication.calls
  const asked = { container, epoch: e(3) }
  const { attempt } = (await connection.call(follow, asked, { timeoutMs: 1000 })).reply
  await connection.call(follow, asked, { timeoutMs: 1000 })
  const chain = Buffer.alloc(8)
  chain.writeBigUInt64LE(here.log.chainAt(s(2))!)
  const cut = connection.call(rollback, { ...asked, attempt, after: s(2), chain }, { timeoutMs: 1000 })
  await t.rejects(cut, /CONFLICT/)
  const copy = { ...asked, attempt, master: master!.server, committed: s(2), segments: [], starts: [] }
  await t.rejects(connection.call(install, copy, { timeoutMs: 1000 }), /CONFLICT/)
  t.equal(here.replica().last, 5)
})

t.test('what a follow led to is done once: a repeat that comes late does nothing', async (t) => {
  const here = await world(t, '1x5', '1x5')
  const [master] = here.nodes.all
  const connection = here.nodes.connect(master!, here.node.server)
  const { follow, rollback, install } = messages.replication.calls
  const asked = { container, epoch: e(3) }
  const begin = async () => (await connection.call(follow, asked, { timeoutMs: 1000 })).reply.attempt
  const chain = Buffer.alloc(8)
  chain.writeBigUInt64LE(here.log.chainAt(s(4))!)
  const cut = { ...asked, attempt: await begin(), after: s(4), chain }
  await connection.call(rollback, cut, { timeoutMs: 1000 })
  t.equal(here.replica().last, 4)
  await t.rejects(connection.call(rollback, cut, { timeoutMs: 1000 }), /CONFLICT/)
  const attempt = await begin()
  const copy = { ...asked, attempt, master: master!.server, committed: s(0), segments: [], starts: [] }
  const [first, repeated] = await Promise.allSettled(
    [1, 2].map(() => connection.call(install, copy, { timeoutMs: 1000 })),
  )
  t.equal(first!.status, 'fulfilled')
  t.match(repeated, { status: 'rejected', reason: /CONFLICT/ })
})
