/**
 * An open file, in the shape of Node.js's `fs.promises.FileHandle`.
 *
 * A write is answered when every reader sees it and every in-sync replica holds it; it is durable after `sync` or
 * `datasync`. The handle keeps the tokens of what is not yet durable. Permissions are checked once, at `open`.
 */
import { Cursor } from '../../protocol/bytes.ts'
import { Failure, isFailure } from '../../protocol/failures.ts'
import type { Fid } from '../../protocol/ids.ts'
import { type Attributes, type Changes, inlineBytesMax, type Token } from '../../protocol/messages/attributes.ts'
import { type Payload, payloadBytes } from '../../protocol/transport/transport.ts'
import { changes, modeOf, ownerOf, type TimeLike, timeOf } from '../filesystem/changes.ts'
import type { Flags } from '../filesystem/flags.ts'
import type { Path } from '../filesystem/paths.ts'
import type { Session } from '../filesystem/session.ts'
import { Stats } from '../filesystem/stats.ts'
import type { Read, Written } from '../operations.ts'
import { type Data, type Encoding, encodingOf, piecesOfData, slice } from './data.ts'
import {
  ReadStream,
  type ReadStreamOptions,
  type Sink,
  type Source,
  WriteStream,
  type WriteStreamOptions,
} from './streams.ts'
import { inFlightMax, pieceBytes, piecesOf, pipelined, readInto, readToEnd } from './transfer.ts'
import { Unsynced } from './unsynced.ts'

export type ReadOptions = {
  readonly buffer?: Uint8Array
  readonly offset?: number | null
  readonly length?: number | null
  readonly position?: number | null
}
export type WriteOptions = Omit<ReadOptions, 'buffer'>
export type BytesRead = { readonly bytesRead: number; readonly buffer: Uint8Array }
export type BytesWritten<B> = { readonly bytesWritten: number; readonly buffer: B }

const defaultReadBytes = 16 * 1024
let lastNumber = 2

export class FileHandle implements Source, Sink {
  /** A number among this process's handles; no file descriptor of the operating system. */
  readonly fd = ++lastNumber
  readonly fid: Fid
  readonly path: Path
  readonly #session: Session
  readonly #flags: Flags
  #sizeBytes: number
  #position = 0
  /** Reads at the current position run one after another. */
  #reads: Promise<unknown> = Promise.resolve()
  readonly #writes = new Set<Promise<void>>()
  readonly #unsynced = new Unsynced()
  #syncing: { readonly tokens: readonly Token[]; readonly done: Promise<void> } | undefined
  #closed = false

  constructor(session: Session, path: Path, attributes: Attributes, flags: Flags) {
    this.#session = session
    this.path = path
    this.fid = attributes.fid
    this.#sizeBytes = attributes.sizeBytes
    this.#flags = flags
  }

  /** The file's size when this handle last saw it. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Reads into `buffer` (a new one of 16 KiB unless given); at the current position, which moves, unless `position` is given. */
  read(buffer: Uint8Array, offset?: number | null, length?: number | null, position?: number | null): Promise<BytesRead>
  read(buffer: Uint8Array, options?: ReadOptions): Promise<BytesRead>
  read(options?: ReadOptions): Promise<BytesRead>
  read(
    first: Uint8Array | ReadOptions = {},
    second?: number | ReadOptions | null,
    length?: number | null,
    position?: number | null,
  ): Promise<BytesRead> {
    if (first instanceof Uint8Array)
      return typeof second === 'object' && second !== null
        ? this.#read(first, second.offset, second.length, second.position)
        : this.#read(first, second, length, position)
    return this.#read(first.buffer ?? Buffer.alloc(defaultReadBytes), first.offset, first.length, first.position)
  }

  async #read(
    buffer: Uint8Array,
    offset?: number | null,
    length?: number | null,
    position?: number | null,
  ): Promise<BytesRead> {
    this.#check('read')
    const start = offset ?? 0
    const target = slice(buffer, start, length ?? buffer.length - start)
    const bytesRead = typeof position === 'number' ? await this.#readAt(target, position) : await this.#readOn(target)
    return { bytesRead, buffer }
  }

  #readAt(target: Uint8Array, position: number): Promise<number> {
    return readInto(this.#session.operations, this.fid, target, position)
  }

  async #readOn(target: Uint8Array): Promise<number> {
    const read = async (): Promise<number> => {
      const got = await this.#readAt(target, this.#position)
      this.#position += got
      return got
    }
    const mine = this.#reads.then(read, read)
    this.#reads = mine
    return await mine
  }

  /** Bytes as the buffers in which they arrived, without a copy; short at the file's end. At most `payloadBytesMax`. */
  async readPayload(position: number, length: number): Promise<Read> {
    this.#check('read')
    return await this.#session.operations.read(this.fid, position, length)
  }

  async readFile(options: { readonly encoding: BufferEncoding } | BufferEncoding): Promise<string>
  async readFile(options?: { readonly encoding?: null } | null): Promise<Buffer>
  async readFile(options?: Encoding): Promise<string | Buffer>
  async readFile(options?: Encoding): Promise<string | Buffer> {
    this.#check('read')
    const encoding = encodingOf(options)
    const { operations } = this.#session
    const bytes = await readToEnd(operations, this.fid, this.#position, this.#sizeBytes)
    this.#position += bytes.length
    return encoding === undefined ? bytes : bytes.toString(encoding)
  }

  /** At the current position, which moves, unless `position` is given; at the file's end when opened for appending. */
  write(
    buffer: Uint8Array,
    offset?: number | null,
    length?: number | null,
    position?: number | null,
  ): Promise<BytesWritten<Uint8Array>>
  write(buffer: Uint8Array, options?: WriteOptions): Promise<BytesWritten<Uint8Array>>
  write(text: string, position?: number | null, encoding?: BufferEncoding | null): Promise<BytesWritten<string>>
  async write(
    data: Uint8Array | string,
    second?: number | WriteOptions | null,
    third?: number | BufferEncoding | null,
    position?: number | null,
  ): Promise<BytesWritten<Uint8Array | string>> {
    let bytes: Uint8Array
    let at: number | null | undefined
    if (typeof data === 'string') {
      bytes = Buffer.from(data, (third as BufferEncoding | null | undefined) ?? 'utf8')
      at = second as number | null | undefined
    } else {
      const options =
        typeof second === 'object' && second !== null
          ? second
          : { offset: second, length: third as number | null | undefined, position }
      const start = options.offset ?? 0
      bytes = slice(data, start, options.length ?? data.length - start)
      at = options.position
    }
    await this.#write([bytes], bytes.length, at ?? null)
    return { bytesWritten: bytes.length, buffer: data }
  }

  /** Writes the buffers one behind the other. */
  async writev(
    buffers: readonly Uint8Array[],
    position?: number | null,
  ): Promise<{ readonly bytesWritten: number; readonly buffers: readonly Uint8Array[] }> {
    const bytesWritten = payloadBytes(buffers)
    await this.#write(buffers, bytesWritten, position ?? null)
    return { bytesWritten, buffers }
  }

  /** Writes at the current position, all in order. */
  async writeFile(data: Data, options?: Encoding): Promise<void> {
    const encoding = encodingOf(options) ?? 'utf8'
    for await (const piece of piecesOfData(data)) {
      const bytes = typeof piece === 'string' ? Buffer.from(piece, encoding) : piece
      await this.#write([bytes], bytes.length, null)
    }
  }

  appendFile(data: Data, options?: Encoding): Promise<void> {
    return this.writeFile(data, options)
  }

  async #write(payload: Payload, length: number, position: number | null): Promise<void> {
    this.#check('write')
    const running = this.#flags.append ? this.#append(payload, length) : this.#put(payload, length, position)
    this.#writes.add(running)
    try {
      await running
    } finally {
      this.#writes.delete(running)
    }
  }

  #append(payload: Payload, length: number): Promise<void> {
    const { operations, appends } = this.#session
    return appends.run(this.fid, async () => {
      const { sizeBytes } = await operations.getattr(this.fid)
      await this.#put(payload, length, sizeBytes)
      this.#position = sizeBytes + length
    })
  }

  async #put(payload: Payload, length: number, position: number | null): Promise<void> {
    const offset = position ?? this.#position
    if (position === null) this.#position += length
    if (length <= pieceBytes) {
      this.#note(offset, await this.#session.operations.write(this.fid, offset, payload, this.#flags.sync))
      return
    }
    const pieces = piecesOf(offset, length)
    const cursor = new Cursor(payload)
    await pipelined(pieces.length, inFlightMax, async (index) => {
      const { start, length } = pieces[index]!
      const piece = cursor.take(length)
      this.#note(
        offset + start,
        await this.#session.operations.write(this.fid, offset + start, piece, this.#flags.sync),
      )
    })
  }

  #note(offset: number, { before, attributes, tokens }: Written): void {
    this.#sizeBytes = attributes.sizeBytes
    const inPlace = offset >= inlineBytesMax && before.sizeBytes === attributes.sizeBytes
    // In place and beyond the inline bytes, the name container got nothing but new times.
    for (const token of tokens) this.#unsynced.add(token, inPlace && token.container === this.fid.container)
  }

  /** Makes all acknowledged writes durable, the file's times included. Failure UNSYNCED_LOST: a crash took some; write them again. */
  async sync(): Promise<void> {
    await this.#sync(this.#unsynced.all())
  }

  /** As `sync`, but for times that no bytes depend on. */
  async datasync(): Promise<void> {
    await this.#sync(this.#unsynced.bytes())
  }

  /** A token stays until a sync of it has succeeded, so that every caller waits for what it wrote. */
  async #sync(tokens: readonly Token[]): Promise<void> {
    this.#check('sync')
    if (tokens.length === 0) return
    const running = this.#syncing
    if (running !== undefined && tokens.every((token) => running.tokens.includes(token))) return await running.done
    const mine = { tokens, done: this.#syncTokens(tokens) }
    this.#syncing = mine
    try {
      await mine.done
    } finally {
      if (this.#syncing === mine) this.#syncing = undefined
    }
  }

  async #syncTokens(tokens: readonly Token[]): Promise<void> {
    try {
      await this.#session.operations.sync(tokens)
    } catch (error) {
      if (!isFailure(error, 'UNSYNCED_LOST')) throw error
      this.#unsynced.drop(tokens)
      throw error
    }
    this.#unsynced.drop(tokens)
  }

  async stat(): Promise<Stats> {
    this.#check('stat')
    const attributes = await this.#session.operations.getattr(this.fid)
    this.#sizeBytes = attributes.sizeBytes
    return new Stats(attributes)
  }

  async truncate(length = 0): Promise<void> {
    this.#check('write')
    await Promise.allSettled(this.#writes)
    await this.#set({ sizeBytes: Math.max(0, length) })
    this.#sizeBytes = length
  }

  async chmod(mode: number | string): Promise<void> {
    await this.#set({ mode: modeOf(mode) })
  }

  async chown(uid: number, gid: number): Promise<void> {
    await this.#set({ uid: ownerOf(uid), gid: ownerOf(gid) })
  }

  async utimes(accessed: TimeLike, modified: TimeLike): Promise<void> {
    await this.#set({ accessed: timeOf(accessed), modified: timeOf(modified) })
  }

  async #set(some: Partial<Changes>): Promise<void> {
    this.#check('stat')
    const { operations, caller } = this.#session
    await operations.setattr(caller, this.fid, changes(some))
  }

  createReadStream(options?: ReadStreamOptions): ReadStream {
    return new ReadStream(async () => this, options)
  }

  createWriteStream(options?: WriteStreamOptions): WriteStream {
    return new WriteStream(async () => this, this.#flags.append, options)
  }

  /** Waits for the writes that are under way and throws the first failure among them. Syncs nothing. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const outcomes = await Promise.allSettled(this.#writes)
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #check(use: 'read' | 'write' | 'sync' | 'stat'): void {
    if (this.#closed) throw new Failure('BAD_HANDLE', 'the file was closed')
    if (use === 'read' && !this.#flags.read) throw new Failure('BAD_HANDLE', 'the file is not open for reading')
    if (use === 'write' && !this.#flags.write) throw new Failure('BAD_HANDLE', 'the file is not open for writing')
  }
}
