/**
 * Listing of directories: page by page, in the order of their cookies.
 */
import type { Fid } from '../../protocol/ids.ts'
import type { Kind } from '../../protocol/messages/attributes.ts'
import { textOf } from './paths.ts'
import type { Session } from './session.ts'
import { Dirent } from './stats.ts'

const pageEntries = 1024

export type Listed = { readonly name: Buffer; readonly fid: Fid | undefined; readonly kind: Kind }

/** What to list: a directory, or the names that a path above the volumes has. */
export type Listing = Fid | ReadonlySet<string>

/** Entries as the directory gives them; those made or removed meanwhile may be there or not. */
export async function* entriesOf({ operations, caller }: Session, listing: Listing): AsyncGenerator<Listed> {
  if (!('container' in listing)) {
    for (const name of listing) yield { name: Buffer.from(name, 'latin1'), fid: undefined, kind: 'directory' }
    return
  }
  for (let cookie = 0, end = false; !end; ) {
    const page = await operations.readdir(caller, listing, cookie, pageEntries, false)
    for (const { name, fid, kind } of page.entries) yield { name: asBuffer(name), fid, kind }
    cookie = page.entries.at(-1)?.cookie ?? cookie
    end = page.end || page.entries.length === 0
  }
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** An open directory, as `fs.Dir`: read it to its end, or close it. */
export class Dir {
  readonly path: string
  readonly #entries: AsyncGenerator<Listed>

  constructor(path: string, entries: AsyncGenerator<Listed>) {
    this.path = path
    this.#entries = entries
  }

  /** @returns null at the end. */
  async read(): Promise<Dirent | null> {
    const { value, done } = await this.#entries.next()
    return done === true ? null : new Dirent(textOf(value.name), this.path, value.kind)
  }

  async close(): Promise<void> {
    await this.#entries.return(undefined)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Dirent> {
    try {
      for (let entry = await this.read(); entry !== null; entry = await this.read()) yield entry
    } finally {
      await this.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
