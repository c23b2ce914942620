/**
 * create: a new object of any kind, with a file's first bytes in the same record; and the first one of a container.
 *
 * Pure.
 */
import { assert } from '../../protocol/assert.ts'
import { Failure } from '../../protocol/failures.ts'
import type { Inode } from '../../protocol/ids.ts'
import {
  type Changes,
  type Credentials,
  inlineBytesMax,
  type Kind,
  type NewTime,
  type Time,
} from '../../protocol/messages/attributes.ts'
import type { Change } from '../index/changes.ts'
import { resize, writeInline } from './bytes.ts'
import { checkName, enter, find } from './directory.ts'
import {
  attributesOf,
  beforeOf,
  blank,
  directoryBytes,
  fidOf,
  generationFirst,
  type InodeValue,
  noBytes,
  stamp,
} from './inode.ts'
import { get64, nextInodeKey, number64, sameBytes } from './keys.ts'
import {
  Draft,
  load,
  loadDirectory,
  loadOrGone,
  type Mutation,
  type NameContext,
  type Outcome,
  type Reply,
  type Request,
} from './mutation.ts'
import { demand, inGroup, isRoot, modeBits, permission } from './permission.ts'

export const rootInode = 1 as Inode
const verifierBytes = 8

/** Changes that make an empty name container that of a volume's root. */
export function format(context: NameContext): readonly Change[] {
  const { now } = context
  const draft = new Draft({ get: () => undefined })
  draft.putInode(
    rootInode,
    { ...blank(now), kind: 'directory', mode: 0o755, links: 2, sizeBytes: directoryBytes, parent: rootInode },
    true,
  )
  draft.put(nextInodeKey, number64(rootInode + 1), true)
  return draft.changes
}

/** Where the caller names no mode, nobody else gets in before it sets one. */
const modeDefault = (kind: Kind): number => (kind === 'symlink' ? 0o777 : kind === 'directory' ? 0o700 : 0o600)

const timeOf = (wanted: NewTime | undefined, now: Time): Time => (wanted && !wanted.now ? wanted.time : now)

/** A setgid directory hands its group on, and to directories also the bit. @throws Failure NOT_OWNER */
function owned(directory: InodeValue, kind: Kind, changes: Changes, caller: Credentials) {
  const inherits = (directory.mode & modeBits.setgid) !== 0
  const uid = changes.uid ?? caller.uid
  const gid = changes.gid ?? (inherits ? directory.gid : caller.gid)
  let mode = changes.mode ?? modeDefault(kind)
  if (!isRoot(caller)) {
    if (uid !== caller.uid) throw new Failure('NOT_OWNER', 'only root creates for others')
    const handed = inherits && gid === directory.gid
    if (!handed && !inGroup(caller, gid)) throw new Failure('NOT_OWNER', `uid ${caller.uid} is not in group ${gid}`)
    if (!inGroup(caller, gid)) mode &= ~modeBits.setgid
  }
  if (kind === 'directory' && inherits) mode |= modeBits.setgid
  return { uid, gid, mode }
}

/** @throws Failure INVALID, NOT_OWNER */
function newborn(
  directory: InodeValue,
  request: Request<'create'>,
  payloadBytes: number,
  context: NameContext,
): InodeValue {
  const { kind, changes, credentials } = request
  const { chunkBytes } = context.volume
  const device = kind === 'character' || kind === 'block'
  if (device && !isRoot(credentials)) throw new Failure('NOT_OWNER', 'only root makes devices')
  const common = {
    ...blank(context.now),
    ...owned(directory, kind, changes, credentials),
    kind,
    accessed: timeOf(changes.accessed, context.now),
    modified: timeOf(changes.modified, context.now),
  }
  switch (kind) {
    case 'file': {
      assert(chunkBytes > 0 && chunkBytes % inlineBytesMax === 0, 'chunks are multiples of what is inline')
      const sizeBytes = Math.max(payloadBytes, changes.sizeBytes ?? 0)
      return { ...common, sizeBytes, chunkBytes, verifier: request.verifier ?? noBytes }
    }
    case 'directory':
      return { ...common, links: 2, sizeBytes: directoryBytes, parent: request.directory.inode }
    case 'symlink':
      return { ...common, sizeBytes: request.target!.length, target: request.target! }
    case 'character':
    case 'block':
      return { ...common, major: request.major, minor: request.minor }
    default:
      return common
  }
}

/** @throws Failure INVALID */
function check({ kind, how, verifier, target }: Request<'create'>, payloadBytes: number): void {
  if (payloadBytes > inlineBytesMax)
    throw new Failure('INVALID', `${payloadBytes} bytes are too many to come with create`)
  if (payloadBytes > 0 && kind !== 'file') throw new Failure('INVALID', `a ${kind} has no bytes`)
  const exclusive = kind === 'file' && how === 'exclusive'
  if (exclusive ? verifier?.length !== verifierBytes : verifier !== undefined) {
    throw new Failure('INVALID', `a verifier of ${verifierBytes} bytes goes with an exclusive create of a file`)
  }
  const sound =
    kind === 'symlink' ? target !== undefined && target.length > 0 && !target.includes(0) : target === undefined
  if (!sound) throw new Failure('INVALID', 'a target without NUL goes with a symlink')
}

/** The name is taken: the same exclusive create again, or an unchecked one, which may replace bytes but nothing else. */
function existing(
  draft: Draft,
  request: Request<'create'>,
  directory: InodeValue,
  number: Inode,
  payloadBytes: number,
  context: NameContext,
): Outcome<Reply<'create'>> {
  const { how, kind, changes, credentials } = request
  const fid = fidOf(context.container, number)
  const unchanged = { directoryBefore: beforeOf(directory), directory: attributesOf(request.directory, directory) }
  const file = load(draft, fid, context)
  if (kind !== 'file' || file.kind !== 'file' || how === 'guarded') throw new Failure('EXISTS', 'the name is taken')
  if (how === 'exclusive') {
    if (!sameBytes(file.verifier, request.verifier!)) throw new Failure('EXISTS', 'the name is taken')
    return {
      changes: [],
      reply: { attributes: attributesOf(fid, file), created: true, ...unchanged },
      result: resultOf(number, true),
    }
  }
  let next = file
  if (changes.sizeBytes !== undefined || payloadBytes > 0) {
    demand(file, credentials, permission.write)
    if (changes.sizeBytes !== undefined) next = resize(draft, number, next, changes.sizeBytes)
    if (payloadBytes > 0) next = writeInline(draft, number, next, 0, payloadBytes)
    const modified = stamp(file, context.now)
    next = { ...next, modified, changed: modified }
    draft.putInode(number, next)
  }
  const reply = { attributes: attributesOf(fid, next), created: false, ...unchanged }
  return { changes: draft.changes, reply, result: resultOf(number, false) }
}

/** What the retry table keeps: inode and whether it was created. */
const resultOf = (number: Inode, created: boolean): number => number * 2 + (created ? 1 : 0)

export const create: Mutation<'create'> = {
  perform(view, request, payloadBytes, context) {
    const { kind, credentials, name } = request
    const directory = loadDirectory(view, request.directory, context)
    check(request, payloadBytes)
    const own = checkName(name)
    demand(directory, credentials, permission.search)
    if (own) throw new Failure('EXISTS', 'every directory has that name')
    const draft = new Draft(view)
    const place = find(view, request.directory.inode, name, context)
    if (place.entry) return existing(draft, request, directory, place.entry.inode, payloadBytes, context)
    demand(directory, credentials, permission.write)
    const next = view.get(nextInodeKey)
    assert(next !== undefined, 'a name container is formatted')
    const number = get64(next, 0) as Inode
    const inode = newborn(directory, request, payloadBytes, context)
    const fid = fidOf(context.container, number)
    const modified = stamp(directory, context.now)
    const parent = {
      ...directory,
      links: directory.links + (kind === 'directory' ? 1 : 0),
      entries: directory.entries + 1,
      modified,
      changed: modified,
    }
    draft.put(nextInodeKey, number64(number + 1))
    draft.putInode(number, inode, true)
    enter(draft, request.directory.inode, place, name, { inode: number, generation: generationFirst, kind })
    draft.putInode(request.directory.inode, parent)
    if (payloadBytes > 0) writeInline(draft, number, inode, 0, payloadBytes)
    const reply = {
      attributes: attributesOf(fid, inode),
      created: true,
      directoryBefore: beforeOf(directory),
      directory: attributesOf(request.directory, parent),
    }
    return { changes: draft.changes, reply, result: resultOf(number, true) }
  },
  repeat(view, request, result, context) {
    const directory = loadOrGone(view, request.directory, 'directory', context)
    const fid = fidOf(context.container, Math.floor(result / 2) as Inode)
    const inode = loadOrGone(view, fid, request.kind, context)
    return {
      attributes: attributesOf(fid, inode),
      created: result % 2 === 1,
      directoryBefore: beforeOf(directory),
      directory: attributesOf(request.directory, directory),
    }
  },
}
