/**
 * A small NFSv3 client that speaks the protocol itself: what a kernel hides (stability, verifiers, retries) is in its hands.
 *
 * Not pure. It behaves as a kernel with a hard mount: a call is sent again, over a new connection, until it is answered
 * or `giveUpMs` have passed; JUKEBOX is asked again later.
 *
 * Source: RFC 1813, RFC 5531.
 */
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { openRecord, RecordReader, sealRecord } from '../../nfsd/rpc/record.ts'
import { XdrReader } from '../../nfsd/xdr/reader.ts'
import { XdrWriter } from '../../nfsd/xdr/writer.ts'

export const stability = { unstable: 0, dataSync: 1, fileSync: 2 } as const

export type Handle = Uint8Array
export type WriteReply = { readonly count: number; readonly committed: number; readonly verifier: string }

export type NfsClient = {
  readonly mount: (path: string) => Promise<Handle>
  /** UNCHECKED: an existing file is taken as it is. */
  readonly create: (directory: Handle, name: string) => Promise<Handle>
  readonly lookup: (directory: Handle, name: string) => Promise<Handle>
  readonly write: (file: Handle, offset: number, bytes: Uint8Array, stable: 0 | 1 | 2) => Promise<WriteReply>
  readonly commit: (file: Handle) => Promise<string>
  /** Short at the file's end. */
  readonly read: (file: Handle, offset: number, count: number) => Promise<Buffer>
  readonly close: () => void
}

/** A status other than OK. */
export class NfsError extends Error {
  readonly status: number
  constructor(procedure: string, status: number) {
    super(`${procedure} answered ${status}`)
    this.status = status
  }
}

const programs = { nfs: 100003, mount: 100005 } as const
const procedures = { lookup: 3, read: 6, write: 7, create: 8, commit: 21 } as const
const jukebox = 10008
const limits = { recordBytesMax: 2 * 1024 * 1024, fragmentsMax: 64 }
/** As a kernel does over TCP, a call is sent again only over a new connection. */
const answerMs = 15_000
const retryMs = 100

export function openNfsClient(host: string, port: number, giveUpMs = 60_000): NfsClient {
  let socket: Socket | undefined
  let number = 1
  const waiting = new Map<number, (reply: XdrReader | Error) => void>()

  function connected(): Socket {
    if (socket !== undefined) return socket
    const fresh = connect({ host, port, noDelay: true })
    const reader = new RecordReader(limits)
    const lost = (): void => {
      if (socket === fresh) socket = undefined
      fresh.destroy()
      for (const answer of [...waiting.values()]) answer(new Error('the connection was lost'))
    }
    fresh.on('error', lost)
    fresh.on('close', lost)
    fresh.on('data', (chunk) => {
      for (const record of reader.push(chunk)) {
        const reply = new XdrReader(record.pieces)
        waiting.get(reply.u32())?.(reply)
      }
    })
    socket = fresh
    return fresh
  }

  function exchange(program: number, procedure: number, body: (xdr: XdrWriter) => void): Promise<XdrReader> {
    const xid = number++
    const xdr = new XdrWriter()
    openRecord(xdr)
    for (const field of [xid, 0, 2, program, 3, procedure]) xdr.u32(field)
    // AUTH_SYS: stamp, machine name, uid, gid, no further groups; then an empty verifier.
    for (const field of [1, 24, 0, 4]) xdr.u32(field)
    xdr.fixed(Buffer.from('test'))
    for (const field of [0, 0, 0, 0, 0]) xdr.u32(field)
    body(xdr)
    return new Promise((resolve, reject) => {
      const done = (reply: XdrReader | Error): void => {
        clearTimeout(timer)
        waiting.delete(xid)
        if (reply instanceof Error) reject(reply)
        else resolve(reply)
      }
      const timer = setTimeout(() => socket?.destroy(new Error('no answer')), answerMs)
      waiting.set(xid, done)
      const to = connected()
      for (const piece of sealRecord(xdr)) to.write(piece)
    })
  }

  async function call(program: number, procedure: number, body: (xdr: XdrWriter) => void): Promise<XdrReader> {
    const end = performance.now() + giveUpMs
    for (;;) {
      try {
        const reply = await exchange(program, procedure, body)
        const accepted = [reply.u32(), reply.u32()]
        reply.u32()
        reply.opaque(400)
        const status = reply.u32()
        if (accepted[0] !== 1 || accepted[1] !== 0 || status !== 0) throw new NfsError(`RPC ${procedure}`, status)
        const answer = reply.u32()
        if (answer === 0) return reply
        if (answer !== jukebox) throw new NfsError(`${program} ${procedure}`, answer)
      } catch (error) {
        if (error instanceof NfsError || performance.now() > end) throw error
      }
      if (performance.now() > end) throw new NfsError(`${program} ${procedure}`, jukebox)
      await sleep(retryMs)
    }
  }

  const attributes = (reply: XdrReader): void => {
    if (reply.boolean()) reply.fixed(84)
  }
  const wcc = (reply: XdrReader): void => {
    if (reply.boolean()) reply.fixed(24)
    attributes(reply)
  }
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

  return {
    mount: async (path) => (await call(programs.mount, 1, (xdr) => xdr.opaque(Buffer.from(path)))).opaque(64),
    create: async (directory, name) => {
      const reply = await call(programs.nfs, procedures.create, (xdr) => {
        xdr.opaque(directory)
        xdr.opaque(Buffer.from(name))
        // UNCHECKED; mode 0644; no owner, group, size or times.
        for (const field of [0, 1, 0o644, 0, 0, 0, 0, 0]) xdr.u32(field)
      })
      if (!reply.boolean()) throw new Error('CREATE gave no handle')
      return reply.opaque(64)
    },
    lookup: async (directory, name) => {
      const reply = await call(programs.nfs, procedures.lookup, (xdr) => {
        xdr.opaque(directory)
        xdr.opaque(Buffer.from(name))
      })
      return reply.opaque(64)
    },
    write: async (file, offset, bytes, stable) => {
      const reply = await call(programs.nfs, procedures.write, (xdr) => {
        xdr.opaque(file)
        xdr.u64(offset)
        xdr.u32(bytes.length)
        xdr.u32(stable)
        xdr.opaque(bytes)
      })
      wcc(reply)
      return { count: reply.u32(), committed: reply.u32(), verifier: hex(reply.fixed(8)) }
    },
    commit: async (file) => {
      const reply = await call(programs.nfs, procedures.commit, (xdr) => {
        xdr.opaque(file)
        xdr.u64(0)
        xdr.u32(0)
      })
      wcc(reply)
      return hex(reply.fixed(8))
    },
    read: async (file, offset, count) => {
      const reply = await call(programs.nfs, procedures.read, (xdr) => {
        xdr.opaque(file)
        xdr.u64(offset)
        xdr.u32(count)
      })
      attributes(reply)
      reply.u32()
      reply.boolean()
      return Buffer.from(reply.opaque(count))
    },
    close: () => socket?.destroy(),
  }
}
