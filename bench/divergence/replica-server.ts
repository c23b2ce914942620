/**
 * A fileserver of one container without a CLDB: real disk, index, log, replica and TCP; somebody else says who leads.
 *
 * Not pure. Its connections can be cut, so that a master writes on alone, and what they carry is counted. `crash` ends
 * it as SIGKILL would: what was written stays in the page cache, nothing is synced.
 */
import { join } from 'node:path'
import { followingHandlers } from '../../fileserver/following.ts'
import { type Index, openIndex } from '../../fileserver/index/store.ts'
import { BadPlaces } from '../../fileserver/pool/bad-places.ts'
import { realDisk } from '../../fileserver/pool/disk.ts'
import type { Environment } from '../../fileserver/replica/environment.ts'
import type { ContainerReplica } from '../../fileserver/replica/replica.ts'
import { Replicas } from '../../fileserver/replicas.ts'
import { Resyncs } from '../../fileserver/resync/resyncs.ts'
import { systemClock } from '../../protocol/clock.ts'
import { Failure } from '../../protocol/failures.ts'
import { containerId, type ServerId } from '../../protocol/ids.ts'
import { silentLog } from '../../protocol/logging.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import { zeroCounters } from '../../protocol/messages/control.ts'
import { replication } from '../../protocol/messages/replication.ts'
import { frameBytes } from '../../protocol/transport/frame.ts'
import { tcpTransport } from '../../protocol/transport/tcp.ts'
import { type Connection, type Listener, served } from '../../protocol/transport/transport.ts'
import { pack } from '../../protocol/transport/wire.ts'

export const container = containerId(1)

const tickMs = 50
/** Nobody gives up on another, and nothing is made durable unasked: what is uncommitted grows as long as it is written. */
const limits = {
  replicaTimeoutMs: 600_000,
  memberGraceMs: 600_000,
  syncWithinMs: 3_600_000,
  unsyncedBytesMax: 2 ** 40,
  retryMs: 1000,
}

/** One call that was answered. `bytes`: both frames, without payload. */
export type Exchange = {
  readonly name: keyof typeof replication.calls
  readonly server: ServerId
  readonly request: unknown
  readonly beganMs: number
  readonly endedMs: number
  readonly bytes: number
}

const transport = tcpTransport({ role: 'fileserver', cluster: () => 'bench', clock: systemClock })
const names = new Map(Object.entries(replication.calls).map(([name, { number }]) => [number, name as Exchange['name']]))

export class ReplicaServer {
  readonly server: ServerId
  /** What this server asked of others since it started, in order of the answers. */
  readonly exchanges: Exchange[] = []
  /** Servers that cannot be reached from here any more. */
  readonly cut = new Set<ServerId>()
  readonly #replicas: Replicas
  readonly #environment: Environment
  readonly #index: Index
  readonly #connections: Connection[] = []
  #listener: Listener | undefined
  #ticking: NodeJS.Timeout | undefined

  private constructor(server: ServerId, directory: string, index: Index, peers: () => readonly ReplicaServer[]) {
    this.server = server
    this.#index = index
    this.#environment = {
      self: server,
      clock: systemClock,
      disk: realDisk(directory),
      index,
      directory: join(directory, 'containers'),
      log: silentLog,
      counters: zeroCounters(),
      badPlaces: new BadPlaces(),
      random: Math.random,
      connect: (to, timeoutMs) => this.#connect(to, timeoutMs, peers()),
      leased: () => true,
      full: () => false,
      roomBytes: () => Number.MAX_SAFE_INTEGER,
      reconfigure: async () => {
        throw new Failure('UNAVAILABLE', 'there is no CLDB')
      },
      limits,
      resyncs: new Resyncs(systemClock, {
        resyncInBytesPerSecond: 0,
        resyncOutBytesPerSecond: 0,
        resyncsMax: 4,
        stuckAfterMs: 30_000,
      }),
    }
    this.#replicas = new Replicas(this.#environment, () => [])
  }

  /** Opens what the directory has, and serves. */
  static async start(
    server: ServerId,
    directory: string,
    peers: () => readonly ReplicaServer[],
  ): Promise<{ readonly started: ReplicaServer; readonly openedMs: number }> {
    const started = new ReplicaServer(server, directory, await openIndex(join(directory, 'index')), peers)
    const begin = performance.now()
    await started.#replicas.openAll()
    const openedMs = performance.now() - begin
    const handlers = followingHandlers(started.#environment, started.#replicas, async () => true)
    started.#listener = await transport.listen('127.0.0.1:0', [served(replication, handlers)])
    started.#ticking = setInterval(() => {
      for (const replica of started.#replicas.all()) replica.tick()
    }, tickMs)
    return { started, openedMs }
  }

  get address(): string | undefined {
    return this.#listener?.address
  }

  get replica(): ContainerReplica {
    return this.#replicas.get(container)
  }

  lead(location: Location): Promise<void> {
    return this.#replicas.assign(location)
  }

  async crash(): Promise<void> {
    clearInterval(this.#ticking)
    for (const connection of this.#connections) connection.close()
    await this.#listener?.close()
    await this.#replicas.close()
    await this.#index.close()
  }

  async #connect(to: ServerId, timeoutMs: number, peers: readonly ReplicaServer[]): Promise<Connection> {
    const address = peers.find(({ server }) => server === to)?.address
    if (address === undefined || this.cut.has(to)) throw new Failure('UNAVAILABLE', `${to} cannot be reached`)
    const connection = await transport.connect(address, timeoutMs)
    this.#connections.push(connection)
    return {
      ...connection,
      call: async (call, request, options) => {
        // A message into the void: no answer, and no news of that either.
        if (this.cut.has(to)) return new Promise<never>(() => {})
        const beganMs = performance.now()
        const answer = await connection.call(call, request, options)
        const wires = [call.request.write(request as never), call.reply.write(answer.reply as never)]
        const bytes = wires.reduce<number>((sum, wire) => sum + frameBytes + pack(wire).length, 0)
        this.exchanges.push({
          name: names.get(call.number)!,
          server: to,
          request,
          beganMs,
          endedMs: performance.now(),
          bytes,
        })
        return answer
      },
    }
  }
}
