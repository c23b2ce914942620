/**
 * One replica of a container at work: drives the decisions of step.ts, and is what the fileserver's calls go to.
 *
 * Driver. As a master it gathers records into batches (group commit): a batch with stable records waits while another
 * such batch is on its way; unstable ones go at once. Any failure of its own disk, and any failed assertion, stops the
 * replica: it answers nothing more, and the fileserver opens it again from what is on the disk.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import type { ContainerId, Epoch, Sequence, ServerId } from '../../protocol/ids.ts'
import type { Location, Token } from '../../protocol/messages/attributes.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import type { Change, View } from '../index/changes.ts'
import type { Extent } from '../index/extents.ts'
import { Unrecorded } from '../index/unrecorded.ts'
import { encodeChanges } from '../log/changes-codec.ts'
import type { Entry } from '../log/find.ts'
import { epochAt } from '../log/history.ts'
import { recordBytes } from '../log/record.ts'
import { type Addition, bare } from './addition.ts'
import { Batching } from './batching.ts'
import { damageOf } from './damage.ts'
import type { Environment } from './environment.ts'
import { Members } from './members.ts'
import { type Damage, type Reading, readObject } from './reader.ts'
import { acknowledges, type Effect, type Event, initial, type Replica, step } from './step.ts'
import type { Storage } from './storage.ts'
import { Answers } from './waiters.ts'

/** The index takes committed records at the latest this long after they were committed. */
const flushMs = 50

export class ContainerReplica {
  readonly container: ContainerId
  readonly storage: Storage
  readonly unrecorded = new Unrecorded()
  readonly damage: Damage
  /** Why the replica stopped. */
  stopped: Error | undefined
  location: Location | undefined
  readonly #environment: Environment
  readonly #onStopped: (replica: ContainerReplica, led: boolean, closed: Promise<void>) => void
  readonly #foundation: (location: Location) => readonly Change[]
  readonly #answers = new Answers()
  readonly #members: Members
  readonly #batching: Batching
  #core: Replica
  #unsyncedSinceMs: number | undefined
  #syncing = false
  #triedMs = 0
  #flushDueMs: number | undefined
  #closing: Promise<void> | undefined

  /**
   * @param foundation the changes that begin a new container.
   * @param onStopped told once: the replica must be opened anew when `closed` settles; `led`: somebody else should lead
   * meanwhile.
   */
  constructor(
    environment: Environment,
    container: ContainerId,
    storage: Storage,
    foundation: (location: Location) => readonly Change[],
    onStopped: (replica: ContainerReplica, led: boolean, closed: Promise<void>) => void,
  ) {
    this.#environment = environment
    this.container = container
    this.storage = storage
    this.#foundation = foundation
    this.#onStopped = onStopped
    const { log, index } = storage
    this.#core = initial(environment.self, storage.epoch, log.last, index.applied)
    this.#core = { ...this.#core, durable: log.durable }
    this.#members = new Members({
      environment,
      container,
      storage,
      core: () => this.#core,
      dispatch: (event) => this.dispatch(event),
      retrySoon: () => {
        this.#triedMs = Number.NEGATIVE_INFINITY
      },
      released: () => this.#batching.resume(),
      broken: (error) => this.#broken(error),
    })
    this.damage = damageOf(environment, log, {
      location: () => this.location,
      committed: () => this.#core.committed,
      demand: () => this.#demandOpen(),
    })
    const write = (): void => this.#guard(() => this.#writeBatch())
    this.#batching = new Batching(environment.clock.soon, write, () => this.#members.holds)
  }

  get core(): Replica {
    return this.#core
  }

  get leads(): boolean {
    return this.#core.role === 'master' || this.#core.role === 'recovering'
  }

  get view(): View {
    return this.storage.index.view
  }

  get full(): boolean {
    return this.#environment.full() || this.#members.full
  }

  /** What may still be appended, here and at every member. */
  get roomBytes(): number {
    return Math.min(this.#environment.roomBytes(), this.#members.roomBytes)
  }

  /** The CLDB's word on the container's configuration. */
  assign(location: Location): void {
    this.#guard(() => {
      if (location.epoch < this.#core.epoch) return
      this.location = location
      // Told again of the same epoch: a member has come back, or has another address.
      this.#triedMs = Number.NEGATIVE_INFINITY
      const silent = location.servers.filter(({ alive }) => !alive).map(({ server }) => server)
      this.#dispatch({ type: 'assigned', configuration: { ...location, master: location.master, silent } })
    })
  }

  /** Regular work, every 100 ms or so: background syncs, lost members, news for idle followers, answers after a renewed lease. */
  tick(): void {
    if (this.stopped !== undefined) return
    this.#guard(() => {
      const { clock, limits } = this.#environment
      const now = clock.monotonicMs()
      if (this.leads) {
        if (now - this.#triedMs >= limits.retryMs) {
          this.#triedMs = now
          this.#dispatch({ type: 'retry' })
        }
        if (this.#unsyncedSinceMs !== undefined && now - this.#unsyncedSinceMs >= limits.syncWithinMs) this.#syncAll()
        this.#members.nudge(false)
        this.#advance()
      }
      if (this.#flushDueMs !== undefined && now >= this.#flushDueMs) this.#flush()
    })
  }

  /** @throws Failure unless this replica may answer now as the container's master of epoch `of`. */
  demandMaster(of: Epoch = this.#core.epoch): void {
    this.#demandOpen()
    const { role } = this.#core
    if (role === 'recovering') throw new Failure('NOT_READY', `container ${this.container} is changing its master`)
    if (role !== 'master') throw new Failure('NOT_MASTER', `not the master of container ${this.container}`)
    if (!this.#environment.leased()) throw new Failure('NOT_READY', 'this fileserver has lost touch with the CLDB')
    if (of !== this.#core.epoch)
      throw new Failure('STALE_EPOCH', `container ${this.container} is in epoch ${this.#core.epoch}, not ${of}`)
  }

  /** @throws Failure unless a client's write, sent to the master of epoch `of`, may be taken now. */
  demandWritable(of: Epoch = this.#core.epoch): void {
    this.demandMaster(of)
    if (!acknowledges(this.#core))
      throw new Failure('TOO_FEW_REPLICAS', `container ${this.container} has fewer in-sync replicas than its minimum`)
  }

  /** Runs a query on the state, and answers when nothing that it saw can be undone any more. */
  query<T>(run: () => T): T | Promise<T> {
    this.demandMaster()
    const { index } = this.storage
    index.look()
    try {
      const value = run()
      const settled = this.settled()
      return settled === undefined ? value : settled.then(() => value)
    } catch (error) {
      const settled = this.settled()
      if (settled === undefined || !isFailure(error)) throw error
      return settled.then(() => {
        throw error
      })
    }
  }

  /** @returns nothing when what was seen (by default since `look`) is settled already. */
  settled(seen = this.storage.index.seen()): Promise<void> | undefined {
    return this.#answers.settled(seen, this.#core)
  }

  /** Appends a record; the promise settles when it may be acknowledged. */
  append(addition: Addition): { readonly sequence: Sequence; readonly acknowledged: Promise<void> } {
    const at = this.#append(addition)
    return { sequence: at, acknowledged: this.#answers.wait(at, addition.stable) }
  }

  /** Settles when the record of an earlier call may be acknowledged (again). */
  acknowledged(at: Sequence, stable: boolean): Promise<void> {
    return this.#answers.wait(at, stable)
  }

  /** @param at a record's sequence, maybe of an earlier epoch; 0 for what is surely committed. */
  token(at: Sequence): Token {
    const known = at === 0 ? this.#core.epochStart : at
    return { container: this.container, epoch: epochAt(this.storage.log.history, known), sequence: known }
  }

  /** Settles when everything up to the token is durable. @throws Failure UNSYNCED_LOST when a crash took it. */
  async syncTo(token: Token): Promise<void> {
    this.demandMaster()
    if (epochAt(this.storage.log.history, token.sequence) !== token.epoch)
      throw new Failure(
        'UNSYNCED_LOST',
        `a crash took what was written in epoch ${token.epoch} of container ${this.container}`,
      )
    if (token.sequence <= this.#core.committed) return
    this.#syncAll()
    await this.#answers.wait(token.sequence, true)
  }

  /** The bytes [offset, offset + length) of an object. */
  read(object: Uint8Array, offset: number, length: number): Reading | Promise<Reading> {
    this.#environment.counters.bytesRead += length
    return this.readExtents(this.storage.index.extents(object, offset, offset + length), offset, length)
  }

  /** The same where it is known in which places of the log they stand. */
  readExtents(extents: readonly Extent[], offset: number, length: number): Reading | Promise<Reading> {
    this.#write()
    return readObject(this.storage.log, extents, offset, length, this.damage)
  }

  /** What is gathered is written before anything is read: a failure is this replica's, and not the reader's. */
  #write(): void {
    try {
      this.storage.log.write()
    } catch (error) {
      this.#broken(error)
      this.#demandOpen()
    }
  }

  #demandOpen(): void {
    if (this.stopped !== undefined) throw new Failure('NOT_READY', `container ${this.container} is being reopened`)
  }

  dispatch(event: Event): void {
    this.#guard(() => this.#dispatch(event))
  }

  /** A follower takes records of its master. @returns and throws as `Storage.receive` does. */
  receive(payload: Payload, bytes: number): boolean {
    let operates: boolean
    try {
      operates = this.storage.receive(payload)
    } catch (error) {
      if (!isFailure(error, 'BAD_MESSAGE', 'CORRUPT')) this.#broken(error)
      throw error
    }
    this.#environment.counters.bytesWritten += bytes
    this.dispatch({ type: 'appended', last: this.storage.log.last })
    return operates
  }

  /** Settles when everything that was received is durable. @throws Failure when it cannot be. */
  async synced(): Promise<void> {
    try {
      await this.storage.sync()
    } catch (error) {
      this.#broken(error)
      throw error
    }
    this.dispatch({ type: 'synced', durable: this.storage.log.durable })
  }

  /**
   * A follower cuts its log after `after`.
   * @param demand throws a Failure when that may not be: asked at the last moment, as all may change while we wait.
   */
  async rollback(after: Sequence, demand: () => void): Promise<void> {
    try {
      await this.storage.rollback(after, demand)
    } catch (error) {
      if (!isFailure(error, 'STALE_EPOCH', 'CONFLICT', 'NOT_READY', 'BAD_MESSAGE')) this.#broken(error)
      throw error
    }
    this.dispatch({ type: 'rolledBack', last: after })
  }

  /** Stops for good: closes files, fails what waits. Settles when nothing of it is at work any more. */
  stop(reason: Error): Promise<void> {
    if (this.#closing === undefined) {
      this.stopped = reason
      this.#stepDown()
      this.#closing = this.storage.close()
    }
    return this.#closing
  }

  #guard(run: () => void): void {
    if (this.stopped !== undefined) return
    try {
      run()
    } catch (error) {
      this.#broken(error)
    }
  }

  #broken(error: unknown): void {
    if (this.stopped !== undefined) return
    const reason = error instanceof Error ? error : new Error(String(error))
    this.#environment.log.error({ container: this.container, error: reason }, 'the replica stops')
    const led = this.leads
    this.#onStopped(this, led, this.stop(reason))
  }

  #dispatch(event: Event): void {
    const { next, effects } = step(this.#core, event)
    this.#core = next
    for (const effect of effects) this.#perform(effect)
  }

  #perform(effect: Effect): void {
    switch (effect.type) {
      case 'saveEpoch':
        this.storage.saveEpoch(effect.epoch)
        break
      case 'stepDown':
        this.#stepDown()
        break
      case 'startEpoch':
        this.#startEpoch()
        break
      case 'match':
        if (this.location !== undefined) void this.#members.reach(effect.server, this.#core.epoch, this.location)
        break
      case 'reconfigure':
        void this.#reconfigure(effect.remove, effect.add)
        break
      case 'advance':
        this.#advance()
        break
      case 'serve':
        this.#environment.log.info({ container: this.container, epoch: this.#core.epoch }, 'master')
        this.#advance()
        break
    }
  }

  #stepDown(): void {
    this.#members.close()
    // Payload buffers belong to the calls that wait: they must be written before those are answered.
    if (this.stopped === undefined) this.storage.log.write()
    this.#batching.restart()
    const failure = new Failure('NOT_MASTER', `no longer the master of container ${this.container}`)
    this.#answers.fail(failure)
  }

  #startEpoch(): void {
    this.#members.close()
    this.unrecorded.clear()
    // What was gathered in the epoch before stays in the log; its senders are gone.
    this.storage.log.write()
    this.#batching.restart()
    const changes = this.storage.log.last === 0 && this.location !== undefined ? this.#foundation(this.location) : []
    const at = this.#append({ ...bare, kind: 'epochStart', stable: true, result: 0, changes })
    this.#dispatch({ type: 'epochStarted', sequence: at })
  }

  #append(addition: Addition): Sequence {
    const { changes, ...draft } = addition
    const { epoch, committed } = this.#core
    const { last } = this.storage.log
    let entry: Entry
    try {
      entry = this.storage.append({ ...draft, changes: encodeChanges(changes) }, changes, epoch, committed)
    } catch (error) {
      // The log has it although the index has not: the followers would take it.
      if (this.storage.log.last !== last) this.#broken(error)
      throw error
    }
    this.#environment.counters.bytesWritten += addition.payloadBytes
    this.#batching.add(entry, recordBytes(entry.header))
    return entry.header.sequence
  }

  #writeBatch(): void {
    for (const batch of this.#batching.take()) {
      this.storage.log.write()
      this.#dispatch({ type: 'appended', last: batch.last })
      this.#members.push(batch)
      if (batch.durable) this.#syncLocal()
      else this.#unsyncedSinceMs ??= this.#environment.clock.monotonicMs()
    }
    if (this.storage.log.dirtyBytes > this.#environment.limits.unsyncedBytesMax) this.#syncAll()
  }

  #syncLocal(): void {
    this.storage.sync().then(
      () => this.#guard(() => this.#dispatch({ type: 'synced', durable: this.storage.log.durable })),
      (error) => this.#broken(error),
    )
  }

  /** Has everything made durable everywhere; those who ask in the same turn share it. */
  #syncAll(): void {
    if (this.#syncing) return
    this.#syncing = true
    this.#environment.clock.soon(() => {
      this.#syncing = false
      this.#guard(() => {
        this.#unsyncedSinceMs = undefined
        this.#members.nudge(true)
        this.#syncLocal()
      })
    })
  }

  #advance(): void {
    const { committed, role } = this.#core
    if (role === 'master') {
      if (acknowledges(this.#core) && this.#environment.leased()) this.#answers.advance(this.#core)
      this.#batching.committed(committed)
    }
    if (committed <= this.storage.index.applied) return
    if (this.storage.index.shouldFlush) this.#flush()
    else this.#flushDueMs ??= this.#environment.clock.monotonicMs() + flushMs
  }

  #flush(): void {
    this.#flushDueMs = undefined
    this.storage.flush(this.#core.committed).then(
      () => this.#flushLater(),
      (error) => this.#broken(error),
    )
  }

  #flushLater(): void {
    if (this.#core.committed > this.storage.index.applied)
      this.#flushDueMs ??= this.#environment.clock.monotonicMs() + flushMs
  }

  async #reconfigure(remove: readonly ServerId[], add: readonly ServerId[]): Promise<void> {
    const { epoch } = this.#core
    const { log, clock, reconfigure } = this.#environment
    try {
      this.assign(await reconfigure(this.container, epoch, remove, add))
    } catch (error) {
      log.debug({ container: this.container, epoch, error }, 'no new configuration yet')
      clock.after(200, () => this.#guard(() => this.#dispatch({ type: 'reconfigureFailed', epoch })))
    }
  }
}
