/**
 * The CLDB under random faults: crashes of servers and of itself, late and lost messages, clocks that run slow, lost replicas.
 *
 * The fileservers are models that obey only the protocol: a process acts as master while its own clock says that its
 * lease runs and the last that it was told names it; heartbeats extend its lease once it has heard all that its stream begins with; a write is acknowledged when all members of the in-sync set hold
 * it. Claimed: never two masters at once, never two of one epoch, no acknowledged write lost; and when the faults
 * end, everything is in sync again. A failure prints its seed.
 */
import t from 'tap'
import { type Random, randomFrom } from '../../cldb/placement.ts'
import { assert } from '../../protocol/assert.ts'
import { isFailure } from '../../protocol/failures.ts'
import type { ContainerId, Epoch, ServerId } from '../../protocol/ids.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import { beat, numberOf, registration, server, World } from './world.ts'

const serverCount = 5
const leaseMs = 1500
const config = { leaseMs, heartbeatMs: 300, rereplicateAfterMs: 6000 }
/** The slowest clock makes a lease this much longer. */
const slowness = 1.1

type Process = {
  readonly incarnation: number
  /** What it was told since its stream began; empty before. */
  readonly masters: Map<ContainerId, Location>
  /** What it asked of the CLDB in the present epoch: asked again until it hears of the next. */
  readonly requests: Map<ContainerId, { readonly remove: readonly ServerId[]; readonly add: readonly ServerId[] }>
  /** Containers whose beginning all members have stored in the present epoch: it serves them. */
  readonly serving: Set<ContainerId>
  registered: boolean
  stream: Stream | undefined
  /** When the last call was sent that the CLDB answered well. */
  answeredMs: number
  leaseEndMs: number
  beatMs: number
  /** Until then no message passes between it and the CLDB; what its stream carries waits. */
  cutMs: number
}

/** A stream of assignments; `heard`: what it begins with has arrived. */
type Stream = {
  readonly process: Process
  heard: boolean
}

/** A storage pool: number of the last write and highest epoch of each replica. Outlives its processes. */
type Pool = {
  readonly replicas: Map<ContainerId, { epoch: Epoch; version: number }>
  process: Process | undefined
  /** In order: what is under way to its stream, and when the last of it arrives. */
  streamMs: number
  /** Until then reconfigurations that its processes asked for are under way. */
  askedMs: number
}

class Simulation {
  readonly world: World
  private readonly random: Random
  private readonly pools = new Map<number, Pool>()
  private readonly streams = new Map<ServerId, Stream>()
  private readonly acknowledged = new Map<ContainerId, number>()
  private readonly masters = new Map<string, string>()
  private readonly configurations = new Map<string, string>()
  private messages: { readonly atMs: number; readonly deliver: () => void }[] = []
  private incarnations = 0
  private faults = true
  writes = 0

  constructor(seed: number) {
    this.random = randomFrom(seed)
    this.world = new World({ config, random: this.random })
    for (let number = 1; number <= serverCount; number++)
      this.pools.set(number, { replicas: new Map(), process: undefined, streamMs: 0, askedMs: 0 })
  }

  run(ms: number, faults: boolean): void {
    this.faults = faults
    for (const endMs = this.world.nowMs + ms; this.world.nowMs < endMs; ) this.turn()
  }

  private chance(probability: number): boolean {
    return this.random() < probability
  }

  private later(deliver: () => void, earliestMs = 0): number {
    const delayMs = this.faults && this.chance(0.05) ? this.random() * 2000 : this.random() * 60
    const atMs = Math.max(earliestMs, this.world.nowMs + delayMs)
    this.messages.push({ atMs, deliver })
    return atMs
  }

  private turn(): void {
    this.world.nowMs += 25
    const due = this.messages.filter(({ atMs }) => atMs <= this.world.nowMs).sort((a, b) => a.atMs - b.atMs)
    this.messages = this.messages.filter(({ atMs }) => atMs > this.world.nowMs)
    for (const { deliver } of due) deliver()
    if (this.faults) this.fault()
    for (const [number, pool] of this.pools) {
      if (pool.process === undefined && this.chance(this.faults ? 0.01 : 0.1)) this.begin(number, pool)
      if (pool.process !== undefined) this.act(number, pool, pool.process)
    }
    this.tell(this.world.send({ type: 'tick' }))
    if (this.world.nowMs % 250 < 25) this.tell(this.world.send({ type: 'repair' }))
    this.check()
  }

  private fault(): void {
    if (this.chance(0.0005)) this.kill(1, 2, 3, 4, 5)
    if (this.chance(0.004)) this.kill(1 + Math.floor(this.random() * serverCount))
    const cut = this.pools.get(1 + Math.floor(this.random() * serverCount))!.process
    if (cut !== undefined && this.chance(0.01)) cut.cutMs = this.world.nowMs + this.random() * 4000
    if (this.chance(0.002)) {
      this.streams.clear()
      this.world.restart()
    }
  }

  private kill(...numbers: readonly number[]): void {
    for (const number of numbers) this.pools.get(number)!.process = undefined
  }

  private begin(number: number, pool: Pool): void {
    pool.process = {
      incarnation: ++this.incarnations,
      masters: new Map(),
      requests: new Map(),
      serving: new Set(),
      registered: false,
      stream: undefined,
      answeredMs: 0,
      leaseEndMs: 0,
      beatMs: 0,
      cutMs: 0,
    }
    for (const [id, replica] of pool.replicas) {
      // A disk may lose a replica, but not the last one that holds what was acknowledged, nor may it soon be the last.
      const complete = [...this.pools.values()].filter(
        (other) => other !== pool && (other.replicas.get(id)?.version ?? 0) >= (this.acknowledged.get(id) ?? 0),
      )
      const inSync = complete.filter((other) => this.world.at(id)?.inSync.some((member) => this.pool(member) === other))
      if (
        this.faults &&
        this.world.nowMs > pool.askedMs &&
        inSync.length > 1 &&
        replica.version > 0 &&
        this.chance(0.2)
      )
        pool.replicas.delete(id)
    }
    this.register(number, pool, pool.process)
  }

  private pool(member: ServerId): Pool {
    return this.pools.get(numberOf(member)!)!
  }

  private extend(process: Process): void {
    process.leaseEndMs = process.answeredMs + leaseMs * slowness
  }

  private register(number: number, pool: Pool, process: Process): void {
    const sentMs = this.world.nowMs
    process.registered = false
    process.stream = undefined // closed before it says what it holds: nothing is made after that
    process.beatMs = this.world.nowMs + 1000 // tried again then
    const request = registration(number, process.incarnation, [...pool.replicas.keys()])
    this.later(() => {
      if (!this.accepted({ type: 'register', request })) return
      this.streams.delete(server(number))
      this.later(() => {
        if (pool.process !== process || process.registered) return
        process.registered = true
        process.answeredMs = sentMs
        process.beatMs = 0
      })
    })
  }

  private open(number: number, pool: Pool, process: Process): void {
    if (pool.process !== process) return
    pool.streamMs = 0
    const stream = { process, heard: false }
    process.stream = stream
    this.streams.set(server(number), stream)
    const { incarnation } = process
    if (!this.accepted({ type: 'assignments', request: { server: server(number), incarnation } }))
      this.streams.delete(server(number))
  }

  private accepted(event: Parameters<World['send']>[0]): boolean {
    try {
      this.tell(this.world.send(event))
      return true
    } catch (error) {
      if (isFailure(error)) return false
      throw error
    }
  }

  /** Effects become messages on the streams, each stream in order; a greeting is heard with all that came with it. */
  private tell(effects: ReturnType<World['send']>): void {
    const greetingsLast = [...effects].sort((a, b) => Number(a.type === 'greet') - Number(b.type === 'greet'))
    for (const effect of greetingsLast) {
      const stream = this.streams.get(effect.server)
      const pool = this.pool(effect.server)
      if (stream === undefined) continue
      const { process } = stream
      const location = effect.type === 'greet' ? undefined : this.world.at(effect.container)
      pool.streamMs = this.later(
        () => {
          if (pool.process !== process || process.stream !== stream) return
          if (effect.type === 'greet') {
            stream.heard = true
            this.extend(process)
          } else if (effect.type === 'discard') this.discard(pool, effect.server, effect.container)
          else if (location?.master === effect.server) this.assume(pool, process, location)
          else this.stepDown(process, effect.container)
        },
        Math.max(pool.streamMs, process.cutMs),
      )
    }
  }

  /** A fileserver asks the CLDB before it deletes: it may have become a target again. */
  private discard(pool: Pool, id: ServerId, container: ContainerId): void {
    if (this.world.at(container)?.servers.some((member) => member.server === id) !== true)
      pool.replicas.delete(container)
  }

  /** A master without a replica makes an empty one: the CLDB names nobody master who has lost his. */
  private assume(pool: Pool, process: Process, location: Location): void {
    const replica = pool.replicas.get(location.container)
    if (replica !== undefined && replica.epoch > location.epoch) return
    pool.replicas.set(location.container, { epoch: location.epoch, version: replica?.version ?? 0 })
    if (process.masters.get(location.container)?.epoch !== location.epoch) this.stepDown(process, location.container)
    process.masters.set(location.container, location)
  }

  private stepDown(process: Process, container: ContainerId): void {
    process.masters.delete(container)
    process.requests.delete(container)
    process.serving.delete(container)
  }

  private act(number: number, pool: Pool, process: Process): void {
    const { nowMs } = this.world
    if (nowMs >= process.beatMs && nowMs >= process.cutMs) {
      if (process.registered) this.heartbeat(number, pool, process)
      else this.register(number, pool, process)
    }
    if (
      nowMs >= process.cutMs &&
      process.registered &&
      (process.stream === undefined || this.streams.get(server(number)) !== process.stream) &&
      this.chance(0.2)
    )
      this.later(() => this.open(number, pool, process))
    if (nowMs > process.leaseEndMs) return
    for (const location of process.masters.values()) if (this.chance(0.2)) this.lead(number, pool, process, location)
  }

  private heartbeat(number: number, pool: Pool, process: Process): void {
    const sentMs = this.world.nowMs
    const { stream } = process
    process.beatMs = sentMs + 300
    if (this.faults && this.chance(0.03)) return
    const sizes = [...process.serving].map((container) => ({ container, sizeBytes: 1 }))
    this.later(() => {
      const known = this.accepted({ type: 'heartbeat', request: beat(number, process.incarnation, { sizes }) })
      this.later(() => {
        if (pool.process !== process || !process.registered) return
        if (!known) this.register(number, pool, process)
        else if (process.stream === stream) {
          process.answeredMs = Math.max(process.answeredMs, sentMs)
          if (stream?.heard) this.extend(process)
        }
      })
    })
  }

  /** One write, or what keeps it from being acknowledged is reported to the CLDB. */
  private lead(number: number, pool: Pool, process: Process, location: Location): void {
    const { container, epoch, inSync, resyncing } = location
    const own = pool.replicas.get(container)!
    if (own.epoch > epoch) {
      this.stepDown(process, container)
      return
    }
    const reached = (member: ServerId): boolean => {
      if (member === server(number)) return true
      const other = this.pool(member)
      const replica = other.replicas.get(container)
      return other.process?.registered === true && (replica?.epoch ?? 0) <= epoch
    }
    const acknowledged = this.acknowledged.get(container) ?? 0
    assert(own.version >= acknowledged, `container ${container}: master ${number} lacks an acknowledged write`)
    const version = own.version + 1
    // Who was proposed for the in-sync set may be in it already: he must hold every write from then on.
    const joining = process.requests.get(container)?.add ?? []
    const quorum = [...inSync, ...joining]
    for (const member of [...quorum, ...resyncing])
      if (reached(member)) this.pool(member).replicas.set(container, { epoch, version })
    if (quorum.every(reached)) process.serving.add(container)
    if (quorum.every(reached) && inSync.length >= location.minimum) {
      this.acknowledged.set(container, version)
      this.writes++
    }
    const request = process.requests.get(container) ?? {
      remove: inSync.filter((member) => !reached(member)),
      add: resyncing.filter(reached),
    }
    const idle = request.remove.length + request.add.length === 0
    if (idle || this.world.nowMs < process.cutMs || !this.chance(0.3)) return
    process.requests.set(container, request)
    const { incarnation } = process
    const arrivesMs = this.later(() => {
      this.accepted({
        type: 'reconfigure',
        request: { server: server(number), incarnation, container, epoch, lost: false, ...request },
      })
    })
    pool.askedMs = Math.max(pool.askedMs, arrivesMs)
  }

  private check(): void {
    const acting = new Set<ContainerId>()
    for (const [number, { process }] of this.pools) {
      if (process === undefined || this.world.nowMs > process.leaseEndMs) continue
      for (const { container, epoch } of process.masters.values()) {
        assert(!acting.has(container), `container ${container} has two masters`)
        acting.add(container)
        const name = `${number}/${process.incarnation}`
        const of = `${container}/${epoch}`
        const first = this.masters.get(of) ?? name
        assert(first === name, `container ${container}: two masters in epoch ${epoch}`)
        this.masters.set(of, name)
      }
    }
    for (const { container, epoch, inSync, resyncing } of this.world.state.containers.values()) {
      const sets = JSON.stringify([inSync, resyncing])
      const of = `${container}/${epoch}`
      assert((this.configurations.get(of) ?? sets) === sets, `container ${container}: epoch ${epoch} was changed`)
      this.configurations.set(of, sets)
    }
  }

  /** Containers that are not whole. */
  broken(): readonly Location[] {
    return [...this.world.state.containers.keys()]
      .map((id) => this.world.at(id))
      .filter(({ master, inSync, resyncing }) => master === undefined || inSync.length !== 3 || resyncing.length > 0)
  }
}

t.test('random faults break no promise, and heal', async (t) => {
  const base = Number(process.env.SEED ?? Math.floor(Math.random() * 1e6))
  t.comment(`SEED=${base}`)
  let writes = 0
  for (let seed = base; seed < base + 12; seed++) {
    const simulation = new Simulation((seed % 1e6) / 1e6)
    try {
      simulation.run(3000, false)
      simulation.world.createVolume()
      simulation.world.send({ type: 'allocate', request: { volume: 'home' } })
      simulation.run(60_000, true)
      simulation.run(30_000, false)
      t.strictSame(simulation.broken(), [], `SEED=${seed}: all containers are in sync in the end`)
      writes += simulation.writes
    } catch (error) {
      t.fail(`SEED=${seed}: ${(error as Error).stack}`)
    }
  }
  t.ok(writes > 10_000, `${writes} acknowledged writes`)
})
