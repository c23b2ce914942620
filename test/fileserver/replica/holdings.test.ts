/**
 * Claims about which replicas a server makes, lists and discards: none that is wanted goes, none that is not stays.
 */
import { existsSync } from 'node:fs'
import t from 'tap'
import type { Source } from '../../../fileserver/resync/copying.ts'
import { Failure } from '../../../protocol/failures.ts'
import { serves, three, until, write } from '../nodes.ts'
import { put } from '../stored.ts'
import { container, e, fill, s } from '../world.ts'

t.test('a discarded replica leaves nothing', async (t) => {
  const { nodes, a } = await three(t)
  await nodes.configure(1, [a])
  await serves(a)
  await write(a, { changes: [put('k', 'v', true)] })
  fill(a.replica.storage.log)
  await a.replicas.discard(container)
  t.notOk(existsSync(a.directory))
  t.throws(() => a.replica, /NOT_MASTER/)
  t.strictSame(a.replicas.registered(), { replicas: [], damaged: [] })
})

t.test('a replica that is made anew does not lead by what its predecessor was told', async (t) => {
  const { nodes, a } = await three(t)
  await nodes.configure(1, [a])
  await serves(a)
  await a.replicas.discard(container)
  const again = await a.replicas.followed(container, e(3))
  t.equal(again!.core.role, 'idle')
  t.equal(again!.storage.log.last, 0)
})

t.test('what a failed removal leaves of a discarded replica is listed, so that it is discarded again', async (t) => {
  const { nodes, a } = await three(t)
  await nodes.configure(1, [a])
  await serves(a)
  const { disk } = a.place
  const { removeDirectory } = disk
  Object.assign(disk, {
    removeDirectory: () => {
      throw new Failure('DISK_FAILED', 'EIO')
    },
  })
  await t.rejects(a.replicas.discard(container), /EIO/)
  t.strictSame(a.replicas.registered(), { replicas: [], damaged: [container] })
  Object.assign(disk, { removeDirectory })
  await a.replicas.discard(container)
  t.strictSame(a.replicas.registered(), { replicas: [], damaged: [] })
  t.notOk(existsSync(a.directory))
})

t.test('a discarded replica is not brought back by a copy that began at the same time', async (t) => {
  const { nodes, a, b } = await three(t)
  await nodes.configure(1, [a, b])
  await serves(a)
  const old = b.replica
  const stop = old.stop.bind(old)
  let end = (): void => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  old.stop = async (reason) => {
    await ended
    await stop(reason)
  }
  const source = {} as Source
  const copied = b.replicas.copy(container, { epoch: e(2), starts: [], committed: s(0) }, [], source, () => {})
  const discarded = b.replicas.discard(container)
  end()
  await Promise.all([discarded, copied.catch(() => {})])
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.strictSame(b.replicas.registered(), { replicas: [], damaged: [] })
  t.notOk(existsSync(b.directory))
})

t.test('who cannot make the replica that it is to lead asks for another master', async (t) => {
  const { nodes, a, b } = await three(t)
  const { disk } = a.place
  const { save } = disk
  Object.assign(disk, {
    save: () => {
      throw new Failure('NO_SPACE', 'ENOSPC')
    },
  })
  await t.rejects(nodes.configure(1, [a, b]), /NO_SPACE/)
  await until(
    () => nodes.asked.some(({ server, remove }) => server === a.server && remove.includes(a.server)),
    'it asks',
  )
  Object.assign(disk, { save })
})

t.test('an empty replica that has followed nobody is not counted on', async (t) => {
  const { nodes, a, b } = await three(t)
  let name: (named: boolean) => void = () => {}
  nodes.isNamed = () =>
    new Promise((resolve) => {
      name = resolve
    })
  await nodes.configure(1, [a, b])
  await until(() => b.replicas.holds(container), 'it is made')
  t.strictSame(b.replicas.registered(), { replicas: [], damaged: [container] })
  name(true)
  await serves(a)
  t.strictSame(b.replicas.registered(), { replicas: [{ container, epoch: 1 }], damaged: [] })
})

t.test('a replica that a master of the past asks for is not made: nobody would ever remove it', async (t) => {
  const { nodes, a, b, c } = await three(t)
  const named = new Set([a, b])
  nodes.isNamed = async (node) => named.has(node)
  await nodes.configure(1, [a, b], [c]) // what the master still believes
  await serves(a)
  await until(() => c.calls.filter((call) => call === 'follow').length > 1, 'it asks, again and again')
  t.notOk(c.replicas.holds(container))
  t.notOk(existsSync(c.directory), 'nothing is left of it')
  named.add(c)
  await until(() => c.replicas.holds(container), 'once the CLDB names it, it is made')
})
