/**
 * remove, rename, link: what happens to names of objects that exist.
 *
 * Pure. The order of checks is Linux's (fs/namei.c), which programs depend on.
 */
import { Failure } from '../../protocol/failures.ts'
import type { Fid, Inode } from '../../protocol/ids.ts'
import type { Time } from '../../protocol/messages/attributes.ts'
import { erase } from './bytes.ts'
import { rootInode } from './create.ts'
import { checkName, type Entry, enter, find, leave, type Place } from './directory.ts'
import { attributesOf, beforeOf, fidOf, type InodeValue, stamp } from './inode.ts'
import {
  Draft,
  load,
  loadDirectory,
  loadOrGone,
  type Mutation,
  type NameContext,
  type Reader,
  type Request,
} from './mutation.ts'
import { demand, demandRemoval, permission } from './permission.ts'

const linksMax = 2 ** 31 - 1
/** Directories above one another that a rename walks in search of a loop. */
const depthMax = 4096

type Found = Place & { readonly cookie: number; readonly entry: Entry }

/** @throws Failure NOT_FOUND */
function demandFound(place: Place): asserts place is Found {
  if (place.entry === undefined) throw new Failure('NOT_FOUND', 'no such name')
}

/** A directory with as many more entries and subdirectories. */
function grown(directory: InodeValue, entries: number, subdirectories: number, now: Time): InodeValue {
  const modified = stamp(directory, now)
  return {
    ...directory,
    entries: directory.entries + entries,
    links: directory.links + subdirectories,
    modified,
    changed: modified,
  }
}

/** Takes one link from an object: with the last one it goes. */
function unlink(draft: Draft, number: Inode, inode: InodeValue, now: Time): void {
  if (inode.kind === 'directory' || inode.links === 1) erase(draft, number, inode)
  else draft.putInode(number, { ...inode, links: inode.links - 1, changed: stamp(inode, now) })
}

/** May `victim` be taken away where a directory (or not one) is asked for? @throws Failure NOT_DIRECTORY, IS_DIRECTORY, NOT_EMPTY */
function demandVictim(victim: InodeValue, asDirectory: boolean): void {
  const isDirectory = victim.kind === 'directory'
  if (asDirectory && !isDirectory) throw new Failure('NOT_DIRECTORY', `it is a ${victim.kind}`)
  if (!asDirectory && isDirectory) throw new Failure('IS_DIRECTORY', 'it is a directory')
  if (victim.entries > 0) throw new Failure('NOT_EMPTY', `${victim.entries} entries`)
}

const directoryNow = (view: Reader, fid: Fid, context: NameContext) => {
  const directory = loadOrGone(view, fid, 'directory', context)
  return { directoryBefore: beforeOf(directory), directory: attributesOf(fid, directory) }
}

export const remove: Mutation<'remove'> = {
  perform(view, request, _payloadBytes, context) {
    const { credentials, name } = request
    const { inode: number } = request.directory
    const directory = loadDirectory(view, request.directory, context)
    const own = checkName(name)
    if (own && request.kind === 'file') throw new Failure('IS_DIRECTORY', 'every directory has that name')
    if (own) throw new Failure(own === 'self' ? 'INVALID' : 'NOT_EMPTY', 'every directory has that name')
    demand(directory, credentials, permission.search)
    const place = find(view, number, name, context)
    demandFound(place)
    const victim = load(view, fidOf(context.container, place.entry.inode), context)
    demandRemoval(directory, victim, credentials)
    demandVictim(victim, request.kind === 'directory')
    const draft = new Draft(view)
    const next = grown(directory, -1, victim.kind === 'directory' ? -1 : 0, context.now)
    leave(draft, number, place.cookie)
    unlink(draft, place.entry.inode, victim, context.now)
    draft.putInode(number, next)
    const reply = { directoryBefore: beforeOf(directory), directory: attributesOf(request.directory, next) }
    return { changes: draft.changes, reply, result: 0 }
  },
  repeat: (view, request, _result, context) => directoryNow(view, request.directory, context),
}

export const link: Mutation<'link'> = {
  perform(view, request, _payloadBytes, context) {
    const { fid, name, credentials } = request
    const { inode: number } = request.directory
    if (fid.container !== request.directory.container) {
      throw new Failure('CROSS_VOLUME', 'the object is in another container')
    }
    const directory = loadDirectory(view, request.directory, context)
    const inode = load(view, fid, context)
    const own = checkName(name)
    demand(directory, credentials, permission.search)
    if (own) throw new Failure('EXISTS', 'every directory has that name')
    const place = find(view, number, name, context)
    if (place.entry) throw new Failure('EXISTS', 'the name is taken')
    demand(directory, credentials, permission.write)
    if (inode.kind === 'directory') throw new Failure('NOT_OWNER', 'directories have one name')
    if (inode.links >= linksMax) throw new Failure('TOO_MANY_LINKS', `${inode.links} links`)
    const draft = new Draft(view)
    const linked = { ...inode, links: inode.links + 1, changed: stamp(inode, context.now) }
    const next = grown(directory, 1, 0, context.now)
    enter(draft, number, place, name, { inode: fid.inode, generation: fid.generation, kind: inode.kind })
    draft.putInode(fid.inode, linked)
    draft.putInode(number, next)
    const reply = {
      attributes: attributesOf(fid, linked),
      directoryBefore: beforeOf(directory),
      directory: attributesOf(request.directory, next),
    }
    return { changes: draft.changes, reply, result: 0 }
  },
  repeat(view, request, _result, context) {
    const inode = loadOrGone(view, request.fid, 'file', context)
    return { attributes: attributesOf(request.fid, inode), ...directoryNow(view, request.directory, context) }
  },
}

/** @throws Failure INVALID when `moved` is `directory` or above it */
function demandNoLoop(view: Reader, moved: Inode, directory: Fid, context: NameContext): void {
  let above = directory.inode
  for (let depth = 0; depth < depthMax; depth++) {
    if (above === moved) throw new Failure('INVALID', 'a directory cannot move into itself')
    if (above === rootInode) return
    above = loadDirectory(view, fidOf(context.container, above), context).parent
  }
  throw new Failure('INVALID', `the target is more than ${depthMax} directories deep`)
}

/** Both directories after a rename: one and the same value when they are one. */
function directoriesAfter(
  source: InodeValue,
  target: InodeValue,
  same: boolean,
  moved: InodeValue,
  replaced: InodeValue | undefined,
  now: Time,
): readonly [InodeValue, InodeValue] {
  const arriving = moved.kind === 'directory' ? 1 : 0
  const lost = replaced?.kind === 'directory' ? 1 : 0
  const net = replaced ? 0 : 1
  if (same) {
    const both = grown(source, net - 1, -lost, now)
    return [both, both]
  }
  return [grown(source, -1, -arriving, now), grown(target, net, arriving - lost, now)]
}

const renameReply = (
  request: Request<'rename'>,
  before: readonly [InodeValue, InodeValue],
  after: readonly [InodeValue, InodeValue],
) => ({
  sourceBefore: beforeOf(before[0]),
  source: attributesOf(request.source, after[0]),
  targetBefore: beforeOf(before[1]),
  target: attributesOf(request.target, after[1]),
})

export const rename: Mutation<'rename'> = {
  perform(view, request, _payloadBytes, context) {
    const { source, target, sourceName, targetName, credentials } = request
    if (source.container !== target.container)
      throw new Failure('CROSS_VOLUME', 'the directories are in two containers')
    const from = loadDirectory(view, source, context)
    const to = loadDirectory(view, target, context)
    if (checkName(sourceName) ?? checkName(targetName)) throw new Failure('INVALID', 'every directory has that name')
    demand(from, credentials, permission.search)
    demand(to, credentials, permission.search)
    const place = find(view, source.inode, sourceName, context)
    demandFound(place)
    const over = find(view, target.inode, targetName, context)
    if (over.entry && !request.replace) throw new Failure('EXISTS', 'the name is taken')
    const number = place.entry.inode
    const moved = load(view, fidOf(context.container, number), context)
    const same = source.inode === target.inode
    if (moved.kind === 'directory' && !same) demandNoLoop(view, number, target, context)
    if (over.entry?.inode === number)
      return { changes: [], reply: renameReply(request, [from, to], [from, to]), result: 0 }
    demandRemoval(from, moved, credentials)
    const replaced = over.entry && load(view, fidOf(context.container, over.entry.inode), context)
    if (replaced) {
      demandRemoval(to, replaced, credentials)
      demandVictim(replaced, moved.kind === 'directory')
    } else {
      demand(to, credentials, permission.write)
    }
    // Its `..` changes: Linux asks for write permission on the directory itself.
    if (moved.kind === 'directory' && !same) demand(moved, credentials, permission.write)

    const draft = new Draft(view)
    enter(draft, target.inode, over, targetName, place.entry)
    leave(draft, source.inode, place.cookie)
    if (over.entry && replaced) unlink(draft, over.entry.inode, replaced, context.now)
    const parent = moved.kind === 'directory' ? target.inode : moved.parent
    draft.putInode(number, { ...moved, parent, changed: stamp(moved, context.now) })
    const after = directoriesAfter(from, to, same, moved, replaced, context.now)
    draft.putInode(source.inode, after[0])
    if (!same) draft.putInode(target.inode, after[1])
    return { changes: draft.changes, reply: renameReply(request, [from, to], after), result: 0 }
  },
  repeat(view, request, _result, context) {
    const now = (fid: Fid): InodeValue => loadOrGone(view, fid, 'directory', context)
    const both = [now(request.source), now(request.target)] as const
    return renameReply(request, both, both)
  },
}
