/**
 * Answers a master's calls (protocol/messages/replication.ts) for the replicas of this pool.
 *
 * Driver. The rule for every call but those that read or mend (`piece`, `sums`, `mend`, `segment`): a lower epoch than the
 * replica's own is refused, a higher one is stored before anything else is done.
 */
import { pause } from '../protocol/cluster/backoff.ts'
import { Failure, isFailure } from '../protocol/failures.ts'
import { type ContainerId, type Epoch, type ServerId, sequence } from '../protocol/ids.ts'
import { appendBytesMax, replication } from '../protocol/messages/replication.ts'
import { Buffers } from '../protocol/transport/buffers.ts'
import { type Handlers, payloadBytes } from '../protocol/transport/transport.ts'
import type { Environment } from './replica/environment.ts'
import type { ContainerReplica } from './replica/replica.ts'
import type { Replicas } from './replicas.ts'
import { type Source, sumsOf } from './resync/copying.ts'

/** A piece may wait for its turn at the source: it takes so many times as long as another call. */
const patience = 4
/** A copy that is not done tells how far it is after this. */
const tellMs = 400
const nothingWhole = {
  history: { starts: [], last: sequence(0) },
  committed: sequence(0),
  whole: false,
}
/** For all pieces of the process. */
const buffers = new Buffers()
/** Between two questions to a CLDB that does not answer. */
const againMs = 200
/** The beginning of an epoch and the drop of a segment are taken even below the floor: they lead to more room. */
const smallBytes = 4096

function demandRoom({ full, roomBytes }: Environment, bytes: number, resync: boolean): void {
  if (resync && full()) throw new Failure('NO_SPACE', 'the disk is full: no replica is brought up here')
  if (bytes > smallBytes && bytes > roomBytes()) throw new Failure('NO_SPACE', 'the disk is full to its floor')
}

function demandNamed(container: ContainerId, named: boolean): void {
  if (!named) throw new Failure('STALE_EPOCH', `no replica of container ${container} should be here`)
}

function demandEpoch(replica: ContainerReplica, epoch: Epoch): void {
  if (replica.stopped !== undefined) throw new Failure('NOT_READY', `container ${replica.container} is being reopened`)
  const { epoch: own, role } = replica.core
  if (epoch < own) throw new Failure('STALE_EPOCH', `epoch ${epoch} is over, this is ${own}`)
  if (epoch > own || role !== 'follower') throw new Failure('CONFLICT', `replica does not follow in epoch ${epoch}`)
}

/** @param isNamed asks the CLDB whether the container's configuration names this server; from then on the others can be reached. */
export function followingHandlers(
  environment: Environment,
  replicas: Replicas,
  isNamed: (container: ContainerId) => Promise<boolean>,
): Handlers<typeof replication.calls> {
  /** Replicas that were made because a master asked, while the CLDB has not said that they should be: with what it says. */
  const unconfirmed = new Map<ContainerId, Promise<boolean>>()
  /** The latest `follow` of each container, or what it led to: each leads to one order, and a repeat of that comes too late. */
  const attempts = new Map<ContainerId, number>()
  let attempt = 0

  const begun = (container: ContainerId): number => {
    attempts.set(container, ++attempt)
    return attempt
  }
  /** What an earlier `follow` led to may come late, when all that it knew is over. @throws Failure CONFLICT */
  const demandLatest = (container: ContainerId, asked: number): void => {
    if (attempts.get(container) !== asked)
      throw new Failure('CONFLICT', `container ${container} was asked to follow again`)
  }

  /**
   * Whether the CLDB names this server for a replica that was just made; else it is removed again. The master that asked may be
   * one of the past, or the call of the past, and nobody would ever remove it: the CLDB knows of no such replica.
   */
  async function confirmed(container: ContainerId): Promise<boolean> {
    try {
      for (;;) {
        try {
          const named = await isNamed(container)
          if (!named) await replicas.discard(container)
          return named
        } catch (error) {
          if (!isFailure(error)) throw error
          await pause(environment.clock, againMs)
        }
      }
    } finally {
      unconfirmed.delete(container)
    }
  }

  const sourceAt = (master: ServerId, container: ContainerId): Source => {
    const { connect, limits } = environment
    const timeoutMs = limits.replicaTimeoutMs * patience
    return {
      piece: async (first, offset, into) => {
        const connection = await connect(master, limits.replicaTimeoutMs)
        const request = { container, first, offset, length: into.length }
        return (await connection.call(replication.calls.piece, request, { timeoutMs, into })).payload
      },
      sums: async (first, sizeBytes) => {
        const connection = await connect(master, limits.replicaTimeoutMs)
        const { payload } = await connection.call(
          replication.calls.sums,
          { container, first, sizeBytes },
          { timeoutMs },
        )
        return Buffer.concat(payload)
      },
      mend: async (first) => {
        const connection = await connect(master, limits.replicaTimeoutMs)
        await connection.call(replication.calls.mend, { container, first }, { timeoutMs })
      },
    }
  }

  return {
    follow: async ({ container, epoch }) => {
      const isNew = !replicas.holds(container)
      const replica = await replicas.followed(container, epoch)
      if (replica === undefined) return { reply: { ...nothingWhole, attempt: begun(container) } }
      if (isNew && !unconfirmed.has(container)) unconfirmed.set(container, confirmed(container))
      demandNamed(container, (await unconfirmed.get(container)) !== false)
      if (replica.stopped !== undefined) throw new Failure('NOT_READY', `container ${container} is being reopened`)
      if (epoch < replica.core.epoch)
        throw new Failure('STALE_EPOCH', `epoch ${epoch} is over, this is ${replica.core.epoch}`)
      if (epoch === replica.core.epoch && replica.leads) throw new Failure('CONFLICT', `we lead in epoch ${epoch}`)
      replica.dispatch({ type: 'followed', epoch })
      demandEpoch(replica, epoch)
      const { log } = replica.storage
      const { committed } = replica.core
      return { reply: { history: log.history, committed, attempt: begun(container), whole: true } }
    },

    chains: ({ container, epoch, sequences }) => {
      const replica = replicas.get(container)
      demandEpoch(replica, epoch)
      const chains = sequences.map((at) => {
        const chain = replica.storage.log.chainAt(at)
        if (chain === undefined) return Buffer.alloc(0)
        const bytes = Buffer.alloc(8)
        bytes.writeBigUInt64LE(chain)
        return bytes
      })
      return { reply: { chains } }
    },

    rollback: async ({ container, epoch, attempt: asked, after, chain }) => {
      const replica = replicas.get(container)
      demandEpoch(replica, epoch)
      if (chain.length !== 8) throw new Failure('BAD_MESSAGE', 'a chain has 8 bytes')
      await replica.rollback(after, () => {
        demandEpoch(replica, epoch)
        demandLatest(container, asked)
        const { log } = replica.storage
        if (after > log.last || after < replica.core.committed)
          throw new Failure('BAD_MESSAGE', `cannot roll back to ${after}: committed is ${replica.core.committed}`)
        if (log.chainAt(after) !== Buffer.from(chain).readBigUInt64LE())
          throw new Failure('BAD_MESSAGE', `another chain at ${after}`)
        begun(container)
      })
      return { reply: {} }
    },

    append: ({ container, epoch, first, committed, durable, resync }, payload) => {
      const replica = replicas.get(container)
      demandEpoch(replica, epoch)
      const { log } = replica.storage
      let waitMs = 0
      if (payload.length > 0) {
        if (first !== log.next) throw new Failure('CONFLICT', `record ${first} does not follow ${log.last}`)
        const bytes = payloadBytes(payload)
        demandRoom(environment, bytes, resync)
        if (resync) environment.resyncs.admit(container)
        // The beginnings of epochs, of which resync makes many, are no load that it gives way to.
        const operates = replica.receive(payload, bytes)
        if (!resync && operates) environment.resyncs.foreground(bytes)
        if (resync) {
          environment.counters.resyncBytes += bytes
          waitMs = environment.resyncs.receives(bytes)
        }
      }
      if (!resync) environment.resyncs.left(container)
      replica.dispatch({ type: 'heard', committed })
      const reply = () => {
        // While we synced another master may have cut the log: what it holds then says nothing about this epoch.
        demandEpoch(replica, epoch)
        return {
          reply: {
            appended: log.last,
            durable: log.durable,
            full: environment.full(),
            roomBytes: environment.roomBytes(),
          },
        }
      }
      const synced = durable ? replica.synced() : undefined
      if (waitMs === 0) return synced === undefined ? reply() : synced.then(reply)
      // Not so long that the other side takes us for hung.
      return Promise.all([
        synced,
        pause(environment.clock, Math.min(waitMs, 2 * environment.limits.replicaTimeoutMs)),
      ]).then(reply)
    },

    install: async ({ container, epoch, attempt: asked, master, committed, segments, starts }) => {
      let latest = asked
      const demand = (): void => {
        const replica = replicas.find(container)
        if (replica !== undefined) demandEpoch(replica, epoch)
        demandLatest(container, latest)
      }
      demand()
      // Before what is here is disowned.
      demandRoom(environment, 0, true)
      demandNamed(container, await isNamed(container))
      demand()
      latest = begun(container)
      const wanted = segments.map(({ first, sizeBytes, chain }) => {
        if (chain.length !== 8) throw new Failure('BAD_MESSAGE', 'a chain has 8 bytes')
        return { first, sizeBytes, chain: Buffer.from(chain).readBigUInt64LE() }
      })
      await replicas.copy(container, { epoch, starts, committed }, wanted, sourceAt(master, container), demand)
      return { reply: {} }
    },

    installed: async ({ container, epoch }) => {
      const replica = replicas.find(container)
      if (replica !== undefined) {
        demandEpoch(replica, epoch)
        return { reply: { done: true, last: replica.storage.log.last, doneBytes: 0, totalBytes: 0 } }
      }
      const copying = replicas.copying(container, epoch)
      await Promise.race([copying.finished, pause(environment.clock, tellMs)])
      const { doneBytes, totalBytes } = copying
      return { reply: { done: false, last: sequence(0), doneBytes, totalBytes } }
    },

    piece: async ({ container, first, offset, length }) => {
      const waitMs = environment.resyncs.sends(length)
      if (waitMs > 0) await pause(environment.clock, Math.min(waitMs, 2 * environment.limits.replicaTimeoutMs))
      const { log } = replicas.get(container).storage
      const buffer = buffers.take(Math.max(1, Math.min(length, appendBytesMax)))
      const count = await log.readSegmentLater(first, buffer, offset)
      return { reply: {}, payload: [buffer.subarray(0, count)], release: () => buffers.give(buffer) }
    },

    sums: async ({ container, first, sizeBytes }) => {
      const { log } = replicas.get(container).storage
      const sums = await sumsOf((into, offset) => log.readSegmentLater(first, into, offset), sizeBytes)
      return { reply: {}, payload: [sums] }
    },

    mend: async ({ container, first }) => {
      await replicas.get(container).damage.mend(first)
      return { reply: {} }
    },

    segment: async ({ container, first, offset, length }) => {
      const { log } = replicas.get(container).storage
      const bytes = Buffer.allocUnsafe(Math.min(length, appendBytesMax))
      const count = await log.readSegmentLater(first, bytes, offset)
      return { reply: {}, payload: [bytes.subarray(0, count)] }
    },
  }
}
