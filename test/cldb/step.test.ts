/**
 * Claims about the CLDB's decisions on servers and configurations.
 */
import t from 'tap'
import { epoch } from '../../protocol/ids.ts'
import { beat, numberOf, numbersOf, registration, server, World } from './world.ts'

/** Servers 1 to `count`, a volume, and its name container (1) with its master's number and the others'. */
function cluster(
  count: number,
  config: object = {},
  random?: () => number,
): { world: World; master: number; others: readonly number[] } {
  const world = new World({ config, ...(random && { random }) })
  for (let number = 1; number <= count; number++) world.join(number)
  const { master, inSync } = world.createVolume()
  world.send({
    type: 'heartbeat',
    request: beat(numberOf(master)!, 1, { sizes: [{ container: 1 as never, sizeBytes: 100 }] }),
  })
  return { world, master: numberOf(master)!, others: numbersOf(inSync).filter((number) => number !== numberOf(master)) }
}

t.test('registration', async (t) => {
  const world = new World()
  const register = (request: object) =>
    world.refusal({ type: 'register', request: { ...registration(1, 1), ...request } })
  t.equal(register({ cluster: 'other' }), 'WRONG_CLUSTER', 'a pool of another cluster is refused')
  t.equal(register({ topology: 'rack1' }), 'INVALID', 'a topology is an absolute path')
  t.equal(register({ cluster: 'test' }), undefined, 'a pool of this cluster is welcome')
  t.equal(register({ incarnation: 2 }), undefined, 'and so is its next process')
  const heartbeat = (incarnation: number) => world.refusal({ type: 'heartbeat', request: beat(1, incarnation) })
  t.equal(heartbeat(1), undefined, 'until that is heard again the message may be an old one')
  t.equal(heartbeat(2), undefined)
  t.equal(heartbeat(1), 'CONFLICT', 'then the process before is over')
  t.equal(register({ incarnation: 1 }), 'CONFLICT', 'for ever')
})

t.test('a registration that is repeated, or comes after a later one of its process, changes nothing', async (t) => {
  const { world } = cluster(4)
  const stray = (): boolean => world.state.strays.size > 0
  const outsider = [1, 2, 3, 4].find((number) => !world.at(1).inSync.includes(server(number)))!
  const early = registration(outsider, 1)
  world.send({ type: 'register', request: registration(outsider, 1, [1]) })
  t.ok(stray(), 'it holds what no configuration names')
  world.send({ type: 'register', request: early })
  t.ok(stray(), 'and what it said before, when it did not, is not asked for')
  const next = [registration(outsider, 2), registration(outsider, 2, [1])] as const
  for (const request of next.toReversed()) world.send({ type: 'register', request })
  world.send({ type: 'heartbeat', request: beat(outsider, 2) })
  t.ok(stray(), 'nor of a process that was not heard otherwise')
  world.send({ type: 'register', request: registration(outsider, 2) })
  t.notOk(stray(), 'a later one tells what is true')
})

t.test('heartbeats', async (t) => {
  const world = new World()
  const heartbeat = (incarnation: number) => world.refusal({ type: 'heartbeat', request: beat(1, incarnation) })
  t.equal(heartbeat(1), 'CONFLICT', 'of an unknown server')
  world.join(1, 7)
  t.equal(heartbeat(8), 'CONFLICT', 'of an unknown incarnation')
  t.equal(heartbeat(7), undefined)
  world.nowMs += 1801
  t.equal(heartbeat(7), 'CONFLICT', 'after its lease a server must register again, even if nobody noticed yet')
  t.equal(world.refusal({ type: 'register', request: registration(1, 7) }), undefined, 'with the same incarnation')
  world.restart()
  t.equal(heartbeat(7), 'CONFLICT', 'a new CLDB process knows no one')
})

t.test('a lost master', async (t) => {
  t.test('is replaced by an in-sync member, after its lease and the election delay', async (t) => {
    const { world, master, others } = cluster(4)
    world.kill(master)
    const lostMs = world.nowMs
    while (world.at(1).master === server(master)) world.pass(50)
    t.ok(world.nowMs - lostMs >= 1800 - 50, 'not before its lease must have ended')
    while (world.at(1).master === undefined) world.pass(50)
    const after = world.at(1)
    t.ok(others.includes(numberOf(after.master)!), 'another in-sync member')
    t.equal(after.epoch, 2)
    t.equal(after.inSync.length, 3, 'the old one stays in sync until the new one acts')
    t.ok(world.nowMs - lostMs <= 2150, `${world.nowMs - lostMs} ms after its last heartbeat`)
    world.reconfigure(1, numberOf(after.master)!, [master], [])
    t.strictSame(numbersOf(world.at(1).resyncing), [master], 'and resyncs when it returns')
  })

  t.test('is as good as before when those that were chosen after it die as well', async (t) => {
    const { world, master, others } = cluster(3)
    world.kill(master)
    world.pass(1000)
    world.kill(...others)
    world.pass(20_000)
    t.equal(world.at(1).master, undefined)
    t.equal(world.at(1).inSync.length, 3)
    world.join(master, 2, [1])
    world.pass(250)
    t.equal(world.at(1).master, server(master), 'it has everything that was acknowledged')
  })

  t.test('keeps its place when the same process registers again in time', async (t) => {
    const { world, master } = cluster(3)
    world.kill(master)
    while (world.at(1).master !== undefined) world.pass(50)
    world.join(master, 1, [1])
    world.pass(1000)
    t.match(world.at(1), { epoch: 1, master: server(master) })
  })

  t.test('that returns as a new process is one of the candidates', async (t) => {
    const { world, master } = cluster(3)
    world.kill(master)
    world.join(master, 2, [1])
    t.equal(world.at(1).master, undefined, 'its old process is over at once')
    t.equal(world.at(1).epoch, 1, 'nobody else is told of a new configuration yet')
    world.pass(150)
    t.equal(world.at(1).master, undefined, 'others that crashed with it may still register')
    world.pass(100)
    t.match(world.at(1), { epoch: 2, resyncing: [] })
    t.equal(world.at(1).inSync.length, 3, 'it has lost nothing and stays in sync')
  })

  for (const [electsAny, expected, why] of [
    [0, ['in service'], 'by one in service'],
    [1, ['in maintenance', 'in service'], 'with `electsAny` by any in sync'],
  ] as const)
    t.test(`is followed ${why}`, async (t) => {
      const followers = new Set<string>()
      for (let draw = 0; draw < 10; draw++) {
        const world = new World({ config: { electsAny }, random: () => draw / 10 })
        for (const number of [1, 2, 3]) world.join(number)
        const { master, inSync } = world.createVolume()
        const kept = inSync.find((id) => id !== master)!
        world.kill(numberOf(master)!)
        world.send({ type: 'setMode', request: { server: kept, mode: 'maintenance', forMs: 60_000 } })
        while ([undefined, master].includes(world.at(1).master)) world.pass(50)
        followers.add(world.at(1).master === kept ? 'in maintenance' : 'in service')
      }
      t.strictSame([...followers].sort(), expected)
    })

  t.test('is not followed by one that has just started, while another has kept running', async (t) => {
    for (const [agoMs, expected] of [
      [0, ['unbroken']],
      [5000, ['unbroken']],
      [6001, ['restarted', 'unbroken']],
    ] as const) {
      const followers = new Set<string>()
      for (let draw = 0; draw < 10; draw++) {
        const { world, master, others } = cluster(3, { electsAny: 1 }, () => draw / 10)
        const restarted = others[0]!
        world.join(restarted, 2, [1])
        world.pass(agoMs)
        world.join(master, 2, [1])
        world.pass(300)
        const next = numberOf(world.at(1).master)
        followers.add(next === master ? 'itself' : next === restarted ? 'restarted' : 'unbroken')
      }
      t.strictSame([...followers].sort(), expected, `${agoMs} ms ago`)
    }
  })

  t.test(
    'is not followed by one that has just started before those are heard that may have kept running',
    async (t) => {
      const { world, master, others } = cluster(3)
      world.restart()
      world.join(master, 2, [1])
      world.pass(1000)
      t.equal(world.at(1).master, undefined)
      for (const number of others) world.join(number, 1, [1])
      world.pass(300)
      t.ok(others.includes(numberOf(world.at(1).master)!))
      world.restart()
      for (const number of [master, ...others]) world.kill(number)
      world.join(master, 3, [1])
      world.pass(5000)
      t.equal(numberOf(world.at(1).master), master, 'nor for longer than their leases may run')
    },
  )

  t.test('stays absent over a restart of the CLDB', async (t) => {
    const { world, master } = cluster(3)
    world.kill(master)
    world.join(master, 2, [1])
    world.restart()
    world.join(master, 2, [1])
    t.equal(world.at(1).master, undefined, 'the process that now has this name was never master')
  })

  t.test('leaves its containers to all alike, as each is the source of the copies to come', async (t) => {
    const world = new World()
    for (const number of [1, 2, 3]) world.join(number)
    const containers = Array.from({ length: 30 }, (_, i) => {
      const { container } = world.createVolume({ name: `v${i}`, mountPath: `/v${i}` })
      return container
    })
    world.kill(1)
    for (const container of containers) {
      const master = numberOf(world.at(container).master)!
      if (master !== 1) world.reconfigure(container, master, [1], [])
    }
    world.pass(3000)
    const leads = (number: number): number =>
      containers.filter((container) => world.at(container).master === server(number)).length
    t.strictSame([leads(2), leads(3)], [15, 15])
  })

  t.test('waits for a member of the in-sync set', async (t) => {
    const { world, master, others } = cluster(4)
    world.reconfigure(1, master, others, [])
    world.kill(master)
    world.pass(10_000)
    t.match(world.at(1), { master: undefined, epoch: 2 }, 'the others are alive but behind')
    world.join(master, 2, [1])
    world.pass(250)
    t.match(world.at(1), { master: server(master), epoch: 3 })
  })
})

t.test('when all servers crash the first members to return are enough', async (t) => {
  const masters = new Set<number>()
  for (let round = 0; round < 12; round++) {
    const { world, others } = cluster(3)
    const first = others[round % 2]!
    world.kill(1, 2, 3)
    world.pass(5000)
    t.equal(world.at(1).master, undefined)
    world.join(first, 2, [1])
    world.pass(250)
    masters.add(numberOf(world.at(1).master)!)
    t.equal(world.at(1).master, server(first))
  }
  t.ok(masters.size > 1, 'whichever it is')
})

t.test('after a restart of the CLDB', async (t) => {
  const { world, master, others } = cluster(3)
  world.kill(1, 2, 3)
  world.restart()
  const startedMs = world.nowMs
  for (const other of others) world.join(other, 1, [1])
  t.equal(world.at(1).master, server(master), 'a lease from before may still run')
  while (world.at(1).epoch === 1) world.pass(50)
  t.ok(world.nowMs - startedMs >= 1800 + 200, 'so nobody else is chosen until it must have ended')
})

t.test('a replica that was lost with its disk', async (t) => {
  const { world, master, others } = cluster(3)
  const [one, two] = others as [number, number]
  world.reconfigure(1, master, [one], [])
  world.reconfigure(1, master, [], [one])
  world.kill(one)
  world.join(one, 2, [])
  t.match(world.at(1), { master: server(master), resyncing: [server(one)] }, 'is resynced')
  world.reconfigure(1, master, [two], [])
  world.kill(master)
  world.join(master, 2, [])
  world.pass(5000)
  t.match(world.at(1), { master: undefined, inSync: [server(master)] }, 'the last one is kept, but never made master')
})

t.test('a target that lost its replica while its master was telling that it holds everything', async (t) => {
  const { world, master, others } = cluster(3)
  const [target, other] = others as [number, number]
  world.reconfigure(1, master, [target], [])
  const { epoch: told } = world.at(1)
  world.kill(master, target, other)
  world.join(target, 2, [])
  const add = { remove: [], add: [server(target)], lost: false }
  const late = { server: server(master), incarnation: 1, container: 1 as never, epoch: told, ...add }
  t.equal(world.refusal({ type: 'reconfigure', request: late }), 'CONFLICT', 'that was said of the process before')
  world.pass(5000)
  t.match(world.at(1), { master: undefined, resyncing: [server(target)] }, 'is not made master')
})

t.test('a container that was never made', async (t) => {
  const world = new World()
  for (const number of [1, 2, 3]) world.join(number)
  world.createVolume()
  for (const number of [1, 2, 3]) world.join(number, 2, [])
  t.match(world.at(1), { inSync: [server(3)] }, 'who comes back without it resyncs, but somebody stays')
  world.pass(250)
  t.equal(world.at(1).master, server(3), 'and may make it, for nobody has lost anything')
})

t.test('a container that one member made and no master served', async (t) => {
  const world = new World()
  for (const number of [1, 2, 3]) world.join(number)
  const first = numberOf(world.createVolume().master)!
  const [second, third] = [1, 2, 3].filter((number) => number !== first) as [number, number]
  world.kill(first)
  while (world.at(1).master === undefined || world.at(1).master === server(first)) world.pass(50)
  const maker = numberOf(world.at(1).master)!
  const other = maker === second ? third : second
  world.reconfigure(1, maker, [first], [])
  world.kill(maker)
  while (world.at(1).master !== server(other)) world.pass(50)
  world.reconfigure(1, other, [maker], [])
  t.strictSame(numbersOf(world.at(1).inSync), [other])
  world.kill(other)
  world.join(maker, 2, [1])
  world.join(other, 2, [])
  world.pass(2500)
  t.equal(world.at(1).master, server(other), 'may be begun by a member that holds nothing: there was nothing to lose')
})

t.test('reconfigure', async (t) => {
  const { world, master, others } = cluster(4)
  const [one, two] = others as [number, number]
  const outside = [1, 2, 3, 4].find((number) => number !== master && !others.includes(number))!
  const request = (more: object) => ({
    type: 'reconfigure' as const,
    request: {
      server: server(master),
      incarnation: 1,
      container: 1 as never,
      epoch: epoch(1),
      remove: [],
      add: [],
      lost: false,
      ...more,
    },
  })
  t.equal(world.refusal(request({ server: server(one) })), 'CONFLICT', 'only the master may')
  t.equal(world.refusal(request({ incarnation: 2 })), 'CONFLICT', 'and only its process')
  t.equal(world.refusal(request({ epoch: epoch(2) })), 'CONFLICT', 'in the current epoch')
  t.equal(world.refusal(request({ container: 9 as never })), 'NOT_FOUND')
  t.equal(world.refusal(request({ remove: [server(outside)] })), 'INVALID', 'only a member can be removed')
  t.equal(world.refusal(request({ add: [server(outside)] })), 'INVALID', 'only a resyncing replica can be added')
  world.reconfigure(1, master, [one], [])
  t.match(world.at(1), { epoch: 2, resyncing: [server(one)] })
  t.strictSame(numbersOf(world.at(1).inSync), [master, two].sort())
  t.equal(world.refusal(request({ remove: [server(two)] })), 'CONFLICT', 'compare-and-set')
  world.reconfigure(1, master, [], [one])
  t.match(world.at(1), { epoch: 3, resyncing: [] })
})

t.test('a master whose replica failed', async (t) => {
  const { world, master, others } = cluster(4)
  world.reconfigure(1, master, [master], [])
  t.match(world.at(1), { epoch: 2, resyncing: [server(master)] }, 'gives way, although its lease runs')
  const next = numberOf(world.at(1).master)!
  t.ok(others.includes(next), 'to another member of the in-sync set')
  const [third] = others.filter((number) => number !== next) as [number]
  world.reconfigure(1, next, [third], [])
  world.reconfigure(1, next, [next], [])
  t.match(world.at(1), { epoch: 4, master: server(next) }, 'or begins anew where no other can lead')
  world.reconfigure(1, next, [next], [], true)
  world.pass(5000)
  t.match(world.at(1), { epoch: 4, master: undefined }, 'unless it lost its replica: then nobody leads')
})

t.test('what a server is told', async (t) => {
  const { world, master, others } = cluster(3)
  const open = (number: number, incarnation: number) =>
    world.send({ type: 'assignments', request: { server: server(number), incarnation } })
  t.strictSame(open(master, 1), [
    { type: 'greet', server: server(master) },
    { type: 'assign', server: server(master), container: 1 },
  ])
  t.strictSame(open(others[0]!, 1), [{ type: 'greet', server: server(others[0]!) }], 'a stream always begins')
  world.join(others[0]!, 2, [1])
  t.strictSame(
    world.effects[0],
    { type: 'assign', server: server(master), container: 1 },
    'a master hears of the return of a member',
  )
  world.kill(master)
  while (world.at(1).epoch === 1) world.pass(50)
  const next = numberOf(world.at(1).master)!
  t.ok(
    world.refusal({ type: 'assignments', request: { server: server(master), incarnation: 1 } }),
    'a server that is not alive must register first',
  )
  world.join(master, 1, [1])
  t.strictSame(
    open(master, 1),
    [
      { type: 'greet', server: server(master) },
      { type: 'assign', server: server(master), container: 1 },
    ],
    'a process that was replaced as master while it was cut off hears of it first of all',
  )
  t.ok(open(next, world.state.servers.get(server(next))!.record.incarnation).some((effect) => effect.type === 'assign'))
})
