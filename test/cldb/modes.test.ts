/**
 * Claims about draining, maintenance, failing disks, and the order and bounds of repair.
 */
import t from 'tap'
import { handOversOf, status } from '../../cldb/query.ts'
import { zeroCounters } from '../../protocol/messages/control.ts'
import { randomFrom } from '../names/random.ts'
import { beat, numberOf, numbersOf, server, World } from './world.ts'

type Mode = 'normal' | 'draining' | 'maintenance'

/** Servers 1 to `count`, and a volume with its name container (1). */
function cluster(count: number, config: object = {}): { world: World; master: number; others: readonly number[] } {
  const world = new World({ config: { rereplicateAfterMs: 5000, mastersSpreadPercent: 0, ...config } })
  for (let number = 1; number <= count; number++) world.join(number)
  const { master, inSync } = world.createVolume()
  const sizes = [{ container: 1 as never, sizeBytes: 100 }]
  world.send({ type: 'heartbeat', request: beat(numberOf(master)!, 1, { sizes }) })
  world.pass(300)
  return { world, master: numberOf(master)!, others: numbersOf(inSync).filter((number) => number !== numberOf(master)) }
}

const change = (number: number, mode: Mode, forMs = 0) =>
  ({ type: 'setMode', request: { server: server(number), mode, forMs } }) as const
const statusOf = (world: World, number: number) =>
  status(world.state, world.nowMs).servers.find((one) => one.server === server(number))!

/** The master does as it is asked. */
function giveWay(world: World, master: number): void {
  const asked = handOversOf(world.state, server(master)).map(({ container }) => container as number)
  if (asked.length > 0) world.reconfigure(1, master, [master], [master])
}

t.test('a drained server', async (t) => {
  const { world, master, others } = cluster(4)
  world.send(change(master, 'draining'))
  world.pass(300)
  const [target] = numbersOf(world.at(1).resyncing) as [number]
  t.equal(world.at(1).inSync.length, 3, 'keeps its replica while another is made')
  t.notOk([master, ...others].includes(target))
  giveWay(world, master)
  t.match(world.at(1), { resyncing: [server(target)] })
  t.ok(world.at(1).inSync.includes(server(master)), 'gives its masters away and stays in sync')
  const next = numberOf(world.at(1).master)!
  t.ok(others.includes(next))
  world.pass(1000)
  t.equal(world.at(1).inSync.length, 3)
  t.match(statusOf(world, master), { mode: 'draining', replicas: 1, masters: 0, reason: 'asked for' })
  world.reconfigure(1, next, [], [target])
  world.pass(300)
  t.strictSame(numbersOf(world.at(1).inSync), [...others, target].sort(), 'and goes when as many copies are elsewhere')
  t.match(statusOf(world, master), { replicas: 0 })
  world.restart()
  world.join(master, 2)
  t.match(statusOf(world, master), { mode: 'draining' }, 'which a new process of it, or of the CLDB, still knows')
  world.send(change(master, 'normal'))
  t.match(statusOf(world, master), { mode: 'normal', reason: '' })
})

t.test('what cannot be is refused', async (t) => {
  const { world, master } = cluster(3)
  t.equal(world.refusal(change(9, 'draining')), 'NOT_FOUND', 'an unknown server')
  t.equal(world.refusal(change(master, 'draining')), 'INVALID', 'no other server can hold the third copy')
  t.equal(world.refusal(change(master, 'maintenance')), 'INVALID', 'maintenance for no time')
  world.join(4)
  t.equal(world.refusal(change(master, 'draining')), undefined)
  t.equal(world.refusal(change(4, 'draining')), undefined, 'one without replicas can always go')
})

t.test('maintenance', async (t) => {
  const { world, master, others } = cluster(4)
  world.send(change(master, 'maintenance', 60_000))
  world.pass(300)
  giveWay(world, master)
  const next = numberOf(world.at(1).master)!
  t.ok(others.includes(next), 'takes masters away first')
  t.match(statusOf(world, master), { mode: 'maintenance', masters: 0, needed: 0 })
  world.kill(master)
  world.reconfigure(1, next, [master], [])
  world.pass(30_000)
  t.match(statusOf(world, master), { state: 'silent' })
  t.strictSame(numbersOf(world.at(1).resyncing), [master], 'a server that is away is not replaced')
  world.pass(32_000)
  t.match(statusOf(world, master), { state: 'dead', mode: 'normal' }, 'until its time is over')
  t.notOk(world.at(1).resyncing.includes(server(master)))
})

t.test('a server that others cannot do without says so', async (t) => {
  const { world, master, others } = cluster(3)
  world.reconfigure(1, master, [others[0]!], [])
  world.send(change(others[1]!, 'maintenance', 60_000))
  t.match(statusOf(world, others[1]!), { needed: 1 })
})

t.test('a disk whose errors grow', async (t) => {
  const { world, others } = cluster(4, { diskErrorsMax: 5 })
  const [bad] = others as [number]
  const tell = (diskErrors: number): void => {
    world.send({ type: 'heartbeat', request: beat(bad, 1, { counters: { ...zeroCounters(), diskErrors } }) })
    world.send({ type: 'repair' })
  }
  world.restart()
  world.join(bad, 1, [1])
  tell(100)
  tell(104)
  t.match(statusOf(world, bad), { mode: 'normal' }, 'what was before this process of the CLDB counts for nothing')
  tell(105)
  t.match(statusOf(world, bad), { mode: 'draining', reason: '5 disk errors' }, 'is drained by itself')
  world.send(change(bad, 'normal'))
  tell(105)
  t.match(statusOf(world, bad), { mode: 'normal' }, 'but not again for errors that are known')
})

t.test('a failing disk whose replicas can go nowhere raises the alarm', async (t) => {
  const { world, others } = cluster(3, { diskErrorsMax: 5 })
  const [bad] = others as [number]
  const tell = (diskErrors: number): void => {
    world.send({ type: 'heartbeat', request: beat(bad, 1, { counters: { ...zeroCounters(), diskErrors } }) })
    world.send({ type: 'repair' })
  }
  tell(4)
  t.match(statusOf(world, bad), { mode: 'normal', alarm: '' })
  tell(6)
  const alarm =
    '6 disk errors, cannot be drained: volume home has replication 3, other servers that can hold its copies: 2'
  t.match(statusOf(world, bad), { mode: 'normal', alarm })
  world.join(4)
  tell(6)
  t.match(statusOf(world, bad), { mode: 'draining', reason: '6 disk errors', alarm: '', left: [1] }, 'until they can')
})

t.test('the errors of a day count', async (t) => {
  const { world, others } = cluster(4, { diskErrorsMax: 5 })
  const [bad] = others as [number]
  for (let diskErrors = 0; diskErrors < 20; diskErrors += 4) {
    world.nowMs += 25 * 3600 * 1000
    world.join(bad, 1, [1])
    world.send({ type: 'heartbeat', request: beat(bad, 1, { counters: { ...zeroCounters(), diskErrors } }) })
    world.send({ type: 'repair' })
  }
  t.match(statusOf(world, bad), { mode: 'normal' })
})

t.test('re-replication', async (t) => {
  const world = new World({ config: { rereplicateAfterMs: 5000, copiesPerServer: 3, openContainersMin: 60 } })
  for (let number = 1; number <= 7; number++) world.join(number)
  world.createVolume()
  world.send({ type: 'allocate', request: { volume: 'home' } })
  const led = [...world.state.containers.values()]
  for (const { container, master } of led)
    world.send({
      type: 'heartbeat',
      request: beat(numberOf(master)!, 1, { sizes: [{ container, sizeBytes: 1e6 }] }),
    })
  world.kill(1)
  world.pass(2500)
  for (const { container, inSync, master } of world.state.containers.values())
    if (inSync.includes(server(1)) && master !== undefined) world.reconfigure(container, numberOf(master)!, [1], [])
  // Some lose another copy: they are at most risk, and come first although they come late.
  const risky = [...world.state.containers.values()].filter(({ inSync }) => inSync.length === 2).slice(-4)
  for (const { container, inSync, master } of risky) {
    const other = inSync.find((member) => member !== master)!
    world.reconfigure(container, numberOf(master)!, [numberOf(other)!], [])
  }
  const copiesAt = (place: number): number | undefined => world.state.queues.findIndex((queue) => queue.size > place)
  world.nowMs += 10
  t.ok(copiesAt(0)! <= 1, 'containers with one copy are in a queue before the others')
  world.pass(5000)
  const incoming = [2, 3, 4, 5, 6, 7].map((number) => world.state.resyncingOn.get(server(number))?.size ?? 0)
  t.ok(Math.min(...incoming) >= 1, `all servers are targets: ${incoming}`)
  // A replica that was removed from the in-sync set is still on its way back, beside the new ones.
  t.ok(Math.max(...incoming) <= 3 + risky.length, `none of too many: ${incoming}`)
  world.join(8)
  world.pass(300)
  t.equal(world.state.resyncingOn.get(server(8))?.size, 3, 'a new server takes part at once, as far as its sources can')
})

t.test('a lost server is replaced by all others alike, as sources and as targets', async (t) => {
  const copiesPerServer = 8
  const config = { rereplicateAfterMs: 5000, copiesPerServer, mastersSpreadPercent: 0, openContainersMin: 60 }
  const random = randomFrom(7)
  const world = new World({ config, random: () => random(1e6) / 1e6 })
  const survivors = [2, 3, 4, 5, 6, 7]
  for (const number of [1, ...survivors]) world.join(number)
  for (const name of ['a', 'b', 'c', 'd']) {
    world.createVolume({ name, mountPath: `/${name}` })
    world.send({ type: 'allocate', request: { volume: name } })
  }
  const led = [...world.state.containers.values()]
  for (const { container, master } of led)
    world.send({
      type: 'heartbeat',
      request: beat(numberOf(master)!, 1, { sizes: [{ container, sizeBytes: random(8) * 1e6 }] }),
    })
  const lost = led.filter(({ inSync }) => inSync.includes(server(1)))
  world.kill(1)
  world.pass(2500)
  const toCopy = (number: number): number =>
    lost
      .filter(({ container }) => world.at(container).master === server(number))
      .reduce((sum, { container }) => sum + world.state.sizes.get(container)!, 0)
  const each = survivors.map(toCopy)
  const mean = each.reduce((sum, bytes) => sum + bytes, 0) / each.length
  t.ok(Math.max(...each) < 1.2 * mean, `masters are chosen so that all have as much to copy: ${each}`)
  world.pass(5000)
  const underWay = [...world.state.containers.values()].filter(({ resyncing }) =>
    resyncing.some((member) => member !== server(1)),
  )
  const from = survivors.map((number) => underWay.filter(({ master }) => master === server(number)).length)
  t.strictSame(
    [Math.min(...from), Math.max(...from)],
    [copiesPerServer, copiesPerServer],
    'each is a source of as many',
  )
  const waiting = [...world.state.containers.values()].find(
    ({ inSync, resyncing, master }) => inSync.includes(server(1)) && resyncing.length === 0 && master !== undefined,
  )!
  const { container, inSync, master } = waiting
  const other = inSync.find((member) => member !== master && member !== server(1))!
  world.reconfigure(container, numberOf(master)!, [numberOf(other)!], [])
  world.join(8)
  world.pass(300)
  t.ok(world.at(container).resyncing.includes(server(8)), 'the last copy does not wait for others')
  // All copies come to an end, but those from one to another that it cannot reach.
  const [source, target] = [server(2), server(3)]
  const left = () => [...world.state.containers.values()].filter(({ inSync }) => inSync.length < 3)
  for (let round = 0; round < 60; round++) {
    for (const { container, master, resyncing } of left())
      for (const member of resyncing.filter((other) => master !== source || other !== target))
        world.reconfigure(container, numberOf(master)!, [], [numberOf(member)!])
    world.pass(300)
  }
  t.ok(left().length > 0 && left().length <= copiesPerServer, `${left().length} stay`)
})

t.test('a source that says that it has enough to copy gets no more', async (t) => {
  const world = new World({ config: { rereplicateAfterMs: 5000, copiesPerServer: 4, openContainersMin: 60 } })
  for (let number = 1; number <= 6; number++) world.join(number)
  world.createVolume()
  world.send({ type: 'allocate', request: { volume: 'home' } })
  world.kill(1)
  world.pass(6500) // silent, not yet dead
  world.nowMs += 1000
  for (const number of [2, 3, 4, 5, 6])
    world.send({ type: 'heartbeat', request: beat(number, 1, { resyncsWaiting: number === 2 ? 4 : 0 }) })
  world.send({ type: 'tick' })
  world.send({ type: 'repair' })
  const copiesFrom = (number: number): number =>
    [...world.state.containers.values()].filter(
      ({ master, resyncing }) => master === server(number) && resyncing.some((member) => member !== server(1)),
    ).length
  t.strictSame([2, 3, 4, 5, 6].map(copiesFrom), [0, 4, 4, 4, 4])
})
