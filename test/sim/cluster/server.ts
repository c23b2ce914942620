/**
 * One fileserver in the simulator: a machine with its disk and clock, and on it one process after the other.
 *
 * Wires the real parts of fileserver/ together as fileserver/main.ts does.
 */
import { Abandoned } from '../../../fileserver/cleaning/abandoned.ts'
import { Cleaning } from '../../../fileserver/cleaning/cleaning.ts'
import { Reclaim } from '../../../fileserver/cleaning/reclaim.ts'
import { followingHandlers } from '../../../fileserver/following.ts'
import { Membership } from '../../../fileserver/membership.ts'
import { format } from '../../../fileserver/names/operations.ts'
import { BadPlaces } from '../../../fileserver/pool/bad-places.ts'
import type { Disk } from '../../../fileserver/pool/disk.ts'
import { openPool, saveIdentity } from '../../../fileserver/pool/pool.ts'
import { floorBytesOf } from '../../../fileserver/pool/room.ts'
import type { Environment, Limits } from '../../../fileserver/replica/environment.ts'
import type { ContainerReplica } from '../../../fileserver/replica/replica.ts'
import { Replicas } from '../../../fileserver/replicas.ts'
import { type ResyncLimits, Resyncs } from '../../../fileserver/resync/resyncs.ts'
import { maintenanceHandlers } from '../../../fileserver/scrub/handlers.ts'
import { Scrubber } from '../../../fileserver/scrub/scrubber.ts'
import { fileHandlers } from '../../../fileserver/service.ts'
import { connectCldb } from '../../../protocol/cluster/cldb.ts'
import { Connections } from '../../../protocol/cluster/connections.ts'
import { openContainers } from '../../../protocol/cluster/containers.ts'
import { Failure, isFailure } from '../../../protocol/failures.ts'
import { type ServerId, serverId } from '../../../protocol/ids.ts'
import type { Log } from '../../../protocol/logging.ts'
import type { Location } from '../../../protocol/messages/attributes.ts'
import { control, zeroCounters } from '../../../protocol/messages/control.ts'
import { files } from '../../../protocol/messages/files.ts'
import { maintenance } from '../../../protocol/messages/maintenance.ts'
import { replication } from '../../../protocol/messages/replication.ts'
import { served } from '../../../protocol/transport/transport.ts'
import { watched } from '../checker/watched.ts'
import type { Mutation } from '../mutants/mutations.ts'
import { SimulatedDisk } from '../world/disk.ts'
import { SimulatedIndex } from '../world/index.ts'
import type { Network } from '../world/network.ts'
import { Random } from '../world/random.ts'
import { clockOf, type Oscillator, Process } from '../world/timeline.ts'
import type { Wires } from '../world/transport.ts'
import type { CldbNode } from './cldb.ts'

const tickMs = 50
const reserveBytes = 256 * 1024
const controlTimeoutMs = 2000
const limits: Limits = {
  replicaTimeoutMs: 1000,
  memberGraceMs: 500,
  syncWithinMs: 200,
  unsyncedBytesMax: 64 * 1024,
  retryMs: 300,
}

/** Between two looks for chunks whose files are gone, on average. */
const abandonedEveryMs = 3000
/** All of a pool within seconds. */
const scrub = { bytesPerSecond: 2 * 1024 * 1024, againAfterMs: 4000 }
/** Small, so that a run fills and drops many of them. */
const segmentBytes = 48 * 1024

export type World = {
  readonly network: Network
  readonly wires: Wires
  readonly cldb: CldbNode
  readonly report: (problem: string, error?: unknown) => void
  readonly log: (name: string) => Log
  /** A mistake to be found. */
  readonly mutation: Mutation | undefined
}

export class Server {
  readonly name: string
  readonly id: ServerId
  readonly disk: SimulatedDisk
  readonly oscillator: Oscillator
  process: Process | undefined
  replicas: Replicas | undefined
  /** Whether its process may act as a master. */
  leased: () => boolean = () => false
  readonly #world: World
  readonly #random: Random
  readonly #index: SimulatedIndex
  readonly #resyncLimits: ResyncLimits
  #counters = zeroCounters()

  constructor(number: number, world: World, random: Random, oscillator: Oscillator) {
    this.name = `s${number}`
    this.id = serverId(number.toString(16).padStart(16, '0'))
    this.oscillator = oscillator
    this.#world = world
    this.#random = random
    this.disk = new SimulatedDisk(world.network.timeline, random.split())
    this.#index = new SimulatedIndex(world.network.timeline, random.split())
    // From numbers of its own: no other draw is shifted. Half of the rates are limited; all of a pool passes within seconds.
    const own = new Random(oscillator.wallOffsetMs)
    const rate = (): number => (own.chance(0.5) ? 0 : Math.floor(own.between(256 * 1024, 4 * 2 ** 20)))
    this.#resyncLimits = {
      resyncInBytesPerSecond: rate(),
      resyncOutBytesPerSecond: rate(),
      resyncsMax: 2,
      stuckAfterMs: 4000,
    }
  }

  /** What the process that runs has counted. */
  get counts(): Readonly<Record<string, number>> {
    const { corruptBlocks, repairedBlocks, resyncs, diskErrors, cleanedBytes, scrubbedBytes } = this.#counters
    return {
      'damaged blocks found': corruptBlocks,
      'blocks repaired': repairedBlocks,
      resyncs,
      'disk errors': diskErrors,
      'bytes cleaned': cleanedBytes,
      'bytes scrubbed': scrubbedBytes,
    }
  }

  /** Bytes at the beginning of a segment's file that surely count as committed here when its process ends. */
  settledBytes(path: string): number {
    const segment = Number.parseInt(path.split('/').at(-1)!, 16)
    for (const { container, storage, stopped } of this.replicas?.all() ?? []) {
      if (stopped !== undefined || !path.startsWith(`/pool/containers/${container}/`)) continue
      try {
        const { value: next } = storage.log.entries(storage.index.applied).next()
        if (next === undefined || next.segment > segment) return Number.POSITIVE_INFINITY
        return next.segment < segment ? 0 : next.offset
      } catch (error) {
        if (!isFailure(error)) throw error
      }
    }
    return 0
  }

  get address(): string {
    return `${this.name}:7000`
  }

  /** Ends the process; with `power` what was not synced goes too. */
  kill(power: boolean): void {
    const { process } = this
    if (process !== undefined) {
      process.alive = false
      this.process = undefined
      this.replicas = undefined
      this.#world.network.timeline.tally.addAll(this.counts)
      this.#counters = zeroCounters()
      this.#index.kill()
      this.#world.wires.over(process, !power)
      this.#world.cldb.gone(process, !power)
    }
    if (!power) return
    this.disk.cutPower()
    this.#index.cutPower()
  }

  start(): void {
    const process = new Process(this.name)
    this.process = process
    this.#run(process).catch((error) => {
      if (process.alive) this.#world.report(`${this.name} did not start`, error)
    })
  }

  async #run(process: Process): Promise<void> {
    const { network, wires, cldb: cldbNode, log: logOf, mutation } = this.#world
    const clock = clockOf(network.timeline, process, this.oscillator)
    const log = logOf(this.name)
    const random = this.#random.split().next
    const disk: Disk = this.disk.open(process)
    const identity = openPool(disk, '/pool', () => this.id)
    const index = this.#index.open(process)
    const cldb = connectCldb({ addresses: ['cldb:7400'], clock, random, dial: () => cldbNode.dial(process) })
    const transport = wires.transport(process)
    const connections = new Connections(transport)
    const containers = openContainers({ cldb, transport, clock, random })
    const addresses = new Map<ServerId, string>()
    const learn = (location: Location): void => {
      for (const { server, address } of location.servers) addresses.set(server, address)
    }
    this.#counters = zeroCounters()
    const incarnation = Math.floor(random() * 2 ** 48)
    const sound: Environment = {
      self: identity.server,
      clock,
      disk,
      index,
      directory: '/pool/containers',
      log,
      counters: this.#counters,
      badPlaces: new BadPlaces(),
      random,
      connect: async (server, timeoutMs) => {
        const address = addresses.get(server)
        if (address === undefined) throw new Failure('UNAVAILABLE', `the address of server ${server} is unknown`)
        return connections.open(address, timeoutMs)
      },
      leased: () => membership.leased,
      full: () => disk.space().freeBytes < reserveBytes,
      roomBytes: () => Math.max(0, disk.space().freeBytes - floorBytesOf(reserveBytes)),
      reconfigure: async (container, epoch, remove, add, lost = false) => {
        const request = { server: identity.server, incarnation, container, epoch, remove, add, lost }
        const { location } = await cldb.call(control.calls.reconfigure, request, controlTimeoutMs)
        learn(location)
        return location
      },
      limits,
      resyncs: new Resyncs(clock, this.#resyncLimits),
      segmentBytes,
    }
    const environment = mutation?.environment?.(sound) ?? sound
    const touched = (replica: ContainerReplica): ContainerReplica => {
      mutation?.replica?.(replica)
      return replica
    }
    const replicas = new Replicas(environment, (location) =>
      location.kind === 'data'
        ? []
        : format({ container: location.container, volume: { chunkBytes: location.chunkBytes }, now: clock.now() }),
    )
    this.replicas = replicas
    this.leased = () => false
    await replicas.openAll()
    const reclaim = new Reclaim(environment, containers)
    const presence = { address: this.address, topology: `/rack/${this.name}`, incarnation, cluster: identity.cluster }
    const membership = new Membership(environment, cldb, replicas, presence, learn)
    const scrubber = new Scrubber({
      environment,
      replicas,
      ...scrub,
      locate: (container) => membership.locate(container),
    })
    const ofFiles = fileHandlers(environment, replicas, cldb, reclaim)
    const ofMasters = followingHandlers(environment, replicas, (container) => membership.isNamed(container))
    wires.listen(this.address, process, [
      served(files, mutation?.files?.(ofFiles, replicas) ?? ofFiles),
      served(
        replication,
        watched(
          mutation?.following?.(ofMasters, replicas) ?? ofMasters,
          replicas,
          network.timeline.tally,
          this.#world.report,
        ),
      ),
      served(maintenance, maintenanceHandlers(replicas, scrubber)),
    ])
    this.leased = environment.leased
    const tick = (): void => {
      for (const replica of replicas.all()) touched(replica).tick()
      clock.after(tickMs, tick)
    }
    clock.after(tickMs, tick)
    const cluster = await membership.join()
    if (identity.cluster !== cluster) saveIdentity(disk, '/pool', { server: identity.server, cluster })
    reclaim.start(replicas)
    scrubber.start()
    new Cleaning(environment, replicas).start()
    new Abandoned(environment, containers, abandonedEveryMs).start(replicas)
    network.timeline.note(`${this.name} serves`)
  }
}
