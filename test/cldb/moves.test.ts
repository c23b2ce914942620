/**
 * Planned moves at random: drains, maintenance, the way back, hot spares and deaths, with the balancers at work.
 *
 * The fileservers are models that answer well: a master brings targets up a piece at a time, has dead members removed,
 * and gives way when it is asked. Claimed: nothing that the CLDB plans ever takes a live in-sync copy that is wanted;
 * in the end all is whole, the drained are empty, disks and masters are even, and nothing changes any more. A failure
 * prints its seed.
 */
import t from 'tap'
import { randomFrom } from '../../cldb/placement.ts'
import { handOversOf } from '../../cldb/query.ts'
import type { Container } from '../../cldb/state.ts'
import type { Event } from '../../cldb/step.ts'
import { assert } from '../../protocol/assert.ts'
import type { ContainerId, ServerId } from '../../protocol/ids.ts'
import { beat, numberOf, registration, server, volumeRequest, World } from './world.ts'

const replication = 3
const config = { rereplicateAfterMs: 5000, openContainersMin: 50, openContainersMax: 50, copiesPerServer: 4 }
const turnMs = 100
const pieceBytes = 40e6

/** A machine: how much of each replica is on its disk; `incarnation` 0 while it is off. */
type Machine = {
  readonly number: number
  readonly capacityBytes: number
  readonly replicas: Map<ContainerId, number>
  incarnation: number
  starts: number
}

type Untimed<E> = E extends Event ? Omit<E, 'nowMs' | 'random'> : never

class Cluster {
  readonly world: World
  readonly machines: Machine[] = []
  readonly random: () => number
  private readonly sizes = new Map<ContainerId, number>()
  /** Since when a master has been asked to give way. */
  private readonly asked = new Map<string, number>()

  constructor(seed: number) {
    this.random = randomFrom(seed)
    this.world = new World({ config, random: this.random })
  }

  below(count: number): number {
    return Math.floor(this.random() * count)
  }

  add(): void {
    const number = this.machines.length + 1
    const capacityBytes = 8e9 * (1 + this.below(2))
    const machine = { number, capacityBytes, replicas: new Map(), incarnation: 0, starts: 0 }
    this.machines.push(machine)
    this.start(machine)
  }

  start(machine: Machine): void {
    machine.incarnation = ++machine.starts
    const { number, incarnation, capacityBytes } = machine
    const freeBytes = this.freeOn(machine)
    const request = { ...registration(number, incarnation, [...machine.replicas.keys()]), capacityBytes, freeBytes }
    this.send({ type: 'register', request })
    this.send({ type: 'assignments', request: { server: server(number), incarnation } })
  }

  stop(machine: Machine): void {
    machine.incarnation = 0
  }

  mode(machine: Machine, mode: 'normal' | 'draining' | 'maintenance', forMs = 0): boolean {
    return (
      this.world.refusal({ type: 'setMode', request: { server: server(machine.number), mode, forMs } }) === undefined
    )
  }

  machine(id: ServerId): Machine {
    return this.machines[numberOf(id)! - 1]!
  }

  private freeOn({ replicas, capacityBytes }: Machine): number {
    return capacityBytes - [...replicas.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  sizeOf(id: ContainerId): number {
    const known = this.sizes.get(id) ?? 50e6 + this.below(300) * 1e6
    this.sizes.set(id, known)
    return known
  }

  live(container: Container): number {
    return container.inSync.filter((member) => this.world.state.servers.get(member)?.state === 'alive').length
  }

  /** A step that the CLDB takes by itself, or that is planned, takes no copy that is wanted. */
  send(event: Untimed<Event>): void {
    const before = new Map(this.world.state.containers)
    const failed = event.type === 'reconfigure' && event.request.add.length === 0
    const planned = event.type === 'repair' || event.type === 'setMode' || (event.type === 'reconfigure' && !failed)
    const lives = planned ? new Map([...before.values()].map((one) => [one.container, this.live(one)])) : undefined
    for (const effect of this.world.send(event))
      if (effect.type === 'discard') this.machine(effect.server).replicas.delete(effect.container)
    for (const after of this.world.state.containers.values()) {
      if (after === before.get(after.container)) continue
      const had = lives?.get(after.container) ?? 0
      const has = this.live(after)
      assert(
        has >= Math.min(had, replication),
        `container ${after.container}: ${event.type} left ${has} copies of ${had}`,
      )
    }
  }

  run(ms: number): void {
    for (const endMs = this.world.nowMs + ms; this.world.nowMs < endMs; ) this.turn()
  }

  private turn(): void {
    this.world.nowMs += turnMs
    for (const machine of this.machines) {
      const { number, incarnation, capacityBytes } = machine
      if (incarnation === 0) continue
      const led = [...this.world.state.containers.values()].filter(({ master }) => master === server(number))
      const sizes = led.map(({ container }) => ({ container, sizeBytes: this.sizeOf(container) }))
      this.send({
        type: 'heartbeat',
        request: beat(number, incarnation, { capacityBytes, freeBytes: this.freeOn(machine), sizes }),
      })
      for (const container of led) this.lead(machine, container)
      this.giveWay(machine)
    }
    this.send({ type: 'tick' })
    this.send({ type: 'repair' })
  }

  private lead(machine: Machine, { container, epoch, inSync, resyncing }: Container): void {
    for (const member of inSync) this.machine(member).replicas.set(container, this.sizeOf(container))
    const isUp = (member: ServerId): boolean => this.machine(member).incarnation > 0
    const remove = inSync.filter((member) => !isUp(member))
    const targets = resyncing.filter(isUp)
    for (const target of targets) {
      const { replicas } = this.machine(target)
      replicas.set(container, Math.min(this.sizeOf(container), (replicas.get(container) ?? 0) + pieceBytes))
    }
    const add = targets.filter((target) => this.machine(target).replicas.get(container) === this.sizeOf(container))
    const { number, incarnation } = machine
    const request = { server: server(number), incarnation, container, epoch, lost: false }
    if (remove.length > 0) this.send({ type: 'reconfigure', request: { ...request, remove, add: [] } })
    else if (add.length > 0) this.send({ type: 'reconfigure', request: { ...request, remove, add } })
  }

  private giveWay({ number, incarnation }: Machine): void {
    const self = server(number)
    for (const { container, epoch } of handOversOf(this.world.state, self)) {
      const of = `${container}/${epoch}`
      const sinceMs = this.asked.get(of) ?? this.world.nowMs
      this.asked.set(of, sinceMs)
      if (this.world.nowMs < sinceMs + 200) continue
      const request = { server: self, incarnation, container, epoch, remove: [self], add: [self], lost: false }
      this.send({ type: 'reconfigure', request })
    }
  }

  /** Used share of each disk that may take new replicas, by server. */
  fullness(): number[] {
    const inUse = this.machines.filter(
      ({ number }) => this.world.state.servers.get(server(number))?.record.mode === undefined,
    )
    return inUse.map((machine) => 1 - this.freeOn(machine) / machine.capacityBytes)
  }

  /** How many masters more the server of a container's master has than that of another member, at most. */
  mastersSpread(): number {
    const { containers, mastersOn } = this.world.state
    const mastersOf = (id: ServerId): number => mastersOn.get(id) ?? 0
    const spreads = [...containers.values()].map(
      ({ master, inSync }) => mastersOf(master!) - Math.min(...inSync.map(mastersOf)),
    )
    return Math.max(...spreads)
  }
}

const spread = (figures: readonly number[]): number => Math.max(...figures) - Math.min(...figures)

function disturb(cluster: Cluster): void {
  const machine = cluster.machines[cluster.below(cluster.machines.length)]!
  const away = cluster.machines.filter(({ incarnation }) => incarnation === 0)
  const pick = cluster.below(7)
  if (pick === 0) cluster.mode(machine, 'draining')
  else if (pick === 1) cluster.mode(machine, 'maintenance', 1000 + cluster.below(20_000))
  else if (pick <= 3) cluster.mode(machine, 'normal')
  else if (pick === 4 && away.length === 0) cluster.stop(machine)
  else if (pick === 5) for (const absent of away) cluster.start(absent)
  else if (cluster.machines.length < 9) cluster.add()
}

t.test('planned moves take no copy, come to an end, and leave all even', async (t) => {
  const base = Number(process.env.SEED ?? Math.floor(Math.random() * 1e6))
  t.comment(`SEED=${base}`)
  for (let round = 0; round < 6; round++) {
    const seed = base + round
    const cluster = new Cluster((seed % 1e6) / 1e6)
    const { world } = cluster
    try {
      for (let number = 1; number <= 6; number++) cluster.add()
      world.send({ type: 'createVolume', request: volumeRequest() })
      world.send({ type: 'allocate', request: { volume: 'home' } })
      cluster.run(2000)
      for (let i = 0; i < 40; i++) {
        disturb(cluster)
        cluster.run(cluster.below(4000))
      }
      for (const machine of cluster.machines) {
        if (machine.incarnation === 0) cluster.start(machine)
        cluster.mode(machine, 'normal')
      }
      cluster.add()
      cluster.run(2000)
      t.ok(cluster.mode(cluster.machines[0]!, 'draining'), 'a drain that can be is begun')
      cluster.run(180_000)
      const drained = world.state.containersOf.get(server(1))
      t.equal(drained?.size ?? 0, 0, `SEED=${seed}: what was drained is empty`)
      t.equal(cluster.machines[0]!.replicas.size, 0, 'and so is its disk')
      const broken = [...world.state.containers.values()].filter(
        ({ master, inSync, resyncing }) =>
          master === undefined || inSync.length !== replication || resyncing.length > 0,
      )
      t.strictSame(broken, [], `SEED=${seed}: all containers are whole`)
      t.ok(spread(cluster.fullness()) <= 0.1, `SEED=${seed}: disks are even: ${cluster.fullness()}`)
      t.ok(cluster.mastersSpread() <= 2, `SEED=${seed}: masters are even: ${cluster.mastersSpread()}`)
      const settled = new Map(world.state.containers)
      cluster.run(60_000)
      const changed = [...world.state.containers.values()].filter((one) => settled.get(one.container) !== one)
      t.strictSame(changed, [], `SEED=${seed}: and nothing changes any more`)
      t.strictSame([world.state.moves.size, world.state.handOvers.size], [0, 0])
    } catch (error) {
      t.fail(`SEED=${seed}: ${(error as Error).stack}`)
    }
  }
})
