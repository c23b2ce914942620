/**
 * The stream of a master's records to one other replica, in one epoch.
 *
 * Driver. New records go out from memory while the replica keeps up; what it could not take then is read from the log
 * when it can. At most `windowBytes` are on their way. The first failure ends the stream.
 */
import { Failure } from '../../protocol/failures.ts'
import { type ContainerId, type Epoch, type Sequence, type ServerId, sequence } from '../../protocol/ids.ts'
import { replication } from '../../protocol/messages/replication.ts'
import type { Connection, Payload } from '../../protocol/transport/transport.ts'
import type { Log } from '../log/log.ts'
import type { Event } from './step.ts'

const windowBytes = 16 * 1024 * 1024
const readBytes = 1024 * 1024

/** Consecutive records, as they are in the log. */
export type Batch = {
  readonly first: Sequence
  readonly last: Sequence
  readonly payload: Payload
  readonly bytes: number
  readonly durable: boolean
}

export type Stream = {
  readonly container: ContainerId
  readonly epoch: Epoch
  readonly server: ServerId
  readonly connection: Connection
  readonly log: Log
  readonly timeoutMs: number
  readonly committed: () => Sequence
  /** The last record that is written to the log, and not only gathered for it. */
  readonly appended: () => Sequence
  /** `full`: the replica has no room for more than deletions. */
  readonly acknowledged: (event: Event & { type: 'acknowledged' }, full: boolean) => void
  /** Nothing is left to read: from now on the replica takes what it is pushed. */
  readonly caughtUp: () => void
  readonly failed: (failure: Failure) => void
  /** Our own log cannot be read: the replica is not to blame. */
  readonly damaged: (failure: Failure) => void
}

export class Sender {
  readonly #stream: Stream
  #next: Sequence
  #inFlightBytes = 0
  #caughtUp = false
  #closed = false
  #told: Sequence = sequence(0)
  /** The replica has to make everything durable up to here. */
  #wanted: Sequence = sequence(0)

  /** @param next the first record that the replica lacks. */
  constructor(stream: Stream, next: Sequence) {
    this.#stream = stream
    this.#next = next
    this.catchUp()
  }

  /** Sends a batch that was just appended to the log, unless earlier records must go first. */
  push(batch: Batch): void {
    if (this.#closed) return
    if (this.#next === batch.first && this.#inFlightBytes <= windowBytes) {
      this.#send(batch.first, batch.last, batch.payload, batch.bytes, batch.durable)
    } else if (batch.durable) {
      this.#wanted = batch.last
      if (this.#next > batch.last) this.nudge(true)
    }
  }

  /** Asks the replica to make everything durable, or with `durable` unset tells it what is committed if it doesn't know. */
  nudge(durable: boolean): void {
    if (this.#closed || (!durable && this.#told >= this.#stream.committed())) return
    this.#send(this.#next, sequence(this.#next - 1), [], 0, durable)
  }

  close(): void {
    this.#closed = true
  }

  /** Sends what is new in the log, as far as the window allows. */
  catchUp(): void {
    const { log, appended } = this.#stream
    try {
      while (!this.#closed && this.#next <= appended() && this.#inFlightBytes <= windowBytes) {
        const read = log.read(this.#next, readBytes)
        if (read === undefined) throw new Failure('NOT_FOUND', `the log no longer reaches back to ${this.#next}`)
        const durable = this.#next <= this.#wanted && this.#wanted <= read.last
        this.#send(this.#next, read.last, read.payload, read.payload[0]!.length, durable)
      }
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      if (error.failure === 'CORRUPT') {
        this.#closed = true
        this.#stream.damaged(error)
      } else this.#fail(error)
    }
    if (this.#closed || this.#caughtUp || this.#next <= appended()) return
    this.#caughtUp = true
    this.nudge(true)
    this.#stream.caughtUp()
  }

  #send(first: Sequence, last: Sequence, payload: Payload, bytes: number, durable: boolean): void {
    const { connection, container, epoch, server, timeoutMs } = this.#stream
    const committed = this.#stream.committed()
    this.#next = sequence(last + 1)
    this.#told = committed
    this.#inFlightBytes += bytes
    const request = { container, epoch, first, committed, durable }
    connection.call(replication.calls.append, request, { payload, timeoutMs }).then(
      ({ reply }) => {
        this.#inFlightBytes -= bytes
        if (this.#closed) return
        const { appended, durable, full } = reply
        this.#stream.acknowledged({ type: 'acknowledged', epoch, server, appended, durable }, full)
        this.catchUp()
      },
      (error) =>
        this.#fail(error instanceof Failure ? error : new Failure('INTERNAL', String(error), { cause: error })),
    )
  }

  #fail(failure: Failure): void {
    if (this.#closed) return
    this.#closed = true
    this.#stream.failed(failure)
  }
}
