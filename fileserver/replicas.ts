/**
 * All replicas of a storage pool: opened, made, made anew, reopened after a failure, removed.
 *
 * Driver. A replica whose disk state is damaged or was being copied counts as missing until a master brings it back.
 * Only such a one is ever thrown away for an empty one: what merely stopped, or could not be opened just now, waits.
 */
import { pause } from '../protocol/cluster/backoff.ts'
import { Failure, isFailure } from '../protocol/failures.ts'
import { type ContainerId, type Epoch, epoch, type Sequence, type ServerId } from '../protocol/ids.ts'
import type { Location } from '../protocol/messages/attributes.ts'
import type { Payload } from '../protocol/transport/transport.ts'
import type { Change } from './index/changes.ts'
import { ContainerIndex } from './index/container-index.ts'
import type { SegmentInfo } from './log/log.ts'
import { containerDirectory, containersIn } from './pool.ts'
import type { Environment } from './replica/environment.ts'
import { disown, installed, installSegments } from './replica/install.ts'
import { ContainerReplica } from './replica/replica.ts'
import { type State, Storage, type StorageOptions } from './replica/storage.ts'

/** A stopped replica is opened again after this. */
const reopenMs = 1000
/** A replica that the disk does not read after so many attempts is as good as damaged. */
const opensMax = 5
/** Between two attempts to have somebody else lead. */
const againMs = 200
const openAtOnce = 16

export class Replicas {
  readonly #environment: Environment
  readonly #foundation: (location: Location) => readonly Change[]
  readonly #replicas = new Map<ContainerId, ContainerReplica>()
  /** What is being opened, made or removed. */
  readonly #busy = new Map<ContainerId, Promise<unknown>>()
  /** On disk, but not whole. */
  readonly #damaged = new Set<ContainerId>()
  /** On disk, not known to be damaged, and to be opened later; with what was surely durable, if that is known. */
  readonly #waiting = new Map<ContainerId, Sequence | undefined>()
  /** How often in a row the disk failed to read it. */
  readonly #unread = new Map<ContainerId, number>()
  /** What this server was last told to lead: a replica that is opened later takes it up. */
  readonly #assigned = new Map<ContainerId, Location>()
  /** What this server is ceasing to lead although nothing is wrong. */
  readonly #givingWay = new Set<ContainerId>()
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

  registered(): { container: ContainerId; epoch: Epoch }[] {
    return [...this.#replicas.values()].map((replica) => ({ container: replica.container, epoch: replica.core.epoch }))
  }

  /** The CLDB's word. A container that does not exist yet is made here. */
  async assign(location: Location): Promise<void> {
    const { container } = location
    if (location.master === this.#environment.self) this.#assigned.set(container, location)
    else this.#assigned.delete(container)
    while (this.#busy.has(container)) await this.#busy.get(container)
    if (this.#waiting.has(container)) return
    if (!this.#replicas.has(container) && location.master === this.#environment.self) {
      // The CLDB names no server that had a replica and lost it: an empty one is right, a damaged one never.
      if (this.#damaged.has(container)) {
        this.#environment.log.error(
          { container, epoch: location.epoch },
          'gives up a container whose replica is damaged',
        )
        // Not at once: if there is nobody else, the CLDB names this server again.
        await pause(this.#environment.clock, againMs)
        await this.#resign(container, location.epoch)
        return
      }
      await this.#make(container, epoch(0))
    }
    const replica = this.#replicas.get(container)
    if (replica !== undefined) this.#tell(replica, location)
  }

  /** The replica that a master asks to follow it; a missing one begins empty. */
  async followed(container: ContainerId): Promise<ContainerReplica> {
    if (this.#busy.has(container) || this.#waiting.has(container))
      throw new Failure('NOT_READY', `container ${container} is being opened or copied`)
    if (!this.#replicas.has(container)) await this.#make(container, epoch(0))
    return this.get(container)
  }

  /** Makes the replica anew from its master's segments. */
  async install(
    container: ContainerId,
    state: State,
    segments: readonly SegmentInfo[],
    fetch: (first: Sequence, offset: number, length: number) => Promise<Payload>,
  ): Promise<ContainerReplica> {
    const old = this.get(container)
    await this.#exclusively(container, async () => {
      const { disk, index, clock } = this.#environment
      const { directory } = this.#options(container)
      const ours = old.storage.log.manifest()
      await this.#close(old, new Failure('NOT_READY', `container ${container} is being copied`))
      this.#damaged.add(container)
      await installSegments(disk, directory, container, segments, ours, fetch, clock.soon)
      await ContainerIndex.clear(index, container)
      Storage.found(disk, directory, state)
      installed(disk, directory)
      await this.#reopen(container)
    })
    const replica = this.get(container)
    replica.dispatch({ type: 'followed', epoch: state.epoch })
    return replica
  }

  /** What the disk holds of the container is not to be trusted any more: the replica is damaged until a master makes it anew. */
  async giveUp(container: ContainerId, why: Failure): Promise<void> {
    const replica = this.get(container)
    const { leads, core } = replica
    await this.#exclusively(container, async () => {
      this.#environment.log.error({ container, error: why }, 'the replica is given up')
      disown(this.#environment.disk, this.#options(container).directory)
      this.#damaged.add(container)
      await this.#close(replica, why)
    })
    if (leads) void this.#resign(container, core.epoch)
  }

  async discard(container: ContainerId): Promise<void> {
    while (this.#busy.has(container)) await this.#busy.get(container)
    await this.#exclusively(container, async () => {
      const { disk, index } = this.#environment
      const replica = this.#replicas.get(container)
      if (replica !== undefined)
        await this.#close(replica, new Failure('NOT_MASTER', `container ${container} was discarded`))
      this.#damaged.delete(container)
      this.#waiting.delete(container)
      disk.removeDirectory(this.#options(container).directory)
      await ContainerIndex.clear(index, container)
    })
  }

  async close(): Promise<void> {
    this.#closed = true
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
      const storage = await Storage.open(this.#options(container), this.#waiting.get(container))
      this.#damaged.delete(container)
      this.#waiting.delete(container)
      this.#unread.delete(container)
      this.#add(container, storage)
    } catch (error) {
      if (!isFailure(error)) throw error
      const unread = error.failure === 'DISK_FAILED' ? (this.#unread.get(container) ?? 0) + 1 : 0
      this.#unread.set(container, unread)
      if (error.failure === 'CORRUPT' || unread === opensMax) {
        this.#environment.log.error({ container, error }, 'the replica is damaged and has to be made anew')
        this.#damaged.add(container)
        this.#waiting.delete(container)
        this.#unread.delete(container)
        // It was to lead as soon as it is open.
        const assigned = this.#assigned.get(container)
        if (assigned !== undefined) void this.#resign(container, assigned.epoch)
      } else {
        this.#environment.log.error({ container, error }, 'the replica cannot be opened now')
        this.#openLater(container, this.#waiting.get(container))
      }
    }
  }

  #openLater(container: ContainerId, durable: Sequence | undefined): void {
    this.#waiting.set(container, durable)
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
      if (over) await this.#resign(container, of, [this.#environment.self])
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
  async #resign(container: ContainerId, of: Epoch, staying: readonly ServerId[] = []): Promise<void> {
    const { clock, self, reconfigure } = this.#environment
    for (;;) {
      try {
        await reconfigure(container, of, [self], staying)
        return
      } catch (error) {
        if (!isFailure(error)) throw error
        if (!isFailure(error, 'UNAVAILABLE', 'DEADLINE', 'NOT_READY', 'OVERLOADED')) return
      }
      await pause(clock, againMs)
      if (this.#closed) return
    }
  }

  #add(container: ContainerId, storage: Storage): void {
    const stopped = (replica: ContainerReplica, led: boolean): void => {
      if (led) void this.#resign(container, replica.core.epoch)
      if (this.#replicas.get(container) !== replica) return
      this.#replicas.delete(container)
      this.#openLater(container, replica.storage.log.durable)
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
