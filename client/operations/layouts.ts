/**
 * What this client knows of files beyond their inline bytes: chunk size, last seen size, and where chunks are.
 *
 * A cache of bounded size, the longest unused file first to go. A chunk's data container never changes while the file
 * lives, so an entry that is there is right; a chunk that was missing is never remembered as missing. `sizeBytes` is a
 * hint: it says only up to where a read needs no check.
 */
import { type Fid, formatFid } from '../../protocol/ids.ts'
import { type Attributes, type Chunk, inlineBytesMax } from '../../protocol/messages/attributes.ts'
import { files } from '../../protocol/messages/files.ts'
import type { Remote } from './remote.ts'

const filesMax = 4096
const chunksMax = 8192
/** One `map` looks this many chunks ahead, so that a long sequential read asks seldom. */
const aheadMax = 64

export type Layout = {
  readonly chunkBytes: number
  readonly chunks: Map<number, Chunk>
  sizeBytes: number
  /** The file's, when it had that size, as the next. */
  cut: number
  trimmed: number
}

export class Layouts {
  readonly #remote: Remote
  readonly #files = new Map<string, Layout>()

  constructor(remote: Remote) {
    this.#remote = remote
  }

  /** What is known of the file without asking. */
  find(fid: Fid): Layout | undefined {
    const key = formatFid(fid)
    const layout = this.#files.get(key)
    if (layout !== undefined && this.#files.size > filesMax / 2) {
      this.#files.delete(key)
      this.#files.set(key, layout)
    }
    return layout
  }

  /** Takes in what any reply said of a file. */
  learn(attributes: Attributes): void {
    if (attributes.kind !== 'file') return
    const key = formatFid(attributes.fid)
    const layout = this.#files.get(key)
    if (layout !== undefined) see(layout, attributes)
    else if (attributes.sizeBytes > inlineBytesMax) this.#add(key, attributes)
  }

  async load(fid: Fid): Promise<Layout> {
    const known = this.find(fid)
    if (known !== undefined) return known
    const { reply } = await this.#remote.call(fid.container, files.calls.getattr, { fid })
    return this.#files.get(formatFid(fid)) ?? this.#add(formatFid(fid), reply.attributes)
  }

  /** Learns anew how long the file is, and how often it was cut. */
  async refresh(fid: Fid): Promise<void> {
    const { reply } = await this.#remote.call(fid.container, files.calls.getattr, { fid })
    this.learn(reply.attributes)
  }

  /** Asks where chunks [first, first + count) are and what the file's attributes are, both of one moment. */
  async map(fid: Fid, layout: Layout, first: number, count: number, allocate: boolean): Promise<Attributes> {
    const asked = allocate ? count : Math.max(count, Math.min(aheadMax, chunkCount(layout) - first))
    const { reply } = await this.#remote.change(fid.container, files.calls.map, (ticket) => ({
      ticket,
      fid,
      first,
      count: asked,
      allocate,
    }))
    for (const [place, container] of reply.containers.entries()) {
      if (container === undefined) continue
      const index = first + place
      // To the end of the order even if it was known, so that what was just asked for is the last to go.
      layout.chunks.delete(index)
      layout.chunks.set(index, { container, owner: fid, index })
    }
    while (layout.chunks.size > chunksMax) layout.chunks.delete(layout.chunks.keys().next().value!)
    see(layout, reply.attributes)
    return reply.attributes
  }

  #add(key: string, attributes: Attributes): Layout {
    const { chunkBytes, sizeBytes, cut, trimmed } = attributes
    const layout: Layout = { chunkBytes, sizeBytes, cut, trimmed, chunks: new Map() }
    this.#files.set(key, layout)
    if (this.#files.size > filesMax) this.#files.delete(this.#files.keys().next().value!)
    return layout
  }
}

/** Replies come in any order: one from before a cut says nothing any more. */
function see(layout: Layout, { sizeBytes, cut, trimmed }: Attributes): void {
  if (cut >= layout.cut) Object.assign(layout, { sizeBytes, cut, trimmed: Math.max(trimmed, layout.trimmed) })
}

const chunkCount = (layout: Layout): number => Math.ceil(layout.sizeBytes / layout.chunkBytes)
