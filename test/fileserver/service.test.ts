/**
 * Claims about what a client's call does when the network brings it twice, late, or to a master of another epoch.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Reclaim } from '../../fileserver/cleaning/reclaim.ts'
import { fidOf } from '../../fileserver/names/inode.ts'
import { format, orphans } from '../../fileserver/names/operations.ts'
import { fileHandlers } from '../../fileserver/service.ts'
import type { Cldb } from '../../protocol/cluster/cldb.ts'
import type { Containers } from '../../protocol/cluster/containers.ts'
import { Failure } from '../../protocol/failures.ts'
import { payloadSums } from '../../protocol/hash.ts'
import type { Inode } from '../../protocol/ids.ts'
import type { Ticket } from '../../protocol/messages/attributes.ts'
import type { files } from '../../protocol/messages/files.ts'
import type { Handlers } from '../../protocol/transport/transport.ts'
import { bytesOf, noChanges, root } from '../names/world.ts'
import { failureIn } from '../protocol/outcome.ts'
import { type Node, Nodes, serves, until, write } from './nodes.ts'
import { container, e, flip, segmentFiles, ticket } from './world.ts'

const directory = fidOf(container, 1 as Inode)

type Answerer = Handlers<typeof files.calls>
/** New chunks go to `container`. */
const answerer = (node: Node, reclaim = {} as Reclaim, container = 99): Answerer => {
  const cldb = { call: async () => ({ containers: [container] }) } as unknown as Cldb
  return fileHandlers(node.environment, node.replicas, cldb, reclaim)
}

async function two(t: Test) {
  const nodes = await Nodes.make(t, 2)
  const [a, b] = nodes.all as [Node, Node]
  await nodes.configure(1, [a, b])
  await serves(a)
  await write(a, {
    changes: format({ container, volume: { chunkBytes: 2 ** 28 }, now: { seconds: 1, nanoseconds: 0 } }),
  })
  return { nodes, a, b }
}

const context = {} as Parameters<Answerer['remove']>[2]

const lookup = async (at: Answerer, name: string) =>
  at.lookup({ directory, name: bytesOf(name), credentials: root }, [], context)

const create = async (at: Answerer, ticket: Ticket, name: string) =>
  at.create(
    {
      ticket,
      directory,
      name: bytesOf(name),
      credentials: root,
      kind: 'file',
      how: 'guarded',
      changes: noChanges,
      verifier: undefined,
      target: undefined,
      major: 0,
      minor: 0,
      sums: new Uint8Array(),
    },
    [],
    context,
  )

const remove = async (at: Answerer, ticket: Ticket, name: string) =>
  at.remove({ ticket, directory, name: bytesOf(name), credentials: root, kind: 'file' }, [], context)

t.test('a call that failed fails again when it comes again, whatever was done between', async (t) => {
  const { a } = await two(t)
  const at = answerer(a)
  t.equal(await failureIn(remove(at, ticket(1, 2, 1), 'c')), 'NOT_FOUND')
  await create(at, ticket(1, 1, 1), 'c')
  t.equal(await failureIn(remove(at, ticket(1, 2, 1), 'c')), 'NOT_FOUND', 'as it was answered')
  t.equal(await failureIn(create(at, ticket(2, 1, 1), 'c')), 'EXISTS', 'and nothing was removed')
  await remove(at, ticket(1, 3, 1), 'c')
  t.equal(await failureIn(create(at, ticket(2, 1, 1), 'c')), 'EXISTS', 'as it was answered')
  t.equal(await failureIn(remove(at, ticket(1, 4, 1), 'c')), 'NOT_FOUND', 'and nothing was made')
})

t.test('a call that was sent to the master of another epoch is refused, done or not', async (t) => {
  const { nodes, a, b } = await two(t)
  const at = answerer(a)
  t.equal(await failureIn(remove(at, ticket(1, 2, 1), 'c')), 'NOT_FOUND')
  await create(at, ticket(1, 1, 1), 'c')
  await nodes.configure(2, [a, b])
  await serves(a)
  t.equal(await failureIn(remove(at, ticket(1, 2, 1), 'c')), 'STALE_EPOCH')
  t.equal(await failureIn(create(at, ticket(1, 1, 1), 'c')), 'STALE_EPOCH')
  await create(at, { ...ticket(1, 1, 1), epoch: e(2) }, 'c')
  await remove(at, { ...ticket(1, 5, 1), epoch: e(2) }, 'c')
})

t.test('a call that failed is not done when it comes again after its answer was forgotten', async (t) => {
  const { a } = await two(t)
  const at = answerer(a)
  t.equal(await failureIn(remove(at, ticket(2, 5, 5), 'c')), 'NOT_FOUND')
  t.equal(await failureIn(remove(at, ticket(2, 6, 6), 'z')), 'NOT_FOUND', 'the client has had the answer of the first')
  await create(at, ticket(1, 1, 1), 'c')
  t.equal(await failureIn(remove(at, ticket(2, 5, 5), 'c')), 'INVALID')
  await lookup(at, 'c')
})

t.test('no bytes are forgotten for a removal that may still be undone', async (t) => {
  const { nodes, a, b } = await two(t)
  const trimmed: number[] = []
  const containers = {
    call: async (container: number) => {
      trimmed.push(container)
      return { reply: {} }
    },
  } as unknown as Containers
  const reclaim = new Reclaim(a.environment, containers)
  const at = answerer(a, reclaim)
  const { fid } = (await create(at, ticket(1, 1, 1), 'f')).reply.attributes
  await at.map({ ticket: ticket(1, 2, 2), fid, first: 0, count: 1, allocate: true }, [], context)
  b.cut = true
  const removed = failureIn(remove(at, ticket(1, 3, 3), 'f'))
  const { epoch } = a.replica.core
  const [orphan] = await orphans(a.replica.view, container, 1)
  const worked = failureIn(reclaim.work(a.replica, orphan!, epoch))
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.strictSame(trimmed, [])
  a.cut = true
  b.cut = false
  await nodes.configure(2, [b])
  await serves(b)
  await lookup(answerer(b), 'f')
  await a.replicas.followed(container, e(2)).then((replica) => replica!.dispatch({ type: 'followed', epoch: e(2) }))
  t.equal(await worked, 'NOT_MASTER')
  t.equal(await removed, 'NOT_MASTER')
  t.strictSame(trimmed, [], 'nor afterwards')
})

t.test('files whose bytes cannot be reached do not keep the others from being reclaimed', async (t) => {
  const { a } = await two(t)
  const away = 98
  const inodes: number[] = []
  for (let i = 0; i < 30; i++) {
    const at = answerer(a, undefined, i < 20 ? away : 99)
    const { fid } = (await create(at, ticket(1, 3 * i + 1, 3 * i + 1), `f${i}`)).reply.attributes
    inodes.push(fid.inode)
    await at.map({ ticket: ticket(1, 3 * i + 2, 3 * i + 2), fid, first: 0, count: 1, allocate: true }, [], context)
    await remove(at, ticket(1, 3 * i + 3, 3 * i + 3), `f${i}`)
  }
  let isAway = true
  let asked = 0
  const containers = {
    call: async (called: number) => {
      if (called !== away || !isAway) return { reply: {} }
      asked += 1
      throw new Failure('UNAVAILABLE', 'no master')
    },
  } as unknown as Containers
  a.replica.location = { ...a.replica.location!, kind: 'name' }
  new Reclaim(a.environment, containers).start(a.replicas)
  const left = async () => (await orphans(a.replica.view, container, 100)).map(({ inode }) => inode as number)
  const ended = async (count: number): Promise<void> => {
    for (let turn = 0; turn < 500 && (await left()).length > count; turn++)
      await new Promise((resolve) => setTimeout(resolve, 20))
  }
  await ended(20)
  t.strictSame(await left(), inodes.slice(0, 20))
  t.equal(asked % 8, 0, 'the container that is away is asked once a visit, for eight files at a time')
  isAway = false
  await ended(0)
  t.strictSame(await left(), [])
})

t.test('where chunks are can be asked with too few replicas for a write', async (t) => {
  const { nodes, a } = await two(t)
  const at = answerer(a)
  const { fid } = (await create(at, ticket(1, 1, 1), 'f')).reply.attributes
  await at.map({ ticket: ticket(1, 2, 2), fid, first: 0, count: 1, allocate: true }, [], context)
  await a.replicas.assign(nodes.location(2, [a], [], 2))
  await until(() => a.replica.core.role === 'master' && a.replica.core.epoch === 2, 'it leads alone')
  const asked = { ticket: { ...ticket(1, 3, 3), epoch: e(2) }, fid, first: 0, count: 2 }
  t.equal(await failureIn((async () => at.map({ ...asked, allocate: true }, [], context))()), 'TOO_FEW_REPLICAS')
  t.strictSame((await at.map({ ...asked, allocate: false }, [], context)).reply.containers, [99, undefined])
})

t.test('a directory is not read across the end of a mastership', async (t) => {
  const { a, b } = await two(t)
  const { scan } = a.index
  const at = answerer(a)
  b.cut = true
  const made = failureIn(create(at, ticket(1, 1, 1), 'f'))
  let end = (): void => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  t.teardown(() => Object.assign(a.index, { scan }))
  Object.assign(a.index, {
    scan: async (...range: Parameters<typeof scan>) => {
      await ended
      return scan(...range)
    },
  })
  const listing = { directory, credentials: root, cookie: 0, entriesMax: 10, withAttributes: false }
  const read = failureIn((async () => at.readdir(listing as Parameters<Answerer['readdir']>[0], [], context))())
  a.replica.dispatch({ type: 'followed', epoch: e(2) })
  end()
  t.equal(await read, 'NOT_MASTER', 'is answered')
  t.equal(await made, 'NOT_MASTER')
})

t.test('a read of what no replica has whole says whose bytes are lost', async (t) => {
  const { a, b } = await two(t)
  const at = answerer(a)
  const chunk = { container, owner: fidOf(container, 2 as Inode), index: 3 }
  const content = Buffer.alloc(30_000, 'lost ')
  const sums = payloadSums([content], content.length)
  await at.writeChunk({ ticket: ticket(1, 1, 1), chunk, offset: 0, stable: true, sums }, [content], context)
  for (const { directory } of [a, b]) {
    const path = join(directory, segmentFiles(directory)[0]!)
    flip(path, readFileSync(path).indexOf('lost lost'))
  }
  const read = async () => at.readChunk({ chunk, offset: 0, length: 100 }, [], context)
  const told =
    /no replica of container 7 has the record at 1\+\d+ whole, for bytes 0 to 100 of chunk 3 of file 7\.2\.\d+/
  await t.rejects(read(), told)
})
