/**
 * The other replicas of a container, as its master reaches them in one epoch: connect, match, stream.
 *
 * Driver. Tells what became of each by events; decides nothing.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import type { ContainerId, Epoch, ServerId } from '../../protocol/ids.ts'
import { sequence } from '../../protocol/ids.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import type { Connection } from '../../protocol/transport/transport.ts'
import { Pieces } from '../resync/pieces.ts'
import type { Turn } from '../resync/resyncs.ts'
import { type Sizes, sizesOf } from '../resync/sizes.ts'
import type { Environment } from './environment.ts'
import { match, OwnDamage } from './match.ts'
import { type Batch, Sender, type Space } from './sender.ts'
import type { Event, Replica } from './step.ts'
import type { Storage } from './storage.ts'

/** Between two attempts to reach an in-sync member. */
const againMs = 50
const connectMs = 1000
/** A replica whose disk is full is not brought up for so long. */
const noSpaceMs = 10_000

export type MembersOptions = {
  readonly environment: Environment
  readonly container: ContainerId
  readonly storage: Storage
  readonly core: () => Replica
  readonly dispatch: (event: Event) => void
  /** Lost members are to be tried again soon, not only when `retryMs` is over. */
  readonly retrySoon: () => void
  /** `holds` may have changed. */
  readonly released: () => void
  /** An error that is no `Failure`: the replica must stop. */
  readonly broken: (error: unknown) => void
}

export class Members {
  readonly #options: MembersOptions
  readonly #senders = new Map<ServerId, Sender>()
  readonly #sizes: Sizes
  readonly #spaces = new Map<ServerId, Space>()
  /** Until when those whose disk was full are not brought up. */
  readonly #refusedMs = new Map<ServerId, number>()
  readonly #turns = new Map<ServerId, Turn>()
  /** How often everybody was let go: who began before that is not heard any more, and gets no turn. */
  #closings = 0

  constructor(options: MembersOptions) {
    this.#options = options
    this.#sizes = sizesOf(options.environment.segmentBytes)
  }

  /** Whether a member has no room for more than deletions. */
  get full(): boolean {
    for (const { full } of this.#spaces.values()) if (full) return true
    return false
  }

  /** What every member still has room for. */
  get roomBytes(): number {
    let least = Number.POSITIVE_INFINITY
    for (const { roomBytes } of this.#spaces.values()) least = Math.min(least, roomBytes)
    return least
  }

  /** Whether new writes have to wait, so that a member can catch up at all. */
  get holds(): boolean {
    for (const sender of this.#senders.values()) if (sender.holds) return true
    return false
  }

  /**
   * Sends a batch to those whose word it waits for: its buffers are used anew once it is acknowledged. Others get the
   * records from the log.
   */
  push(batch: Batch): void {
    for (const { server, inSync, joining } of this.#options.core().members) {
      const sender = this.#senders.get(server)
      if (inSync || joining) sender?.push(batch)
      else sender?.catchUp()
    }
  }

  nudge(durable: boolean): void {
    // A full member gets no more writes, in whose answers it could say that it has room again: it is asked.
    for (const [server, sender] of this.#senders) sender.nudge(durable || this.#spaces.get(server)?.full === true)
  }

  close(): void {
    this.#closings += 1
    for (const sender of this.#senders.values()) sender.close()
    this.#senders.clear()
    for (const turn of this.#turns.values()) turn.end()
    this.#turns.clear()
    this.#spaces.clear()
    this.#refusedMs.clear()
    this.#options.environment.resyncs.ends(this.#options.container)
  }

  /** Brings a member to our log and streams to it, until it fails. */
  async reach(server: ServerId, epoch: Epoch, location: Location): Promise<void> {
    const { environment, container, storage, core, broken } = this.#options
    const { clock, connect, limits, self, counters } = environment
    const inSync = location.inSync.includes(server)
    const closings = this.#closings
    const isOver = (): boolean => closings !== this.#closings
    const deadlineMs = clock.monotonicMs() + limits.memberGraceMs
    for (;;) {
      try {
        const connection = await connect(server, connectMs)
        const last = await match({
          connection,
          container,
          epoch,
          master: self,
          log: storage.log,
          committed: () => core().committed,
          timeoutMs: limits.replicaTimeoutMs,
          inSync,
          clock,
          turn: async () => {
            this.#demandRoom(server)
            counters.resyncs += 1
            const turn = isOver() ? undefined : await this.#turn(server)
            if (turn === undefined) throw new Failure('STALE_EPOCH', `epoch ${epoch} is over`)
            return turn.progress
          },
        })
        if (isOver()) return
        const gapBytes = inSync ? 0 : new Pieces(storage.log, sequence(last + 1)).gapBytes()
        // On full disks only deletions are written: a replica that missed some of those may come back.
        const slips = this.#refusedMs.has(server) && last > 0 && gapBytes <= this.#sizes.slightBytes
        if (!inSync && !slips) this.#demandRoom(server)
        // Who was away for a moment need not wait behind large copies.
        const waits = gapBytes > (last > 0 ? this.#sizes.joinBytes : 0)
        if (waits && (await this.#turn(server)) === undefined) return
        if (isOver()) return
        this.#options.dispatch({ type: 'matched', epoch, server, last })
        this.#stream(server, epoch, connection, last, !inSync && !slips)
        return
      } catch (error) {
        if (isOver()) return
        if (error instanceof OwnDamage) {
          this.#damaged(server, epoch, error.failure)
          return
        }
        if (!(error instanceof Failure)) {
          broken(error)
          return
        }
        const comesBack = isFailure(error, 'UNAVAILABLE', 'NOT_READY')
        if (!inSync || !comesBack || clock.monotonicMs() >= deadlineMs) {
          this.#failed(server, epoch, error)
          return
        }
        await new Promise<void>((resolve) => void clock.after(againMs, resolve))
      }
    }
  }

  #waits(server: ServerId): boolean {
    return this.#options.environment.clock.monotonicMs() < (this.#refusedMs.get(server) ?? 0)
  }

  #demandRoom(server: ServerId): void {
    if (this.#waits(server)) throw new Failure('NO_SPACE', `the disk of server ${server} was full a moment ago`)
  }

  /** Waits until this server may bring up the replica there. @returns nothing when the epoch is over before. */
  async #turn(server: ServerId): Promise<Turn | undefined> {
    const { environment, container, core } = this.#options
    const copies = (): number => 1 + core().members.filter(({ inSync, phase }) => inSync && phase !== 'lost').length
    const turn = this.#turns.get(server) ?? environment.resyncs.turn(container, server, copies)
    this.#turns.set(server, turn)
    return (await turn.granted) ? turn : undefined
  }

  #stream(server: ServerId, epoch: Epoch, connection: Connection, last: number, resyncing: boolean): void {
    const { environment, container, storage, core, dispatch } = this.#options
    const closings = this.#closings
    const failed = (failure: Failure): void => {
      if (closings === this.#closings) this.#failed(server, epoch, failure)
    }
    const stream = {
      container,
      epoch,
      connection,
      log: storage.log,
      clock: environment.clock,
      resyncs: environment.resyncs,
      sizes: this.#sizes,
      resyncing,
      turn: this.#turns.get(server),
      timeoutMs: environment.limits.replicaTimeoutMs,
      committed: () => core().committed,
      appended: () => core().appended,
      acknowledged: (appended: Event & { type: 'acknowledged' }, space: Space) => {
        this.#spaces.set(server, space)
        environment.resyncs.follows(container, server)
        dispatch(appended)
        this.#options.released()
      },
      caughtUp: () => dispatch({ type: 'caughtUp', epoch, server }),
      failed,
      damaged: (failure: Failure) => this.#damaged(server, epoch, failure),
    }
    this.#senders.get(server)?.close()
    this.#senders.set(server, new Sender({ ...stream, server }, sequence(last + 1)))
    void connection.closed.then((code) => failed(new Failure('UNAVAILABLE', `the connection is gone: ${code}`)))
  }

  /** Our own log is damaged: another in-sync member should lead, and make us anew. Without one we lead on as we can. */
  #damaged(server: ServerId, epoch: Epoch, failure: Failure): void {
    const takesOver = this.#options.core().members.some(({ inSync, phase }) => inSync && phase !== 'lost')
    if (takesOver) this.#options.broken(failure)
    else this.#failed(server, epoch, failure)
  }

  #failed(server: ServerId, epoch: Epoch, failure: Failure): void {
    const { environment, container, core, dispatch } = this.#options
    const member = core().members.find((other) => other.server === server)
    if (core().epoch !== epoch || member === undefined || member.phase === 'lost') return
    this.#senders.get(server)?.close()
    this.#senders.delete(server)
    const turn = this.#turns.get(server)
    turn?.end()
    this.#turns.delete(server)
    this.#spaces.delete(server)
    if (failure.failure === 'NO_SPACE' && !this.#waits(server))
      this.#refusedMs.set(server, environment.clock.monotonicMs() + noSpaceMs)
    // What was on its way fails for the first time now.
    const went = (turn?.progress.bytesPerSecond(environment.clock.monotonicMs()) ?? 0) > 0
    const hasNoPlace = isFailure(failure, 'NO_SPACE', 'OVERLOADED')
    if (went || hasNoPlace) environment.resyncs.follows(container, server)
    if (!member.inSync && !hasNoPlace) environment.resyncs.fails(container, server)
    const fields = { container, epoch, server, failure: failure.message }
    environment.log[member.inSync ? 'warn' : 'debug'](fields, 'a replica does not follow')
    dispatch({ type: 'failed', epoch, server })
    // It brings up as many replicas as it may, and soon has a place for another one.
    if (failure.failure === 'OVERLOADED') this.#options.retrySoon()
    this.#options.released()
  }
}
