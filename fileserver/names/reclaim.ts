/**
 * Forgetting chunk bytes that files cut off or took along: what is to be trimmed, and how that is noted.
 *
 * Pure but for the scans. One file's trim is worked off in pages of chunks, in order. The driver has every chunk of an
 * orphan trimmed in its data container, then logs `reclaimed`, and asks again. Repeats do no harm, however late they come:
 * a chunk knows the latest cut that it was trimmed for.
 */
import type { ContainerId, Fid, Inode } from '../../protocol/ids.ts'
import { type Chunk, inlineBytesMax } from '../../protocol/messages/attributes.ts'
import type { Change, View } from '../index/changes.ts'
import { decodeTrim, encodeTrim } from './bytes.ts'
import { decodeInode, fidOf } from './inode.ts'
import { allTrims, chunkKey, chunksFrom, get64, inodeKey, inodeOfKey, sameBytes, secondOfKey, trimKey } from './keys.ts'
import { Draft, type Reader } from './mutation.ts'

/** Chunks of one orphan. */
const pageLength = 256

/** One page of one file's trim; no chunk is left to trim when `chunks` is empty. */
export type Orphan = {
  readonly inode: Inode
  readonly chunks: readonly { readonly chunk: Chunk; readonly keepBytes: number }[]
  /** No page follows. */
  readonly last: boolean
  /** The file is gone: so are its chunks' places, once they are trimmed. */
  readonly gone: boolean
  /** As `trimChunk` takes it. */
  readonly cut: number
  /** The trim's value when the page was made. */
  readonly trim: Uint8Array
}

async function page(view: View, container: ContainerId, inode: Inode, trim: Uint8Array): Promise<Orphan> {
  const { fromBytes, next, cut } = decodeTrim(trim)
  const value = view.get(inodeKey(inode))
  const chunkBytes = value ? decodeInode(value).chunkBytes : 0
  const { from, to } = chunksFrom(inode, next)
  const places = await view.scan(from, to, pageLength)
  const chunks = places.map(({ key, value: place }) => {
    const index = secondOfKey(key)
    const chunk = { container: get64(place, 0) as ContainerId, owner: fidOf(container, inode), index }
    const keepBytes = fromBytes <= inlineBytesMax ? 0 : Math.max(0, fromBytes - index * chunkBytes)
    return { chunk, keepBytes }
  })
  return { inode, chunks, last: places.length < pageLength, gone: value === undefined, cut, trim }
}

/** @returns the next page of each of at most `limit` files, from inode `first` on, that have something to forget */
export async function orphans(
  view: View,
  container: ContainerId,
  limit: number,
  first = 0 as Inode,
): Promise<readonly Orphan[]> {
  const trims = await view.scan(trimKey(first), allTrims.to, limit)
  return Promise.all(trims.map(({ key, value }) => page(view, container, inodeOfKey(key), value)))
}

/**
 * What this file has to forget before a call that may have shortened it (setattr, create) is answered: page by page, until
 * there is none.
 */
export async function orphanOf(view: View, fid: Fid): Promise<Orphan | undefined> {
  const trim = view.get(trimKey(fid.inode))
  return trim && page(view, fid.container, fid.inode, trim)
}

/** Changes that note a page as done: none when the file was cut anew, or went, since the page was made. */
export function reclaimed(view: Reader, orphan: Orphan): readonly Change[] {
  const key = trimKey(orphan.inode)
  const trim = view.get(key)
  const draft = new Draft(view)
  if (trim === undefined || !sameBytes(trim, orphan.trim)) return draft.changes
  const inode = view.get(inodeKey(orphan.inode))
  if (orphan.gone !== (inode === undefined)) return draft.changes
  if (orphan.gone) for (const { chunk } of orphan.chunks) draft.delete(chunkKey(orphan.inode, chunk.index))
  const done = orphan.chunks.at(-1)
  if (orphan.last || done === undefined) {
    draft.delete(key)
    if (inode !== undefined) {
      const file = decodeInode(inode)
      draft.putInode(orphan.inode, { ...file, trimmed: file.cut })
    }
  } else draft.put(key, encodeTrim({ ...decodeTrim(trim), next: done.chunk.index + 1 }))
  return draft.changes
}
