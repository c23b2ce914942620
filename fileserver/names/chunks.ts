/**
 * Chunks in their data container: bytes of an object, and the length that is stored of it.
 *
 * Pure but for the scan. A data container knows no file: whoever may call may write. Bytes below the stored length that
 * were never written read as zeros.
 */
import { Failure } from '../../protocol/failures.ts'
import type { ContainerId } from '../../protocol/ids.ts'
import type { Chunk } from '../../protocol/messages/attributes.ts'
import type { Change, View } from '../index/changes.ts'
import { fidOf } from './inode.ts'
import { chunkObject, chunkOfKey, get64, lengthKey, lengthsAfter, put64 } from './keys.ts'
import { Draft, type Mutation, type NameContext, type Reader, type Request } from './mutation.ts'

const storedBytesMax = 2 ** 40

const objectOf = ({ owner, index }: Chunk): Uint8Array => chunkObject(owner.container, owner.inode, index)

/** `cut`: the latest that the chunk was trimmed for, 0 for none. */
type Stored = { readonly bytes: number; readonly cut: number }

/** @throws Failure STALE when the chunk is not of this container */
function demandOwn(chunk: Chunk, context: NameContext): void {
  if (chunk.container !== context.container) throw new Failure('STALE', `a chunk of container ${chunk.container}`)
}

/** @returns nothing where nothing is. */
function storedOf(view: Reader, object: Uint8Array): Stored | undefined {
  const value = view.get(lengthKey(object))
  return value && { bytes: get64(value, 0), cut: get64(value, 8) }
}

function encodeStored({ bytes, cut }: Stored): Uint8Array {
  const value = Buffer.allocUnsafe(16)
  put64(value, bytes, 0)
  put64(value, cut, 8)
  return value
}

export const readChunk = (view: Reader, request: Request<'readChunk'>, context: NameContext) => {
  demandOwn(request.chunk, context)
  const object = objectOf(request.chunk)
  const { bytes, cut } = storedOf(view, object) ?? { bytes: 0, cut: 0 }
  const length = Math.max(0, Math.min(request.length, bytes - request.offset))
  return { object, offset: request.offset, length, cut }
}

export const writeChunk: Mutation<'writeChunk'> = {
  perform(view, { chunk, offset }, payloadBytes, context) {
    demandOwn(chunk, context)
    const object = objectOf(chunk)
    const stored = storedOf(view, object)
    const end = offset + payloadBytes
    if (end > storedBytesMax) throw new Failure('INVALID', 'no chunk is so long')
    const draft = new Draft(view)
    if (payloadBytes === 0) return { changes: draft.changes, reply: {}, result: 0 }
    draft.extent(object, offset, payloadBytes)
    if (end > (stored?.bytes ?? 0))
      draft.put(lengthKey(object), encodeStored({ bytes: end, cut: stored?.cut ?? 0 }), stored === undefined)
    return { changes: draft.changes, reply: {}, result: 0 }
  },
  repeat: () => ({}),
}

/** @returns at most `limit` chunks that hold bytes or were trimmed: those after `after`, or the first. */
export async function chunksAfter(
  view: View,
  container: ContainerId,
  after: Chunk | undefined,
  limit: number,
): Promise<readonly Chunk[]> {
  const { from, to } = lengthsAfter(after && objectOf(after))
  return (await view.scan(from, to, limit)).map(({ key }) => {
    const { owner, inode, index } = chunkOfKey(key)
    return { container, owner: fidOf(owner, inode), index }
  })
}

/** Changes that leave nothing of a chunk whose file is gone; none where nothing is. */
export function forgotten(view: Reader, chunk: Chunk): readonly Change[] {
  const draft = new Draft(view)
  const object = objectOf(chunk)
  const stored = storedOf(view, object)
  if (stored === undefined) return draft.changes
  draft.punch(object, 0, stored.bytes)
  draft.delete(lengthKey(object))
  return draft.changes
}

export const trimChunk: Mutation<'trimChunk'> = {
  perform(view, { chunk, keepBytes, cut }, _payloadBytes, context) {
    demandOwn(chunk, context)
    if (cut === 0) return { changes: forgotten(view, chunk), reply: {}, result: 0 }
    const object = objectOf(chunk)
    const stored = storedOf(view, object)
    const draft = new Draft(view)
    const { bytes, cut: latest } = stored ?? { bytes: 0, cut: 0 }
    if (cut > latest) {
      const kept = Math.min(keepBytes, bytes)
      draft.punch(object, kept, bytes)
      draft.put(lengthKey(object), encodeStored({ bytes: kept, cut }), stored === undefined)
    }
    return { changes: draft.changes, reply: {}, result: 0 }
  },
  repeat: () => ({}),
}
