/**
 * Names and files: what each call of protocol/messages/files.ts means to a container's state. The entrance.
 *
 * Pure of (view, request, context) and synchronous, but for `readdir`, `orphans` and `chunksAfter`, which scan. Queries only look;
 * mutations say which changes make one record. Calls on chunks are for data containers, all others for name containers.
 */
import { Failure } from '../../protocol/failures.ts'
import type { Kind } from '../../protocol/messages/attributes.ts'
import { access as accessBits } from '../../protocol/messages/files.ts'
import type { View } from '../index/changes.ts'
import { extend, map, read, write } from './bytes.ts'
import { readChunk, trimChunk, writeChunk } from './chunks.ts'
import { create } from './create.ts'
import { checkName, decodeEntry, find, type NamedEntry } from './directory.ts'
import { link, remove, rename } from './entries.ts'
import { attributesOf, decodeInode, fidOf } from './inode.ts'
import { entriesAfter, inodeKey, secondOfKey } from './keys.ts'
import {
  load,
  loadDirectory,
  type Mutation,
  type NameContext,
  type Reader,
  type Reply,
  type Request,
} from './mutation.ts'
import { demand, permission, permits } from './permission.ts'
import { setattr } from './setattr.ts'

export { chunksAfter, forgotten } from './chunks.ts'
export { format } from './create.ts'
export type { MapContext, NameContext } from './mutation.ts'
export { type Orphan, orphanOf, orphans, reclaimed } from './reclaim.ts'

function getattr(view: Reader, { fid }: Request<'getattr'>, context: NameContext): Reply<'getattr'> {
  return { attributes: attributesOf(fid, load(view, fid, context)) }
}

/** @throws Failure NOT_FOUND, ACCESS */
function lookup(view: Reader, request: Request<'lookup'>, context: NameContext): Reply<'lookup'> {
  const directory = loadDirectory(view, request.directory, context)
  const own = checkName(request.name)
  demand(directory, request.credentials, permission.search)
  const { inode } = request.directory
  const number =
    own === 'self' ? inode : own === 'parent' ? directory.parent : find(view, inode, request.name, context).entry?.inode
  if (number === undefined) throw new Failure('NOT_FOUND', 'no such name')
  const fid = fidOf(context.container, number)
  return {
    attributes: attributesOf(fid, load(view, fid, context)),
    directory: attributesOf(request.directory, directory),
  }
}

/** What each permission allows, as knfsd has it; `execute` on a directory is `lookup`. */
function allowedBy(kind: Kind): readonly (readonly [bit: number, wanted: number])[] {
  const { read: r, write: w, search } = permission
  const { read: readBit, lookup: lookupBit, modify, extend: extendBit, delete: deleteBit, execute } = accessBits
  if (kind !== 'directory')
    return [
      [readBit, r],
      [modify | extendBit, w],
      [execute, permission.execute],
    ]
  return [
    [readBit, r],
    [lookupBit, search],
    [modify | extendBit | deleteBit, w | search],
  ]
}

function access(view: Reader, { fid, credentials }: Request<'access'>, context: NameContext): Reply<'access'> {
  const inode = load(view, fid, context)
  let allowed = 0
  for (const [bits, wanted] of allowedBy(inode.kind)) if (permits(inode, credentials, wanted)) allowed |= bits
  return { attributes: attributesOf(fid, inode), allowed }
}

/** @throws Failure INVALID when it is no symlink */
function readlink(view: Reader, { fid }: Request<'readlink'>, context: NameContext): Reply<'readlink'> {
  const inode = load(view, fid, context)
  if (inode.kind !== 'symlink') throw new Failure('INVALID', `inode ${fid.inode} is a ${inode.kind}`)
  return { attributes: attributesOf(fid, inode), target: inode.target }
}

/** Entries after `cookie`, at most `limit`; fewer only at the directory's end. */
async function scanEntries(view: View, directory: Request<'readdir'>['directory'], cookie: number, limit: number) {
  const entries: (NamedEntry & { readonly cookie: number })[] = []
  let { from, to } = entriesAfter(directory.inode, cookie)
  while (entries.length < limit) {
    const wanted = limit - entries.length
    const found = await view.scan(from, to, wanted)
    for (const { key, value } of found) {
      const entry = decodeEntry(value)
      if (entry) entries.push({ ...entry, cookie: secondOfKey(key) })
    }
    if (found.length < wanted) break
    from = entriesAfter(directory.inode, secondOfKey(found.at(-1)!.key)).from
  }
  return entries
}

/**
 * The directory's attributes are from before its entries: a cache that goes by them fetches once too often rather than
 * once too few. Attributes of entries are left out for callers who may not search, and where the object has just gone.
 */
async function readdir(view: View, request: Request<'readdir'>, context: NameContext): Promise<Reply<'readdir'>> {
  const { entriesMax, credentials } = request
  const directory = loadDirectory(view, request.directory, context)
  demand(directory, credentials, permission.read)
  const entries = await scanEntries(view, request.directory, request.cookie, entriesMax + 1)
  const withAttributes = request.withAttributes && permits(directory, credentials, permission.search)
  return {
    directory: attributesOf(request.directory, directory),
    parent: fidOf(context.container, directory.parent),
    end: entries.length <= entriesMax,
    entries: entries.slice(0, entriesMax).map(({ name, cookie, inode, kind }) => {
      const fid = fidOf(context.container, inode)
      const value = withAttributes ? view.get(inodeKey(inode)) : undefined
      return { name, cookie, fid, kind, attributes: value && attributesOf(fid, decodeInode(value)) }
    }),
  }
}

/** `read` and `readChunk` say which bytes to read, cut to what there is; the driver reads them. */
export const queries = { getattr, lookup, access, readlink, readdir, read, readChunk }

/** The same, for a call without a payload. */
function bare<N extends 'setattr' | 'remove' | 'rename' | 'link' | 'extend' | 'map' | 'trimChunk', C>(
  mutation: Mutation<N, C>,
): Mutation<N, C> {
  return {
    perform(view, request, payloadBytes, context) {
      if (payloadBytes > 0) throw new Failure('BAD_MESSAGE', 'this call has no payload')
      return mutation.perform(view, request, payloadBytes, context)
    },
    repeat: mutation.repeat,
  }
}

export const mutations = {
  setattr: bare(setattr),
  create,
  remove: bare(remove),
  rename: bare(rename),
  link: bare(link),
  write,
  extend: bare(extend),
  map: bare(map),
  writeChunk,
  trimChunk: bare(trimChunk),
}
