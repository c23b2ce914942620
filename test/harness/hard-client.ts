/**
 * An NFSv3 client that behaves as a kernel with a hard mount, but leaves stability and verifiers to the test.
 *
 * Not pure. A call is sent again, over a new connection, until it is answered or `giveUpMs` have passed; JUKEBOX is
 * asked again later. The protocol itself is that of test/nfsd/client.ts.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { NfsClient } from '../nfsd/client.ts'

export const stability = { unstable: 0, dataSync: 1, fileSync: 2 } as const

export type Handle = Uint8Array
export type WriteReply = { readonly count: number; readonly committed: number; readonly verifier: string }

export type HardClient = {
  readonly mount: (path: string) => Promise<Handle>
  /** UNCHECKED: an existing file is taken as it is. */
  readonly create: (directory: Handle, name: string) => Promise<Handle>
  readonly write: (file: Handle, offset: number, bytes: Uint8Array, stable: 0 | 1 | 2) => Promise<WriteReply>
  /** @returns the verifier. */
  readonly commit: (file: Handle) => Promise<string>
  readonly close: () => Promise<void>
}

/** A status other than OK. */
export class NfsError extends Error {
  readonly status: number
  constructor(status: number) {
    super(`NFS answered ${status}`)
    this.status = status
  }
}

const root = 0
const jukebox = 10008
/** As a kernel does over TCP: a call without an answer for so long is sent again over a new connection. */
const answerMs = 15_000
const retryMs = 100

export function openHardClient(address: string, giveUpMs = 60_000): HardClient {
  let current: NfsClient | undefined

  async function once<T>(run: (client: NfsClient) => Promise<T>): Promise<T> {
    const client = current ?? new NfsClient(address, root)
    current = client
    const late = setTimeout(() => void client.close(), answerMs)
    try {
      return await run(client)
    } catch (error) {
      if (current === client) current = undefined
      void client.close()
      throw error
    } finally {
      clearTimeout(late)
    }
  }

  async function call<T extends { readonly status: number }>(run: (client: NfsClient) => Promise<T>): Promise<T> {
    const end = performance.now() + giveUpMs
    for (;;) {
      try {
        const reply = await once(run)
        if (reply.status === 0) return reply
        if (reply.status !== jukebox || performance.now() > end) throw new NfsError(reply.status)
      } catch (error) {
        if (error instanceof NfsError || performance.now() > end) throw error
      }
      await sleep(retryMs)
    }
  }

  return {
    mount: async (path) => (await call((client) => client.mount(path))).handle,
    create: async (directory, name) => (await call((client) => client.create(directory, name, 'unchecked'))).handle,
    write: (file, offset, bytes, stable) => call((client) => client.write(file, offset, bytes, stable)),
    commit: async (file) => (await call((client) => client.commit(file))).verifier,
    close: async () => current?.close(),
  }
}
