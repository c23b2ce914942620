/**
 * Makes a replica like its master's segments, and builds its index on the way (DESIGN §4, rule 8).
 *
 * Driver; the caller has set the marker, and nobody else uses the directory. Segment by segment: what is here is read and
 * checked; where it is not whole, the blocks that differ are fetched (plan.ts). So a copy that ended early, for
 * whatever reason, goes on where it was, whoever is the master then, and damage costs as much as was damaged. Every record
 * is checked, up to the chain that the master named. When it is done all is durable.
 */
import { pause } from '../../protocol/cluster/backoff.ts'
import { Failure, isFailure } from '../../protocol/failures.ts'
import { hash64 } from '../../protocol/hash.ts'
import { type ContainerId, type Epoch, epoch, type Sequence, sequence } from '../../protocol/ids.ts'
import { Buffers } from '../../protocol/transport/buffers.ts'
import { type Payload, payloadBytes } from '../../protocol/transport/transport.ts'
import { ContainerIndex } from '../index/container-index.ts'
import { Liveness } from '../index/liveness.ts'
import { type EpochStart, extended } from '../log/history.ts'
import type { SegmentInfo } from '../log/log.ts'
import { type Header, parseRecords } from '../log/record.ts'
import { type Mark, openSegment, scan } from '../log/segment.ts'
import { type File, segmentPath } from '../pool/disk.ts'
import type { Environment } from '../replica/environment.ts'
import { largeRecordBytes, wholeRecords } from './pieces.ts'
import { blockBytes, missingRuns, type Run, wholeRuns } from './plan.ts'
import { type Sizes, sizesOf } from './sizes.ts'

/** Calls to the master. */
export type Source = {
  /** The bytes [offset, offset + into.length) of a segment, in `into` or elsewhere. */
  readonly piece: (first: Sequence, offset: number, into: Buffer) => Promise<Payload>
  /** The sum of each block of the segment's first `sizeBytes`. */
  readonly sums: (first: Sequence, sizeBytes: number) => Promise<Uint8Array>
  /** Has the segment mended there, as far as it can be. */
  readonly mend: (first: Sequence) => Promise<unknown>
}

export type CopyOptions = {
  readonly environment: Environment
  readonly container: ContainerId
  readonly directory: string
  readonly epoch: Epoch
  readonly committed: Sequence
  /** The epochs up to `committed`. */
  readonly starts: readonly EpochStart[]
  readonly wanted: readonly SegmentInfo[]
  /** Segments of a log that was whole when it was closed a moment ago: they need not be read again. */
  readonly trusted: readonly SegmentInfo[]
  readonly source: Source
}

const fetchesMax = 4
/** Heads that are taken in before others have their turn. */
const headsMax = 256
const attemptsMax = 3
const endless = sequence(Number.MAX_SAFE_INTEGER)
/** For all copies of the process. */
const buffers = new Buffers()

export class Copying {
  readonly epoch: Epoch
  /** Settles when all is durable and in the index, or with the failure that ended it. */
  readonly finished: Promise<void>
  doneBytes = 0
  totalBytes: number
  readonly #options: CopyOptions
  readonly #sizes: Sizes
  readonly #index: ContainerIndex
  #starts: readonly EpochStart[]
  #stopped: Failure | undefined

  constructor(options: CopyOptions) {
    const { environment, container, wanted, trusted } = options
    this.#options = options
    this.#sizes = sizesOf(environment.segmentBytes)
    this.epoch = options.epoch
    this.#starts = options.starts
    this.totalBytes = wanted.reduce((sum, one) => sum + (trusted.some((own) => equal(own, one)) ? 0 : one.sizeBytes), 0)
    const segmentOf = (at: Sequence): Sequence | undefined => wanted.findLast(({ first }) => first <= at)?.first
    this.#index = new ContainerIndex(environment.index, container, undefined, new Liveness([]), segmentOf)
    this.finished = this.#run()
    this.finished.catch(() => {})
  }

  /** Ends it soon; what was copied stays. */
  stop(why: Failure): void {
    this.#stopped ??= why
  }

  async #run(): Promise<void> {
    const { environment, container, directory, wanted, committed } = this.#options
    const { disk, index } = environment
    await ContainerIndex.clear(index, container)
    const names = new Set(wanted.map(({ first }) => segmentPath(directory, first)))
    const here = new Set(disk.list(directory).map((name) => `${directory}/${name}`))
    for (const path of here) if (path.endsWith('.segment') && !names.has(path)) disk.remove(path)
    let synced: Promise<void> | undefined
    for (const segment of wanted) {
      const path = segmentPath(directory, segment.first)
      const file = await this.#copied(segment, path, here.has(path))
      // The next one is fetched while this one is synced.
      await synced
      synced = this.#synced(segment, file)
      synced.catch(() => {})
    }
    await synced
    disk.syncDirectory(directory)
    await this.#index.flush(committed, this.#starts)
    this.#demand()
  }

  /** What cannot be synced is fetched anew by the next copy: the page cache has it, and no later sync would bring it to the disk. */
  async #synced({ sizeBytes }: SegmentInfo, file: File): Promise<void> {
    try {
      await file.sync(sizeBytes)
    } catch (error) {
      this.#options.environment.disk.remove(file.path)
      throw error
    } finally {
      file.close()
    }
  }

  /** @returns the segment's file, which is now as the master's. */
  async #copied(segment: SegmentInfo, path: string, isHere: boolean): Promise<File> {
    const { disk } = this.#options.environment
    const file = disk.open(path, !isHere)
    try {
      await this.#copy(segment, file)
      return file
    } catch (error) {
      file.close()
      // What the disk does not read is written anew, elsewhere.
      if (!isHere || !isFailure(error, 'DISK_FAILED')) throw error
      disk.remove(path)
      return this.#copied(segment, path, false)
    }
  }

  async #copy(segment: SegmentInfo, file: File): Promise<void> {
    const { trusted, source } = this.#options
    const { first, sizeBytes } = segment
    if (!trusted.some((own) => equal(own, segment))) {
      const before = this.doneBytes
      if (file.sizeBytes() === 0) await this.#fetch(segment, file, wholeRuns(sizeBytes, this.#sizes.fetchBytes))
      for (let attempt = 1; !(await this.#isWhole(segment, file)); attempt++) {
        const theirs = await source.sums(first, sizeBytes)
        const ours = await sumsOf((into, offset) => file.readLater(into, offset), sizeBytes)
        const runs = missingRuns(ours, theirs, sizeBytes, this.#sizes.fetchBytes)
        if (attempt === attemptsMax)
          throw new Failure('CORRUPT', `segment ${first} as the master has it is damaged, or is another one`)
        // What is not whole here although it is as there is damaged there.
        if (runs.length === 0) await source.mend(first)
        else await this.#fetch(segment, file, runs)
      }
      // Not before it is proven where the segment ends: a master whose file lost its end would take that of ours.
      if (file.sizeBytes() > sizeBytes) file.truncate(sizeBytes)
      // What was here already was nothing to do.
      this.totalBytes -= sizeBytes - (this.doneBytes - before)
    }
    await this.#takeIn(segment)
  }

  async #fetch({ first }: SegmentInfo, file: File, runs: readonly Run[]): Promise<void> {
    const { environment, container, source } = this.#options
    const { resyncs, clock, counters, full } = environment
    const waiting = [...runs].reverse()
    const one = async (): Promise<void> => {
      for (let run = waiting.pop(); run !== undefined; run = waiting.pop()) {
        if (full()) throw new Failure('NO_SPACE', 'the disk is full: the copy goes on when there is room')
        resyncs.admit(container)
        const waitMs = resyncs.receives(run.length)
        if (waitMs > 0) await pause(clock, waitMs)
        this.#demand()
        const buffer = buffers.take(run.length)
        const payload = await source.piece(first, run.offset, buffer)
        this.#demand()
        if (payloadBytes(payload) !== run.length)
          throw new Failure('CORRUPT', `segment ${first} is shorter at the master`)
        file.write(payload, run.offset)
        buffers.give(buffer)
        counters.resyncBytes += run.length
        this.doneBytes += run.length
      }
    }
    const all = Array.from({ length: Math.min(fetchesMax, runs.length) }, () =>
      one().catch((error) => {
        waiting.length = 0
        throw error
      }),
    )
    const failed = (await Promise.allSettled(all)).find(({ status }) => status === 'rejected')
    if (failed !== undefined) throw (failed as PromiseRejectedResult).reason
  }

  /** Whether every record of the segment can be read, up to the chain that it is said to end with. */
  async #isWhole(segment: SegmentInfo, file: File): Promise<boolean> {
    let mark = this.#beginning(segment)
    const buffer = buffers.take(this.#sizes.pieceBytes)
    while (mark !== undefined && mark.offset < segment.sizeBytes) {
      const wanted = buffer.subarray(0, segment.sizeBytes - mark.offset)
      let bytes: Buffer = buffer.subarray(0, await file.readLater(wanted, mark.offset))
      const largeBytes = largeRecordBytes(bytes)
      if (largeBytes > 0) {
        bytes = Buffer.allocUnsafe(largeBytes)
        bytes = bytes.subarray(0, await file.readLater(bytes, mark.offset))
      }
      const whole = wholeRecords(bytes, mark.sequence, endless)
      this.#demand()
      mark = whole && this.#checked(bytes.subarray(0, whole.bytes), mark)
    }
    buffers.give(buffer)
    return mark?.offset === segment.sizeBytes && mark.chain === segment.chain
  }

  /** @returns the place after these records; nothing when one is damaged. */
  #checked(bytes: Buffer, from: Mark): Mark | undefined {
    try {
      const latest = parseRecords([bytes], { next: from.sequence, chain: from.chain, epoch: epoch(0) }).at(-1)!
      const { header } = latest
      return { sequence: sequence(header.sequence + 1), offset: from.offset + bytes.length, chain: header.chain }
    } catch (error) {
      if (!isFailure(error, 'CORRUPT', 'BAD_MESSAGE')) throw error
      return undefined
    }
  }

  /** Takes the segment's records into the index. Their payloads are not looked at. */
  async #takeIn(segment: SegmentInfo): Promise<void> {
    const { environment, directory, container } = this.#options
    const opened = openSegment(environment.disk, directory, container, segment.first)
    let last = opened.end.chain
    let heads = 0
    try {
      for (const { header, head, offset } of scan(opened, opened.end, segment.sizeBytes, false)) {
        await this.#stage(header, head, segment.first, offset)
        last = header.chain
        if (++heads % headsMax > 0) continue
        await new Promise<void>((resolve) => environment.clock.soon(resolve))
        this.#demand()
      }
    } finally {
      opened.file.close()
    }
    if (last !== segment.chain) throw new Failure('CORRUPT', `${opened.file.path} is damaged`)
  }

  async #stage(header: Header, head: Buffer, segment: Sequence, offset: number): Promise<void> {
    const { committed } = this.#options
    if (header.epoch > (this.#starts.at(-1)?.epoch ?? 0))
      this.#starts = extended(
        { starts: this.#starts, last: sequence(header.sequence - 1) },
        header.epoch,
        header.sequence,
      ).starts
    this.#index.replay({ header, head, payload: [], segment, offset })
    if (this.#index.shouldFlush && committed > this.#index.applied) await this.#index.flush(committed, this.#starts)
  }

  #beginning({ first }: SegmentInfo): Mark | undefined {
    const { environment, directory, container } = this.#options
    try {
      const segment = openSegment(environment.disk, directory, container, first)
      segment.file.close()
      return segment.end
    } catch (error) {
      if (!isFailure(error, 'CORRUPT', 'VERSION_MISMATCH')) throw error
      return undefined
    }
  }

  #demand(): void {
    if (this.#stopped !== undefined) throw this.#stopped
  }
}

const equal = (a: SegmentInfo, b: SegmentInfo): boolean =>
  a.first === b.first && a.sizeBytes === b.sizeBytes && a.chain === b.chain

/** @param read fills its first argument from the segment's file. @returns the sum of each block of its first `sizeBytes`. */
export async function sumsOf(
  read: (into: Buffer, offset: number) => Promise<number>,
  sizeBytes: number,
): Promise<Buffer> {
  const sums: Buffer[] = []
  const buffer = buffers.take(16 * blockBytes)
  for (let offset = 0; offset < sizeBytes; offset += buffer.length) {
    const wanted = Math.min(buffer.length, sizeBytes - offset)
    const count = await read(buffer.subarray(0, wanted), offset)
    for (let at = 0; at < count; at += blockBytes) {
      const sum = Buffer.alloc(8)
      sum.writeBigUInt64LE(hash64(buffer.subarray(at, Math.min(at + blockBytes, count))))
      sums.push(sum)
    }
    if (count < wanted) break
  }
  buffers.give(buffer)
  return Buffer.concat(sums)
}
