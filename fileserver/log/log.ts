/**
 * The log of one replica: append, receive, sync, cut, find (DESIGN §3).
 *
 * Driver over `Disk`; the sequence of decisions is fixed by the records alone, so that replicas with the same records
 * have the same segment files, byte for byte: a segment is closed by the record that finds it full, never by time.
 * Invariants: records are contiguous within a segment; between two segments there is a gap only where whole segments
 * were dropped; `durable` never exceeds `last`. After any failure of a write the log must be closed and opened again.
 */
import { assert } from '../../protocol/assert.ts'
import { Cursor } from '../../protocol/bytes.ts'
import { Failure } from '../../protocol/failures.ts'
import { verifyPayload } from '../../protocol/hash.ts'
import { type ContainerId, type Epoch, epoch, type Sequence, sequence } from '../../protocol/ids.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import { type Disk, segmentPath } from '../disk.ts'
import { type EpochStart, extended, type History, shortened } from './history.ts'
import {
  chainOf,
  type Draft,
  decodeHeader,
  encodeHead,
  type Header,
  headerBytes,
  recordBytes,
  sumsOf,
} from './record.ts'
import {
  advance,
  createSegment,
  type Found,
  type Mark,
  markBefore,
  openSegment,
  type Segment,
  scan,
  segmentHeaderBytes,
} from './segment.ts'

/** A segment that has reached this size takes no further record. */
const segmentBytes = 64 * 1024 * 1024

/** A record in its place. `payload` is there only while the record is being appended. */
export type Entry = {
  readonly header: Header
  readonly head: Buffer
  readonly payload: Payload
  readonly segment: Sequence
  readonly offset: number
}

/** Up to where a log was already checked: nothing before it is read again at opening. */
export type Checkpoint = {
  readonly segment: Sequence
  readonly end: Mark
  readonly starts: readonly EpochStart[]
}

export type SegmentInfo = { readonly first: Sequence; readonly sizeBytes: number; readonly chain: bigint }

export class Log {
  readonly container: ContainerId
  readonly #disk: Disk
  readonly #directory: string
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

  private constructor(disk: Disk, directory: string, container: ContainerId) {
    this.#disk = disk
    this.#directory = directory
    this.container = container
    this.#durable = sequence(0)
  }

  /** A new, empty log; whatever the directory held is gone. */
  static create(disk: Disk, directory: string, container: ContainerId): Log {
    disk.removeDirectory(directory)
    disk.makeDirectory(directory)
    return new Log(disk, directory, container)
  }

  /**
   * Opens what the disk has, and cuts a torn tail. Nothing counts as durable before the next sync.
   * @param starts epochs of segments that may be gone, for a log without a checkpoint.
   * @throws Failure CORRUPT when a record in the middle is damaged or a segment is missing: the replica must be re-made.
   */
  static open(
    disk: Disk,
    directory: string,
    container: ContainerId,
    checkpoint: Checkpoint | undefined,
    starts: readonly EpochStart[],
  ): Log {
    const log = new Log(disk, directory, container)
    const firsts = disk
      .list(directory)
      .filter((name) => name.endsWith('.segment'))
      .map((name) => sequence(Number.parseInt(name, 16)))
      .sort((a, b) => a - b)
    log.#starts = checkpoint?.starts ?? starts.filter((start) => start.first < (firsts[0] ?? 1))
    for (const [i, first] of firsts.entries()) log.#openSegment(first, firsts[i + 1], checkpoint)
    if (checkpoint !== undefined && log.next < checkpoint.end.sequence)
      throw new Failure(
        'CORRUPT',
        `the log ends at ${log.last}, before ${checkpoint.end.sequence - 1} that was committed`,
      )
    for (const segment of log.#segments) {
      if (checkpoint === undefined || segment.first >= checkpoint.segment) log.#dirty.add(segment)
    }
    return log
  }

  #openSegment(first: Sequence, following: Sequence | undefined, checkpoint: Checkpoint | undefined): void {
    const isLast = following === undefined
    let segment: Segment
    try {
      segment = openSegment(this.#disk, this.#directory, this.container, first)
    } catch (error) {
      // The header of the newest file may be torn when the crash came before anything in it was durable.
      if (!isLast || !(error instanceof Failure) || error.failure !== 'CORRUPT' || (checkpoint?.segment ?? 0) >= first)
        throw error
      this.#disk.remove(segmentPath(this.#directory, first))
      return
    }
    const fileBytes = segment.file.sizeBytes()
    if (checkpoint !== undefined && first < checkpoint.segment) {
      // Sealed and committed long ago: its end is found when it is needed.
      segment.end = { sequence: following!, offset: fileBytes, chain: 0n }
      this.#segments.push(segment)
      return
    }
    let from = segment.end
    if (checkpoint !== undefined && first === checkpoint.segment) {
      from = checkpoint.end
      segment.marks.push(from)
      segment.end = from
    }
    const records = scan(segment, from, fileBytes, true)
    let step = records.next()
    for (; !step.done; step = records.next()) {
      advance(segment, step.value.header)
      this.#note(step.value.header)
    }
    this.#segments.push(segment)
    if (step.value === 'end') return
    if (step.value === 'corrupt' || !isLast || segment.end.offset > fileBytes)
      throw new Failure('CORRUPT', `${segment.file.path} is damaged after sequence ${segment.end.sequence - 1}`)
    segment.file.truncate(segment.end.offset)
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

  checkpointAt(at: Sequence): Checkpoint {
    const segment = this.#segmentOf(sequence(at + 1)) ?? this.#segments.at(-1)!
    const end = at === this.last ? segment.end : this.#markAt(segment, sequence(at + 1))
    assert(end !== undefined, 'a checkpoint stands in the log')
    return { segment: segment.first, end, starts: shortened(this.history, at).starts }
  }

  /** Gives a record of the master its place. It is in the page cache after the next `write`. */
  append(draft: Draft, of: Epoch): Entry {
    const segment = this.#writable()
    const { sequence: at, offset, chain } = segment.end
    const head = encodeHead(draft, { epoch: of, sequence: at, chainBefore: chain })
    const header = decodeHeader(head)
    this.#appended(segment, header, head, draft.payload)
    return { header, head, payload: draft.payload, segment: segment.first, offset }
  }

  /** Writes what was appended since the last time. */
  write(): void {
    for (const { segment, offset, pieces } of this.#writes.splice(0)) segment.file.write(pieces, offset)
  }

  /**
   * Appends records that came from the master, after checking every one of them.
   * @throws Failure BAD_MESSAGE or CORRUPT, with nothing written, unless they are the next records of this log.
   */
  receive(payload: Payload): Entry[] {
    const cursor = new Cursor(payload)
    const parsed: { header: Header; head: Buffer; payload: Payload }[] = []
    let next = this.next
    let chain = this.chain
    while (cursor.left > 0) {
      if (cursor.left < headerBytes) throw new Failure('BAD_MESSAGE', 'a record is cut short')
      const header = decodeHeader(cursor.peek(headerBytes))
      if (cursor.left < recordBytes(header)) throw new Failure('BAD_MESSAGE', 'a record is cut short')
      const head = cursor.peek(header.headBytes)
      if (header.sequence !== next) throw new Failure('BAD_MESSAGE', `record ${header.sequence}, not ${next}`)
      if (chainOf(head, chain) !== header.chain) throw new Failure('CORRUPT', `record ${next} breaks the chain`)
      cursor.take(header.headBytes)
      const bytes = cursor.take(header.payloadBytes)
      verifyPayload(bytes, header.payloadBytes, sumsOf(head, header))
      parsed.push({ header, head, payload: bytes })
      chain = header.chain
      next = sequence(next + 1)
    }
    const entries = parsed.map(({ header, head, payload: bytes }) => {
      const segment = this.#writable()
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
    const pending: Promise<void>[] = []
    for (const segment of this.#dirty) {
      const sync = segment.file.sync(bytes)
      if (sync !== undefined) pending.push(sync)
    }
    this.#dirty.clear()
    this.#dirtyBytes = 0
    if (pending.length === 0) {
      this.#durable = target
      return undefined
    }
    return Promise.all(pending).then(() => {
      if (this.#cuts === cuts && this.#durable < target) this.#durable = target
    })
  }

  /** Cuts every record after `after`, durably. */
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
      const mark = this.#markAt(segment, sequence(after + 1))
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

  /** @returns the chain of record `at` (0n for 0); nothing where the log does not hold it. */
  chainAt(at: Sequence): bigint | undefined {
    if (at === 0) return 0n
    if (at === this.last) return this.chain
    const after = this.#segments.find((segment) => segment.first === at + 1)
    if (after !== undefined) return after.marks[0]!.chain
    const segment = this.#segmentOf(at)
    return segment === undefined ? undefined : this.#markAt(segment, sequence(at + 1))?.chain
  }

  /**
   * Whole records from `from` on, as they stand in one segment: at least one, else as many as fit `bytesMax`.
   * @returns nothing when the log does not hold `from`.
   * @throws Failure CORRUPT when a record on disk is damaged.
   */
  read(from: Sequence, bytesMax: number): { readonly payload: Payload; readonly last: Sequence } | undefined {
    this.write()
    const segment = this.#segmentOf(from)
    if (segment === undefined) return undefined
    const start = this.#markAt(segment, from)
    if (start === undefined) throw new Failure('CORRUPT', `${segment.file.path} is damaged before sequence ${from}`)
    let end = start.offset
    let last = sequence(from - 1)
    const records = scan(segment, start, segment.end.offset, true)
    let step = records.next()
    for (; !step.done; step = records.next()) {
      const { header, offset } = step.value
      const next = offset + recordBytes(header)
      if (end > start.offset && next - start.offset > bytesMax) break
      end = next
      last = header.sequence
    }
    if (end === start.offset) throw new Failure('CORRUPT', `${segment.file.path} is damaged at sequence ${from}`)
    const bytes = Buffer.allocUnsafe(end - start.offset)
    segment.file.read(bytes, start.offset)
    return { payload: [bytes], last }
  }

  /** Every record after `after`, heads only, in order. Used to rebuild what was derived from the log. */
  *entries(after: Sequence): Generator<Entry> {
    this.write()
    for (const segment of this.#segments) {
      if (segment.end.sequence <= after + 1) continue
      const from = segment.first > after ? segment.marks[0]! : this.#markAt(segment, sequence(after + 1))
      if (from === undefined) throw new Failure('CORRUPT', `${segment.file.path} is damaged before ${after + 1}`)
      const records = scan(segment, from, segment.end.offset, false)
      let step = records.next()
      for (; !step.done; step = records.next()) {
        const { header, head, offset } = step.value
        yield { header, head, payload: [], segment: segment.first, offset }
      }
      if (step.value !== 'end') throw new Failure('CORRUPT', `${segment.file.path} is damaged`)
    }
  }

  /** The segments that take no further record, oldest first. */
  sealed(): readonly Sequence[] {
    return this.#segments.slice(0, -1).map((segment) => segment.first)
  }

  /** Begins of the segment that takes the next record; 0 in an empty log. */
  get lastSegment(): Sequence {
    return this.#segments.at(-1)?.first ?? sequence(0)
  }

  manifest(): SegmentInfo[] {
    return this.#segments.map((segment) => {
      const chain =
        segment.end.chain === 0n ? (this.#markAt(segment, segment.end.sequence)?.chain ?? 0n) : segment.end.chain
      return { first: segment.first, sizeBytes: segment.end.offset, chain }
    })
  }

  /** The first sequence of the segment that holds `at`. */
  segmentOf(at: Sequence): Sequence | undefined {
    return this.#segmentOf(at)?.first
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
    const segment = this.#segment(first)
    let before = segment.marks.findLast((mark) => mark.offset <= offset)
    for (const found of scan(segment, before!, segment.end.offset, false)) {
      if (found.offset >= offset) break
      before = after(found)
    }
    return before?.offset === offset && chainOf(head, before.chain) === head.readBigUInt64LE(0)
  }

  /** Overwrites damaged bytes with right ones (read repair). */
  repair(first: Sequence, offset: number, bytes: Uint8Array): void {
    const segment = this.#segment(first)
    assert(offset >= segmentHeaderBytes && offset + bytes.length <= segment.end.offset, 'repair stays in the log')
    segment.file.write([bytes], offset)
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

  close(): void {
    for (const segment of this.#segments) segment.file.close()
  }

  #segment(first: Sequence): Segment {
    const segment = this.#segments.find((other) => other.first === first)
    if (segment === undefined) throw new Failure('NOT_FOUND', `container ${this.container} has no segment ${first}`)
    return segment
  }

  #segmentOf(at: Sequence): Segment | undefined {
    let low = 0
    let high = this.#segments.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#segments[middle]!.first <= at) low = middle + 1
      else high = middle
    }
    const segment = this.#segments[low - 1]
    return segment !== undefined && at < segment.end.sequence ? segment : undefined
  }

  /** The place of record `at` (or of the segment's end). @returns nothing when damage hides it. */
  #markAt(segment: Segment, at: Sequence): Mark | undefined {
    let mark = markBefore(segment, at)
    if (mark.sequence === at) return mark
    if (at === segment.end.sequence && segment.end.chain !== 0n) return segment.end
    for (const found of scan(segment, mark, segment.end.offset, false)) {
      mark = after(found)
      if (mark.offset - segment.marks.at(-1)!.offset >= 256 * 1024) segment.marks.push(mark)
      if (mark.sequence === at) return mark
    }
    return undefined
  }

  #writable(): Segment {
    const current = this.#segments.at(-1)
    if (current !== undefined && current.end.offset < segmentBytes) return current
    const before = { next: this.next, chain: this.chain, epoch: this.#starts.at(-1)?.epoch ?? epoch(0) }
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

const after = (found: Found): Mark => ({
  sequence: sequence(found.header.sequence + 1),
  offset: found.offset + recordBytes(found.header),
  chain: found.header.chain,
})
