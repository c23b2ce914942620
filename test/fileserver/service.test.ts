/**
 * Claims about what a client's call does when the network brings it twice, late, or to a master of another epoch.
 */
import t, { type Test } from 'tap'
import type { Reclaim } from '../../fileserver/cleaning/reclaim.ts'
import { fidOf } from '../../fileserver/names/inode.ts'
import { format } from '../../fileserver/names/operations.ts'
import { fileHandlers } from '../../fileserver/service.ts'
import type { Cldb } from '../../protocol/cluster/cldb.ts'
import type { Inode } from '../../protocol/ids.ts'
import type { Ticket } from '../../protocol/messages/attributes.ts'
import type { files } from '../../protocol/messages/files.ts'
import type { Handlers } from '../../protocol/transport/transport.ts'
import { bytesOf, noChanges, root } from '../names/world.ts'
import { failureIn } from '../protocol/outcome.ts'
import { type Node, Nodes, serves, write } from './nodes.ts'
import { container, e, ticket } from './world.ts'

const directory = fidOf(container, 1 as Inode)

type Answerer = Handlers<typeof files.calls>
const answerer = (node: Node): Answerer => fileHandlers(node.environment, node.replicas, {} as Cldb, {} as Reclaim)

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
