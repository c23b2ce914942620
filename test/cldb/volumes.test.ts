/**
 * Claims about volumes, the allocation of their containers, and what is told about them.
 */
import t from 'tap'
import { randomFrom } from '../../cldb/placement.ts'
import { containerPage, locate, openContainers, space, status } from '../../cldb/query.ts'
import { beat, numberOf, volumeRequest, World } from './world.ts'

function servers(count: number, config: object = {}): World {
  const world = new World({ config })
  for (let number = 1; number <= count; number++) world.join(number)
  return world
}
const create = (world: World, more: object) => world.refusal({ type: 'createVolume', request: volumeRequest(more) })

t.test('a volume is refused', async (t) => {
  const world = servers(4)
  for (const [more, code, why] of [
    [{ name: 'a b' }, 'INVALID', 'a blank in its name'],
    [{ name: '..' }, 'INVALID', 'a name that is a path'],
    [{ mountPath: 'home' }, 'INVALID', 'a relative mount path'],
    [{ mountPath: '/a/../b' }, 'INVALID', 'a mount path that is not normalised'],
    [{ mountPath: '/a/' }, 'INVALID', 'a slash at its end'],
    [{ replication: 0, minimum: 0 }, 'INVALID', 'no replicas'],
    [{ replication: 7 }, 'INVALID', 'more replicas than any container may have'],
    [{ minimum: 4 }, 'INVALID', 'a minimum that the replication never reaches'],
    [{ chunkBytes: 65_537 }, 'INVALID', 'chunks that are not multiples of 64 KiB'],
    [{ topology: 'rack1' }, 'INVALID', 'a topology that is no path'],
    [{ topology: '/rack1' }, 'NO_SERVERS', 'a topology with fewer servers than the minimum'],
  ] as const)
    t.equal(create(world, more), code, why)
  t.equal(world.state.containers.size, 0, 'a refused volume leaves nothing behind')
})

t.test('a volume is made', async (t) => {
  const world = servers(4)
  t.equal(create(world, {}), undefined)
  t.strictSame(world.state.volumes.get('home'), {
    name: 'home',
    mountPath: '/home',
    replication: 3,
    minimum: 2,
    topology: '/',
    chunkBytes: 256 * 2 ** 20,
    root: { container: 1, inode: 1, generation: 1 },
  } as never)
  t.match(world.at(1), { kind: 'name', epoch: 1, resyncing: [] })
  t.equal(create(world, {}), undefined, 'a retry finds it made')
  t.equal(world.state.containers.size, 1)
  t.equal(create(world, { replication: 2 }), 'EXISTS', 'with other properties it is not a retry')
  t.equal(create(world, { name: 'other' }), 'EXISTS', 'a mount path belongs to one volume')
  t.equal(create(servers(1), {}), 'NO_SERVERS', 'fewer servers than its minimum')
})

t.test('a removed volume takes its containers along', async (t) => {
  const world = servers(3)
  world.createVolume()
  world.send({ type: 'allocate', request: { volume: 'home' } })
  world.send({ type: 'removeVolume', request: { name: 'home' } })
  t.strictSame([...world.state.containers], [])
  t.strictSame(locate(world.state, [1 as never]), [])
  t.equal(world.refusal({ type: 'removeVolume', request: { name: 'home' } }), 'NOT_FOUND')
  world.createVolume()
  t.ok(
    [...world.state.containers.keys()].every((id) => id > 7),
    'a container id is never given twice',
  )
})

t.test('allocate', async (t) => {
  const world = servers(4, { containerBytesMax: 2 ** 30 })
  world.createVolume()
  const allocate = () => world.refusal({ type: 'allocate', request: { volume: 'home' } })
  const writable = () => openContainers(world.state, world.state.volumes.get('home')!).writable
  t.equal(world.refusal({ type: 'allocate', request: { volume: 'none' } }), 'NOT_FOUND')
  t.equal(allocate(), undefined)
  t.equal(writable().length, 8, 'two for each server that is alive')
  allocate()
  t.equal(world.state.containers.size, 9, 'no more are made while they are open')
  const [first] = writable()
  const report = (sizeBytes: number) =>
    world.send({
      type: 'heartbeat',
      request: beat(numberOf(world.at(first!).master)!, 1, { sizes: [{ container: first!, sizeBytes }] }),
    })
  report(2 ** 30)
  t.notOk(writable().includes(first!), 'a container of the largest size takes no new chunks')
  allocate()
  t.equal(writable().length, 8, 'another one is made in its place')
  for (const number of [1, 2, 3]) world.send({ type: 'heartbeat', request: beat(number, 1, { full: true }) })
  t.equal(allocate(), 'NO_SPACE', 'all are full, and too few servers are not')
  world.kill(1, 2, 3)
  world.pass(2000)
  t.equal(allocate(), 'NO_SERVERS', 'fewer servers than the minimum')
})

t.test('masters and replicas are spread', async (t) => {
  const world = new World({ random: randomFrom(0.1) })
  for (let number = 1; number <= 4; number++) world.join(number)
  world.createVolume()
  for (let round = 0; round < 50; round++) {
    world.send({ type: 'allocate', request: { volume: 'home' } })
    for (const number of [1, 2, 3, 4])
      world.send({
        type: 'heartbeat',
        request: beat(number, 1, {
          sizes: [...world.state.containers.keys()].map((container) => ({ container, sizeBytes: 2 ** 50 })),
        }),
      })
  }
  const counts = status(world.state, world.nowMs).servers
  t.ok(Math.min(...counts.map(({ masters }) => masters)) > 80, `masters: ${counts.map(({ masters }) => masters)}`)
  t.ok(Math.min(...counts.map(({ replicas }) => replicas)) > 240, `replicas: ${counts.map(({ replicas }) => replicas)}`)
})

t.test('what is told of the cluster', async (t) => {
  const world = servers(4)
  const { master } = world.createVolume()
  world.send({ type: 'allocate', request: { volume: 'home' } })
  t.strictSame(space(world.state, 'home'), { totalBytes: Math.floor(4e12 / 3), freeBytes: Math.floor(2e12 / 3) })
  t.match(status(world.state, world.nowMs), {
    cluster: 'test',
    volumes: [{ containers: 9, underReplicated: 0, unavailable: 0 }],
  })
  world.kill(numberOf(master)!)
  world.pass(1900)
  t.ok(status(world.state, world.nowMs).volumes[0]!.unavailable > 0, 'between lease and election')
  t.match(
    status(world.state, world.nowMs).servers.find((row) => row.server === master),
    { state: 'silent' },
  )
  world.pass(300)
  t.equal(status(world.state, world.nowMs).volumes[0]!.unavailable, 0)
  const under = status(world.state, world.nowMs).volumes[0]!.underReplicated
  t.ok(under > 0)
  const page = (after: number, limit: number, underReplicated: boolean) =>
    containerPage(world.state, { volume: 'home', after: after as never, limit, underReplicated }).map(
      ({ container }) => container as number,
    )
  t.strictSame(page(0, 4, false), [1, 2, 3, 4])
  t.strictSame(page(4, 100, false), [5, 6, 7, 8, 9])
  t.equal(page(0, 100, true).length, under)
  t.match(
    world.at(1).servers.find((member) => member.server === master),
    { alive: false },
  )
})
