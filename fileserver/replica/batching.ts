/**
 * Group commit: gathers a master's records into batches for the log and for the other replicas.
 *
 * Driver of nothing but its own queue. While a batch with stable records is on its way to being committed, later ones
 * gather; so each sync serves as many as came during the one before. Unstable batches and large ones do not wait.
 */
import { compacted } from '../../protocol/bytes.ts'
import { type Sequence, sequence } from '../../protocol/ids.ts'
import { appendBytesMax } from '../../protocol/messages/replication.ts'
import type { Entry } from '../log/find.ts'
import type { Batch } from './sender.ts'

/** A batch that has grown to this size goes, whatever is on its way. */
const largeBytes = 256 * 1024

type Gathered = { first: Sequence; last: Sequence; payload: Uint8Array[]; bytes: number; durable: boolean }

export class Batching {
  readonly #soon: (run: () => void) => void
  readonly #write: () => void
  readonly #held: () => boolean
  #batches: Gathered[] = []
  #bytes = 0
  #durable = false
  #scheduled = false
  /** The last record of a stable batch that is not committed yet; 0 when there is none. */
  #awaited: Sequence = sequence(0)

  /**
   * @param write takes what is gathered.
   * @param held whether nothing may be written now: `resume` is called when that may be over.
   */
  constructor(soon: (run: () => void) => void, write: () => void, held: () => boolean) {
    this.#soon = soon
    this.#write = write
    this.#held = held
  }

  add(entry: Entry, bytes: number): void {
    const { sequence: at, stable } = entry.header
    let batch = this.#batches.at(-1)
    if (batch === undefined || batch.bytes + bytes > appendBytesMax) {
      batch = { first: at, last: at, payload: [], bytes: 0, durable: false }
      this.#batches.push(batch)
    }
    batch.payload.push(entry.head, ...entry.payload)
    batch.last = at
    batch.bytes += bytes
    batch.durable ||= stable
    this.#bytes += bytes
    this.#durable ||= stable
    this.#schedule()
  }

  /** @returns everything gathered, in order. */
  take(): readonly Batch[] {
    const batches = this.#batches
    for (const batch of batches) if (batch.durable) this.#awaited = batch.last
    this.#clear()
    return batches.map((batch) => ({ ...batch, payload: compacted(batch.payload) }))
  }

  /** Forgets what is gathered and what is awaited: a new epoch's streams begin from the log. */
  restart(): void {
    this.#clear()
    this.#awaited = sequence(0)
  }

  resume(): void {
    if (this.#batches.length > 0) this.#schedule()
  }

  #clear(): void {
    this.#batches = []
    this.#bytes = 0
    this.#durable = false
  }

  committed(to: Sequence): void {
    if (this.#awaited === 0 || to < this.#awaited) return
    this.#awaited = sequence(0)
    this.resume()
  }

  #schedule(): void {
    const waits = this.#awaited > 0 && this.#durable && this.#bytes < largeBytes
    if (this.#scheduled || waits || this.#held()) return
    this.#scheduled = true
    this.#soon(() => {
      this.#scheduled = false
      if (this.#batches.length > 0) this.#write()
    })
  }
}
