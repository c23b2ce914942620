/**
 * Chunks in their data container: bytes of an object, and the length that is stored of it.
 *
 * Pure. A data container knows no file: whoever may call may write. Bytes below the stored length that were never
 * written read as zeros.
 */
import { Failure } from '../../protocol/failures.ts'
import type { Chunk } from '../../protocol/messages/attributes.ts'
import { chunkObject, get64, lengthKey, number64 } from './keys.ts'
import { Draft, type Mutation, type NameContext, type Reader, type Request } from './mutation.ts'

const storedBytesMax = 2 ** 40

const objectOf = ({ owner, index }: Chunk): Uint8Array => chunkObject(owner.container, owner.inode, index)

/** @returns the stored length, `undefined` where nothing is. @throws Failure STALE when the chunk is not of this container */
function storedBytes(view: Reader, chunk: Chunk, object: Uint8Array, context: NameContext): number | undefined {
  if (chunk.container !== context.container) throw new Failure('STALE', `a chunk of container ${chunk.container}`)
  const value = view.get(lengthKey(object))
  return value && get64(value, 0)
}

export const readChunk = (view: Reader, request: Request<'readChunk'>, context: NameContext) => {
  const object = objectOf(request.chunk)
  const stored = storedBytes(view, request.chunk, object, context) ?? 0
  const length = Math.max(0, Math.min(request.length, stored - request.offset))
  return { object, offset: request.offset, length }
}

export const writeChunk: Mutation<'writeChunk'> = {
  perform(view, { chunk, offset }, payloadBytes, context) {
    const object = objectOf(chunk)
    const stored = storedBytes(view, chunk, object, context)
    const end = offset + payloadBytes
    if (end > storedBytesMax) throw new Failure('INVALID', 'no chunk is so long')
    const draft = new Draft(view)
    if (payloadBytes === 0) return { changes: draft.changes, reply: {}, result: 0 }
    draft.extent(object, offset, payloadBytes)
    if (end > (stored ?? 0)) draft.put(lengthKey(object), number64(end), stored === undefined)
    return { changes: draft.changes, reply: {}, result: 0 }
  },
  repeat: () => ({}),
}

export const trimChunk: Mutation<'trimChunk'> = {
  perform(view, { chunk, keepBytes }, _payloadBytes, context) {
    const object = objectOf(chunk)
    const stored = storedBytes(view, chunk, object, context)
    const draft = new Draft(view)
    if (stored !== undefined && keepBytes < stored) {
      draft.punch(object, keepBytes, stored)
      if (keepBytes === 0) draft.delete(lengthKey(object))
      else draft.put(lengthKey(object), number64(keepBytes))
    }
    return { changes: draft.changes, reply: {}, result: 0 }
  },
  repeat: () => ({}),
}
