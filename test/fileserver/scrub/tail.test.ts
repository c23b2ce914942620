/**
 * Claims about rot of the very last committed record, of which nothing on the disk says that it was committed: it looks like a
 * torn tail and is cut when the replica is opened. Nothing is lost for it.
 */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openIndex } from '../../../fileserver/index/store.ts'
import { Node, until, write } from '../nodes.ts'
import { put } from '../stored.ts'
import { recordsIn, Scrubbed, segmentsOf, spoil } from './world.ts'

t.setTimeout(60_000)

/** The server starts again without its index, as after a power cut that took the latest of it, and with a spoiled end. */
async function spoiledEnd(t: Test, scrubbed: Scrubbed, node: Node): Promise<Node> {
  const { last } = node.replica.storage.log
  await node.replicas.close()
  const path = segmentsOf(node).at(-1)!
  spoil(path, recordsIn(path).at(-1)!.offset + 8)
  const { nodes } = scrubbed
  const index = await openIndex(join(node.place.directory, 'another-index'))
  const again = new Node(nodes, node.server, node.place, index, node.environment.segmentBytes)
  nodes.all[nodes.all.indexOf(node)] = again
  t.teardown(() => node.index.close())
  await again.replicas.openAll()
  t.equal(again.replica.storage.log.last, last - 1, 'its last record was cut')
  return again
}

t.test('a follower that lost its end so is noticed, and brought back to all that is committed', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const [master, victim] = scrubbed.nodes.all
  const again = await spoiledEnd(t, scrubbed, victim!)
  await write(master!, { changes: [put('after', 'it', true)] })
  await until(() => scrubbed.location.epoch > 1, 'it is put out of the in-sync set', 20_000)
  await until(() => scrubbed.location.inSync.length === 3, 'and is back', 20_000)
  await until(() => again.replica.storage.log.last === master!.replica.storage.log.last, 'with everything', 20_000)
  await scrubbed.equal(t, 'byte for byte')
})

t.test('one that leads next without its end gives way when another knows what was committed', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const [master, victim, third] = scrubbed.nodes.all
  const { last, chain } = master!.replica.storage.log
  await spoiledEnd(t, scrubbed, victim!)
  const { nodes } = scrubbed
  // The CLDB may choose any member of the in-sync set.
  await nodes.govern(2, [nodes.all[1]!, master!, third!])
  const { reconfigured } = nodes
  let now = nodes.location(2, nodes.all)
  nodes.reconfigured = async (...asked) => {
    now = await reconfigured(...asked)
    const next = nodes.all.find(({ server }) => server === now.master)
    if (next !== undefined) setImmediate(() => void next.replicas.assign(now))
    return now
  }
  await until(() => now.epoch > 2 && now.inSync.length === 3, 'all are in sync again, in a later epoch', 20_000)
  for (const { replica } of nodes.all) t.equal(replica.storage.log.chainAt(last), chain, 'what was committed is there')
})
