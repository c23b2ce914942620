/**
 * All replicas of a storage pool: opened, made, made anew, reopened after a failure, removed.
 *
 * Driver. A replica whose disk state is damaged or was being copied counts as missing until a master brings it back.
 * Only such a one is ever thrown away for an empty one: what merely stopped, or could not be opened just now, waits.
 */
import { AssertionError } from '../protocol/assert.ts'
import { pause } from '../protocol/cluster/backoff.ts'
import { Failure, isFailure } from '../protocol/failures.ts'
import { type ContainerId, type Epoch, epoch, type Sequence, sequence } from '../protocol/ids.ts'
import type { Location } from '../protocol/messages/attributes.ts'
import type { Change } from './index/changes.ts'
import { ContainerIndex } from './index/container-index.ts'
import type { SegmentInfo } from './log/log.ts'
import { containerDirectory, containersIn } from './pool/pool.ts'
import type { Environment } from './replica/environment.ts'
import { ContainerReplica } from './replica/replica.ts'
import { type State, Storage, type StorageOptions } from './replica/storage.ts'
import { Copying, type Source } from './resync/copying.ts'
import { disown, installed, isInstalling } from './resync/marker.ts'

/** A stopped replica is opened again after this. */
const reopenMs = 1000
/** After so many attempts a replica that the disk does not read is as good as damaged; after so many, somebody else should lead. */
const opensMax = 5
const opensPerEpoch = 60
/** Between two attempts to have somebody else lead. */
const againMs = 200
const openAtOnce = 16

/** Of a replica that was open before: its epoch, and what was surely durable. */
type Before = { readonly epoch: Epoch; readonly durable: Sequence | undefined }

export class Replicas {
  readonly #environment: Environment
  readonly #foundation: (location: Location) => readonly Change[]
  readonly #replicas = new Map<ContainerId, ContainerReplica>()
  /** What is being opened, made or removed. */
  readonly #busy = new Map<ContainerId, Promise<unknown>>()
  /** On disk, but not whole, or about to be made anew or removed; with the highest epoch seen. */
  readonly #damaged = new Map<ContainerId, Epoch>()
  /** Damaged ones that are being made anew, and those for which that has failed. */
  readonly #copies = new Map<ContainerId, Copying>()
  /** On disk, not known to be damaged, and to be opened later. */
  readonly #waiting = new Map<ContainerId, Before>()
  /** How often in a row it could not be opened, and in how many of them, the last ones, the disk failed to read it. */
  readonly #failed = new Map<ContainerId, { readonly opens: number; readonly unread: number }>()
  /** What this server was last told to lead: a replica that is opened later takes it up. */
  readonly #assigned = new Map<ContainerId, Location>()
  /** The last epochs that this server was to lead and did not, as it could not open its replica: it must not begin them late. */
  readonly #declined = new Map<ContainerId, Epoch>()
  /** What this server is ceasing to lead although nothing is wrong. */
  readonly #givingWay = new Set<ContainerId>()
  /** To be given up as soon as no in-sync set names them; each with the epoch in which that was found out. */
  readonly #condemned = new Map<ContainerId, Epoch>()
  #closed = false

  constructor(environment: Environment, foundation: (location: Location) => readonly Change[]) {
    this.#environment = environment
    this.#foundation = foundation
  }

  async openAll(): Promise<void> {
    const waiting = containersIn(this.#environment.disk, this.#environment.directory)
    const open = async (): Promise<void> => {
      for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) await this.#open(id)
    }
    await Promise.all(Array.from({ length: openAtOnce }, open))
  }

  all(): IterableIterator<ContainerReplica> {
    return this.#replicas.values()
  }

  find(container: ContainerId): ContainerReplica | undefined {
    return this.#replicas.get(container)
  }

  /** @throws Failure NOT_MASTER where there is no such replica: the caller should ask the CLDB again. */
  get(container: ContainerId): ContainerReplica {
    const replica = this.#replicas.get(container)
    if (replica === undefined) throw new Failure('NOT_MASTER', `no replica of container ${container} is here`)
    return replica
  }

  /** Whether there is a replica that can be spoken to. */
  holds(container: ContainerId): boolean {
    return this.#replicas.has(container)
  }

  /**
   * What is here. The CLDB counts on `replicas`, with the epochs that are known: also on what is only to be opened later. One
   * that was made empty and has followed in no epoch yet may take the place of one that was lost: nobody can count on it.
   */
  registered(): { replicas: { container: ContainerId; epoch: Epoch }[]; damaged: ContainerId[] } {
    const open = [...this.#replicas.values()].map(({ container, core }) => ({ container, epoch: core.epoch }))
    const later = [...this.#waiting.keys()].map((container) => ({ container, epoch: epoch(0) }))
    const empty = open.filter((replica) => replica.epoch === 0).map(({ container }) => container)
    return {
      replicas: [...open.filter((replica) => replica.epoch > 0), ...later],
      damaged: [...this.#damaged.keys(), ...empty],
    }
  }

  /** What is on the disk and counts as nothing, with the epochs that are known. */
  damaged(): { container: ContainerId; epoch: Epoch }[] {
    return [...this.#damaged].map(([container, epoch]) => ({ container, epoch }))
  }

  /** The CLDB's word. A container that does not exist yet is made here. */
  async assign(location: Location): Promise<void> {
    const { container, epoch: of } = location
    const leads = location.master === this.#environment.self
    if (leads && of <= (this.#declined.get(container) ?? 0)) return void this.#resign(container, of)
    if (leads) this.#assigned.set(container, location)
    else this.#assigned.delete(container)
    while (this.#busy.has(container)) await this.#busy.get(container)
    if (this.#waiting.has(container)) return
    if (!this.#replicas.has(container) && leads) {
      // The CLDB names no server that had a replica and lost it: an empty one is right, a damaged one never.
      if (this.#damaged.has(container)) {
        this.#environment.log.error({ container, epoch: of }, 'gives up a container whose replica is damaged')
        void this.#resign(container, of, { lost: true })
        return
      }
      try {
        await this.#make(container, epoch(0))
      } catch (error) {
        if (isFailure(error)) void this.#resign(container, of, { lost: true })
        throw error
      }
    }
    const replica = this.#replicas.get(container)
    if (replica !== undefined) this.#tell(replica, location)
  }

  /**
   * The replica that a master asks to follow it in `of`; a missing one begins empty.
   * @returns nothing when it is damaged: it has to be copied. @throws Failure STALE_EPOCH
   */
  async followed(container: ContainerId, of: Epoch): Promise<ContainerReplica | undefined> {
    if (this.#busy.has(container) || this.#waiting.has(container))
      throw new Failure('NOT_READY', `container ${container} is being opened or copied`)
    const condemned = this.#condemned.get(container)
    if (condemned !== undefined && of > condemned)
      throw new Failure('NOT_READY', `the replica of container ${container} is about to be given up`)
    if (this.#damaged.has(container)) {
      this.#demandEpoch(container, of)
      if (of > this.#damaged.get(container)!) {
        if (this.#copies.has(container)) {
          await this.#stopCopy(container)
          throw new Failure('NOT_READY', `container ${container} was being copied from another master`)
        }
        this.#disown(container, of)
      }
      return undefined
    }
    if (!this.#replicas.has(container)) {
      // It must not lead by what a replica was told that was here before.
      this.#assigned.delete(container)
      await this.#make(container, epoch(0))
    }
    return this.get(container)
  }

  /**
   * Begins to make the replica anew, in its epoch, from its master's segments. What is here of them is used.
   * @param demand throws when this is not wanted any more: then what is here stays.
   */
  async copy(
    container: ContainerId,
    { epoch: of, starts, committed }: State,
    wanted: readonly SegmentInfo[],
    source: Source,
    demand: () => void,
  ): Promise<void> {
    const environment = this.#environment
    await this.#stopCopy(container)
    demand()
    if (this.#busy.has(container)) throw new Failure('NOT_READY', `container ${container} is being opened`)
    environment.resyncs.admit(container)
    let trusted: readonly SegmentInfo[] = []
    if (!this.#damaged.has(container)) {
      const old = this.get(container)
      await this.#exclusively(container, async () => {
        trusted = old.storage.log.manifest()
        // It is here all the time, for whoever lists what is.
        this.#damaged.set(container, of)
        await this.#close(old, new Failure('NOT_READY', `container ${container} is being copied`))
        this.#disown(container, of)
      })
    }
    this.#demandEpoch(container, of)
    if (!this.#damaged.has(container) || this.#busy.has(container))
      throw new Failure('NOT_READY', `container ${container} is being discarded`)
    const { directory } = this.#options(container)
    if (!isInstalling(environment.disk, directory)) this.#disown(container, of)
    const options = { environment, container, directory, epoch: of, committed, starts, wanted, trusted, source }
    const copying = new Copying(options)
    this.#copies.set(container, copying)
    void copying.finished.then(
      () => this.#copied(container, copying, { epoch: of, starts, committed }),
      (error) => {
        environment.resyncs.left(container)
        environment.log[isFailure(error) ? 'info' : 'error']({ container, error }, 'a copy ended early')
      },
    )
  }

  /** The copy that was begun in this epoch. @throws Failure NOT_READY when there is none. */
  copying(container: ContainerId, of: Epoch): Copying {
    const copying = this.#copies.get(container)
    if (copying?.epoch !== of) throw new Failure('NOT_READY', `container ${container} is not being copied`)
    return copying
  }

  async #copied(container: ContainerId, copying: Copying, state: State): Promise<void> {
    await this.#exclusively(container, async () => {
      const { disk } = this.#environment
      const { directory } = this.#options(container)
      Storage.found(disk, directory, state)
      installed(disk, directory)
      await this.#reopen(container)
    }).catch((error) => {
      if (!(error instanceof Failure)) throw error
      this.#environment.log.error({ container, error }, 'a copy could not be taken up')
    })
    if (this.#copies.get(container) === copying) this.#copies.delete(container)
    this.#replicas.get(container)?.dispatch({ type: 'followed', epoch: state.epoch })
  }

  async #stopCopy(container: ContainerId): Promise<void> {
    const copying = this.#copies.get(container)
    if (copying !== undefined) {
      copying.stop(new Failure('NOT_READY', `the copy of container ${container} is not wanted any more`))
      await copying.finished.catch(() => {})
      if (this.#copies.get(container) === copying) this.#copies.delete(container)
    }
    while (this.#busy.has(container)) await this.#busy.get(container)
  }

  #demandEpoch(container: ContainerId, of: Epoch): void {
    const known = this.#damaged.get(container)
    if (known !== undefined && of < known) throw new Failure('STALE_EPOCH', `epoch ${of} is over, this is ${known}`)
  }

  /** What is on the disk counts as nothing from now on, but for the epoch. */
  #disown(container: ContainerId, of: Epoch): void {
    const { disk } = this.#environment
    const { directory } = this.#options(container)
    this.#damaged.set(container, of)
    disown(disk, directory)
    Storage.found(disk, directory, { epoch: of, starts: [], committed: sequence(0) })
  }

  /** From now on the replica follows in no epoch after `of`, so that it leaves the in-sync set and does not come back. */
  condemn(container: ContainerId, of: Epoch): void {
    this.#condemned.set(container, of)
  }

  pardon(container: ContainerId): void {
    this.#condemned.delete(container)
  }

  /**
   * What the disk holds of the container is not to be trusted any more: the replica is damaged until a master makes it anew.
   * No in-sync set names it.
   */
  async giveUp(container: ContainerId, why: Failure): Promise<void> {
    const replica = this.get(container)
    await this.#exclusively(container, async () => {
      this.#environment.log.error({ container, error: why }, 'the replica is given up')
      try {
        this.#disown(container, replica.core.epoch)
      } finally {
        await this.#close(replica, why)
      }
    })
  }

  async discard(container: ContainerId): Promise<void> {
    do await this.#stopCopy(container)
    while (this.#busy.has(container) || this.#copies.has(container))
    await this.#exclusively(container, async () => {
      const { disk, index } = this.#environment
      const replica = this.#replicas.get(container)
      // Until the last of it has gone: what is left after a failure is listed, and discarded again.
      this.#damaged.set(container, replica?.core.epoch ?? this.#damaged.get(container) ?? epoch(0))
      this.#waiting.delete(container)
      if (replica !== undefined)
        await this.#close(replica, new Failure('NOT_MASTER', `container ${container} was discarded`))
      disk.removeDirectory(this.#options(container).directory)
      await ContainerIndex.clear(index, container)
      this.#damaged.delete(container)
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#copies.keys()].map((container) => this.#stopCopy(container)))
    await Promise.allSettled(this.#busy.values())
    await Promise.all(
      [...this.#replicas.values()].map((replica) => replica.stop(new Failure('NOT_READY', 'shutting down'))),
    )
  }

  async #exclusively(container: ContainerId, run: () => Promise<void>): Promise<void> {
    const running = run()
    this.#busy.set(
      container,
      running.catch(() => {}),
    )
    try {
      await running
    } finally {
      this.#busy.delete(container)
    }
  }

  async #make(container: ContainerId, of: Epoch): Promise<void> {
    await this.#exclusively(container, async () => {
      this.#add(container, await Storage.create(this.#options(container), of))
      this.#damaged.delete(container)
    })
  }

  #open(container: ContainerId): Promise<void> {
    return this.#exclusively(container, () => this.#reopen(container))
  }

  async #reopen(container: ContainerId): Promise<void> {
    try {
      const storage = await Storage.open(this.#options(container), this.#waiting.get(container)?.durable)
      this.#damaged.delete(container)
      this.#waiting.delete(container)
      this.#failed.delete(container)
      this.#add(container, storage)
    } catch (error) {
      // What makes no sense stops this replica, and no other.
      if (!isFailure(error) && !(error instanceof AssertionError)) throw error
      const failed = this.#failed.get(container)
      const opens = 1 + (failed?.opens ?? 0)
      const unread = isFailure(error, 'DISK_FAILED') ? 1 + (failed?.unread ?? 0) : 0
      this.#failed.set(container, { opens, unread })
      const assigned = this.#assigned.get(container)
      if (isFailure(error, 'CORRUPT') || unread === opensMax) {
        this.#environment.log.error({ container, error }, 'the replica is damaged and has to be made anew')
        const stored = Storage.epochIn(this.#environment.disk, this.#options(container).directory)
        this.#damaged.set(container, epoch(Math.max(stored, this.#waiting.get(container)?.epoch ?? 0)))
        this.#waiting.delete(container)
        this.#failed.delete(container)
        // It was to lead as soon as it is open.
        if (assigned !== undefined) void this.#resign(container, assigned.epoch, { lost: true })
      } else {
        this.#environment.log.error({ container, error }, 'the replica cannot be opened now')
        // Then rarely: where nobody else can lead, each time makes an epoch.
        if (assigned !== undefined && (opens === opensMax || opens % opensPerEpoch === 0)) {
          this.#assigned.delete(container)
          this.#declined.set(container, assigned.epoch)
          void this.#resign(container, assigned.epoch)
        }
        this.#openLater(container, this.#waiting.get(container) ?? { epoch: epoch(0), durable: undefined })
      }
    }
  }

  #openLater(container: ContainerId, before: Before): void {
    this.#waiting.set(container, before)
    this.#environment.clock.after(reopenMs, () => {
      if (!this.#closed && this.#waiting.has(container) && !this.#busy.has(container)) void this.#open(container)
    })
  }

  async #close(replica: ContainerReplica, reason: Failure): Promise<void> {
    this.#replicas.delete(replica.container)
    await replica.stop(reason)
  }

  /** The CLDB would have another in-sync member lead: this one stops in the epoch `of`, and stays in sync. */
  async giveWay(container: ContainerId, of: Epoch): Promise<void> {
    const replica = this.#replicas.get(container)
    if (replica?.core.role !== 'master' || replica.core.epoch !== of || this.#givingWay.has(container)) return
    this.#givingWay.add(container)
    try {
      // What is on its way is waited for, so that little is left to be retried; what comes later its client retries.
      await replica.syncTo(replica.token(replica.storage.log.last))
      replica.dispatch({ type: 'giveWay', epoch: of })
      const over = replica.stopped === undefined && !replica.leads && replica.core.epoch === of
      if (over) await this.#resign(container, of, { staying: true })
    } catch (error) {
      if (!isFailure(error)) throw error // otherwise it leads no more, or not now
    } finally {
      this.#givingWay.delete(container)
    }
  }

  #tell(replica: ContainerReplica, location: Location): void {
    replica.assign(location)
    if (this.#givingWay.has(replica.container)) return
    // It led in this epoch until it stopped: it can't again, for an epoch has one beginning.
    const over = replica.stopped === undefined && !replica.leads && replica.core.epoch === location.epoch
    if (over && location.master === this.#environment.self) void this.#resign(replica.container, location.epoch)
  }

  /** Has another server lead, or this one in a later epoch; asks until the CLDB has heard it. */
  async #resign(container: ContainerId, of: Epoch, { staying = false, lost = false } = {}): Promise<void> {
    const { clock, self, reconfigure } = this.#environment
    for (; !this.#closed; await pause(clock, againMs)) {
      try {
        await reconfigure(container, of, [self], staying ? [self] : [], lost)
        return
      } catch (error) {
        if (!isFailure(error)) throw error
        if (!isFailure(error, 'UNAVAILABLE', 'DEADLINE', 'NOT_READY', 'OVERLOADED')) return
      }
    }
  }

  #add(container: ContainerId, storage: Storage): void {
    const stopped = (replica: ContainerReplica, led: boolean, closed: Promise<void>): void => {
      if (led) void this.#resign(container, replica.core.epoch)
      if (this.#replicas.get(container) !== replica) return
      this.#replicas.delete(container)
      const before = { epoch: replica.core.epoch, durable: replica.storage.log.durable }
      this.#waiting.set(container, before)
      // What it still writes must not fall on what is opened next.
      void this.#exclusively(container, () => closed.catch(() => {})).then(() => {
        if (this.#waiting.has(container)) this.#openLater(container, before)
      })
    }
    const replica = new ContainerReplica(this.#environment, container, storage, this.#foundation, stopped)
    this.#replicas.set(container, replica)
    const assigned = this.#assigned.get(container)
    if (assigned !== undefined) this.#tell(replica, assigned)
  }

  #options(container: ContainerId): StorageOptions {
    const { disk, index, directory, clock, segmentBytes } = this.#environment
    return {
      disk,
      index,
      container,
      directory: containerDirectory(directory, container),
      soon: clock.soon,
      segmentBytes,
    }
  }
}
