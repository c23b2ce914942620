/**
 * The bytes of files in their name container: inline reads and writes, sizes, and which chunk is where.
 *
 * Pure. A chunk's data container never changes while the file lives, so callers may remember it. A file that shrinks,
 * or goes, leaves one `trim` behind if it has chunks: the offset from which chunk bytes wait to be forgotten. Until
 * that is done (see reclaim.ts) the file does not grow into them, gives out no chunk for writing, and takes no word of writes
 * to those that are known: NOT_READY.
 */
import { Failure } from '../../protocol/failures.ts'
import type { ContainerId, Inode } from '../../protocol/ids.ts'
import { fileBytesMax, inlineBytesMax } from '../../protocol/messages/attributes.ts'
import { attributesOf, beforeOf, type InodeValue, stamp } from './inode.ts'
import { chunkKey, get64, inodeKey, inodeObject, number64, put64, trimKey } from './keys.ts'
import {
  Draft,
  loadFile,
  loadOrGone,
  type MapContext,
  type Mutation,
  type NameContext,
  type Reader,
  type Request,
} from './mutation.ts'

/**
 * Chunk bytes of the file at `fromBytes` and beyond are to be forgotten; in chunks below `next` they are. `cut` is the file's,
 * as what comes late of an earlier trim must take no byte that was written since; 0 when the file is gone.
 */
export type Trim = { readonly fromBytes: number; readonly next: number; readonly cut: number }

export function encodeTrim(trim: Trim): Uint8Array {
  const bytes = Buffer.allocUnsafe(24)
  put64(bytes, trim.fromBytes, 0)
  put64(bytes, trim.next, 8)
  put64(bytes, trim.cut, 16)
  return bytes
}

export const decodeTrim = (bytes: Uint8Array): Trim => ({
  fromBytes: get64(bytes, 0),
  next: get64(bytes, 8),
  cut: get64(bytes, 16),
})

/** What `chunkShape` can name. */
const chunksMax = 2 ** 32

/** First chunk with bytes at `offset` or beyond: what is inline is in no chunk. */
const chunkAt = (offset: number, chunkBytes: number): number =>
  offset <= inlineBytesMax ? 0 : Math.floor(offset / chunkBytes)

function demandTrimmed(view: Reader, number: Inode): void {
  if (view.get(trimKey(number)) !== undefined) throw new Failure('NOT_READY', 'bytes cut off are not yet forgotten')
}

const punchInline = (draft: Draft, number: Inode, file: InodeValue, from: number): void =>
  draft.punch(inodeObject(number), from, Math.min(file.sizeBytes, inlineBytesMax))

function forgetChunks(draft: Draft, number: Inode, file: InodeValue, fromBytes: number, cut: number): void {
  const next = chunkAt(fromBytes, file.chunkBytes)
  if (next < file.chunkBound) draft.put(trimKey(number), encodeTrim({ fromBytes, next, cut }))
}

/** @returns the file with its new size; times and key are the caller's. @throws Failure NOT_READY */
export function resize(draft: Draft, number: Inode, file: InodeValue, sizeBytes: number): InodeValue {
  if (sizeBytes < file.sizeBytes) {
    const cut = file.cut + 1
    punchInline(draft, number, file, sizeBytes)
    // A file this small has nothing in its chunks, or a trim already that forgets all of them.
    if (file.sizeBytes > inlineBytesMax) forgetChunks(draft, number, file, sizeBytes, cut)
    const trimmed = draft.get(trimKey(number)) === undefined ? cut : file.trimmed
    return { ...file, sizeBytes, cut, trimmed }
  }
  if (sizeBytes > file.sizeBytes && sizeBytes > inlineBytesMax) demandTrimmed(draft, number)
  return { ...file, sizeBytes }
}

/** The last link has gone: so do the inode and the bytes. */
export function erase(draft: Draft, number: Inode, inode: InodeValue): void {
  draft.delete(inodeKey(number))
  if (inode.kind !== 'file') return
  punchInline(draft, number, inode, 0)
  forgetChunks(draft, number, inode, 0, 0)
}

/** Puts the payload at `offset`. @returns the file, perhaps larger. @throws Failure INVALID beyond what is inline */
export function writeInline(
  draft: Draft,
  number: Inode,
  file: InodeValue,
  offset: number,
  payloadBytes: number,
): InodeValue {
  const end = offset + payloadBytes
  if (end > inlineBytesMax) throw new Failure('INVALID', `bytes to ${end} belong to a chunk`)
  draft.extent(inodeObject(number), offset, payloadBytes)
  return end > file.sizeBytes ? { ...file, sizeBytes: end } : file
}

export const read = (view: Reader, request: Request<'read'>, context: NameContext) => {
  const file = loadFile(view, request.fid, context)
  const end = Math.min(request.offset + request.length, file.sizeBytes, inlineBytesMax)
  return {
    reply: { attributes: attributesOf(request.fid, file) },
    object: inodeObject(request.fid.inode),
    offset: request.offset,
    length: Math.max(0, end - request.offset),
  }
}

const current = (view: Reader, { fid }: Request<'write' | 'extend'>, context: NameContext) => {
  const file = loadOrGone(view, fid, 'file', context)
  return { before: beforeOf(file), attributes: attributesOf(fid, file) }
}

export const write: Mutation<'write'> = {
  perform(view, request, payloadBytes, context) {
    const { fid } = request
    const file = loadFile(view, fid, context)
    const before = beforeOf(file)
    if (payloadBytes === 0) return { changes: [], reply: { before, attributes: attributesOf(fid, file) }, result: 0 }
    const draft = new Draft(view)
    const modified = stamp(file, context.now)
    const next = { ...writeInline(draft, fid.inode, file, request.offset, payloadBytes), modified, changed: modified }
    draft.putInode(fid.inode, next)
    return { changes: draft.changes, reply: { before, attributes: attributesOf(fid, next) }, result: 0 }
  },
  repeat: (view, request, _result, context) => current(view, request, context),
}

export const extend: Mutation<'extend'> = {
  perform(view, request, _payloadBytes, context) {
    const { fid } = request
    const file = loadFile(view, fid, context)
    demandTrimmed(view, fid.inode)
    if (request.trimmed < file.cut)
      throw new Failure('NOT_SYNC', 'the file was cut since: what was written may be gone')
    const draft = new Draft(view)
    const modified = stamp(file, context.now)
    const sizeBytes = Math.max(file.sizeBytes, request.sizeBytes)
    const next = { ...resize(draft, fid.inode, file, sizeBytes), modified, changed: modified }
    draft.putInode(fid.inode, next)
    const reply = { before: beforeOf(file), attributes: attributesOf(fid, next) }
    return { changes: draft.changes, reply, result: 0 }
  },
  repeat: (view, request, _result, context) => current(view, request, context),
}

function containersOf(view: Reader, { fid, first, count }: Request<'map'>): (ContainerId | undefined)[] {
  return Array.from({ length: count }, (_, i) => {
    const value = view.get(chunkKey(fid.inode, first + i))
    return value && (get64(value, 0) as ContainerId)
  })
}

/** Neighbouring chunks go to different containers, from a random one on. */
export const map: Mutation<'map', MapContext> = {
  perform(view, request, _payloadBytes, context) {
    const { fid, first, count } = request
    const file = loadFile(view, fid, context)
    const containers = containersOf(view, request)
    const reply = { attributes: attributesOf(fid, file), containers }
    if (!request.allocate) return { changes: [], reply, result: 0 }
    const end = first + count
    if (end > chunksMax || (end - 1) * file.chunkBytes >= fileBytesMax)
      throw new Failure('FILE_TOO_LARGE', 'no such chunk')
    demandTrimmed(view, fid.inode)
    const candidates = context.dataContainers
    let turn = Math.floor(context.random * candidates.length)
    const draft = new Draft(view)
    for (let i = 0; i < count; i++) {
      if (containers[i] !== undefined) continue
      const container = candidates[turn++ % candidates.length]
      if (container === undefined) throw new Failure('NO_SPACE', 'no data container takes chunks')
      containers[i] = container
      draft.put(chunkKey(fid.inode, first + i), number64(container), true)
    }
    if (draft.changes.length > 0 && end > file.chunkBound) {
      draft.putInode(fid.inode, { ...file, chunkBound: end })
    }
    return { changes: draft.changes, reply, result: 0 }
  },
  repeat: (view, request, _result, context) => {
    const file = loadFile(view, request.fid, context)
    return { attributes: attributesOf(request.fid, file), containers: containersOf(view, request) }
  },
}
