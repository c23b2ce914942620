/**
 * Reads of a file's bytes: inline bytes from the name container, the rest from chunks.
 *
 * A reader sees every acknowledged write. A chunk read of full length below the last seen size needs no check: bytes
 * that a truncation took are trimmed before it is acknowledged. Whatever is beyond that size, comes back short, lies in a
 * chunk that is not known, or in one that was cut since, is read after asking for the file's map and attributes of one
 * moment: then a chunk's missing bytes are zeros up to the size, if the file is still there.
 */
import type { Fid } from '../../protocol/ids.ts'
import { type Attributes, fileBytesMax, inlineBytesMax } from '../../protocol/messages/attributes.ts'
import { files } from '../../protocol/messages/files.ts'
import { type Payload, payloadBytes } from '../../protocol/transport/transport.ts'
import type { Read } from '../operations.ts'
import type { Layout, Layouts } from './layouts.ts'
import { type Part, split } from './ranges.ts'
import { type Remote, together } from './remote.ts'

/** `cut`: the latest that took bytes of the chunk. */
type Piece = { readonly payload: Payload; readonly cut: number }

export class Reading {
  readonly #remote: Remote
  readonly #layouts: Layouts

  constructor(remote: Remote, layouts: Layouts) {
    this.#remote = remote
    this.#layouts = layouts
  }

  async read(fid: Fid, offset: number, length: number, into?: Uint8Array): Promise<Read> {
    if (offset >= fileBytesMax) return { payload: [], end: true }
    if (offset >= inlineBytesMax && length > 0) return await this.#chunks(fid, offset, length, false, into)
    const inlineLength = Math.max(0, Math.min(length, inlineBytesMax - offset))
    const first = await this.#inline(fid, offset, inlineLength)
    if (first.end || inlineLength === length) return first
    const rest = await this.#chunks(fid, inlineBytesMax, length - inlineLength, false, into?.subarray(inlineLength))
    return {
      payload: [...first.payload, ...rest.payload],
      end: rest.end,
      attributes: rest.attributes ?? first.attributes,
    }
  }

  async #inline(fid: Fid, offset: number, length: number): Promise<Read> {
    const { reply, payload } = await this.#remote.call(fid.container, files.calls.read, { fid, offset, length })
    const { attributes } = reply
    this.#layouts.learn(attributes)
    const missing = Math.min(length, attributes.sizeBytes - offset) - payloadBytes(payload)
    return {
      payload: missing > 0 ? [...payload, Buffer.alloc(missing)] : payload,
      end: offset + length >= attributes.sizeBytes,
      attributes,
    }
  }

  /** `checked`: asks for the map first, whatever is known. */
  async #chunks(fid: Fid, offset: number, length: number, checked: boolean, into?: Uint8Array): Promise<Read> {
    const layout = this.#layouts.find(fid) ?? (await this.#layouts.load(fid))
    const wanted = length
    let parts = split(offset, length, layout.chunkBytes)
    let attributes: Attributes | undefined
    if (checked || offset + length > layout.sizeBytes || !parts.every(({ index }) => layout.chunks.has(index))) {
      attributes = await this.#layouts.map(fid, layout, parts[0]!.index, parts.length, false)
      length = Math.max(0, Math.min(length, attributes.sizeBytes - offset))
      parts = split(offset, length, layout.chunkBytes)
    }
    const { cut } = attributes ?? layout
    const pieces =
      parts.length === 1
        ? [await this.#part(layout, parts[0]!, into)]
        : await together(
            parts.map((part) => this.#part(layout, part, into?.subarray(part.start, part.start + part.length))),
          )
    const payload: Uint8Array[] = []
    let isShort = false
    for (const [i, piece] of pieces.entries()) {
      const missing = parts[i]!.length - payloadBytes(piece.payload)
      if (piece.cut > cut || (missing > 0 && attributes === undefined))
        return await this.#chunks(fid, offset, wanted, true, into)
      payload.push(...piece.payload)
      if (missing > 0) payload.push(Buffer.alloc(missing))
      isShort ||= missing > 0 && layout.chunks.has(parts[i]!.index)
    }
    if (isShort) {
      // A hole, or what is left of a file that has just been removed or cut.
      await this.#layouts.refresh(fid)
      if (layout.cut > cut) return await this.#chunks(fid, offset, wanted, true, into)
    }
    return { payload, end: attributes !== undefined && offset + length >= attributes.sizeBytes, attributes }
  }

  async #part(layout: Layout, { index, offset, length }: Part, into?: Uint8Array): Promise<Piece> {
    const chunk = layout.chunks.get(index)
    if (chunk === undefined) return { payload: [], cut: 0 }
    const { readChunk } = files.calls
    const { reply, payload } = await this.#remote.call(chunk.container, readChunk, { chunk, offset, length }, into)
    return { payload, cut: reply.cut }
  }
}
