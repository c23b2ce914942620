/**
 * Claims about chunks whose files are gone: what a late write left is forgotten, and nothing else is.
 */
import t, { type Test } from 'tap'
import { Abandoned } from '../../../fileserver/cleaning/abandoned.ts'
import { fidOf } from '../../../fileserver/names/inode.ts'
import { chunksAfter, format, mutations, queries } from '../../../fileserver/names/operations.ts'
import type { Containers } from '../../../protocol/cluster/containers.ts'
import { Failure } from '../../../protocol/failures.ts'
import type { ContainerId, Fid, Inode } from '../../../protocol/ids.ts'
import { type Node, Nodes, serves, write } from '../nodes.ts'
import { bytes, container, ticket } from '../world.ts'

const context = { container, volume: { chunkBytes: 2 ** 28 }, now: { seconds: 1, nanoseconds: 0 } }
const there = fidOf(container, 1 as Inode)
const gone = fidOf(container, 2 as Inode)
const foreign = fidOf(99 as ContainerId, 2 as Inode)

/** A container that is both: it has a directory, and these chunks of five bytes. */
async function holding(t: Test, owners: readonly Fid[]): Promise<Node> {
  const nodes = await Nodes.make(t, 2)
  const [node] = nodes.all as [Node, Node]
  await nodes.configure(1, nodes.all)
  await serves(node)
  await write(node, { changes: format(context) })
  for (const [index, owner] of owners.entries()) {
    const chunk = { container, owner, index }
    const request = { ticket: ticket(1, index), chunk, offset: 0, stable: true, sums: new Uint8Array() }
    const { changes } = mutations.writeChunk.perform(node.replica.view, request, 5, context)
    await write(node, { changes, payload: [bytes('chunk')] })
  }
  return node
}

/** Ways to the one container that the CLDB knows. */
const ways = (node: Node, getattr = queries.getattr): Containers =>
  ({
    location: async (of: ContainerId) => {
      if (of !== container) throw new Failure('STALE', `no container ${of}`)
      return {}
    },
    call: async (_of: ContainerId, _call: object, request: () => { fid: Fid }) =>
      getattr(node.replica.view, request(), context),
  }) as unknown as Containers

const look = (node: Node, containers = ways(node)) =>
  new Abandoned(node.environment, containers, 1000).look(node.replica)

const left = async (node: Node): Promise<readonly number[]> =>
  (await chunksAfter(node.replica.view, container, undefined, 1000)).map(({ index }) => index)

t.test('a chunk of a file that is gone is forgotten, and no other', async (t) => {
  const node = await holding(t, [there, gone, foreign, gone, there])
  await look(node)
  t.strictSame((await left(node)).toSorted(), [0, 2, 4])
  const chunk = { container, owner: gone, index: 1 }
  t.equal(queries.readChunk(node.replica.view, { chunk, offset: 0, length: 5 }, context).length, 0)
  const last = node.replica.storage.log.last
  await look(node)
  t.equal(node.replica.storage.log.last, last, 'nothing is written where nothing is to be forgotten')
})

t.test('all chunks are looked at, however many', async (t) => {
  const node = await holding(
    t,
    Array.from({ length: 150 }, (_, index) => (index % 3 === 0 ? there : gone)),
  )
  await look(node)
  t.equal((await left(node)).length, 50)
})

t.test('nothing is forgotten while the master of names does not answer', async (t) => {
  const node = await holding(t, [gone])
  const silent = ways(node, () => {
    throw new Failure('UNAVAILABLE', 'no answer')
  })
  await look(node, silent)
  t.strictSame(await left(node), [0])
})

t.test('only a master forgets', async (t) => {
  const node = await holding(t, [gone])
  const containers = ways(node, () => {
    node.replica.dispatch({ type: 'followed', epoch: 2 as never })
    throw new Failure('STALE', 'gone')
  })
  await look(node, containers)
  t.strictSame(await left(node), [0])
})
