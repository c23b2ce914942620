/**
 * Fileservers in one process: real disks, indexes, replicas and handlers; only the CLDB and the sockets are missing.
 *
 * A test gives out configurations with `configure`, as the CLDB would; calls travel by function, on a later turn, with
 * payloads copied as a socket copies them. A node that is `cut` off answers nobody.
 */

import { join } from 'node:path'
import type { Test } from 'tap'
import { Cleaning } from '../../fileserver/cleaning/cleaning.ts'
import { followingHandlers } from '../../fileserver/following.ts'
import { type Index, openIndex } from '../../fileserver/index/store.ts'
import { BadPlaces } from '../../fileserver/pool/bad-places.ts'
import { noTicket } from '../../fileserver/replica/addition.ts'
import type { Environment } from '../../fileserver/replica/environment.ts'
import type { ContainerReplica } from '../../fileserver/replica/replica.ts'
import { Replicas } from '../../fileserver/replicas.ts'
import { Resyncs } from '../../fileserver/resync/resyncs.ts'
import { systemClock } from '../../protocol/clock.ts'
import { Failure } from '../../protocol/failures.ts'
import { payloadSums } from '../../protocol/hash.ts'
import { type Sequence, type ServerId, serverId } from '../../protocol/ids.ts'
import { silentLog } from '../../protocol/logging.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import { zeroCounters } from '../../protocol/messages/control.ts'
import { replication } from '../../protocol/messages/replication.ts'
import type { Connection, Payload } from '../../protocol/transport/transport.ts'
import { container, e, type Place, place, type Wanted } from './world.ts'

type Handler = (request: unknown, payload: Payload, context: object) => unknown

/** Resync as fast as it goes. */
export const unlimited = { resyncInBytesPerSecond: 0, resyncOutBytesPerSecond: 0, resyncsMax: 4, stuckAfterMs: 30_000 }

export type Asked = {
  readonly server: ServerId
  readonly remove: readonly ServerId[]
  readonly add: readonly ServerId[]
}

export class Node {
  readonly server: ServerId
  readonly place: Place
  readonly index: Index
  readonly replicas: Replicas
  readonly #handlers: Record<string, Handler>
  cut = false
  /** What its disk says. */
  full = false
  roomBytes = Number.MAX_SAFE_INTEGER
  /** Names of the calls that came, in order. */
  readonly calls: string[] = []

  constructor(nodes: Nodes, server: ServerId, here: Place, index: Index, segmentBytes?: number) {
    this.server = server
    this.place = here
    this.index = index
    const environment: Environment = {
      self: server,
      clock: systemClock,
      disk: here.disk,
      index,
      directory: here.directory,
      log: silentLog,
      counters: zeroCounters(),
      badPlaces: new BadPlaces(),
      random: Math.random,
      connect: async (to) => nodes.connect(this, to),
      leased: () => true,
      full: () => this.full,
      roomBytes: () => this.roomBytes,
      reconfigure: async (_container, epoch, remove, add) => {
        nodes.asked.push({ server, remove, add })
        return nodes.reconfigured(epoch, remove, add)
      },
      limits: {
        replicaTimeoutMs: 2000,
        memberGraceMs: 100,
        syncWithinMs: 50,
        unsyncedBytesMax: 2 ** 20,
        retryMs: 50,
      },
      resyncs: new Resyncs(systemClock, unlimited),
      ...(segmentBytes !== undefined && { segmentBytes }),
    }
    this.environment = environment
    this.replicas = new Replicas(environment, () => [])
    new Cleaning(environment, this.replicas).start()
    const handlers = followingHandlers(environment, this.replicas, () => nodes.isNamed(this))
    this.#handlers = handlers as unknown as Record<string, Handler>
  }

  readonly environment: Environment

  get replica(): ContainerReplica {
    return this.replicas.get(container)
  }

  get directory(): string {
    return join(this.place.directory, String(container))
  }

  async answer(call: { readonly number: number }, request: unknown, payload: Payload) {
    const name = Object.entries(replication.calls).find(([, other]) => other.number === call.number)![0]
    this.calls.push(name)
    const copied = payload.length === 0 ? [] : [Buffer.concat([...payload])]
    const answer = (await this.#handlers[name]!(request, copied, {})) as { reply: unknown; payload?: Payload }
    return { reply: answer.reply, payload: (answer.payload ?? []).map((piece) => Buffer.from(piece)) }
  }

  /** The same server as another process, whose replicas are opened from what is on the disk. */
  async reopened(nodes: Nodes): Promise<Node> {
    const again = new Node(nodes, this.server, this.place, this.index, this.environment.segmentBytes)
    nodes.all[nodes.all.indexOf(this)] = again
    await again.replicas.openAll()
    return again
  }

  async close(): Promise<void> {
    await this.replicas.close()
    await this.index.close()
  }
}

export class Nodes {
  readonly all: Node[]
  readonly asked: Asked[] = []
  /** What the CLDB answers when it is asked for another configuration; nothing: it doesn't answer. */
  reconfigured: (epoch: number, remove: readonly ServerId[], add: readonly ServerId[]) => Promise<Location> =
    async () => {
      throw new Failure('UNAVAILABLE', 'no CLDB')
    }

  /** What the CLDB answers when it is asked whether a node should hold a replica. */
  isNamed: (node: Node) => Promise<boolean> = async () => true

  private constructor(all: Node[]) {
    this.all = all
  }

  /** @param segmentBytes size of a segment, where it is not the usual one. */
  static async make(t: Test, count: number, segmentBytes?: number): Promise<Nodes> {
    const all: Node[] = []
    const nodes = new Nodes(all)
    for (let i = 1; i <= count; i++) {
      const here = place(t)
      const index = await openIndex(join(here.directory, 'index'))
      all.push(new Node(nodes, serverId(`${i}`.repeat(16)), here, index, segmentBytes))
    }
    const ticking = setInterval(() => {
      for (const { replicas } of all) for (const replica of replicas.all()) replica.tick()
    }, 10)
    t.teardown(async () => {
      clearInterval(ticking)
      for (const node of all) await node.close()
    })
    return nodes
  }

  connect(from: Node, to: ServerId): Connection {
    const target = this.all.find((node) => node.server === to)
    if (target === undefined || target.cut || from.cut) throw new Failure('UNAVAILABLE', `no way to ${to}`)
    const call = async (what: { readonly number: number }, request: unknown, options: { payload?: Payload }) => {
      await new Promise((resolve) => setImmediate(resolve))
      const lost = (): void => {
        if (target.cut || from.cut) throw new Failure('UNAVAILABLE', `the connection to ${to} is gone`)
      }
      lost()
      const answer = await target.answer(what, request, options.payload ?? [])
      lost()
      return answer
    }
    const connection = { address: to, call, closed: new Promise<never>(() => {}), close: () => {} }
    return connection as unknown as Connection
  }

  location(epoch: number, inSync: readonly Node[], resyncing: readonly Node[] = [], minimum = 1): Location {
    return {
      container,
      volume: 'home',
      kind: 'data',
      epoch: e(epoch),
      master: inSync[0]?.server,
      inSync: inSync.map(({ server }) => server),
      resyncing: resyncing.map(({ server }) => server),
      minimum,
      chunkBytes: 2 ** 28,
      servers: this.all.map(({ server }) => ({ server, address: server, alive: true })),
    }
  }

  /** From now on a CLDB of a few lines gives out configurations, beginning with this one. */
  async govern(epoch: number, inSync: readonly Node[], resyncing: readonly Node[] = []): Promise<void> {
    const nodesOf = (servers: readonly ServerId[]): Node[] =>
      servers.map((server) => this.all.find((node) => node.server === server)!)
    let now = this.location(epoch, inSync, resyncing)
    this.reconfigured = async (asked, remove, add) => {
      if (asked !== now.epoch) throw new Failure('CONFLICT', `this is epoch ${now.epoch}`)
      const members = nodesOf([...now.inSync.filter((server) => !remove.includes(server)), ...add])
      const others = nodesOf([...now.resyncing.filter((server) => !add.includes(server)), ...remove])
      now = this.location(asked + 1, members, others)
      return now
    }
    await this.configure(epoch, inSync, resyncing)
  }

  /** Tells the master of its configuration, as the CLDB does. */
  async configure(epoch: number, inSync: readonly Node[], resyncing: readonly Node[] = []): Promise<void> {
    const location = this.location(epoch, inSync, resyncing)
    for (const node of [...inSync, ...resyncing]) if (!node.cut) await node.replicas.assign(location)
  }
}

export async function three(t: Test) {
  const nodes = await Nodes.make(t, 3)
  const [a, b, c] = nodes.all as [Node, Node, Node]
  return { nodes, a, b, c }
}

/** Appends a record as a client's call does. @returns its sequence, once it may be acknowledged. */
export async function write(node: Node, { changes = [], payload = [], ...rest }: Wanted = {}): Promise<Sequence> {
  node.replica.demandWritable()
  const payloadBytes = payload.reduce((sum, piece) => sum + piece.length, 0)
  const { sequence, acknowledged } = node.replica.append({
    kind: 'operation',
    stable: true,
    ticket: noTicket,
    result: 0,
    changes,
    payload,
    payloadBytes,
    sums: payloadSums(payload, payloadBytes),
    ...rest,
  })
  await acknowledged
  return sequence
}

/** Waits until `condition` holds. */
export async function until(condition: () => boolean, what: string, withinMs = 5000): Promise<void> {
  const deadlineMs = performance.now() + withinMs
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(`not within ${withinMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

export const serves = (node: Node): Promise<void> =>
  until(() => {
    try {
      return node.replica.core.role === 'master'
    } catch {
      return false
    }
  }, 'a master serves')
