/**
 * What one replica has on its disk: the log, the state that the log defines, and the highest epoch seen.
 *
 * Driver. Knows nothing of the other replicas. After a failed write it must be closed and opened again.
 * The file `state` holds {epoch, starts, committed}: the epoch of DESIGN §4 rule 3, the epoch history (segments that
 * held it may be dropped), and a sequence that was committed once (so that an index can be rebuilt without keeping
 * the whole log in memory).
 */
import { pack, unpack } from 'msgpackr'
import { assert } from '../../protocol/assert.ts'
import { Failure, isFailure } from '../../protocol/failures.ts'
import { hash64 } from '../../protocol/hash.ts'
import { type ContainerId, type Epoch, epoch, type Sequence, sequence } from '../../protocol/ids.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import type { Change } from '../index/changes.ts'
import { ContainerIndex, containerPrefix } from '../index/container-index.ts'
import { Liveness, segmentOfKey } from '../index/liveness.ts'
import { clientOfKey } from '../index/retries.ts'
import type { Index } from '../index/store.ts'
import type { Entry } from '../log/find.ts'
import type { EpochStart } from '../log/history.ts'
import { Log } from '../log/log.ts'
import type { Draft } from '../log/record.ts'
import type { Disk } from '../pool/disk.ts'
import { isInstalling } from '../resync/marker.ts'
import { SharedSync } from './waiters.ts'

export type State = { readonly epoch: Epoch; readonly starts: readonly EpochStart[]; readonly committed: Sequence }

const stateFormat = 1
/** Sum and length. */
const stateHeaderBytes = 12
const sectorBytes = 4096
const noState: State = { epoch: epoch(0), starts: [], committed: sequence(0) }

export type StorageOptions = {
  readonly disk: Disk
  readonly index: Index
  readonly directory: string
  readonly container: ContainerId
  readonly soon: (run: () => void) => void
  /** A segment of this size takes no further record; the log's own unless told. */
  readonly segmentBytes?: number | undefined
}

export class Storage {
  readonly log: Log
  readonly index: ContainerIndex
  readonly #options: StorageOptions
  readonly #sync: SharedSync
  #state: State
  #flushing: Promise<void> | undefined

  private constructor(options: StorageOptions, log: Log, index: ContainerIndex, state: State) {
    this.#options = options
    this.log = log
    this.index = index
    this.#state = state
    this.#sync = new SharedSync(() => log.sync(), options.soon)
  }

  /** Makes an empty replica, in place of whatever was there. */
  static async create(options: StorageOptions, of: Epoch): Promise<Storage> {
    await ContainerIndex.clear(options.index, options.container)
    const log = Log.create(options.disk, options.directory, options.container, options.segmentBytes)
    const index = new ContainerIndex(options.index, options.container, undefined, new Liveness([]), (at) =>
      log.segmentOf(at),
    )
    const storage = new Storage(options, log, index, noState)
    storage.saveEpoch(of)
    return storage
  }

  /**
   * Opens what is on the disk; when it settles, all of it is durable.
   * @param durable what a sync covered, where one has failed since.
   * @throws Failure CORRUPT when the replica must be made anew.
   */
  static async open(options: StorageOptions, durable?: Sequence): Promise<Storage> {
    const { disk, directory, container } = options
    if (isInstalling(disk, directory)) throw new Failure('CORRUPT', `the copy into ${directory} was not finished`)
    const state = loadState(disk, directory)
    const checkpoint = ContainerIndex.checkpoint(options.index, container)
    const { starts, committed } = state
    const log = Log.open(disk, directory, container, { checkpoint, starts, committed, durable }, options.segmentBytes)
    if (checkpoint === undefined) await ContainerIndex.clear(options.index, container)
    const keyOf = (space: string): Buffer => Buffer.concat([containerPrefix(container), Buffer.from(space)])
    const segments = await options.index.scan(keyOf('s'), keyOf('t'), 1_000_000)
    const liveness = new Liveness(segments.map(({ key, value }) => [segmentOfKey(key), value]))
    const clients = await options.index.scan(keyOf('r'), keyOf('s'), 1_000_000)
    const missing = liveness.live().find((first) => log.segmentOf(first) === undefined)
    if (missing !== undefined) throw new Failure('CORRUPT', `segment ${missing} is missing from ${directory}`)
    const index = new ContainerIndex(
      options.index,
      container,
      checkpoint,
      liveness,
      (at) => log.segmentOf(at),
      clients.map(({ key }) => clientOfKey(key)),
    )
    const storage = new Storage(options, log, index, state)
    let next = sequence(index.applied + 1)
    for (const entry of log.entries(index.applied)) {
      const at = entry.header.sequence
      assert(at === next || log.segmentOf(next) === undefined, `record ${next} of container ${container} was left out`)
      next = sequence(at + 1)
      index.replay(entry)
      const known = Math.max(state.committed, entry.header.committed)
      if (index.shouldFlush && known > index.applied) await storage.flush(sequence(known))
    }
    await storage.sync()
    storage.#drop()
    return storage
  }

  /** Writes the state file of a replica whose segments were copied. */
  static found(disk: Disk, directory: string, state: State): void {
    saveState(disk, directory, state)
  }

  /** The highest epoch seen, of a replica that cannot be opened; 0 when that cannot be read either. */
  static epochIn(disk: Disk, directory: string): Epoch {
    try {
      return loadState(disk, directory).epoch
    } catch (error) {
      if (!isFailure(error)) throw error
      return epoch(0)
    }
  }

  get epoch(): Epoch {
    return this.#state.epoch
  }

  /** Durable when it returns. */
  saveEpoch(of: Epoch): void {
    assert(of >= this.#state.epoch, 'a stored epoch never falls')
    this.#save({ ...this.#state, epoch: of, starts: this.log.history.starts })
  }

  append(draft: Draft, changes: readonly Change[], of: Epoch, committed: Sequence): Entry {
    const entry = this.log.append(draft, of, committed)
    this.index.stage(entry, changes)
    return entry
  }

  /**
   * @returns whether a client's operation is among the records. @throws Failure when they are not whole, or not the next; then
   * nothing is changed.
   */
  receive(payload: Payload): boolean {
    const entries = this.log.receive(payload)
    for (const entry of entries) {
      try {
        this.index.stage(entry)
      } catch (error) {
        // The log has it already: this is no refusal, the replica must stop.
        throw new Error(`record ${entry.header.sequence} of container ${this.log.container} makes no sense`, {
          cause: error,
        })
      }
    }
    return entries.some(({ header }) => header.kind === 'operation')
  }

  /** Settles when everything appended so far is durable. */
  sync(): Promise<void> {
    return this.#sync.request()
  }

  /** Moves committed records into the index, and drops the segments that they drop. One at a time. */
  flush(committed: Sequence): Promise<void> {
    this.#flushing ??= this.#flush(committed).finally(() => {
      this.#flushing = undefined
    })
    return this.#flushing
  }

  async #flush(committed: Sequence): Promise<void> {
    // What a resyncing replica hears of may not be durable here: the index and the state must not be ahead of the log.
    if (committed > this.log.durable) await this.sync()
    await this.index.flush(committed, this.log.history.starts)
    this.#drop()
  }

  /** Removes the segments that applied records drop. */
  #drop(): void {
    const { applied, liveness } = this.index
    const dropped = liveness.dropped()
    // The epochs that a dropped segment tells of must be known without it.
    if (dropped.length > 0) this.#save({ ...this.#state, starts: this.log.history.starts, committed: applied })
    for (const segment of dropped) {
      this.log.drop(segment)
      liveness.gone(segment)
    }
  }

  /**
   * Cuts the log after `after` and forgets what came of the rest; durable after the next sync.
   * @param demand throws when it may no longer be, now that nothing else is at work.
   */
  async rollback(after: Sequence, demand: () => void): Promise<void> {
    await this.#sync.idle()
    while (this.#flushing !== undefined) await this.#flushing
    demand()
    assert(after >= this.index.applied, 'rollback below what is applied')
    this.log.rollback(after)
    this.index.undo(after)
  }

  async close(): Promise<void> {
    await this.#flushing?.catch(() => {})
    this.log.close()
  }

  #save(state: State): void {
    saveState(this.#options.disk, this.#options.directory, state)
    this.#state = state
  }
}

/** The file holds it twice, in different sectors, so that what spoils one leaves the other. */
function saveState(disk: Disk, directory: string, state: State): void {
  const body = pack([stateFormat, state.epoch, state.starts, state.committed])
  const copy = Buffer.alloc(Math.ceil((stateHeaderBytes + body.length) / sectorBytes) * sectorBytes)
  copy.writeUInt32LE(body.length, 8)
  copy.set(body, stateHeaderBytes)
  copy.writeBigUInt64LE(hash64(copy.subarray(8)), 0)
  disk.save(`${directory}/state`, Buffer.concat([copy, copy]))
}

function loadState(disk: Disk, directory: string): State {
  const bytes = disk.load(`${directory}/state`)
  if (bytes === undefined) {
    if (disk.list(directory).some((name) => name.endsWith('.segment')))
      throw new Failure('CORRUPT', `${directory} has lost its state`)
    return noState
  }
  const half = bytes.length / 2
  const body = bodyOf(bytes.subarray(0, half)) ?? bodyOf(bytes.subarray(half))
  if (body === undefined) throw new Failure('CORRUPT', `${directory}/state is damaged`)
  const [format, of, starts, committed] = unpack(body)
  if (format !== stateFormat) throw new Failure('VERSION_MISMATCH', `${directory}/state has format ${format}`)
  return { epoch: epoch(of), starts, committed: sequence(committed) }
}

/** @returns nothing unless the copy is whole. */
function bodyOf(copy: Buffer): Buffer | undefined {
  if (copy.length < sectorBytes || copy.readBigUInt64LE(0) !== hash64(copy.subarray(8))) return undefined
  return copy.subarray(stateHeaderBytes, stateHeaderBytes + copy.readUInt32LE(8))
}
