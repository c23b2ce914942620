/**
 * Writes of a file's bytes: inline bytes to the name container, the rest to chunks, then one shared `extend`.
 *
 * A write is answered when its bytes are acknowledged and an `extend` that began after that is too: from then on
 * every reader sees it, and the file's times say so. The parts of one write go out side by side. Where the file was cut
 * meanwhile, all is written again: the cut may have taken some of it.
 */
import { Cursor } from '../../protocol/bytes.ts'
import { Failure, isFailure } from '../../protocol/failures.ts'
import { payloadSums } from '../../protocol/hash.ts'
import type { Fid } from '../../protocol/ids.ts'
import {
  type Attributes,
  type Before,
  type Chunk,
  fileBytesMax,
  inlineBytesMax,
  payloadBytesMax,
  type Token,
} from '../../protocol/messages/attributes.ts'
import { files } from '../../protocol/messages/files.ts'
import type { ReplyOf } from '../../protocol/messages/service.ts'
import { type Payload, payloadBytes } from '../../protocol/transport/transport.ts'
import type { Written } from '../operations.ts'
import type { Extends } from './extends.ts'
import type { Layout, Layouts } from './layouts.ts'
import { type Part, split } from './ranges.ts'
import { type Remote, together } from './remote.ts'

/** A file that others cut so often during one write is not theirs alone. */
const timesMax = 16

type InlineWritten = ReplyOf<typeof files.calls.write>

const beforeOf = ({ sizeBytes, modified, changed }: Attributes): Before => ({ sizeBytes, modified, changed })

export class Writing {
  readonly #remote: Remote
  readonly #layouts: Layouts
  readonly #extends: Extends

  constructor(remote: Remote, layouts: Layouts, growth: Extends) {
    this.#remote = remote
    this.#layouts = layouts
    this.#extends = growth
  }

  async write(fid: Fid, offset: number, payload: Payload, stable: boolean): Promise<Written> {
    const length = payloadBytes(payload)
    const end = offset + length
    if (length > payloadBytesMax) throw new Failure('TOO_LARGE', `a write of ${length} bytes`)
    if (end > fileBytesMax) throw new Failure('FILE_TOO_LARGE', `a write up to ${end} bytes`)
    if (length === 0) {
      const { attributes } = (await this.#remote.call(fid.container, files.calls.getattr, { fid })).reply
      return { before: beforeOf(attributes), attributes, tokens: [] }
    }
    if (end <= inlineBytesMax) {
      const { before, attributes, token } = await this.#inline(fid, offset, payload, length, stable)
      return { before, attributes, tokens: stable ? [] : [token] }
    }
    for (let times = 1; ; times++) {
      try {
        return await this.#large(fid, offset, payload, length, stable)
      } catch (error) {
        if (!isFailure(error, 'NOT_SYNC') || times === timesMax) throw error
        await this.#layouts.refresh(fid)
      }
    }
  }

  /** @throws Failure NOT_SYNC when the file was cut meanwhile: some of the bytes may be gone. */
  async #large(fid: Fid, offset: number, payload: Payload, length: number, stable: boolean): Promise<Written> {
    const end = offset + length
    const cursor = new Cursor(payload)
    const inlineLength = Math.max(0, inlineBytesMax - offset)
    const layout = this.#layouts.find(fid) ?? (await this.#layouts.load(fid))
    const { trimmed } = layout
    const first =
      inlineLength > 0 ? this.#inline(fid, offset, cursor.take(inlineLength), inlineLength, stable) : undefined
    const parts = split(offset + inlineLength, length - inlineLength, layout.chunkBytes)
    const chunks = parts.map((part) => this.#chunk(fid, layout, part, cursor.take(part.length), stable))
    const [inline, ...tokens] = await together([first, ...chunks] as const)
    const extended = await this.#extends.extend(fid, end, trimmed, stable)
    return {
      before: inline?.before ?? extended.before,
      attributes: extended.attributes,
      tokens: stable ? [] : [...tokens, ...(inline === undefined ? [] : [inline.token]), extended.token],
    }
  }

  async #inline(fid: Fid, offset: number, payload: Payload, length: number, stable: boolean): Promise<InlineWritten> {
    const sums = payloadSums(payload, length)
    const { reply } = await this.#remote.change(
      fid.container,
      files.calls.write,
      (ticket) => ({ ticket, fid, offset, stable, sums }),
      payload,
    )
    this.#layouts.learn(reply.attributes)
    return reply
  }

  async #chunk(fid: Fid, layout: Layout, part: Part, payload: Payload, stable: boolean): Promise<Token> {
    const sums = payloadSums(payload, part.length)
    const chunk = layout.chunks.get(part.index) ?? (await this.#allocate(fid, layout, part.index))
    const { reply } = await this.#remote.change(
      chunk.container,
      files.calls.writeChunk,
      (ticket) => ({ ticket, chunk, offset: part.offset, stable, sums }),
      payload,
    )
    return reply.token
  }

  async #allocate(fid: Fid, layout: Layout, index: number): Promise<Chunk> {
    await this.#layouts.map(fid, layout, index, 1, true)
    const chunk = layout.chunks.get(index)
    if (chunk === undefined) throw new Failure('INTERNAL', `chunk ${index} was asked for and not allocated`)
    return chunk
  }
}
