/**
 * Streams over an open file: read-ahead in front of the reader, pipelined writes behind the writer.
 *
 * Bytes pass as the buffers that the network delivered or the program gave; none are copied together. A writer must
 * leave a buffer alone once it has been given to the stream, until the stream has finished.
 */
import { Readable, Writable } from 'node:stream'
import { Cursor } from '../../protocol/bytes.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import type { Read } from '../operations.ts'
import { inFlightMax, pieceBytes } from './transfer.ts'

/** What a stream needs of a `FileHandle`. */
export type Source = {
  readonly readPayload: (position: number, length: number) => Promise<Read>
  readonly sizeBytes: number
  readonly close: () => Promise<void>
}
export type Sink = {
  readonly writev: (buffers: readonly Uint8Array[], position: number | null) => Promise<unknown>
  readonly sync: () => Promise<void>
  readonly close: () => Promise<void>
}

export type ReadStreamOptions = {
  /** First byte to read; 0 unless told. */
  readonly start?: number
  /** Last byte to read, inclusive; the file's end unless told. */
  readonly end?: number
  readonly encoding?: BufferEncoding
  /** Closes the handle at the end (true unless told). */
  readonly autoClose?: boolean
  readonly signal?: AbortSignal
}

export type WriteStreamOptions = {
  /** Where the first byte goes; 0 unless told, or the file's end when it was opened for appending. */
  readonly start?: number
  readonly encoding?: BufferEncoding
  /** Closes the handle at the end (true unless told). */
  readonly autoClose?: boolean
  /** Syncs before it finishes, so that 'finish' means durable. */
  readonly flush?: boolean
  readonly signal?: AbortSignal
}

const signalOf = ({ signal }: { readonly signal?: AbortSignal }): { readonly signal?: AbortSignal } =>
  signal === undefined ? {} : { signal }

const nothingLeft: Read = { payload: [], end: true }

export class ReadStream extends Readable {
  bytesRead = 0
  readonly #open: () => Promise<Source>
  readonly #autoClose: boolean
  readonly #last: number
  #source: Source | undefined
  /** Where the next piece to be asked for begins. */
  #next: number
  #ahead: Promise<Read>[] = []
  /** Grows with each piece that was read, so that who wants little costs little. */
  #window = 2
  #delivering = false
  /** The reader asked for more while a piece was on its way to it. */
  #wanted = false

  constructor(open: () => Promise<Source>, options: ReadStreamOptions = {}) {
    const { start = 0, end = Number.MAX_SAFE_INTEGER, encoding, autoClose = true } = options
    super({ highWaterMark: pieceBytes, ...(encoding === undefined ? {} : { encoding }), ...signalOf(options) })
    this.#open = open
    this.#next = start
    this.#last = end
    this.#autoClose = autoClose
  }

  override _construct(callback: (error?: Error | null) => void): void {
    this.#open().then((source) => {
      this.#source = source
      callback()
    }, callback)
  }

  override _read(): void {
    this.#wanted = true
    if (!this.#delivering) this.#deliver().catch((error: Error) => this.destroy(error))
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#ahead = []
    if (this.#source === undefined || !this.#autoClose) callback(error)
    else
      this.#source.close().then(
        () => callback(error),
        (failure: Error) => callback(error ?? failure),
      )
  }

  async #deliver(): Promise<void> {
    this.#delivering = true
    do {
      this.#wanted = false
      this.#readAhead()
      const { payload, end } = await (this.#ahead.shift() ?? nothingLeft)
      this.#window = Math.min(this.#window + 1, inFlightMax)
      for (const bytes of payload) {
        this.bytesRead += bytes.length
        if (bytes.length > 0) this.#wanted = this.push(bytes) || this.#wanted
      }
      if (end) {
        this.push(null)
        return
      }
    } while (this.#wanted && !this.destroyed)
    this.#delivering = false
  }

  /** Up to the size that was last seen; beyond it one piece at a time, until a read says that the file ends. */
  #readAhead(): void {
    const source = this.#source!
    while (this.#next <= this.#last && this.#ahead.length < (this.#next < source.sizeBytes ? this.#window : 1)) {
      const length = Math.min(pieceBytes - (this.#next % pieceBytes), this.#last - this.#next + 1)
      const piece = source.readPayload(this.#next, length)
      // Looked at when its turn comes; until then its failure is nobody's.
      piece.catch(() => {})
      this.#ahead.push(piece)
      this.#next += length
    }
  }
}

export class WriteStream extends Writable {
  bytesWritten = 0
  readonly #open: () => Promise<Sink>
  readonly #autoClose: boolean
  readonly #flush: boolean
  #sink: Sink | undefined
  /** Where the next piece goes; null: the end of a file that was opened for appending. */
  #position: number | null
  #pieces: Payload = []
  #gathered = 0
  #inFlight = 0
  #failure: Error | undefined
  /** Called when a piece has been written, or has failed. */
  #settled: (() => void) | undefined

  /** `append`: pieces go to the file's end in their order, wherever that is. */
  constructor(open: () => Promise<Sink>, append: boolean, options: WriteStreamOptions = {}) {
    const { start = 0, encoding, autoClose = true, flush = false } = options
    super({
      highWaterMark: pieceBytes,
      ...(encoding === undefined ? {} : { defaultEncoding: encoding }),
      ...signalOf(options),
    })
    this.#open = open
    this.#position = append ? null : start
    this.#autoClose = autoClose
    this.#flush = flush
  }

  override _construct(callback: (error?: Error | null) => void): void {
    this.#open().then((sink) => {
      this.#sink = sink
      callback()
    }, callback)
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#gather([bytes], bytes.length, callback)
  }

  override _writev(writes: readonly { readonly chunk: Buffer }[], callback: (error?: Error | null) => void): void {
    let length = 0
    for (const { chunk } of writes) length += chunk.length
    this.#gather(
      writes.map(({ chunk }) => chunk),
      length,
      callback,
    )
  }

  override _final(callback: (error?: Error | null) => void): void {
    if (this.#gathered > 0) this.#send(this.#pieces, this.#gathered)
    this.#whenAtMost(0, (error) => {
      if (error !== undefined || !this.#flush) callback(error)
      else this.#sink!.sync().then(() => callback(), callback)
    })
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (this.#sink === undefined || !this.#autoClose) callback(error)
    else
      this.#sink.close().then(
        () => callback(error),
        (failure: Error) => callback(error ?? failure),
      )
  }

  /** Sends what makes whole pieces, then takes more as soon as the window allows. */
  #gather(bytes: Payload, length: number, callback: (error?: Error) => void): void {
    this.#pieces = [...this.#pieces, ...bytes]
    this.#gathered += length
    const cursor = new Cursor(this.#pieces)
    for (let size = this.#pieceSize(); cursor.left >= size; size = this.#pieceSize())
      this.#send(cursor.take(size), size)
    this.#gathered = cursor.left
    this.#pieces = cursor.take(cursor.left)
    this.#whenAtMost(inFlightMax - 1, callback)
  }

  #pieceSize(): number {
    return this.#position === null ? pieceBytes : pieceBytes - (this.#position % pieceBytes)
  }

  #send(payload: Payload, length: number): void {
    const position = this.#position
    if (this.#position !== null) this.#position += length
    this.#inFlight += 1
    this.#sink!.writev(payload, position)
      .then(
        () => {
          this.bytesWritten += length
        },
        (error: Error) => {
          this.#failure ??= error
        },
      )
      .finally(() => {
        this.#inFlight -= 1
        this.#settled?.()
      })
  }

  #whenAtMost(inFlight: number, callback: (error?: Error) => void): void {
    if (this.#failure === undefined && this.#inFlight > inFlight) {
      this.#settled = () => this.#whenAtMost(inFlight, callback)
      return
    }
    this.#settled = undefined
    callback(this.#failure)
  }
}
