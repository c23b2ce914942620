/**
 * Claims about replicas on full disks: none is brought up there, none takes what would fill the last of the disk, and
 * what lacks little comes back.
 */
import t from 'tap'
import { Nodes, serves, until, write } from '../nodes.ts'
import { container } from '../world.ts'

const large = Buffer.alloc(2 * 2 ** 20, 'large')
const pause = (forMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, forMs))

t.test('a full disk takes no new replica, and is not asked again and again', async (t) => {
  const nodes = await Nodes.make(t, 2)
  const [master, target] = nodes.all as [Nodes['all'][0], Nodes['all'][0]]
  target.full = true
  await nodes.govern(1, [master], [target])
  await serves(master)
  for (let i = 0; i < 4; i++) await write(master, { payload: [large] })
  await pause(1000)
  t.ok(target.calls.filter((call) => call === 'append').length < 10, 'few calls')
  t.equal(target.replica.storage.log.last, 0)
  t.strictSame(
    nodes.asked.flatMap(({ add }) => add),
    [],
  )
  t.notOk(master.replica.full, 'others write on')
  target.full = false
  await until(
    () => target.replicas.find(container)?.storage.log.last === master.replica.storage.log.last,
    'it has all',
    15_000,
  )
})

t.test('a full disk takes no segments, and keeps what it has', async (t) => {
  const nodes = await Nodes.make(t, 2)
  const [master, target] = nodes.all as [Nodes['all'][0], Nodes['all'][0]]
  await nodes.govern(1, [master], [target])
  await serves(master)
  await write(master, { payload: [large] })
  await until(() => nodes.asked.some(({ add }) => add.includes(target.server)), 'it is in sync')
  await serves(master)
  const { last } = target.replica.storage.log
  const chain = Buffer.alloc(8)
  const { core } = target.replica
  const asked = { container, epoch: core.epoch }
  const { attempt } = (await target.answer({ number: 0x0201 }, asked, [])).reply as { attempt: number }
  const request = { ...asked, attempt, master: master.server, committed: last, starts: [] }
  target.full = true
  const segments = [{ first: 1, sizeBytes: 2 ** 20, chain }]
  await t.rejects(target.answer({ number: 0x0205 }, { ...request, segments }, []), /NO_SPACE/)
  t.equal(target.replica.storage.log.last, last)
})

t.test('a replica that lacks only a little comes back to a full disk', async (t) => {
  const nodes = await Nodes.make(t, 2)
  const [master, target] = nodes.all as [Nodes['all'][0], Nodes['all'][0]]
  await nodes.govern(1, [master, target])
  await serves(master)
  await write(master, { payload: [large] })
  target.cut = true
  const lost = write(master, { payload: [Buffer.from('little')] })
  await until(() => nodes.asked.some(({ remove }) => remove.includes(target.server)), 'it has left')
  await lost
  target.full = true
  target.cut = false
  await until(() => nodes.asked.some(({ add }) => add.includes(target.server)), 'it is back')
  await serves(master)
  await write(master, { payload: [Buffer.from('deletion')] })
  t.equal(target.replica.storage.log.last, master.replica.storage.log.last)
  t.ok(master.replica.full, 'and says that it is full')
})

t.test('a follower without room refuses, and the others go on without it', async (t) => {
  const nodes = await Nodes.make(t, 2)
  const [master, target] = nodes.all as [Nodes['all'][0], Nodes['all'][0]]
  await nodes.govern(1, [master, target])
  await serves(master)
  target.roomBytes = 2 ** 20
  await write(master, { payload: [Buffer.from('little')] })
  t.equal(master.replica.roomBytes, 2 ** 20, 'the master knows what it has room for')
  const { last } = target.replica.storage.log
  await write(master, { payload: [large] })
  t.ok(nodes.asked.some(({ remove }) => remove.includes(target.server)))
  t.equal(target.replica.storage.log.last, last, 'nothing of it was written')
  t.equal(target.replica.stopped, undefined, 'it goes on')
})
