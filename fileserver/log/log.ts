/**
 * The log of one replica: append, receive, sync, cut, find (DESIGN §3).
 *
 * Driver over `Disk`; the sequence of decisions is fixed by the records alone, so that replicas with the same records
 * have the same segment files, byte for byte: a segment is closed by the record that finds it full or says so, never by time.
 * Invariants: records are contiguous within a segment; between two segments there is a gap only where whole segments
 * were dropped; `durable` never exceeds `last`. After a failed write or sync the log takes and syncs nothing more: it
 * must be closed and opened again.
 */
import { assert } from '../../protocol/assert.ts'
import { compacted } from '../../protocol/bytes.ts'
import { Failure, isFailure } from '../../protocol/failures.ts'
import { type ContainerId, type Epoch, epoch, type Sequence, sequence } from '../../protocol/ids.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import type { Disk } from '../pool/disk.ts'
import { type Entry, entriesAfter, entriesIn, isHeadAt, markAt, readRecords, segmentAt } from './find.ts'
import { type EpochStart, extended, type History, shortened } from './history.ts'
import { type Known, openSegments, surelyDurable, writeAgain } from './open.ts'
import { type Draft, decodeHeader, encodeHead, type Header, parseRecords, recordBytes } from './record.ts'
import { advance, createSegment, encodeHeader, type Mark, type Segment } from './segment.ts'

/** A segment that has reached this size takes no further record. */
const segmentBytesDefault = 64 * 1024 * 1024

export type SegmentInfo = { readonly first: Sequence; readonly sizeBytes: number; readonly chain: bigint }

export class Log {
  readonly container: ContainerId
  readonly #disk: Disk
  readonly #directory: string
  readonly #segmentBytes: number
  #segments: Segment[] = []
  #starts: readonly EpochStart[] = []
  /** Segments with bytes that no sync has covered yet, and how many. */
  #dirty = new Set<Segment>()
  #dirtyBytes = 0
  #durable: Sequence
  /** Appended, not yet written: consecutive records of a segment in one write. */
  #writes: { segment: Segment; offset: number; pieces: Uint8Array[] }[] = []
  /** How often the log was cut: a sync that began before a cut says nothing about what follows it. */
  #cuts = 0
  #repairs = 0
  /** Why nothing is written any more. A later sync that succeeds would not cover what an earlier one failed to. */
  #stopped: unknown

  private constructor(disk: Disk, directory: string, container: ContainerId, segmentBytes: number) {
    this.#disk = disk
    this.#segmentBytes = segmentBytes
    this.#directory = directory
    this.container = container
    this.#durable = sequence(0)
  }

  /** A new, empty log; whatever the directory held is gone. */
  static create(disk: Disk, directory: string, container: ContainerId, segmentBytes = segmentBytesDefault): Log {
    disk.removeDirectory(directory)
    disk.makeDirectory(directory)
    return new Log(disk, directory, container, segmentBytes)
  }

  /**
   * Opens what the disk has, and cuts a torn tail. Nothing counts as durable before the next sync.
   * @throws Failure CORRUPT when something that was committed is damaged or missing: the replica must be re-made.
   */
  static open(
    disk: Disk,
    directory: string,
    container: ContainerId,
    known: Known,
    segmentBytes = segmentBytesDefault,
  ): Log {
    const log = new Log(disk, directory, container, segmentBytes)
    log.#starts = known.checkpoint?.starts ?? known.starts.filter((start) => start.first <= known.committed)
    log.#segments = openSegments(disk, directory, container, known, (header) => {
      // The epochs of dropped segments are known already.
      if (header.epoch > log.#epoch) log.#note(header)
    })
    for (const segment of log.#segments) {
      if (known.checkpoint === undefined || segment.first >= known.checkpoint.segment) log.#dirty.add(segment)
    }
    for (const segment of writeAgain(log.#segments, surelyDurable(known))) log.#dirty.add(segment)
    return log
  }

  /** 0 while the log is empty. */
  get last(): Sequence {
    return sequence(this.next - 1)
  }

  get next(): Sequence {
    return this.#segments.at(-1)?.end.sequence ?? sequence(1)
  }

  /** The chain of the last record. */
  get chain(): bigint {
    return this.#segments.at(-1)?.end.chain ?? 0n
  }

  get durable(): Sequence {
    return this.#durable
  }

  /** Rises when something else than the log's end changes. */
  get changes(): number {
    return this.#cuts + this.#repairs
  }

  /** How often the log was cut: what was read of its end before may have changed. */
  get cuts(): number {
    return this.#cuts
  }

  get dirtyBytes(): number {
    return this.#dirtyBytes
  }

  get history(): History {
    return { starts: this.#starts, last: this.last }
  }

  /** The first sequence from which the log is without a gap up to its end. */
  get contiguousFrom(): Sequence {
    let from = this.next
    for (let i = this.#segments.length - 1; i >= 0 && this.#segments[i]!.end.sequence === from; i--)
      from = this.#segments[i]!.first
    return from
  }

  get sizeBytes(): number {
    let size = 0
    for (const segment of this.#segments) size += segment.end.offset
    return size
  }

  /** Gives a record of the master its place. It is in the page cache after the next `write`. */
  append(draft: Draft, of: Epoch, committed: Sequence): Entry {
    const segment = this.#writable(draft)
    const { sequence: at, offset, chain } = segment.end
    const head = encodeHead(draft, { epoch: of, sequence: at, committed, chainBefore: chain })
    const header = decodeHeader(head)
    this.#appended(segment, header, head, draft.payload)
    return { header, head, payload: draft.payload, segment: segment.first, offset }
  }

  /** Writes what was appended since the last time. */
  write(): void {
    this.#working(() => {
      for (const { segment, offset, pieces } of this.#writes.splice(0)) segment.file.write(compacted(pieces), offset)
    })
  }

  /**
   * Appends records that came from the master, after checking every one of them.
   * @throws Failure BAD_MESSAGE or CORRUPT, with nothing written, unless they are the next records of this log.
   */
  receive(payload: Payload): Entry[] {
    const parsed = parseRecords(payload, { next: this.next, chain: this.chain, epoch: this.#epoch })
    const entries = parsed.map(({ header, head, payload: bytes }) => {
      const segment = this.#writable(header)
      const { offset } = segment.end
      this.#appended(segment, header, head, bytes)
      return { header, head, payload: bytes, segment: segment.first, offset }
    })
    this.write()
    return entries
  }

  /** @returns nothing when everything appended so far is durable already. */
  sync(): Promise<void> | undefined {
    this.write()
    const target = this.last
    const cuts = this.#cuts
    const bytes = this.#dirtyBytes
    const syncs = this.#working(() => [...this.#dirty].map((segment) => segment.file.sync(bytes)))
    this.#dirty.clear()
    this.#dirtyBytes = 0
    if (syncs.every((sync) => sync === undefined)) {
      this.#durable = target
      return undefined
    }
    return Promise.all(syncs).then(
      () => {
        if (this.#cuts === cuts && this.#durable < target) this.#durable = target
      },
      (error) => {
        this.#stopped ??= error
        throw error
      },
    )
  }

  /** Cuts every record after `after`; durable after the next sync. */
  rollback(after: Sequence): void {
    assert(after <= this.last, 'rollback goes back')
    this.write()
    this.#cuts += 1
    while (this.#segments.length > 0 && this.#segments.at(-1)!.first > after) {
      const segment = this.#segments.pop()!
      this.#dirty.delete(segment)
      segment.file.close()
      this.#disk.remove(segment.file.path)
    }
    const segment = this.#segments.at(-1)
    if (segment !== undefined && segment.end.sequence > after + 1) {
      const mark = markAt(segment, sequence(after + 1))
      assert(mark !== undefined, 'the log holds what it is cut to')
      segment.end = mark
      while (segment.marks.length > 1 && segment.marks.at(-1)!.offset > mark.offset) segment.marks.pop()
      segment.file.truncate(mark.offset)
      this.#dirty.add(segment)
    }
    this.#disk.syncDirectory(this.#directory)
    this.#starts = shortened(this.history, after).starts
    if (this.#durable > after) this.#durable = after
  }

  /** @returns the chain of record `at` (0n for 0); nothing where the log does not hold it, or cannot tell for damage. */
  chainAt(at: Sequence): bigint | undefined {
    if (at === 0) return 0n
    if (at === this.last) return this.chain
    const after = this.#segments.find((segment) => segment.first === at + 1)
    if (after !== undefined) return after.marks[0]!.chain
    const segment = segmentAt(this.#segments, at)
    try {
      return segment && markAt(segment, sequence(at + 1))?.chain
    } catch (error) {
      if (!isFailure(error, 'DISK_FAILED')) throw error
      return undefined
    }
  }

  /**
   * Whole records from `from` on, as they stand in one segment: at least one, else as many as fit `bytesMax`.
   * @returns nothing when the log does not hold `from`.
   * @throws Failure CORRUPT when a record on disk is damaged.
   */
  read(from: Sequence, bytesMax: number): { readonly payload: Payload; readonly last: Sequence } | undefined {
    this.write()
    const segment = segmentAt(this.#segments, from)
    return segment && readRecords(segment, from, bytesMax)
  }

  /**
   * Every record after `last`, heads only, in order. Used to rebuild what was derived from the log: segments before the one
   * that is read may be dropped meanwhile. @throws Failure CORRUPT
   */
  entries(last: Sequence): Generator<Entry> {
    this.write()
    return entriesAfter([...this.#segments], last)
  }

  /** Every record of a segment, heads only, in order. @throws Failure CORRUPT, and NOT_FOUND when it was dropped */
  entriesOf(first: Sequence): Generator<Entry> {
    this.write()
    return entriesIn(this.#segment(first), sequence(first - 1))
  }

  /** The segments, oldest first. */
  manifest(): SegmentInfo[] {
    return this.#segments.map(({ first, end }) => ({ first, sizeBytes: end.offset, chain: end.chain }))
  }

  /** The first sequence of the segment that holds `at`. */
  segmentOf(at: Sequence): Sequence | undefined {
    return segmentAt(this.#segments, at)?.first
  }

  /** Where record `at` begins. @returns nothing when the log does not hold it, or damage hides it. */
  placeOf(at: Sequence): { readonly segment: Sequence; readonly offset: number } | undefined {
    this.write()
    const segment = segmentAt(this.#segments, at)
    const mark = segment && markAt(segment, at)
    return mark && { segment: segment.first, offset: mark.offset }
  }

  /** Fills `target` from a segment's file; NOT_FOUND when that segment was dropped. @returns bytes read. */
  readSegment(first: Sequence, target: Uint8Array, offset: number): number {
    this.write()
    return this.#segment(first).file.read(target, offset)
  }

  readSegmentLater(first: Sequence, target: Uint8Array, offset: number): Promise<number> {
    this.write()
    return this.#segment(first).file.readLater(target, offset)
  }

  /** Whether `head` is the head of the record at `offset` of the segment, by the chain that leads to it. */
  isHead(first: Sequence, offset: number, head: Buffer): boolean {
    this.write()
    return isHeadAt(this.#segment(first), offset, head)
  }

  /** How a segment begins: its header, as it has to be, and where its first record stands. @throws Failure NOT_FOUND */
  beginningOf(first: Sequence): { readonly header: Buffer; readonly start: Mark } {
    const { marks, previous } = this.#segment(first)
    return { header: encodeHeader(this.container, marks[0]!, previous), start: marks[0]! }
  }

  /** Overwrites damaged bytes with right ones (read repair, scrub). @throws Failure where they have no place (any more) */
  repair(first: Sequence, offset: number, bytes: Uint8Array): void {
    if (this.#stopped !== undefined) throw new Failure('NOT_READY', `the log of container ${this.container} is closed`)
    const segment = this.#segment(first)
    if (offset + bytes.length > segment.end.offset)
      throw new Failure('CORRUPT', `${segment.file.path} is shorter than it was`)
    segment.file.write([bytes], offset)
    this.#repairs += 1
    this.#dirty.add(segment)
  }

  /** Removes a sealed segment. The caller knows that nothing in it is live, durably. */
  drop(first: Sequence): void {
    const at = this.#segments.findIndex((segment) => segment.first === first)
    if (at < 0) return
    assert(at < this.#segments.length - 1, 'the last segment is never dropped')
    const [segment] = this.#segments.splice(at, 1)
    this.#dirty.delete(segment!)
    segment!.file.close()
    this.#disk.remove(segment!.file.path)
    this.#disk.syncDirectory(this.#directory)
  }

  /** What was appended and not written is forgotten. */
  close(): void {
    this.#stopped ??= new Failure('NOT_READY', `the log of container ${this.container} is closed`)
    for (const segment of this.#segments) segment.file.close()
  }

  #working<T>(run: () => T): T {
    if (this.#stopped !== undefined) throw this.#stopped
    try {
      return run()
    } catch (error) {
      this.#stopped = error
      throw error
    }
  }

  #segment(first: Sequence): Segment {
    const segment = this.#segments.find((other) => other.first === first)
    if (segment === undefined) throw new Failure('NOT_FOUND', `container ${this.container} has no segment ${first}`)
    return segment
  }

  get #epoch(): Epoch {
    return this.#starts.at(-1)?.epoch ?? epoch(0)
  }

  /** The segment that takes this record: a new one when the last is full, or is the one that the record drops or seals. */
  #writable({ kind, result }: Pick<Header, 'kind' | 'result'>): Segment {
    const current = this.#segments.at(-1)
    const closes = (kind === 'dropSegment' || kind === 'sealSegment') && result === current?.first
    if (current !== undefined && current.end.offset < this.#segmentBytes && !closes) return current
    const before = { next: this.next, chain: this.chain, previous: current?.first ?? sequence(0) }
    const segment = createSegment(this.#disk, this.#directory, this.container, before)
    this.#segments.push(segment)
    return segment
  }

  #appended(segment: Segment, header: Header, head: Buffer, payload: Payload): void {
    const latest = this.#writes.at(-1)
    if (latest?.segment === segment) latest.pieces.push(head, ...payload)
    else this.#writes.push({ segment, offset: segment.end.offset, pieces: [head, ...payload] })
    advance(segment, header)
    this.#note(header)
    this.#dirty.add(segment)
    this.#dirtyBytes += recordBytes(header)
  }

  #note(header: Header): void {
    if (this.#starts.at(-1)?.epoch === header.epoch) return
    this.#starts = extended(
      { starts: this.#starts, last: sequence(header.sequence - 1) },
      header.epoch,
      header.sequence,
    ).starts
  }
}
