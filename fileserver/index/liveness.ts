/**
 * What of each segment is still live: a segment of which nothing is can be dropped.
 *
 * Pure state. A put is live until its key is put or deleted again; payload bytes are live while an extent names them.
 * A deletion (of a key, or of a run of bytes) must stay as long as any older segment does: rebuilding the index from
 * the log would bring back what that segment still holds. A segment that was dropped is remembered until its file is gone.
 */
import { type Sequence, sequence } from '../../protocol/ids.ts'

type Live = { keys: number; bytes: number; deletions: number }

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
      const [keys, live, deletions] = [0, 8, 16].map((at) => Number(bytes.readBigInt64LE(at)))
      this.#segments.set(segment, { keys: keys!, bytes: live!, deletions: deletions! })
    }
  }

  add(segment: Sequence, keys: number, bytes: number, deletions: number): void {
    let live = this.#segments.get(segment)
    if (live === undefined) {
      live = { keys: 0, bytes: 0, deletions: 0 }
      this.#segments.set(segment, live)
    }
    live.keys += keys
    live.bytes += bytes
    live.deletions += deletions
    this.#changed.add(segment)
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
      const value = Buffer.alloc(24)
      value.writeBigInt64LE(BigInt(live.keys), 0)
      value.writeBigInt64LE(BigInt(live.bytes), 8)
      value.writeBigInt64LE(BigInt(live.deletions), 16)
      return { segment, value }
    })
    this.#changed.clear()
    return changed
  }

  /** Segments that the state needs. */
  live(): Sequence[] {
    return [...this.#segments].filter(([, { keys, bytes }]) => keys > 0 || bytes > 0).map(([segment]) => segment)
  }

  /** @param sealed the log's sealed segments, oldest first. @returns the first of them that can be dropped. */
  dead(sealed: readonly Sequence[]): Sequence | undefined {
    return sealed.find((segment, i) => {
      const live = this.#segments.get(segment)
      return live === undefined || (live.keys === 0 && live.bytes === 0 && (live.deletions === 0 || i === 0))
    })
  }
}

/** @returns the segment of a stored key's last 14 digits. */
export const segmentOfKey = (key: Uint8Array): Sequence =>
  sequence(Number.parseInt(Buffer.from(key).subarray(-14).toString('latin1'), 16))
