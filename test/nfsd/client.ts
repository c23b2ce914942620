/**
 * An NFSv3 client for tests that shows every field of an answer: statuses, attributes, cookies, byte counts.
 *
 * Not pure: one TCP connection. It retries nothing: when the connection is lost, so are the calls on it. Written from RFC 1813, so that it does not share the gateway's
 * mistakes; only XDR and record marking are the gateway's own.
 */
import { connect, type Socket } from 'node:net'
import { openRecord, RecordReader, sealRecord } from '../../nfsd/rpc/record.ts'
import { XdrReader } from '../../nfsd/xdr/reader.ts'
import { XdrWriter } from '../../nfsd/xdr/writer.ts'

export const nfs = 100003
export const mount = 100005

export type Fattr = {
  readonly type: number
  readonly mode: number
  readonly links: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly fsid: string
  readonly fileid: string
  /** size, mtime and ctime as in wcc_attr. */
  readonly change: string
  readonly ctime: string
}
export type Wcc = { readonly before: string | undefined; readonly after: Fattr | undefined }
export type Body = (xdr: XdrWriter) => void
/** What follows the status; `bytes` counts it. */
export type Answer = { readonly status: number; readonly xdr: XdrReader; readonly bytes: number }

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

export class NfsClient {
  readonly #socket: Socket
  readonly #uid: number | undefined
  readonly #waiting = new Map<number, { resolve: (reply: XdrReader) => void; reject: (error: Error) => void }>()
  #xid = Math.floor(Math.random() * 2 ** 30)

  /** @param uid AUTH_SYS with this uid and gid; AUTH_NONE without. */
  constructor(address: string, uid?: number) {
    this.#uid = uid
    const colon = address.lastIndexOf(':')
    this.#socket = connect(Number(address.slice(colon + 1)), address.slice(0, colon))
    this.#socket.setNoDelay(true)
    this.#socket.on('error', () => {}) // `close` follows.
    this.#socket.on('close', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the connection to ${address} is lost`))
      this.#waiting.clear()
    })
    const reader = new RecordReader({ recordBytesMax: 2 ** 22, fragmentsMax: 1 })
    this.#socket.on('data', (chunk) => {
      for (const { pieces } of reader.push(chunk)) {
        const xdr = new XdrReader(pieces)
        this.#waiting.get(xdr.u32())?.resolve(xdr)
      }
    })
  }

  /** The number that the next call will have; set it to send a call again. */
  get xid(): number {
    return this.#xid
  }
  set xid(value: number) {
    this.#xid = value
  }

  close(): void {
    this.#socket.destroy()
  }

  /** @returns the reply after its RPC head. Throws unless the call was accepted and run. */
  async rpc(program: number, procedure: number, body: Body): Promise<XdrReader> {
    const xid = this.#xid++
    const xdr = new XdrWriter()
    openRecord(xdr)
    for (const field of [xid, 0, 2, program, 3, procedure]) xdr.u32(field)
    if (this.#uid === undefined) for (const field of [0, 0]) xdr.u32(field)
    else for (const field of [1, 20, 0, 0, this.#uid, this.#uid, 0]) xdr.u32(field)
    for (const field of [0, 0]) xdr.u32(field)
    body(xdr)
    const answered = new Promise<XdrReader>((resolve, reject) => {
      if (this.#socket.closed) reject(new Error('the connection is lost'))
      else this.#waiting.set(xid, { resolve, reject })
    })
    for (const piece of sealRecord(xdr)) this.#socket.write(piece)
    const reply = await answered
    this.#waiting.delete(xid)
    const head = [reply.u32(), reply.u32(), reply.u32(), reply.u32(), reply.u32()]
    if (head.join() !== '1,0,0,0,0') throw new Error(`RPC answered ${head}`)
    return reply
  }

  async call(procedure: number, body: Body): Promise<Answer> {
    const xdr = await this.rpc(nfs, procedure, body)
    const status = xdr.u32()
    return { status, xdr, bytes: xdr.left }
  }

  /** @returns mountstat3 and the handle. */
  async mount(path: string): Promise<{ status: number; handle: Uint8Array }> {
    const xdr = await this.rpc(mount, 1, (writer) => writer.opaque(Buffer.from(path)))
    const status = xdr.u32()
    return { status, handle: status === 0 ? xdr.opaque(64) : new Uint8Array(0) }
  }

  async getattr(handle: Uint8Array): Promise<{ status: number; attributes: Fattr | undefined }> {
    const { status, xdr } = await this.call(1, (writer) => writer.opaque(handle))
    return { status, attributes: status === 0 ? fattr(xdr) : undefined }
  }

  /** A procedure whose arguments are a place and more, and whose results are a handle, attributes and a wcc. */
  async make(procedure: number, directory: Uint8Array, name: string, rest: Body) {
    const { status, xdr } = await this.call(procedure, (writer) => {
      place(writer, directory, name)
      rest(writer)
    })
    if (status !== 0) return { status, handle: new Uint8Array(0), attributes: undefined, wcc: wcc(xdr) }
    const handle = xdr.boolean() ? xdr.opaque(64) : new Uint8Array(0)
    return { status, handle, attributes: postAttributes(xdr), wcc: wcc(xdr) }
  }

  create(directory: Uint8Array, name: string, how: 'unchecked' | 'guarded' | { verifier: string }, mode = 0o644) {
    return this.make(8, directory, name, (writer) => {
      if (typeof how === 'object') {
        writer.u32(2)
        writer.fixed(Buffer.from(how.verifier))
      } else {
        writer.u32(how === 'unchecked' ? 0 : 1)
        sattr(writer, { mode })
      }
    })
  }

  mkdir(directory: Uint8Array, name: string, mode = 0o755) {
    return this.make(9, directory, name, (writer) => sattr(writer, { mode }))
  }

  async lookup(directory: Uint8Array, name: string) {
    const { status, xdr } = await this.call(3, (writer) => place(writer, directory, name))
    const handle = status === 0 ? xdr.opaque(64) : new Uint8Array(0)
    return { status, handle, attributes: status === 0 ? postAttributes(xdr) : undefined }
  }

  /** REMOVE or RMDIR. */
  async remove(directory: Uint8Array, name: string, procedure: 12 | 13 = 12) {
    const { status, xdr } = await this.call(procedure, (writer) => place(writer, directory, name))
    return { status, wcc: wcc(xdr) }
  }

  async write(handle: Uint8Array, offset: number, bytes: Uint8Array, stable: 0 | 1 | 2) {
    const { status, xdr } = await this.call(7, (writer) => {
      writer.opaque(handle)
      writer.u64(offset)
      writer.u32(bytes.length)
      writer.u32(stable)
      writer.payload([bytes], bytes.length)
    })
    const change = wcc(xdr)
    if (status !== 0) return { status, wcc: change, count: 0, committed: -1, verifier: '' }
    return { status, wcc: change, count: xdr.u32(), committed: xdr.u32(), verifier: hex(xdr.fixed(8)) }
  }

  async commit(handle: Uint8Array) {
    const { status, xdr } = await this.call(21, (writer) => {
      writer.opaque(handle)
      writer.u64(0)
      writer.u32(0)
    })
    return { status, wcc: wcc(xdr), verifier: status === 0 ? hex(xdr.fixed(8)) : '' }
  }

  async read(handle: Uint8Array, offset: number, count: number) {
    const { status, xdr } = await this.call(6, (writer) => {
      writer.opaque(handle)
      writer.u64(offset)
      writer.u32(count)
    })
    const attributes = postAttributes(xdr)
    if (status !== 0) return { status, attributes, count: 0, end: false, bytes: Buffer.alloc(0) }
    return { status, attributes, count: xdr.u32(), end: xdr.boolean(), bytes: Buffer.concat(xdr.payload(count)) }
  }

  async setattr(handle: Uint8Array, changes: { mode?: number; size?: number }, guard?: string) {
    const { status, xdr } = await this.call(2, (writer) => {
      writer.opaque(handle)
      sattr(writer, changes)
      writer.boolean(guard !== undefined)
      if (guard !== undefined) writer.fixed(Buffer.from(guard, 'hex'))
    })
    return { status, wcc: wcc(xdr) }
  }

  /** One READDIR, or with `maxCount` one READDIRPLUS. `bytes` is the size of its results. */
  async list(directory: Uint8Array, cookie: number, count: number, maxCount?: number) {
    const plus = maxCount !== undefined
    const { status, xdr, bytes } = await this.call(plus ? 17 : 16, (writer) => {
      writer.opaque(directory)
      writer.u64(cookie)
      writer.fixed(new Uint8Array(8))
      writer.u32(count)
      if (plus) writer.u32(maxCount)
    })
    const attributes = postAttributes(xdr)
    const entries: { name: string; cookie: number; fileid: string; attributes?: Fattr; handle?: Uint8Array }[] = []
    if (status !== 0) return { status, attributes, bytes, verifier: '', entries, end: false }
    const verifier = hex(xdr.fixed(8))
    while (xdr.boolean()) {
      const fileid = hex(xdr.fixed(8))
      const entry = { fileid, name: Buffer.from(xdr.opaque(255)).toString('latin1'), cookie: xdr.u64() }
      const more = plus ? postAttributes(xdr) : undefined
      const handle = plus && xdr.boolean() ? xdr.opaque(64) : undefined
      entries.push({ ...entry, ...(more && { attributes: more }), ...(handle && { handle }) })
    }
    return { status, attributes, bytes, verifier, entries, end: xdr.boolean() }
  }
}

export function place(writer: XdrWriter, directory: Uint8Array, name: string): void {
  writer.opaque(directory)
  writer.opaque(Buffer.from(name, 'latin1'))
}

export function sattr(writer: XdrWriter, { mode, size }: { mode?: number; size?: number }): void {
  writer.boolean(mode !== undefined)
  if (mode !== undefined) writer.u32(mode)
  for (const absent of [false, false, size !== undefined]) writer.boolean(absent)
  if (size !== undefined) writer.u64(size)
  for (const unchanged of [0, 0]) writer.u32(unchanged)
}

export function fattr(xdr: XdrReader): Fattr {
  const [type, mode, links, uid, gid] = [xdr.u32(), xdr.u32(), xdr.u32(), xdr.u32(), xdr.u32()]
  const size = xdr.fixed(8)
  xdr.fixed(16) // used, rdev
  const [fsid, fileid] = [hex(xdr.fixed(8)), hex(xdr.fixed(8))]
  xdr.fixed(8) // atime
  const [mtime, ctime] = [hex(xdr.fixed(8)), hex(xdr.fixed(8))]
  const change = hex(size) + mtime + ctime
  return { type, mode, links, uid, gid, size: new XdrReader([size]).u64(), fsid, fileid, change, ctime }
}

export const postAttributes = (xdr: XdrReader): Fattr | undefined => (xdr.boolean() ? fattr(xdr) : undefined)

export function wcc(xdr: XdrReader): Wcc {
  const before = xdr.boolean() ? hex(xdr.fixed(24)) : undefined
  return { before, after: postAttributes(xdr) }
}
