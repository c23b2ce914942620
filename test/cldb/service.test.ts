/**
 * The whole CLDB over real gRPC and a real database, with fileservers that only register, heartbeat and listen.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { cldbConfig } from '../../cldb/config.ts'
import { startCldb } from '../../cldb/main.ts'
import { createService } from '../../cldb/service.ts'
import { initialState } from '../../cldb/state.ts'
import { openLevelStore } from '../../cldb/store.ts'
import { systemClock } from '../../protocol/clock.ts'
import { isFailure } from '../../protocol/failures.ts'
import type { ContainerId } from '../../protocol/ids.ts'
import { silentLog } from '../../protocol/logging.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import { control, zeroCounters } from '../../protocol/messages/control.ts'
import { type ControlClient, controlClient } from '../../protocol/transport/grpc.ts'
import { beat, registration, server, volumeRequest } from './world.ts'

const { calls } = control
const timeoutMs = 5000
const quick = {
  leaseMs: 600,
  heartbeatMs: 100,
  electionDelayMs: 50,
  rereplicateAfterMs: 500,
  tickMs: 10,
  repairMs: 20,
}

/** A fileserver that holds nothing: what it is told is kept in `locations` and `discarded`. */
class Pool {
  readonly locations = new Map<ContainerId, Location>()
  readonly discarded: ContainerId[] = []
  greetings = 0
  private readonly client: ControlClient
  private readonly number: number
  private readonly incarnation: number
  private timer: NodeJS.Timeout | undefined

  constructor(address: string, number: number, incarnation = 1) {
    this.client = controlClient(address)
    this.number = number
    this.incarnation = incarnation
  }

  async start(replicas: readonly number[] = [], cluster = ''): Promise<string> {
    const request = registration(this.number, this.incarnation, replicas, { cluster })
    const reply = await this.client.call(calls.register, request, timeoutMs)
    this.client.assignments(
      { server: server(this.number), incarnation: this.incarnation },
      ({ locations, discard }) => {
        this.greetings++
        for (const location of locations) this.locations.set(location.container, location)
        this.discarded.push(...discard)
      },
      () => {},
    )
    this.timer = setInterval(() => {
      this.client.call(calls.heartbeat, beat(this.number, this.incarnation), timeoutMs).catch(() => {})
    }, reply.heartbeatMs)
    return reply.cluster
  }

  stop(): void {
    clearInterval(this.timer)
    this.client.close()
  }
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + 10_000; performance.now() < endMs; await sleep(10)) if (await holds()) return
  throw new Error(`waited in vain until ${what}`)
}

t.test('a cluster over gRPC', async (t) => {
  const directory = t.testdir()
  const config = cldbConfig({ listen: '127.0.0.1:0', directory, ...quick })
  let cldb = await startCldb(config)
  let client = controlClient(cldb.address)
  const pools = [1, 2, 3, 4].map((number) => new Pool(cldb.address, number))
  t.teardown(async () => {
    for (const pool of pools) pool.stop()
    client.close()
    await cldb.close()
  })
  const locate = async (): Promise<Location> =>
    (await client.call(calls.locate, { containers: [1 as ContainerId] }, timeoutMs)).locations[0]!
  const poolOf = (location: Location): Pool => pools[Number.parseInt(location.master!, 16) - 1]!

  await t.rejects(client.call(calls.createVolume, volumeRequest(), timeoutMs), /NO_SERVERS/)
  const clusters = await Promise.all(pools.map((pool) => pool.start()))
  t.equal(new Set(clusters).size, 1, 'all belong to one cluster')
  await t.rejects(new Pool(cldb.address, 9).start([], 'another'), /WRONG_CLUSTER/)
  await until('every stream has begun', () => pools.every((pool) => pool.greetings === 1))

  const { volume } = await client.call(calls.createVolume, volumeRequest(), timeoutMs)
  t.match(volume, { name: 'home', root: { container: 1, inode: 1, generation: 1 } })
  const first = await locate()
  await until('the master is told', () => poolOf(first).locations.has(1 as ContainerId))
  t.strictSame(poolOf(first).locations.get(1 as ContainerId), first)
  const { containers } = await client.call(calls.allocate, { volume: 'home' }, timeoutMs)
  t.equal(containers.length, 8)

  const lost = poolOf(first)
  lost.stop()
  const lostMs = performance.now()
  await until('another master is chosen', async () => {
    const { master } = await locate()
    return master !== undefined && master !== first.master
  })
  t.ok(performance.now() - lostMs > quick.leaseMs, 'not before the lease has ended')
  const second = await locate()
  await until('it is told', () => poolOf(second).locations.get(1 as ContainerId)?.epoch === second.epoch)
  await until('the dead server is replaced', async () => {
    const { servers } = await locate()
    return servers.every((member) => member.server !== first.master)
  })

  await cldb.close()
  client.close()
  for (const pool of pools) pool.stop()
  cldb = await startCldb({ ...config, listen: cldb.address })
  client = controlClient(cldb.address)
  const { epoch, inSync } = await locate()
  t.ok(epoch > second.epoch, 'the configuration outlives the CLDB')
  const back = inSync.map((id) => Number.parseInt(id, 16))
  for (const number of back) {
    pools[number - 1] = new Pool(cldb.address, number, 2)
    await pools[number - 1]!.start([1])
  }
  await until('a master is chosen among those that return', async () => (await locate()).master !== undefined)
  await client.call(calls.removeVolume, { name: 'home' }, timeoutMs)
  await until('its replicas are discarded', () =>
    back.every((number) => pools[number - 1]!.discarded.includes(1 as never)),
  )
  t.strictSame((await client.call(calls.volumes, {}, timeoutMs)).volumes, [])
  t.strictSame((await client.call(calls.locate, { containers: [1 as ContainerId] }, timeoutMs)).locations, [])
})

t.test('after a failed commit nothing is answered', async (t) => {
  const store = await openLevelStore(t.testdir())
  const config = cldbConfig({ directory: '-' })
  const meta = { cluster: 'test', nextContainer: 1, leaseMs: 1500 }
  const failures: unknown[] = []
  const { handlers, close } = createService({
    state: initialState(config, meta, await store.load(), systemClock.monotonicMs()),
    store,
    clock: systemClock,
    random: Math.random,
    log: silentLog,
    onFatal: (error) => failures.push(error),
  })
  t.teardown(close)
  const context = { peer: 'test' }
  const refused = async (call: Promise<unknown>): Promise<boolean> =>
    call.then(
      () => false,
      (error) => isFailure(error, 'UNAVAILABLE'),
    )
  await handlers.register(registration(1, 1), context)
  await store.close() // as a disk that is gone
  t.ok(await refused(handlers.register(registration(2, 1), context)), 'what could not be made durable')
  t.ok(await refused(handlers.status({}, context)), 'nor what is in memory ahead of it')
  t.equal(failures.length, 1, 'whoever started it is told once')
})

t.test('a failing disk whose replicas can go nowhere is an error in the log, once', async (t) => {
  const store = await openLevelStore(t.testdir())
  const config = cldbConfig({ directory: '-', ...quick, diskErrorsMax: 5 })
  const errors: unknown[] = []
  const { handlers, close } = createService({
    state: initialState(config, { cluster: 'test', nextContainer: 1, leaseMs: 600 }, await store.load(), 0),
    store,
    clock: systemClock,
    random: Math.random,
    log: { ...silentLog, error: (fields, message) => errors.push({ ...fields, message }) },
    onFatal: (error) => t.fail(String(error)),
  })
  t.teardown(() => {
    close()
    return store.close()
  })
  const context = { peer: 'test' }
  for (const number of [1, 2, 3]) await handlers.register(registration(number, 1), context)
  await handlers.createVolume(volumeRequest(), context)
  const alarm = async () => (await handlers.status({}, context)).servers.find((one) => one.server === server(2))!.alarm
  const tell = (diskErrors: number) =>
    handlers.heartbeat(beat(2, 1, { counters: { ...zeroCounters(), diskErrors } }), context)
  await tell(0)
  for (let diskErrors = 5; diskErrors < 8; diskErrors++) {
    await tell(diskErrors)
    await until('it is seen', async () => (await alarm()).startsWith(`${diskErrors} disk errors`))
  }
  t.match(errors, [
    { server: server(2), message: 'the disk of a server fails', reason: /cannot be drained: volume home/ },
  ])
  t.equal(errors.length, 1)
})
