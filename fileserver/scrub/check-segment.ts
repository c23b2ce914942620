/**
 * Reads one segment from its first byte to its last, and mends what is not as it was written.
 *
 * Driver. Every record's head must follow from the one before, by its chain, and every block of its payload must have its
 * sum. A head that does not follow is taken from another replica whose head does; it is written only when a record of our
 * own, or the end of the segment as we know it, follows from it in turn: then nobody's word is trusted, whatever log the
 * other replica has. So any number of heads in a row can be mended. Blocks are mended by the sums in their heads.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import { hash64, sumCount } from '../../protocol/hash.ts'
import type { Sequence } from '../../protocol/ids.ts'
import { sumBlockBytes } from '../../protocol/messages/attributes.ts'
import type { Log, SegmentInfo } from '../log/log.ts'
import { chainOf, decodeHeader, type Header, headerBytes, recordBytes } from '../log/record.ts'
import { after, type Mark } from '../log/segment.ts'

/** Read at a time: few enough that others have their turn in between. */
const windowBytes = 256 * 1024
/** What a bad place on a disk takes with it. */
const sectorBytes = 4096

/** The same bytes of the segment as another replica has them; nothing when it can't be asked, or has fewer. */
export type Peer = (segment: Sequence, offset: number, length: number) => Promise<Buffer | undefined>

export type Check = {
  readonly log: Log
  /** As the log has it now. */
  readonly segment: SegmentInfo
  /** Records after this may still be undone: what is wrong with them is left alone. */
  readonly committed: Sequence
  readonly peers: readonly Peer[]
  /** Waits until so many bytes may be read. */
  readonly paced: (bytes: number) => Promise<void>
  /** @throws Failure when the replica was stopped: its files are no longer ours. */
  readonly demand: () => void
  /** @param record where the record begins that is damaged, or whose predecessor is not what was written. */
  readonly found: (count: number, record: number) => void
  readonly repaired: (count: number) => void
}

export type Findings = {
  readonly checkedBytes: number
  readonly found: number
  readonly repaired: number
  readonly remaining: number
  /** What was found could not be put right here although others have it: the replica has to be made anew. */
  readonly refused: boolean
}

/** @throws Failure NOT_FOUND when the segment was dropped meanwhile, CONFLICT when the log was cut. */
export async function checkSegment(check: Check): Promise<Findings> {
  const checking = new Checking(check)
  await checking.run()
  return checking.findings
}

type Patch = { readonly offset: number; readonly bytes: Uint8Array }

class Checking {
  readonly #check: Check
  readonly #cuts: number
  #window: Buffer = Buffer.alloc(0)
  #windowAt = 0
  /** Not yet proven to belong here. */
  #patches: Patch[] = []
  #unproven = false
  #checkedBytes = 0
  #found = 0
  #repaired = 0
  #refused = false

  constructor(check: Check) {
    this.#check = check
    this.#cuts = check.log.cuts
  }

  get findings(): Findings {
    const remaining = this.#found - this.#repaired
    return {
      checkedBytes: this.#checkedBytes,
      found: this.#found,
      repaired: this.#repaired,
      remaining,
      refused: this.#refused,
    }
  }

  async run(): Promise<void> {
    const { log, segment, committed } = this.#check
    const { header, start } = log.beginningOf(segment.first)
    if (!(await this.#bytes(0, header.length)).equals(header)) {
      this.#note(1, 0)
      this.#patches.push({ offset: 0, bytes: header })
      this.#write()
    }
    let place = start
    while (place.offset < segment.sizeBytes) {
      const own = await this.#ownHead(place)
      if (own === undefined && place.sequence > committed) return
      if (own !== undefined && this.#unproven) this.#write()
      const head = own ?? (await this.#othersHead(place))
      if (head === undefined) return
      const found = { header: decodeHeader(head), offset: place.offset }
      await this.#checkPayload(found.header, head, place)
      place = after(found)
    }
    if (place.chain === segment.chain) {
      if (this.#unproven) this.#write()
      return
    }
    // Each record follows from the one before, and yet they don't lead to what we wrote.
    if (!this.#unproven) this.#note(1, place.offset)
    this.#refused ||= !this.#unproven
  }

  async #ownHead(place: Mark): Promise<Buffer | undefined> {
    const left = this.#check.segment.sizeBytes - place.offset
    if (left < headerBytes) return undefined
    const header = headerAt(await this.#bytes(place.offset, headerBytes), place)
    if (header === undefined || recordBytes(header) > left) return undefined
    const head = await this.#bytes(place.offset, header.headBytes)
    return chainOf(head, place.chain) === header.chain ? head : undefined
  }

  async #othersHead(place: Mark): Promise<Buffer | undefined> {
    this.#note(1, place.offset)
    const { segment, peers } = this.#check
    const left = segment.sizeBytes - place.offset
    for (const peer of peers) {
      const fixed = await peer(segment.first, place.offset, headerBytes)
      const header = fixed && headerAt(fixed, place)
      const head = header && (await peer(segment.first, place.offset, header.headBytes))
      if (head === undefined || chainOf(head, place.chain) !== head.readBigUInt64LE(0)) continue
      // A file that lost its end while nobody had it open has no room for what stood there.
      if (recordBytes(header!) > left) {
        this.#refused = true
        return undefined
      }
      this.#patches.push({ offset: place.offset, bytes: head })
      this.#unproven = true
      return head
    }
    return undefined
  }

  async #checkPayload({ headBytes, payloadBytes }: Header, head: Buffer, { offset, sequence }: Mark): Promise<void> {
    if (payloadBytes === 0) return
    const at = offset + headBytes
    let wrong = wrongBlocks(head, await this.#bytes(at, payloadBytes), 0)
    if (wrong.length === 0 || sequence > this.#check.committed) return
    this.#note(wrong.length, offset)
    for (const peer of this.#check.peers) {
      const from = wrong[0]! * sumBlockBytes
      const to = Math.min((wrong.at(-1)! + 1) * sumBlockBytes, payloadBytes)
      const copy = await peer(this.#check.segment.first, at + from, to - from)
      if (copy === undefined) continue
      const stillWrong = new Set(wrongBlocks(head, copy, wrong[0]!))
      for (const block of wrong.filter((other) => !stillWrong.has(other))) {
        const start = block * sumBlockBytes
        this.#patches.push({ offset: at + start, bytes: copy.subarray(start - from, start - from + sumBlockBytes) })
      }
      wrong = wrong.filter((block) => stillWrong.has(block))
      if (wrong.length === 0) break
    }
    if (!this.#unproven) this.#write()
  }

  #note(count: number, record: number): void {
    this.#found += count
    this.#check.found(count, record)
  }

  /** Puts the patches in their places. */
  #write(): void {
    this.#demand()
    const { log, segment, repaired } = this.#check
    for (const { offset, bytes } of this.#patches.splice(0)) {
      try {
        log.repair(segment.first, offset, bytes)
      } catch (error) {
        if (!isFailure(error, 'DISK_FAILED', 'NO_SPACE')) throw error
        // Where there is no room there may be some later.
        this.#refused ||= isFailure(error, 'DISK_FAILED')
        continue
      }
      this.#repaired += 1
      repaired(1)
    }
    this.#unproven = false
  }

  /** Bytes of our own file, within the segment; zeros where the disk does not give them. */
  async #bytes(offset: number, length: number): Promise<Buffer> {
    const inWindow = offset - this.#windowAt
    if (inWindow >= 0 && inWindow + length <= this.#window.length)
      return this.#window.subarray(inWindow, inWindow + length)
    const size = Math.min(Math.max(length, windowBytes), this.#check.segment.sizeBytes - offset)
    await this.#check.paced(size)
    this.#demand()
    this.#window = await this.#read(offset, size)
    this.#windowAt = offset
    this.#demand()
    this.#checkedBytes += size
    return this.#window.subarray(0, length)
  }

  async #read(offset: number, size: number): Promise<Buffer> {
    const { log, segment } = this.#check
    const bytes = Buffer.alloc(size)
    try {
      await log.readSegmentLater(segment.first, bytes, offset)
      return bytes
    } catch (error) {
      if (!isFailure(error, 'DISK_FAILED')) throw error
    }
    // Whatever can be read of it.
    for (let at = 0; at < size; at += sectorBytes) {
      const sector = bytes.subarray(at, at + sectorBytes)
      this.#demand()
      try {
        await log.readSegmentLater(segment.first, sector, offset + at)
      } catch (error) {
        if (!isFailure(error, 'DISK_FAILED')) throw error
        sector.fill(0)
      }
    }
    return bytes
  }

  #demand(): void {
    const { log, demand } = this.#check
    demand()
    if (log.cuts !== this.#cuts) throw new Failure('CONFLICT', `the log of container ${log.container} was cut`)
  }
}

/** @returns the header of the record that should stand at `place`. Its chain is not checked. */
function headerAt(bytes: Buffer, place: Mark): Header | undefined {
  try {
    const header = decodeHeader(bytes)
    return header.sequence === place.sequence ? header : undefined
  } catch (error) {
    if (!isFailure(error, 'CORRUPT')) throw error
    return undefined
  }
}

/** @param bytes of the payload, from block `first` on. @returns the blocks that do not have the sum that the head has for them. */
function wrongBlocks(head: Buffer, bytes: Buffer, first: number): number[] {
  const wrong: number[] = []
  for (let i = 0; i < sumCount(bytes.length); i++) {
    const sum = head.readBigUInt64LE(headerBytes + (first + i) * 8)
    if (hash64(bytes.subarray(i * sumBlockBytes, (i + 1) * sumBlockBytes)) !== sum) wrong.push(first + i)
  }
  return wrong
}
