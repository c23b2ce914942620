/**
 * Claims about the number of replicas: targets for missing ones, surplus and strays dropped.
 */
import t from 'tap'
import { containerId, epoch as epochOf } from '../../protocol/ids.ts'
import { beat, numberOf, numbersOf, registration, server, World } from './world.ts'

/** `count` servers and the container 1 of a volume, known to be made. */
function cluster(count: number): { world: World; master: number; others: readonly number[] } {
  const world = new World({ config: { rereplicateAfterMs: 5000 } })
  for (let number = 1; number <= count; number++) world.join(number)
  const { master, inSync } = world.createVolume()
  world.send({
    type: 'heartbeat',
    request: beat(numberOf(master)!, 1, { sizes: [{ container: 1 as never, sizeBytes: 100 }] }),
  })
  world.pass(300)
  return { world, master: numberOf(master)!, others: numbersOf(inSync).filter((number) => number !== numberOf(master)) }
}
const statusOf = (world: World, number: number) => world.state.servers.get(server(number))!.state
const outside = (count: number, world: World): readonly number[] =>
  Array.from({ length: count }, (_, index) => index + 1).filter(
    (number) => !world.at(1).servers.some((member) => member.server === server(number)),
  )
const discards = (world: World) => world.effects.filter((effect) => effect.type === 'discard')

t.test('a dead server', async (t) => {
  t.test('is replaced after the grace time, not before', async (t) => {
    const { world, master, others } = cluster(4)
    const [gone] = others as [number]
    const [target] = outside(4, world) as [number]
    world.kill(gone)
    world.reconfigure(1, master, [gone], [])
    world.pass(6000)
    t.strictSame(numbersOf(world.at(1).resyncing), [gone], 'silent')
    world.pass(1500)
    t.strictSame(numbersOf(world.at(1).resyncing), [target], 'dead: another server becomes the target')
    t.equal(world.at(1).epoch, 3)
  })

  t.test('keeps its place while there is no other to take it', async (t) => {
    const { world, master, others } = cluster(3)
    world.kill(others[0]!)
    world.pass(60_000)
    t.match(world.at(1), { epoch: 1, master: server(master) })
    world.join(4)
    world.pass(300)
    t.strictSame(numbersOf(world.at(1).resyncing), [4], 'a new server is put to use')
    t.notOk(world.at(1).inSync.includes(server(others[0]!)))
  })

  t.test('that returns too late discards what it holds', async (t) => {
    const { world, master, others } = cluster(4)
    const [target] = outside(4, world) as [number]
    world.kill(others[0]!)
    world.pass(8000)
    world.reconfigure(1, master, [], [target])
    world.join(others[0]!, 2, [1])
    t.strictSame(discards(world), [])
    world.send({ type: 'repair' })
    t.strictSame(discards(world), [{ type: 'discard', server: server(others[0]!), container: 1 }])
    world.send({ type: 'assignments', request: { server: server(others[0]!), incarnation: 2 } })
    t.equal(discards(world).length, 1, 'and is told again when its stream opens anew')
  })

  t.test('that returns too late discards what was left of a copy', async (t) => {
    const { world, master, others } = cluster(4)
    const [target] = outside(4, world) as [number]
    world.kill(others[0]!)
    world.pass(8000)
    world.reconfigure(1, master, [], [target])
    world.join(others[0]!, 2, [], { damaged: [containerId(1)] })
    world.send({ type: 'repair' })
    t.strictSame(discards(world), [{ type: 'discard', server: server(others[0]!), container: 1 }])
  })

  t.test('that returns while replicas are missing is used in preference', async (t) => {
    const { world, master, others } = cluster(4)
    const [target] = outside(4, world) as [number]
    world.kill(others[0]!)
    world.pass(8000)
    t.strictSame(numbersOf(world.at(1).resyncing), [target])
    world.kill(target)
    world.pass(4900) // silent, not yet dead
    world.join(others[0]!, 2, [1])
    world.pass(4000)
    t.strictSame(numbersOf(world.at(1).resyncing), [others[0]])
    t.equal(numberOf(world.at(1).master), master)
  })

  t.test('that holds the only in-sync replicas is waited for', async (t) => {
    const { world, master, others } = cluster(6)
    world.kill(master, ...others)
    world.pass(60_000)
    t.match(world.at(1), { epoch: 1, master: undefined })
    t.equal(world.at(1).inSync.length, 3)
  })
})

t.test('a container that began with too few replicas is filled up', async (t) => {
  const world = new World()
  world.join(1)
  world.join(2)
  const { inSync } = world.createVolume()
  t.equal(inSync.length, 2)
  world.join(3)
  world.pass(300)
  t.strictSame(numbersOf(world.at(1).resyncing), [3])
})

t.test('nothing new is placed on a full server', async (t) => {
  const { world, others } = cluster(3)
  world.kill(others[0]!)
  world.pass(8000)
  world.join(4)
  const repair = (full: boolean): readonly number[] => {
    world.send({ type: 'heartbeat', request: beat(4, 1, { full }) })
    world.send({ type: 'repair' })
    return numbersOf(world.at(1).resyncing)
  }
  t.strictSame(repair(true), [])
  t.strictSame(repair(false), [4], 'until it has space again')
})

t.test('a copy that finds a full disk is begun elsewhere', async (t) => {
  const { world, others } = cluster(3)
  world.kill(others[0]!)
  world.pass(8000)
  world.join(4)
  world.send({ type: 'repair' })
  t.strictSame(numbersOf(world.at(1).resyncing), [4])
  world.join(5)
  world.send({ type: 'repair' })
  t.strictSame(numbersOf(world.at(1).resyncing), [4])
  world.send({ type: 'heartbeat', request: beat(4, 1, { full: true }) })
  world.send({ type: 'repair' })
  t.strictSame(numbersOf(world.at(1).resyncing), [4, 5], 'whoever is done first')
  world.send({ type: 'repair' })
  t.strictSame(numbersOf(world.at(1).resyncing), [4, 5], 'and that is all')
})

t.test('a copy that does not follow its master is begun elsewhere', async (t) => {
  const { world, master, others } = cluster(3)
  world.kill(others[0]!)
  world.pass(8000)
  world.join(4)
  world.join(5)
  world.send({ type: 'repair' })
  const [first] = numbersOf(world.at(1).resyncing) as [number]
  const second = first === 4 ? 5 : 4
  const tell = (by: number, target: number): void => {
    const stuck = [
      { container: containerId(1), target: server(target) },
      { container: containerId(99), target: server(target) },
    ]
    world.send({ type: 'heartbeat', request: beat(by, 1, { stuck }) })
    world.send({ type: 'repair' })
  }
  tell(master, first)
  t.strictSame(numbersOf(world.at(1).resyncing), [first], 'not yet: it has just come')
  world.pass(11_000)
  tell(others[1]!, first)
  t.strictSame(numbersOf(world.at(1).resyncing), [first], 'only the master can tell')
  world.kill(first)
  world.pass(4000)
  tell(master, first)
  t.strictSame(numbersOf(world.at(1).resyncing), [first], 'who is away for a while is waited for')
  world.join(first, 2)
  world.pass(11_000)
  tell(master, first)
  tell(master, first)
  t.strictSame(numbersOf(world.at(1).resyncing), [4, 5], 'whoever is done first')
  world.reconfigure(1, master, [], [second])
  world.send({ type: 'repair' })
  t.strictSame(numbersOf(world.at(1).resyncing), [], 'the other is not needed')
  t.strictSame(discards(world), [{ type: 'discard', server: server(first), container: 1 }])
})

t.test('a replica that is found damaged', async (t) => {
  const tell = (world: World, by: number, epoch: number, incarnation = 1): void => {
    const damaged = [1, 99].map((id) => ({ container: containerId(id), epoch: epochOf(epoch) }))
    world.send({ type: 'heartbeat', request: beat(by, incarnation, { damaged }) })
  }

  t.test('is counted on no more, although nothing is written', async (t) => {
    const { world, master, others } = cluster(3)
    const [one, other] = others as [number, number]
    tell(world, one, 1)
    t.match(world.at(1), { epoch: 2, master: server(master), resyncing: [server(one)] })
    tell(world, one, 1)
    t.equal(world.at(1).epoch, 2, 'once')
    world.reconfigure(1, master, [], [one])
    tell(world, one, 1)
    t.strictSame(numbersOf(world.at(1).inSync), [1, 2, 3], 'what comes late says nothing of what was made anew')
    tell(world, master, 3)
    t.equal(world.at(1).epoch, 3, 'a master gives way by itself')
    tell(world, other, 3)
    tell(world, one, 4)
    t.strictSame(numbersOf(world.at(1).inSync), [master])
  })

  t.test('stays in the set while the others are away, and does not lead', async (t) => {
    const { world, master, others } = cluster(3)
    const [one, other] = others as [number, number]
    world.kill(master, other)
    while (statusOf(world, other) === 'alive') world.pass(50)
    tell(world, one, 1)
    world.pass(3000)
    t.equal(world.at(1).epoch, 1, 'nobody leads')
    t.equal(world.at(1).inSync.length, 3)
    world.join(master, 2, [1])
    tell(world, one, 1)
    world.pass(3000)
    t.match(world.at(1), { master: server(master), resyncing: [server(one)] })
  })

  t.test('stays the last of its set, and does not lead', async (t) => {
    const { world, master, others } = cluster(3)
    world.reconfigure(1, master, others, [])
    world.join(master, 2, [1])
    t.match(world.at(1), { epoch: 2, master: undefined, inSync: [server(master)] })
    tell(world, master, 2, 2)
    world.pass(3000)
    t.match(world.at(1), { epoch: 2, master: undefined, inSync: [server(master)] })
  })
})

t.test('a replica of a container that is no more', async (t) => {
  const { world, others } = cluster(3)
  world.send({ type: 'removeVolume', request: { name: 'home' } })
  t.equal(discards(world).length, 3, 'is discarded everywhere')
  world.join(others[0]!, 2, [1])
  t.strictSame([...new Set(discards(world).map(({ container }) => container))], [1], 'also by who returns')
})

t.test('a server that knows more than the CLDB is refused: the database is older than the cluster', async (t) => {
  const { world, others } = cluster(3)
  const register = (replicas: readonly { container: number; epoch: number }[], damaged: readonly number[] = []) =>
    world.refusal({
      type: 'register',
      request: registration(others[0]!, 2, [], { replicas: replicas as never, damaged: damaged as never }),
    })
  t.equal(register([{ container: 77, epoch: 1 }]), 'WRONG_CLUSTER', 'a container that was never made')
  t.equal(register([], [77]), 'WRONG_CLUSTER', 'also where it is damaged')
  t.equal(register([{ container: 1, epoch: world.at(1).epoch + 1 }]), 'WRONG_CLUSTER', 'an epoch that never was')
  t.equal(register([{ container: 1, epoch: world.at(1).epoch }]), undefined)
})
