/**
 * The stream of a master's records to one other replica, in one epoch.
 *
 * Driver. New records go out from memory while the replica keeps up; what it could not take then is read from the log,
 * in large pieces, when it can. At most `windowBytes` are on their way. The first failure ends the stream. A resyncing
 * replica is throttled while it takes old records, and joins when a round is over and it lacks little (resync/rounds.ts).
 */
import type { Clock } from '../../protocol/clock.ts'
import { Failure, isFailure } from '../../protocol/failures.ts'
import { type ContainerId, type Epoch, type Sequence, type ServerId, sequence } from '../../protocol/ids.ts'
import { replication } from '../../protocol/messages/replication.ts'
import type { Connection, Payload } from '../../protocol/transport/transport.ts'
import type { Log } from '../log/log.ts'
import { type Piece, Pieces } from '../resync/pieces.ts'
import type { Resyncs, Turn } from '../resync/resyncs.ts'
import { begun, holds, type Rounds, streamed } from '../resync/rounds.ts'
import type { Sizes } from '../resync/sizes.ts'
import type { Event } from './step.ts'

/** A throttled replica may take so many times as long as another to answer. */
const patience = 4

/** What a replica's server has left: `full` when it takes only deletions, nothing at all without room. */
export type Space = { readonly full: boolean; readonly roomBytes: number }

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
  readonly clock: Clock
  readonly resyncs: Resyncs
  readonly sizes: Sizes
  /** It is not in sync, and catches up behind what is written before it joins. */
  readonly resyncing: boolean
  /** Its turn, where it had to wait for one. */
  readonly turn: Turn | undefined
  readonly timeoutMs: number
  readonly committed: () => Sequence
  /** The last record that is written to the log, and not only gathered for it. */
  readonly appended: () => Sequence
  readonly acknowledged: (event: Event & { type: 'acknowledged' }, space: Space) => void
  /** The replica lacks so little that answers may wait for it: from now on it takes what it is pushed. */
  readonly caughtUp: () => void
  readonly failed: (failure: Failure) => void
  /** Our own log cannot be read: the replica is not to blame. */
  readonly damaged: (failure: Failure) => void
}

/** A replica that has nothing to hear is spoken to once in so long. */
const silenceMs = 30_000

export class Sender {
  readonly #stream: Stream
  readonly #pieces: Pieces
  #next: Sequence
  #inFlightBytes = 0
  #reading = false
  /** How it catches up, until it has joined. */
  #rounds: Rounds | undefined
  /** Who has a turn joins once it has answered for this record, and not when that is sent: its server may let us wait. */
  #joinsAt: Sequence | undefined
  /** Asked to make everything durable, once it was all on its way. */
  #asked = false
  #doneBytes = 0
  #unsyncedBytes = 0
  #closed = false
  /** Ends a wait for the throttle. */
  #wake: () => void = () => {}
  #told: Sequence = sequence(0)
  #sentMs = 0
  /** The replica has to make everything durable up to here. */
  #wanted: Sequence = sequence(0)

  /** @param next the first record that the replica lacks. */
  constructor(stream: Stream, next: Sequence) {
    this.#stream = stream
    this.#next = next
    this.#pieces = new Pieces(stream.log, next)
    const gapBytes = this.#pieces.gapBytes()
    if (stream.resyncing && gapBytes > 0) this.#rounds = begun(gapBytes)
    else this.#join()
    stream.turn?.progress.note(0, gapBytes, stream.clock.monotonicMs())
    this.catchUp()
  }

  /** Whether new writes have to wait for the replica, which would never catch up otherwise. */
  get holds(): boolean {
    return this.#rounds?.pace === 'holding' && holds(this.#rounds, this.#pieces.gapBytes())
  }

  /** Sends a batch that was just appended to the log, unless earlier records must go first. */
  push(batch: Batch): void {
    if (this.#closed) return
    if (this.#next === batch.first && this.#inFlightBytes <= this.#stream.sizes.windowBytes) {
      this.#send(batch, batch.durable, () => {})
    } else {
      if (batch.durable) this.#wanted = batch.last
      if (batch.durable && this.#next > batch.last) this.nudge(true)
      else this.catchUp()
    }
  }

  /**
   * Asks the replica to make everything durable, or with `durable` unset tells it what is committed if it doesn't know: or if
   * it has not been spoken to for long, as it may have stopped.
   */
  nudge(durable: boolean): void {
    const { clock, committed } = this.#stream
    const knows = this.#told >= committed() && clock.monotonicMs() - this.#sentMs < silenceMs
    if (this.#closed || (!durable && knows)) return
    // What is in the log but not on its way yet is meant too.
    if (durable) this.#wanted = this.#stream.appended()
    const nothing = { first: this.#next, last: sequence(this.#next - 1), payload: [], bytes: 0 }
    this.#send(nothing, durable, () => {})
  }

  close(): void {
    this.#closed = true
    this.#stream.turn?.end()
    this.#wake()
  }

  /** Sends what is new in the log, as far as the window allows. */
  catchUp(): void {
    if (this.#closed || this.#reading) return
    if (this.#next <= this.#stream.appended()) void this.#pump()
    else this.#end()
  }

  async #pump(): Promise<void> {
    const { appended, sizes } = this.#stream
    this.#reading = true
    try {
      if (this.#pieces.next !== this.#next) this.#pieces.skip(sequence(this.#next - 1))
      while (!this.#closed && this.#next <= appended()) {
        if (this.#inFlightBytes > (this.#throttled ? sizes.slowWindowBytes : sizes.windowBytes)) return
        const piece = await this.#pieces.read(appended(), sizes.pieceBytes)
        if (this.#throttled) await this.#wait(piece.bytes)
        if (!this.#closed) this.#sendPiece(piece)
      }
    } catch (error) {
      this.#unreadable(error)
    } finally {
      this.#reading = false
    }
    if (!this.#closed) this.#end()
  }

  get #throttled(): boolean {
    return this.#rounds?.pace === 'throttled'
  }

  #wait(bytes: number): Promise<void> {
    const { clock, resyncs } = this.#stream
    const waitMs = resyncs.sends(bytes)
    if (waitMs <= 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#wake = resolve
      void clock.after(waitMs, resolve)
    })
  }

  #sendPiece(piece: Piece): void {
    const { first, last, bytes } = piece
    const { turn, clock, sizes } = this.#stream
    this.#unsyncedBytes += bytes
    this.#send(piece, first <= this.#wanted && this.#wanted <= last, piece.release, this.#throttled)
    // Apart from the records, whose answers make room for the next ones.
    if (this.#unsyncedBytes >= sizes.syncBytes) {
      this.#unsyncedBytes = 0
      this.nudge(true)
    }
    if (this.#rounds === undefined) return
    const gapBytes = this.#pieces.gapBytes()
    this.#doneBytes += bytes
    turn?.progress.note(this.#doneBytes, this.#doneBytes + gapBytes, clock.monotonicMs())
    const roundIsOver = gapBytes === 0 || this.#rounds.leftBytes <= bytes
    this.#rounds = streamed(this.#rounds, bytes, gapBytes)
    if (!roundIsOver || gapBytes > sizes.joinBytes) return
    if (this.#throttled && turn !== undefined) this.#joinsAt ??= last
    else this.#join()
  }

  /** The replica has let records up to `last` pass. */
  #answered(last: Sequence): void {
    if (this.#joinsAt === undefined || last < this.#joinsAt) return
    this.#joinsAt = undefined
    try {
      if (this.#rounds !== undefined && this.#pieces.gapBytes() <= this.#stream.sizes.joinBytes) this.#join()
    } catch (error) {
      this.#unreadable(error)
    }
  }

  #join(): void {
    this.#rounds = undefined
    this.#stream.turn?.end()
    this.#stream.caughtUp()
    // Answers wait for it from now on.
    this.#wake()
  }

  /** Everything is on its way. */
  #end(): void {
    if (this.#asked || this.#rounds !== undefined || this.#next <= this.#stream.appended()) return
    this.#asked = true
    this.nudge(true)
  }

  #send(batch: Omit<Batch, 'durable'>, durable: boolean, release: () => void, resync = false): void {
    const { connection, container, epoch, server, timeoutMs } = this.#stream
    const { first, last, payload, bytes } = batch
    const committed = this.#stream.committed()
    this.#next = sequence(last + 1)
    this.#told = committed
    this.#sentMs = this.#stream.clock.monotonicMs()
    this.#inFlightBytes += bytes
    const request = { container, epoch, first, committed, durable, resync }
    const options = { payload, timeoutMs: resync ? timeoutMs * patience : timeoutMs }
    connection.call(replication.calls.append, request, options).then(
      ({ reply }) => {
        this.#inFlightBytes -= bytes
        release()
        if (this.#closed) return
        const { appended, full, roomBytes } = reply
        if (resync) this.#answered(last)
        if (this.#closed) return
        const acknowledged = { type: 'acknowledged' as const, epoch, server, appended, durable: reply.durable }
        this.#stream.acknowledged(acknowledged, { full, roomBytes })
        // It was asked before it had what went out earlier: a message that came twice overtook that.
        if (durable && reply.durable < last) this.nudge(true)
        this.catchUp()
      },
      (error) => this.#refused(error, batch),
    )
  }

  /** Records went out unchecked: where they are refused, it is seen whether they are whole here. */
  #refused(error: unknown, { first, last }: Omit<Batch, 'durable'>): void {
    if (this.#closed) return
    if (isFailure(error, 'CORRUPT', 'BAD_MESSAGE')) {
      try {
        for (let at = first; at <= last; ) {
          const read = this.#stream.log.read(at, this.#stream.sizes.pieceBytes)
          if (read === undefined) break
          at = sequence(read.last + 1)
        }
      } catch (unreadable) {
        this.#unreadable(unreadable)
      }
    }
    this.#fail(error instanceof Failure ? error : new Failure('INTERNAL', String(error), { cause: error }))
  }

  #unreadable(error: unknown): void {
    if (this.#closed) return
    if (isFailure(error, 'CORRUPT', 'DISK_FAILED')) {
      this.close()
      this.#stream.damaged(error)
    } else this.#fail(error instanceof Failure ? error : new Failure('INTERNAL', String(error), { cause: error }))
  }

  #fail(failure: Failure): void {
    if (this.#closed) return
    this.close()
    this.#stream.failed(failure)
  }
}
