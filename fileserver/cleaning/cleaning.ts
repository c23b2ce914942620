/**
 * Cleans the containers that this server leads: one segment after the other, in the background (DESIGN §3).
 *
 * Driver. What is cleaned is decided in victim.ts, how fast in pace.ts, what is live in live.ts. It stops at once when the
 * replica no longer leads, and waits while another one is copied, which would find segments gone, unless space is short.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import type { Sequence } from '../../protocol/ids.ts'
import type { Environment } from '../replica/environment.ts'
import type { ContainerReplica } from '../replica/replica.ts'
import type { Replicas } from '../replicas.ts'
import { segmentBytesUsual } from '../resync/sizes.ts'
import { isBusy, isUrgent, pauseMs } from './pace.ts'
import { type Course, emptySegment } from './segment.ts'
import { type Candidate, victim } from './victim.ts'

const everyMs = 1000
const pollMs = 20
/** A container whose segment could not be emptied is left alone for this long. */
const failedMs = 30_000
/** A last segment with less than this part of a full one to gain is left alone. */
const lastShareMin = 64

export class Cleaning {
  readonly #environment: Environment
  readonly #replicas: Replicas
  readonly #failedMs = new WeakMap<ContainerReplica, number>()
  /** Of all clients, when that was last looked at. */
  #operations = { count: 0, atMs: 0 }
  #urgent = false

  constructor(environment: Environment, replicas: Replicas) {
    this.#environment = environment
    this.#replicas = replicas
  }

  /** Goes on for as long as the process does. */
  start(): void {
    this.#environment.clock.after(everyMs, () => void this.#round().then(() => this.start()))
  }

  /** Each container has its turn, until there is nothing left to clean. */
  async #round(): Promise<void> {
    for (let found = true; found; ) {
      found = false
      this.#measureSpace()
      for (const replica of [...this.#replicas.all()]) {
        found = (await this.#clean(replica)) || found
      }
    }
  }

  /** @returns a segment of the container that is worth it, if the replica leads and there is one. */
  #choose(replica: ContainerReplica): Candidate | undefined {
    if (replica.stopped !== undefined || replica.core.role !== 'master' || this.#waits(replica)) return undefined
    if (this.#environment.clock.monotonicMs() < (this.#failedMs.get(replica) ?? 0)) return undefined
    const { log, index } = replica.storage
    const segments = log.manifest()
    const candidates: Candidate[] = []
    for (const [i, { first, sizeBytes }] of segments.entries()) {
      candidates.push({ first, sizeBytes, ...index.liveness.of(first) })
      const next = segments[i + 1]
      // What is not yet in the index is not known to be live or dead.
      if (next !== undefined && next.first > index.applied + 1) break
    }
    const { segmentBytes = segmentBytesUsual } = this.#environment
    return victim(candidates, {
      settled: index.applied === log.last,
      urgent: this.#urgent || replica.full,
      roomBytes: replica.roomBytes,
      lastBytesMin: segmentBytes / lastShareMin,
    })
  }

  /** @returns whether a segment of it is gone. */
  async #clean(replica: ContainerReplica): Promise<boolean> {
    const { clock, counters, log } = this.#environment
    const { container } = replica
    let first: Sequence | undefined
    try {
      const chosen = this.#choose(replica)
      if (chosen === undefined) return false
      const { sizeBytes } = chosen
      first = chosen.first
      const movedBytes = await emptySegment(replica, first, this.#course(replica))
      if (movedBytes === undefined) return false
      counters.cleanedBytes += Math.max(0, sizeBytes - movedBytes)
      log.debug({ container, segment: first, sizeBytes, movedBytes }, 'a segment was cleaned')
      return true
    } catch (error) {
      if (isFailure(error, 'NOT_MASTER', 'NOT_READY', 'TOO_FEW_REPLICAS', 'NO_SPACE')) return false
      this.#failedMs.set(replica, clock.monotonicMs() + failedMs)
      log.error({ container, segment: first, error }, 'a segment cannot be cleaned')
      return false
    }
  }

  #course(replica: ContainerReplica): Course {
    const { clock } = this.#environment
    const { epoch } = replica.core
    const pause = (forMs: number): Promise<void> =>
      new Promise((resolve) => void (forMs > 0 ? clock.after(forMs, resolve) : clock.soon(resolve)))
    const demand = (): void => {
      replica.demandWritable()
      if (replica.core.epoch !== epoch) throw new Failure('NOT_MASTER', `epoch ${epoch} is over`)
      if (this.#waits(replica)) throw new Failure('NOT_READY', 'a replica is being copied')
    }
    let beganMs = clock.monotonicMs()
    return {
      demand,
      rest: async () => {
        await pause(pauseMs(clock.monotonicMs() - beganMs, { busy: this.#isBusy(), urgent: this.#urgent }))
        demand()
        beganMs = clock.monotonicMs()
      },
      until: async (holds) => {
        while (!holds()) {
          demand()
          await pause(pollMs)
        }
      },
    }
  }

  /** Where space is short a copy has to begin again at times: it may be for want of space that it does not end. */
  #waits(replica: ContainerReplica): boolean {
    return isCopying(replica) && !this.#urgent
  }

  #isBusy(): boolean {
    const atMs = this.#environment.clock.monotonicMs()
    let count = 0
    for (const { storage } of this.#replicas.all()) count += storage.index.operations
    const before = this.#operations
    this.#operations = { count, atMs }
    return isBusy(count - before.count, atMs - before.atMs)
  }

  #measureSpace(): void {
    const { disk, full, log } = this.#environment
    try {
      const urgent = isUrgent(disk.space(), full())
      if (urgent && !this.#urgent) log.warn({}, 'space is short: cleaning comes first')
      this.#urgent = urgent
    } catch (error) {
      if (!isFailure(error)) throw error
      log.warn({ error }, 'the disk does not say what is free')
    }
  }
}

/** Whether another replica is being brought to our log. */
const isCopying = ({ core }: ContainerReplica): boolean =>
  core.members.some(({ inSync, phase }) => !inSync && phase !== 'lost')
