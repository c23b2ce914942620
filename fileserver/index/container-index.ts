/**
 * The state of one container as its log defines it: the index of committed records, and over it, in memory, the
 * records that are appended but not yet in the index.
 *
 * Driver over `Index`; what a record does to the state is decided by the record alone, so every replica has the same.
 * Invariants: the index holds exactly the effect of the records up to `applied`, which never exceeds what is committed;
 * so it never needs undoing, and a rollback only drops what is in memory.
 *
 * Keys in the pool's index: container (6 bytes big-endian), a byte for the space, then
 *   k  key of an operation           value: sequence (6 bytes), value
 *   e  object, block (u32)           value: sequence, extents (extents.ts)
 *   r  client (8 bytes)              value: the client's latest calls (retries.ts)
 *   s  segment                       value: what in it is live; empty: it was dropped, and its file may be there still
 *   m                                value: how far the log is applied
 */
import { pack, unpack } from 'msgpackr'
import { assert, unreachable } from '../../protocol/assert.ts'
import { write53 } from '../../protocol/bytes.ts'
import { type ContainerId, clientId, containerId, type Sequence, sequence } from '../../protocol/ids.ts'
import { decodeChanges, sizeOf } from '../log/changes-codec.ts'
import type { Entry } from '../log/find.ts'
import type { Checkpoint } from '../log/open.ts'
import { changesOf, recordBytes } from '../log/record.ts'
import type { Change, View } from './changes.ts'
import { blockBytes, cut, decodeExtents, type Extent, encodeExtents, inserted } from './extents.ts'
import type { Liveness } from './liveness.ts'
import { Retries } from './retries.ts'
import type { Index, Write } from './store.ts'

/** Records are moved to the index in batches of this many, or when they have waited for `flushMs` (the replica's timer). */
const flushRecords = 1024
/** Of a container's blocks, kept decoded: 1 GiB of a file that was written in large pieces. */
const blocksMax = 4096
const blocksExtentsMax = 16_384
/** A run of file bytes counts as so much more, about what it takes in a record: tiny ones would look dead otherwise. */
const runBytes = 40

type Staged = { readonly value: Uint8Array | undefined; readonly sequence: Sequence; readonly stable: boolean }
/** Sequences of the newest records of either kind. */
export type Seen = { readonly stable: Sequence; readonly unstable: Sequence }
type Pending = {
  readonly sequence: Sequence
  readonly keys: string[]
  readonly values: (Uint8Array | undefined)[]
  /** What the record makes live or dead. */
  readonly changes: [segment: Sequence, liveBytes: number, deletionBytes: number][]
  /** Calls of clients that it tells of. */
  readonly calls: Parameters<Retries['add']>[]
  readonly stable: boolean
  readonly drops: Sequence | undefined
  readonly end: Checkpoint['end']
  readonly segment: Sequence
}

export const containerPrefix = (container: ContainerId): Buffer => {
  const prefix = Buffer.alloc(6)
  prefix.writeUIntBE(container, 0, 6)
  return prefix
}

export class ContainerIndex {
  readonly retries: Retries
  readonly liveness: Liveness
  readonly #index: Index
  readonly #prefix: string
  /** The newest value of each key that is not yet in the index. */
  readonly #staged = new Map<string, Staged>()
  #pending: Pending[] = []
  /** Blocks that were read lately, decoded, as they are in the index. */
  readonly #blocks = new Map<string, readonly Extent[]>()
  #blocksExtents = 0
  #segmentOf: (at: Sequence) => Sequence | undefined
  #applied: Sequence
  /** What the operation that runs now has seen of records that may not be committed. */
  #seenStable: Sequence = sequence(0)
  #seenUnstable: Sequence = sequence(0)
  #latest: Seen = { stable: sequence(0), unstable: sequence(0) }
  /** Clients' operations so far, here or at the master. */
  operations = 0

  /**
   * @param checkpoint as `load` gave it.
   * @param segmentOf the segment that holds a sequence, if the log has it still.
   * @param clients those whose calls the index knows.
   */
  constructor(
    index: Index,
    container: ContainerId,
    checkpoint: Checkpoint | undefined,
    liveness: Liveness,
    segmentOf: (at: Sequence) => Sequence | undefined,
    clients: readonly number[] = [],
  ) {
    this.#index = index
    this.#prefix = containerPrefix(container).toString('latin1')
    this.#segmentOf = segmentOf
    this.#applied = sequence(checkpoint === undefined ? 0 : checkpoint.end.sequence - 1)
    this.liveness = liveness
    this.retries = new Retries((client) => index.get(this.#key(`r${clientKey(client)}`)), clients)
  }

  /** @returns how far the container's log is in the index; nothing when it holds nothing of it. */
  static checkpoint(index: Index, container: ContainerId): Checkpoint | undefined {
    const value = index.get(Buffer.concat([containerPrefix(container), Buffer.from('m')]))
    if (value === undefined) return undefined
    const [segment, at, offset, chain, starts] = unpack(value)
    return { segment, end: { sequence: at, offset, chain: BigInt(chain) }, starts }
  }

  /**
   * Forgets everything of the container in the index, durably: it must not come back over another log. First how far the log
   * is applied: what a crash leaves of the rest must not count over the same log, either.
   */
  static async clear(index: Index, container: ContainerId): Promise<void> {
    const prefix = containerPrefix(container)
    const checkpoint = [{ key: Buffer.concat([prefix, Buffer.from('m')]), value: undefined }]
    await index.write(checkpoint, false)
    await index.clear(prefix, containerPrefix(containerId(container + 1)))
    await index.write(checkpoint, true)
  }

  get applied(): Sequence {
    return this.#applied
  }

  get shouldFlush(): boolean {
    return this.#pending.length >= flushRecords
  }

  readonly view: View = {
    get: (key) => this.#get(`k${latin1(key)}`)?.subarray(6),
    scan: (from, to, limit) => this.#scan(from, to, limit),
  }

  /** Starts to note which appended records an operation sees. */
  look(): void {
    this.operations += 1
    this.#seenStable = sequence(0)
    this.#seenUnstable = sequence(0)
  }

  /** What was seen since `look`: an answer may go out when the one is durable, the other appended, on every in-sync replica. */
  seen(): Seen {
    return { stable: this.#seenStable, unstable: this.#seenUnstable }
  }

  /** The newest that can have been seen at all: for those who look in several turns, between which others look too. */
  get latest(): Seen {
    return this.#latest
  }

  /** The sequence of the record that gave the key its value; nothing where it has none. */
  sequenceOf(key: Uint8Array): number | undefined {
    return sequenceIn(this.#get(`k${latin1(key)}`))
  }

  /** The extents of [from, to) of the object, with offsets in the object, ascending. */
  extents(object: Uint8Array, from: number, to: number): Extent[] {
    const found: Extent[] = []
    const name = latin1(object)
    for (let block = Math.floor(from / blockBytes); block * blockBytes < to; block++) {
      const start = block * blockBytes
      for (const extent of this.#block(blockKey(name, block))) {
        const offset = start + extent.offset
        const low = Math.max(offset, from)
        const high = Math.min(offset + extent.length, to)
        if (low < high)
          found.push({ ...extent, offset: low, length: high - low, payloadOffset: extent.payloadOffset + low - offset })
      }
    }
    return found
  }

  /**
   * Takes in a record of a log that is opened. Its `fresh` says nothing: the record that deleted the key, whose old value
   * is in the log still, may have been dropped.
   */
  replay(entry: Entry): void {
    const changes = decodeChanges(changesOf(entry.head, entry.header))
    this.stage(
      entry,
      changes.map((change) => (change.type === 'put' ? { ...change, fresh: false } : change)),
    )
  }

  /** Takes in a record that was appended to the log, with its changes decoded. */
  stage(entry: Entry, changes: readonly Change[] = decodeChanges(changesOf(entry.head, entry.header))): void {
    const { header } = entry
    const pending: Pending = {
      sequence: header.sequence,
      keys: [],
      values: [],
      changes: [],
      calls: [],
      stable: header.stable,
      drops: header.kind === 'dropSegment' ? sequence(header.result) : undefined,
      end: { sequence: sequence(header.sequence + 1), offset: entry.offset + recordBytes(header), chain: header.chain },
      segment: entry.segment,
    }
    for (const change of changes) this.#change(change, entry, pending)
    if (header.client !== 0) {
      this.operations += 1
      this.#remember(header, entry, pending)
    }
    this.#latest = { ...this.#latest, [header.stable ? 'stable' : 'unstable']: header.sequence }
    this.#pending.push(pending)
  }

  #remember(call: Omit<Change & { type: 'call' }, 'type'>, { header }: Entry, pending: Pending): void {
    const { number, oldest, result } = call
    const done = { result, sequence: header.sequence, stable: header.stable }
    const ticket = { client: clientId(call.client), number, oldest }
    const forgotten = this.retries.add(ticket, done)
    pending.calls.push([ticket, done])
    if (forgotten === undefined) return
    pending.keys.push(`r${clientKey(forgotten)}`)
    pending.values.push(undefined)
  }

  #change(change: Change, entry: Entry, pending: Pending): void {
    switch (change.type) {
      case 'put': {
        const name = `k${latin1(change.key)}`
        if (!change.fresh) this.#forget(change.key, this.#get(name), pending)
        pending.changes.push([entry.segment, sizeOf(change), 0])
        this.#put(name, change.value, entry, pending)
        break
      }
      case 'delete': {
        const name = `k${latin1(change.key)}`
        this.#forget(change.key, this.#get(name), pending)
        pending.changes.push([entry.segment, 0, sizeOf(change)])
        this.#put(name, undefined, entry, pending)
        break
      }
      case 'extent':
        this.#extent(change, entry, pending)
        break
      case 'punch':
        pending.changes.push([entry.segment, 0, sizeOf(change)])
        this.#refill(change.object, change.from, change.to, entry, pending, () => undefined)
        break
      case 'call':
        this.#remember(change, entry, pending)
        break
      default:
        unreachable(change)
    }
  }

  #extent(change: Change & { type: 'extent' }, entry: Entry, pending: Pending): void {
    const { headBytes, payloadBytes } = entry.header
    assert(change.payloadOffset + change.length <= payloadBytes, 'an extent lies in its payload')
    const to = change.offset + change.length
    this.#refill(change.object, change.offset, to, entry, pending, (offset, length, at) => ({
      offset,
      length,
      segment: entry.segment,
      record: entry.offset,
      headBytes,
      payloadBytes,
      payloadOffset: change.payloadOffset + at - change.offset,
    }))
  }

  /** Clears [from, to) of the object, block by block, and puts in what `fill` makes for the part of each. */
  #refill(
    object: Uint8Array,
    from: number,
    to: number,
    entry: Entry,
    pending: Pending,
    fill: (offset: number, length: number, at: number) => Extent | undefined,
  ): void {
    const name = latin1(object)
    for (let at = from; at < to; ) {
      const block = Math.floor(at / blockBytes)
      const low = at - block * blockBytes
      const high = Math.min(to - block * blockBytes, blockBytes)
      const key = blockKey(name, block)
      const old = this.#get(key)
      const extent = fill(low, high - low, at)
      at += high - low
      if (old === undefined && extent === undefined) continue
      const { kept, gone } = cut(old === undefined ? [] : decodeExtents(old.subarray(6)), low, high)
      for (const { part, pieces } of gone)
        pending.changes.push([part.segment, (pieces - 1) * runBytes - part.length, 0])
      if (extent !== undefined) pending.changes.push([entry.segment, runBytes + extent.length, 0])
      const list = extent === undefined ? kept : inserted(kept, extent)
      this.#put(key, list.length === 0 ? undefined : encodeExtents(list), entry, pending)
    }
  }

  #put(name: string, value: Uint8Array | undefined, entry: Entry, pending: Pending): void {
    let stored: Buffer | undefined
    if (value !== undefined) {
      stored = Buffer.allocUnsafe(6 + value.length)
      stored.writeUIntLE(entry.header.sequence, 0, 6)
      stored.set(value, 6)
    }
    this.#blocks.delete(name)
    this.#staged.set(name, { value: stored, sequence: entry.header.sequence, stable: entry.header.stable })
    pending.keys.push(name)
    pending.values.push(stored)
  }

  #forget(key: Uint8Array, old: Uint8Array | undefined, pending: Pending): void {
    if (old === undefined) return
    const segment = this.#segmentOf(sequence(sequenceIn(old)!))
    const put = { type: 'put', key, value: old.subarray(6), fresh: false } as const
    if (segment !== undefined) pending.changes.push([segment, -sizeOf(put), 0])
  }

  /**
   * Moves the staged records up to `committed` into the index. One at a time: wait for it before the next. Afterwards
   * nothing in the segments that those records drop is needed any more, durably (`liveness.dropped`).
   */
  async flush(committed: Sequence, starts: Checkpoint['starts']): Promise<void> {
    let count = 0
    while (count < this.#pending.length && this.#pending[count]!.sequence <= committed) count++
    if (count === 0) return
    const records = this.#pending.slice(0, count)
    const latest = records.at(-1)!
    const values = new Map<string, Uint8Array | undefined>()
    const clients = new Set<number>()
    const drops: Sequence[] = []
    for (const record of records) {
      for (let i = 0; i < record.keys.length; i++) values.set(record.keys[i]!, record.values[i])
      for (const change of record.changes) this.liveness.add(...change)
      for (const [{ client }] of record.calls) clients.add(client)
      if (record.drops !== undefined) drops.push(record.drops)
    }
    for (const client of clients) values.set(`r${clientKey(client)}`, this.retries.encode(client, latest.sequence))
    for (const segment of drops) {
      assert(this.liveness.of(segment).liveBytes === 0, `segment ${segment} is dropped and nothing in it is live`)
      this.liveness.drop(segment)
    }
    for (const { segment, value } of this.liveness.changed()) values.set(`s${segmentKey(segment)}`, value)
    const { end, segment } = latest
    values.set(
      'm',
      pack([
        segment,
        end.sequence,
        end.offset,
        end.chain.toString(),
        starts.filter(({ first }) => first < end.sequence),
      ]),
    )
    const writes: Write[] = []
    for (const [name, value] of values) writes.push({ key: this.#key(name), value })
    await this.#index.write(writes, drops.length > 0)
    this.#pending = this.#pending.slice(count)
    this.#applied = latest.sequence
    for (const record of records) {
      for (const name of record.keys) {
        const staged = this.#staged.get(name)
        if (staged !== undefined && staged.sequence <= latest.sequence) this.#staged.delete(name)
      }
    }
  }

  /** Forgets the records after `after`, to which the log was cut. No flush may be running. */
  undo(after: Sequence): void {
    this.#pending = this.#pending.filter((record) => record.sequence <= after)
    this.#staged.clear()
    this.retries.clear()
    this.#latest = { stable: this.#applied, unstable: this.#applied }
    for (const record of this.#pending) {
      for (let i = 0; i < record.keys.length; i++) {
        const name = record.keys[i]!
        if (!name.startsWith('r'))
          this.#staged.set(name, { value: record.values[i], sequence: record.sequence, stable: record.stable })
      }
      for (const call of record.calls) this.retries.add(...call)
      this.#latest = { ...this.#latest, [record.stable ? 'stable' : 'unstable']: record.sequence }
    }
  }

  /** The extents of a block of an object. */
  #block(name: string): readonly Extent[] {
    const known = this.#blocks.get(name)
    if (known !== undefined) return known
    const value = this.#get(name)
    const extents = value === undefined ? [] : decodeExtents(value.subarray(6))
    if (this.#staged.has(name)) return extents
    this.#blocksExtents += extents.length
    if (this.#blocks.size >= blocksMax || this.#blocksExtents > blocksExtentsMax) {
      this.#blocks.clear()
      this.#blocksExtents = extents.length
    }
    this.#blocks.set(name, extents)
    return extents
  }

  #get(name: string): Uint8Array | undefined {
    const staged = this.#staged.get(name)
    if (staged === undefined) return this.#index.get(this.#key(name))
    if (staged.stable) {
      if (staged.sequence > this.#seenStable) this.#seenStable = staged.sequence
    } else if (staged.sequence > this.#seenUnstable) this.#seenUnstable = staged.sequence
    return staged.value
  }

  async #scan(from: Uint8Array, to: Uint8Array, limit: number): Promise<{ key: Uint8Array; value: Uint8Array }[]> {
    const low = `k${latin1(from)}`
    const high = `k${latin1(to)}`
    const staged: string[] = []
    for (const name of this.#staged.keys()) if (name >= low && name < high) staged.push(name)
    const values = new Map(staged.map((name) => [name, this.#get(name)]))
    // Deleted keys take no place in the answer: ask for as many more.
    const found = await this.#index.scan(this.#key(low), this.#key(high), limit + staged.length)
    const complete = found.length < limit + staged.length
    for (const { key, value } of found) {
      const name = latin1(key).slice(6)
      if (!values.has(name)) values.set(name, value)
    }
    const end = complete ? undefined : latin1(found.at(-1)!.key).slice(6)
    const answer: { key: Uint8Array; value: Uint8Array }[] = []
    for (const name of [...values.keys()].sort()) {
      const value = values.get(name)
      if (answer.length === limit || (end !== undefined && name > end)) break
      if (value !== undefined) answer.push({ key: Buffer.from(name.slice(1), 'latin1'), value: value.subarray(6) })
    }
    return answer
  }

  #key(name: string): Buffer {
    return Buffer.from(this.#prefix + name, 'latin1')
  }
}

/** Keys of the maps in memory: one character for each byte, so that their order is the order of the bytes. */
const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')

/** Every stored value begins with the sequence of its record. */
const sequenceIn = (stored: Uint8Array | undefined): number | undefined =>
  stored && Buffer.from(stored.buffer, stored.byteOffset, 6).readUIntLE(0, 6)

const blockKey = (object: string, block: number): string =>
  `e${object}${String.fromCharCode((block >>> 24) & 255, (block >>> 16) & 255, (block >>> 8) & 255, block & 255)}`

function clientKey(client: number): string {
  const bytes = Buffer.alloc(8)
  write53(bytes, client, 0)
  return latin1(bytes)
}

const segmentKey = (segment: Sequence): string => segment.toString(16).padStart(14, '0')
