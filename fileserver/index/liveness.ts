/**
 * How much of each segment is live: what cleaning chooses by (cleaning/live.ts says what is live).
 *
 * Pure state, exact: a segment without live bytes holds nothing that the state needs, but for the calls of clients and for
 * deletions, which are needed as long as an older segment is there. It follows from the records that are in the log
 * alone, so an index made anew from them counts the same. A segment that was dropped is remembered until its file is gone.
 */
import { type Sequence, sequence } from '../../protocol/ids.ts'

/** Live puts and runs of file bytes, with what they take in a record; and all deletions. */
type Live = { liveBytes: number; deletionBytes: number }
const none: Readonly<Live> = { liveBytes: 0, deletionBytes: 0 }

export class Liveness {
  readonly #segments = new Map<Sequence, Live>()
  readonly #changed = new Set<Sequence>()
  readonly #dropped = new Set<Sequence>()

  /** @param stored values that `changed` gave, by segment. */
  constructor(stored: Iterable<readonly [Sequence, Uint8Array]>) {
    for (const [segment, value] of stored) {
      if (value.length === 0) {
        this.#dropped.add(segment)
        continue
      }
      const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
      const [liveBytes, deletionBytes] = [0, 8].map((at) => Number(bytes.readBigInt64LE(at)))
      this.#segments.set(segment, { liveBytes: liveBytes!, deletionBytes: deletionBytes! })
    }
  }

  add(segment: Sequence, liveBytes: number, deletionBytes: number): void {
    let live = this.#segments.get(segment)
    if (live === undefined) {
      live = { ...none }
      this.#segments.set(segment, live)
    }
    live.liveBytes += liveBytes
    live.deletionBytes += deletionBytes
    this.#changed.add(segment)
  }

  of(segment: Sequence): Readonly<Live> {
    return this.#segments.get(segment) ?? none
  }

  drop(segment: Sequence): void {
    this.#segments.delete(segment)
    this.#dropped.add(segment)
    this.#changed.add(segment)
  }

  /** Segments that were dropped, and whose files may be there still: the process may have ended in between. */
  dropped(): Sequence[] {
    return [...this.#dropped]
  }

  /** The file of a dropped segment is gone, durably. */
  gone(segment: Sequence): void {
    this.#dropped.delete(segment)
    this.#changed.add(segment)
  }

  /** @returns what has to be stored since the last call: an empty value for a dropped segment, none when its file is gone. */
  changed(): { segment: Sequence; value: Uint8Array | undefined }[] {
    const changed = [...this.#changed].map((segment) => {
      const live = this.#segments.get(segment)
      if (live === undefined) return { segment, value: this.#dropped.has(segment) ? Buffer.alloc(0) : undefined }
      const value = Buffer.alloc(16)
      value.writeBigInt64LE(BigInt(live.liveBytes), 0)
      value.writeBigInt64LE(BigInt(live.deletionBytes), 8)
      return { segment, value }
    })
    this.#changed.clear()
    return changed
  }

  /** Segments that the state needs. */
  live(): Sequence[] {
    return [...this.#segments].filter(([, { liveBytes }]) => liveBytes > 0).map(([segment]) => segment)
  }
}

/** @returns the segment of a stored key's last 14 digits. */
export const segmentOfKey = (key: Uint8Array): Sequence =>
  sequence(Number.parseInt(Buffer.from(key).subarray(-14).toString('latin1'), 16))
