/**
 * Scrubs all replicas of a server, one after the other, as long as it runs (DESIGN §3: "a bad checksum is never skipped").
 *
 * Driver of order.ts and runs.ts. One replica at a time goes by itself at a set rate, one at a time on request; both give
 * way to foreground load. Damage that cannot be put right in its place makes the replica worth nothing: it is given up, and
 * its master makes it anew. A replica that most others contradict below what is committed is made anew as well.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import { type ContainerId, type ServerId, sequence } from '../../protocol/ids.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import type { ScrubReport } from '../../protocol/messages/maintenance.ts'
import type { Environment } from '../replica/environment.ts'
import type { ContainerReplica } from '../replica/replica.ts'
import type { Replicas } from '../replicas.ts'
import { checkReplica, type Outcome, type ReplicaCheck } from './check-replica.ts'
import { giveUp } from './giving-up.ts'
import { isBusy, type Memory, nextDue, pauseMs } from './order.ts'
import { recall, remember } from './remembered.ts'
import { Runs } from './runs.ts'

/** Between two looks for something that is due. */
const idleMs = 1000
/** A replica that could not be checked, or has damage left, is tried again after this. */
const againMs = 60_000

export type ScrubOptions = {
  readonly environment: Environment
  readonly replicas: Replicas
  /** 0: only on request. */
  readonly bytesPerSecond: number
  /** A replica that was read as a whole is not read again before. */
  readonly againAfterMs: number
  /** The container's configuration as the CLDB has it now; from then on its servers can be reached. */
  readonly locate: (container: ContainerId) => Promise<Location | undefined>
}

export class Scrubber {
  readonly #options: ScrubOptions
  readonly #runs = new Runs()
  readonly #memories = new WeakMap<ContainerReplica, Memory>()
  readonly #notBeforeMs = new WeakMap<ContainerReplica, number>()
  #requested = false
  #closed = false

  constructor(options: ScrubOptions) {
    this.#options = options
  }

  start(): void {
    if (this.#options.bytesPerSecond > 0) void this.#always()
  }

  close(): void {
    this.#closed = true
  }

  /** Checks these containers now. @throws Failure OVERLOADED */
  request(containers: readonly ContainerId[]): { readonly run: number; readonly report: ScrubReport } {
    const wanted = new Set(containers)
    let totalBytes = 0
    for (const { container, storage } of this.#options.replicas.all())
      if (wanted.has(container)) totalBytes += storage.log.sizeBytes
    const run = this.#runs.add([...wanted], totalBytes)
    if (!this.#requested) void this.#answerRequests()
    return { run: run.number, report: run.report }
  }

  /** Numbers of the runs that `report` knows. */
  get runs(): readonly number[] {
    return this.#runs.numbers
  }

  /** @throws Failure NOT_FOUND */
  report(run: number): ScrubReport {
    return this.#runs.report(run)
  }

  async #always(): Promise<void> {
    const { environment, replicas, bytesPerSecond, againAfterMs } = this.#options
    while (!this.#closed) {
      const ready = [...replicas.all()].filter((replica) => this.#mayBegin(replica))
      const candidates = ready.map((replica) => ({ replica, memory: this.#memory(replica) }))
      const due = nextDue(candidates, this.#wallMs(), againAfterMs)
      if (due === undefined) {
        await this.#pause(idleMs)
        continue
      }
      const { replica, memory } = due
      const retryMs = environment.clock.monotonicMs() + Math.min(againMs, againAfterMs)
      try {
        const outcome = await this.#check(replica, {
          from: memory.next,
          paced: this.#pacing(bytesPerSecond),
          checked: async ({ first }, { remaining }) => {
            if (remaining === 0) await this.#remember(replica, { ...memory, next: sequence(first + 1) })
          },
        })
        const whole = outcome.remaining === 0
        if (!whole) this.#notBeforeMs.set(replica, retryMs)
        await this.#remember(replica, { completedMs: whole ? this.#wallMs() : memory.completedMs, next: sequence(0) })
      } catch (error) {
        if (!isFailure(error)) throw error
        environment.log.debug({ container: replica.container, error }, 'scrub goes on later')
        this.#notBeforeMs.set(replica, retryMs)
      }
    }
  }

  async #answerRequests(): Promise<void> {
    this.#requested = true
    for (let next = this.#runs.next(); next !== undefined && !this.#closed; next = this.#runs.next()) {
      const { run, container } = next
      try {
        const replica = this.#options.replicas.get(container)
        const outcome = await this.#check(replica, {
          from: sequence(0),
          paced: this.#pacing(0),
          checked: async (_segment, { checkedBytes }) => run.read(checkedBytes),
        })
        const { refused, remaining, logs } = outcome
        if (logs.type !== 'agree') run.problem(container, `the logs differ before sequence ${logs.at}`)
        if (refused) run.problem(container, 'the disk refuses what is right: the replica is made anew')
        else if (remaining > 0 && logs.type === 'agree')
          run.problem(container, 'no replica that could be asked has the bytes whole')
        run.checked(outcome)
        if (outcome.remaining === 0) await this.#remember(replica, { completedMs: this.#wallMs(), next: sequence(0) })
      } catch (error) {
        if (!isFailure(error)) throw error
        run.unchecked(container, error.message)
      }
    }
    this.#requested = false
  }

  /** @throws Failure when the replica cannot be checked now. */
  async #check(replica: ContainerReplica, check: Pick<ReplicaCheck, 'from' | 'paced' | 'checked'>): Promise<Outcome> {
    const { environment, locate } = this.#options
    const { container } = replica
    const location = await locate(container)
    if (location?.inSync.includes(environment.self) !== true)
      throw new Failure('NOT_READY', `the replica of container ${container} is not in sync`)
    const outcome = await checkReplica({ environment, replica, location, ...check })
    const { found, repaired, remaining, refused, logs } = outcome
    if (found > 0)
      environment.log[remaining > 0 ? 'error' : 'warn']({ container, found, repaired }, 'scrub found damage')
    if (refused) await this.#giveUp(replica)
    if (logs.type === 'agree') return outcome
    environment.log.error({ container, at: logs.at, logs: logs.type }, 'logs differ in what was committed')
    environment.counters.corruptBlocks += 1
    if (logs.type === 'outvoted') await this.#makeAnew(replica, logs.servers)
    return { ...outcome, found: found + 1, remaining: remaining + 1 }
  }

  async #makeAnew(replica: ContainerReplica, servers: readonly ServerId[]): Promise<void> {
    if (servers.includes(this.#options.environment.self)) return this.#giveUp(replica)
    // Out of the in-sync set, a replica whose chain differs is copied from ours.
    for (const server of servers) replica.dispatch({ type: 'failed', epoch: replica.core.epoch, server })
  }

  async #giveUp(replica: ContainerReplica): Promise<void> {
    const { environment, replicas, locate } = this.#options
    if (await giveUp(environment, replicas, replica, locate)) return
    environment.log.error({ container: replica.container }, 'a damaged replica could not be given up yet')
  }

  #mayBegin(replica: ContainerReplica): boolean {
    const notBeforeMs = this.#notBeforeMs.get(replica) ?? 0
    return replica.stopped === undefined && this.#options.environment.clock.monotonicMs() >= notBeforeMs
  }

  #memory(replica: ContainerReplica): Memory {
    let memory = this.#memories.get(replica)
    if (memory === undefined) {
      memory = recall(this.#options.environment.index, replica.container)
      this.#memories.set(replica, memory)
    }
    return memory
  }

  async #remember(replica: ContainerReplica, memory: Memory): Promise<void> {
    if (replica.stopped !== undefined) return
    this.#memories.set(replica, memory)
    await remember(this.#options.environment.index, replica.container, memory)
  }

  /** @returns what waits before so many bytes are read, after those that were read before. */
  #pacing(bytesPerSecond: number): (bytes: number) => Promise<void> {
    const { clock, counters } = this.#options.environment
    let before = { bytes: 0, atMs: clock.monotonicMs(), load: counters.bytesRead + counters.bytesWritten }
    return async (bytes) => {
      const tookMs = clock.monotonicMs() - before.atMs
      const load = counters.bytesRead + counters.bytesWritten
      const waitMs = pauseMs(before.bytes, tookMs, bytesPerSecond, isBusy(load - before.load, tookMs))
      if (waitMs > 0) await this.#pause(waitMs)
      if (this.#closed) throw new Failure('NOT_READY', 'this fileserver ends')
      before = { bytes, atMs: clock.monotonicMs(), load }
    }
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => void this.#options.environment.clock.after(delayMs, resolve))
  }

  /** Wall-clock time in ms. */
  #wallMs(): number {
    return this.#options.environment.clock.now().seconds * 1000
  }
}
