/**
 * A whole simulated cluster, and what must hold of it after every event and when it is at rest.
 */

import type { View } from '../../../fileserver/index/changes.ts'
import { inodeKey } from '../../../fileserver/names/keys.ts'
import { chunksAfter } from '../../../fileserver/names/operations.ts'
import type { ContainerReplica } from '../../../fileserver/replica/replica.ts'
import { AssertionError } from '../../../protocol/assert.ts'
import { isFailure } from '../../../protocol/failures.ts'
import { type ContainerId, formatFid, type ServerId } from '../../../protocol/ids.ts'
import type { Log } from '../../../protocol/logging.ts'
import { control } from '../../../protocol/messages/control.ts'
import { Blackouts } from '../checker/blackouts.ts'
import { misnamed } from '../checker/names.ts'
import { Problems } from '../checker/problems.ts'
import type { Mutation } from '../mutants/mutations.ts'
import { Network } from '../world/network.ts'
import type { Random } from '../world/random.ts'
import { Oscillator, Process, Timeline } from '../world/timeline.ts'
import { Wires } from '../world/transport.ts'
import { CldbNode } from './cldb.ts'
import { Server, type World } from './server.ts'

export const replication = 3

/** What no log line may say, unless disks were spoiled. */
const alarming = ['the replica is damaged', 'asked to lead a container without a whole replica']

const segmentsOf = ({ storage }: ContainerReplica): string =>
  storage.log
    .manifest()
    .map(({ first }) => first)
    .join(' ')

type Files = readonly (readonly [path: string, content: Buffer])[]

/** @returns where the files of two replicas differ, if they do. */
function differing(files: Files, others: Files): string | undefined {
  if (files.length !== others.length) return `${files.length} and ${others.length} segments`
  const at = files.findIndex(([path, content], i) => path !== others[i]![0] || !content.equals(others[i]![1]))
  if (at < 0) return undefined
  const [path, ours] = files[at]!
  const [, theirs] = others[at]!
  const offset = ours.findIndex((byte, i) => byte !== theirs[i])
  return `${path} of ${ours.length} and ${theirs.length} bytes, from byte ${offset} on`
}

export class Cluster implements World {
  readonly timeline = new Timeline()
  readonly problems = new Problems()
  readonly blackouts = new Blackouts()
  readonly network: Network
  readonly wires: Wires
  readonly cldb: CldbNode
  readonly servers: readonly Server[]
  /** Its disk has changed what was synced. */
  spoiled: Server | undefined
  readonly report = this.problems.report
  /** `container@epoch` and who leads it. */
  readonly #masters = new Map<string, string>()
  /** `server/container` and what its process knew for committed when it ended. */
  readonly #floors = new Map<string, { readonly committed: number; readonly durable: boolean }>()
  /** Who served each container last. */
  readonly #latest = new Map<ContainerId, string>()
  /** `server/container` and the epoch that its replica was seen in. */
  readonly #epochs = new Map<string, number>()
  /** Of each container, the chain at sequences that some replica held for committed. */
  readonly #chains = new Map<ContainerId, Map<number, bigint>>()
  readonly #seen = new WeakMap<ContainerReplica, { committed: number; role: string }>()

  readonly mutation: Mutation | undefined

  /** @param electsAny the CLDB prefers none of those who can lead. */
  constructor(random: Random, servers: number, electsAny: boolean, mutation: Mutation | undefined) {
    this.mutation = mutation
    this.network = new Network(this.timeline, random.split())
    this.wires = new Wires(this.network, random.split(), this.report)
    this.cldb = new CldbNode(
      this.network,
      random.split(),
      this.log('cldb'),
      { rereplicateAfterMs: 6000, openContainersMin: 2, openContainersMax: 2, electsAny: electsAny ? 1 : 0 },
      mutation,
      this.report,
      ({ container, inSync }) => this.blackouts.configured(container, inSync, this.timeline.nowMs),
    )
    this.servers = Array.from({ length: servers }, (_, i) => {
      const oscillator = new Oscillator(this.timeline, random.between(0.95, 1.05))
      oscillator.wallOffsetMs = random.between(-1e6, 1e6)
      return new Server(i + 1, this, random.split(), oscillator)
    })
  }

  readonly log = (name: string): Log => {
    const write =
      (level: string) =>
      (fields: Readonly<Record<string, unknown>>, message: string): void => {
        const { error, container } = fields
        const values = Object.entries(fields).map(
          ([key, value]) => `${key}=${value instanceof Error ? value.message : value}`,
        )
        this.timeline.note(`${name} ${level} ${message} ${values.join(' ')}`)
        if (values.some((value) => value.includes('INTERNAL:'))) this.report(`${name}: ${message} ${values.join(' ')}`)
        if (error instanceof AssertionError) this.report(`${name}, container ${container}: ${message}`, error)
        if (
          this.spoiled?.name !== name &&
          alarming.some((text) => message.startsWith(text)) &&
          this.#counts(name, container)
        )
          this.report(`${name}, container ${container}: ${message}`, error)
      }
    return { error: write('error'), warn: write('warn'), info: write('info'), debug: write('debug') }
  }

  /** Whether the in-sync set of the container names the server: only then is its replica worth anything. */
  #counts(name: string, container: unknown): boolean {
    const server = this.servers.find((other) => other.name === name)
    const { containers } = this.cldb.records
    return server === undefined || containers.get(container as ContainerId)?.inSync.includes(server.id) !== false
  }

  kill(server: Server, power: boolean): void {
    this.timeline.note(`${server.name} ${power ? 'loses its power' : 'is killed'}`)
    for (const { container, core } of server.replicas?.all() ?? []) {
      // What a resyncing replica was told may not be durable there.
      const durable = this.cldb.records.containers.get(container)?.inSync.includes(server.id) ?? false
      this.#floors.set(`${server.name}/${container}`, { committed: core.committed, durable })
    }
    // Also where its process had ended before.
    if (power)
      for (const [name, { durable }] of this.#floors)
        if (!durable && name.startsWith(`${server.name}/`)) this.#floors.delete(name)
    if (power) this.blackouts.powerLost(server.id, this.timeline.nowMs)
    server.kill(power)
  }

  start(server: Server): void {
    if (server.process !== undefined) return
    this.timeline.note(`${server.name} starts`)
    server.start()
  }

  /** An administrator's word on a server. @returns whether the CLDB has taken it. */
  async setMode(server: Server, mode: 'normal' | 'draining' | 'maintenance', forMs = 0): Promise<boolean> {
    const client = this.cldb.dial(new Process('administrator'))
    try {
      await client.call(control.calls.setMode, { server: server.id, mode, forMs }, 2000)
      this.timeline.tally.add(`times ${mode}`)
      return true
    } catch (error) {
      if (!isFailure(error)) throw error
      this.timeline.note(`${server.name} does not become ${mode}: ${error.message}`)
      return false
    }
  }

  /** After every event. @throws Problem */
  check(): void {
    const serving = new Map<ContainerId, string>()
    for (const server of this.servers) {
      if (server.replicas === undefined) continue
      const leased = server.leased()
      for (const replica of server.replicas.all()) {
        this.#checkReplica(server, replica)
        if (!leased || replica.core.role !== 'master' || replica.stopped !== undefined) continue
        const { container } = replica
        const other = serving.get(container)
        if (other !== undefined) this.report(`${other} and ${server.name} serve container ${container} at once`)
        serving.set(container, server.name)
      }
    }
    this.problems.check()
  }

  #checkReplica(server: Server, replica: ContainerReplica): void {
    const { core, container } = replica
    const seen = this.#seen.get(replica)
    this.#checkFloor(server, replica, seen === undefined)
    if (seen !== undefined && seen.committed === core.committed && seen.role === core.role) return
    this.#seen.set(replica, { committed: core.committed, role: core.role })
    this.#checkEpoch(server, replica)
    if (core.role === 'master' || core.role === 'recovering') {
      const key = `${container}@${core.epoch}`
      const master = this.#masters.get(key) ?? server.name
      this.#masters.set(key, master)
      if (core.role === 'master') this.#noteMaster(container, master)
      if (master !== server.name) this.report(`${master} and ${server.name} both lead ${key}`)
    }
    if (replica.stopped !== undefined) return
    const { log } = replica.storage
    if (core.committed !== log.last) return
    this.#compare(`${server.name}, container ${container}`, container, core.committed, log.chain)
  }

  /** What a replica knows for committed stays in its log; also over the end of its process, unless all of it is gone. */
  #checkFloor(server: Server, { container, core, storage, stopped }: ContainerReplica, fresh: boolean): void {
    const { last } = storage.log
    if (stopped !== undefined || last === 0 || server === this.spoiled) return
    const floor = fresh ? (this.#floors.get(`${server.name}/${container}`)?.committed ?? 0) : core.committed
    if (last < floor) this.report(`${server.name}, container ${container}: has ${last} of ${floor} that were committed`)
  }

  #noteMaster(container: ContainerId, master: string): void {
    const before = this.#latest.get(container) ?? master
    if (before !== master) this.timeline.tally.add('failovers')
    this.#latest.set(container, master)
  }

  /** A replica never forgets an epoch that it acted in, unless it has lost everything. */
  #checkEpoch({ name }: Server, { container, core, storage }: ContainerReplica): void {
    const key = `${name}/${container}`
    const highest = storage.log.last === 0 ? 0 : (this.#epochs.get(key) ?? 0)
    if (core.epoch < highest) this.report(`${name}, container ${container}: is in epoch ${core.epoch} after ${highest}`)
    this.#epochs.set(key, core.epoch)
  }

  #compare(who: string, container: ContainerId, at: number, chain: bigint): void {
    let chains = this.#chains.get(container)
    if (chains === undefined) {
      chains = new Map()
      this.#chains.set(container, chains)
    }
    const known = chains.get(at)
    if (known === undefined) chains.set(at, chain)
    else if (known !== chain) this.report(`${who} has another committed log up to ${at}`)
  }

  /** Epochs in which somebody led. */
  get epochs(): number {
    return this.#masters.size
  }

  /** Containers whose logs no longer reach back to their beginning. */
  get shortened(): number {
    const replicas = this.servers.flatMap((server) => [...(server.replicas?.all() ?? [])])
    return new Set(replicas.filter(({ storage }) => storage.log.contiguousFrom > 1).map(({ container }) => container))
      .size
  }

  /** @returns why the cluster is not whole yet, or nothing when every container is. */
  unrest(): string | undefined {
    const { state } = this.cldb
    if (state === undefined) return 'the CLDB is away'
    for (const { container, inSync, resyncing, master } of state.containers.values()) {
      if (inSync.length !== replication || resyncing.length > 0)
        return `container ${container}: in sync ${inSync}, resyncing ${resyncing}, master ${master}`
      const replicas = this.servers
        .filter(({ id }) => inSync.includes(id))
        .map((server) => this.#replica(server, container))
      const [first] = replicas
      for (const [i, replica] of replicas.entries()) {
        if (replica === undefined || replica.stopped !== undefined)
          return `container ${container}: ${inSync[i]} has no replica`
        const leads = replica.core.self === master
        if (replica.core.role !== (leads ? 'master' : 'follower'))
          return `container ${container}: ${replica.core.self} is ${replica.core.role}`
        if (replica.storage.log.last !== first!.storage.log.last || replica.core.committed !== replica.storage.log.last)
          return `container ${container}: ${replica.core.self} has ${replica.core.committed} of ${replica.storage.log.last}`
        // A segment is dropped when the index has taken the record that says so.
        if (segmentsOf(replica) !== segmentsOf(first!))
          return `container ${container}: ${inSync[0]} has segments ${segmentsOf(first!)}, ${inSync[i]} has ${segmentsOf(replica)}`
      }
    }
    return this.#stray(state.containers)
  }

  /** @returns a replica, or what is left of one, that no configuration names. */
  #stray(containers: ReadonlyMap<ContainerId, { readonly inSync: readonly ServerId[] }>): string | undefined {
    for (const { name, id, disk } of this.servers)
      for (const path of disk.contents('/pool/containers/').keys()) {
        const container = Number(path.split('/')[3]) as ContainerId
        if (!containers.get(container)?.inSync.includes(id)) return `${name} holds ${path}, which is not its own`
      }
    return undefined
  }

  /** When the cluster is whole. @returns where two replicas are not the same, byte for byte; nothing when all are. */
  difference(): string | undefined {
    for (const { container, inSync } of this.cldb.state!.containers.values()) {
      const servers = this.servers.filter((server) => inSync.includes(server.id))
      const [first, ...others] = servers.map(({ disk, name }) => {
        const contents = [...disk.contents(`/pool/containers/${container}/`)]
        return {
          name,
          files: contents.filter(([path]) => path.endsWith('.segment')).sort(([a], [b]) => (a < b ? -1 : 1)),
        }
      })
      const bad = servers.find(({ disk }) => disk.isUnreadable(`/pool/containers/${container}/`))
      if (bad !== undefined) return `container ${container}: ${bad.name} has sectors that cannot be read`
      for (const { name, files } of others) {
        const different = differing(first!.files, files)
        if (different !== undefined) return `container ${container}: ${first!.name} and ${name}, ${different}`
      }
    }
    return undefined
  }

  /** @returns a chunk whose file is gone, or why none can be looked for; nothing when there is none. */
  async abandoned(): Promise<string | undefined> {
    const unrest = this.unrest()
    if (unrest !== undefined) return unrest
    const { containers } = this.cldb.state!
    const views = this.#views()
    for (const { container, kind } of containers.values()) {
      if (kind !== 'data') continue
      for (const { owner, index } of await chunksAfter(views.get(container)!, container, undefined, 10_000))
        if (views.get(owner.container)!.get(inodeKey(owner.inode)) === undefined)
          return `container ${container} has chunk ${index} of file ${formatFid(owner)}, which is gone`
    }
    return undefined
  }

  /** When the cluster is whole. @returns where names and inodes do not agree; nothing when they do. */
  async misnamed(): Promise<string | undefined> {
    const views = this.#views()
    for (const { container, kind } of this.cldb.state!.containers.values()) {
      const wrong = kind === 'name' ? await misnamed(views.get(container)!) : undefined
      if (wrong !== undefined) return `container ${container}: ${wrong}`
    }
    return undefined
  }

  /** Of each container, what one of its replicas holds. */
  #views(): ReadonlyMap<ContainerId, View> {
    const views = new Map<ContainerId, View>()
    for (const { container, inSync } of this.cldb.state!.containers.values()) {
      const server = this.servers.find(({ id }) => inSync.includes(id))!
      views.set(container, this.#replica(server, container)!.storage.index.view)
    }
    return views
  }

  /** When the cluster is whole: everything that was committed is in its logs. */
  checkLogs(): void {
    for (const { container, inSync } of this.cldb.state!.containers.values()) {
      const server = this.servers.find(({ id }) => inSync.includes(id))!
      this.#checkCommitted(this.#replica(server, container)!)
    }
  }

  /** Everything that was committed once is in the log still. */
  #checkCommitted(replica: ContainerReplica): void {
    const known = this.#chains.get(replica.container) ?? new Map<number, bigint>()
    const { log } = replica.storage
    for (const entry of log.entries(0 as never)) {
      const { sequence, chain, kind } = entry.header
      if (kind === 'dropSegment') this.timeline.tally.add('segments dropped')
      if (kind === 'sealSegment') this.timeline.tally.add('segments sealed')
      this.#compare('the log at rest', replica.container, sequence, chain)
      known.delete(sequence)
    }
    const [missing] = known.keys()
    if (missing !== undefined && missing >= log.contiguousFrom)
      this.report(`container ${replica.container}: committed record ${missing} is gone`)
  }

  #replica(server: Server, container: ContainerId): ContainerReplica | undefined {
    if (server.replicas === undefined) return undefined
    for (const replica of server.replicas.all()) if (replica.container === container) return replica
    return undefined
  }
}
