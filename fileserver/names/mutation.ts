/**
 * What an operation is given and what it makes: context, draft of changes, outcome.
 *
 * Pure. A draft reads its own writes, so that steps which touch the same key compose.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import type { ContainerId, Fid, Inode } from '../../protocol/ids.ts'
import type { Kind, Time } from '../../protocol/messages/attributes.ts'
import type { files } from '../../protocol/messages/files.ts'
import type { ReplyOf, RequestOf } from '../../protocol/messages/service.ts'
import type { Change, View } from '../index/changes.ts'
import { blank, decodeInode, encodeInode, type InodeValue } from './inode.ts'
import { inodeKey, sameBytes } from './keys.ts'

export type NameContext = {
  readonly container: ContainerId
  readonly volume: { readonly chunkBytes: number }
  readonly now: Time
  /** Home cookie of a name, in place of `nameCookie`: for tests that need collisions. */
  readonly hash?: (name: Uint8Array) => number
}

/** `random` in [0, 1) picks among the containers that new chunks may go to. */
export type MapContext = NameContext & {
  readonly dataContainers: readonly ContainerId[]
  readonly random: number
}

export type Reader = Pick<View, 'get'>

type Calls = typeof files.calls
export type Request<N extends keyof Calls> = RequestOf<Calls[N]>
/** The driver adds `token`: it alone knows the record's sequence. */
export type Reply<N extends keyof Calls> = Omit<ReplyOf<Calls[N]>, 'token'>

/**
 * What a mutation does: atomic changes (none: nothing is logged) and the answer. `result` is all that the retry table
 * keeps of it, and all that `repeat` has besides the request.
 */
export type Outcome<R> = { readonly changes: readonly Change[]; readonly reply: R; readonly result: number }

export type Mutation<N extends keyof Calls, C = NameContext> = {
  /** @throws Failure: nothing changes */
  readonly perform: (view: Reader, request: Request<N>, payloadBytes: number, context: C) => Outcome<Reply<N>>
  /**
   * The answer to a repeated call: attributes are those of now, and `before` equals them, which sends a cache to
   * fetch anew. Only `map`, which changes nothing that callers see,
   * fails when the object has gone: others would be made a second time.
   */
  readonly repeat: (view: Reader, request: Request<N>, result: number, context: C) => Reply<N>
}

export class Draft {
  readonly changes: Change[] = []
  readonly #view: Reader

  constructor(view: Reader) {
    this.#view = view
  }

  get(key: Uint8Array): Uint8Array | undefined {
    for (let i = this.changes.length - 1; i >= 0; i--) {
      const change = this.changes[i]!
      if (change.type === 'put' && sameBytes(change.key, key)) return change.value
      if (change.type === 'delete' && sameBytes(change.key, key)) return undefined
    }
    return this.#view.get(key)
  }

  put(key: Uint8Array, value: Uint8Array, fresh = false): void {
    this.changes.push({ type: 'put', key, value, fresh })
  }

  delete(key: Uint8Array): void {
    this.changes.push({ type: 'delete', key })
  }

  putInode(inode: Inode, value: InodeValue, fresh = false): void {
    this.put(inodeKey(inode), encodeInode(value), fresh)
  }

  /** The record's payload, from its start, becomes the object's bytes at `offset`. */
  extent(object: Uint8Array, offset: number, length: number): void {
    this.changes.push({ type: 'extent', object, offset, length, payloadOffset: 0 })
  }

  punch(object: Uint8Array, from: number, to: number): void {
    if (from < to) this.changes.push({ type: 'punch', object, from, to })
  }
}

/** @throws Failure STALE when the fid names nothing here (any more). */
export function load(view: Reader, fid: Fid, context: NameContext): InodeValue {
  const bytes = fid.container === context.container ? view.get(inodeKey(fid.inode)) : undefined
  if (bytes === undefined) throw new Failure('STALE', `inode ${fid.inode} is no more`)
  const inode = decodeInode(bytes)
  if (inode.generation !== fid.generation) throw new Failure('STALE', `inode ${fid.inode} is another by now`)
  return inode
}

/**
 * What a repeated call tells of an object. The call was done, whatever became of the object since: of one that has gone only the
 * links, none, are right; `kind` may be a guess.
 */
export function loadOrGone(view: Reader, fid: Fid, kind: Kind, context: NameContext): InodeValue {
  try {
    return load(view, fid, context)
  } catch (error) {
    if (!isFailure(error, 'STALE')) throw error
    return { ...blank(context.now), kind, links: 0 }
  }
}

/** @throws Failure STALE, NOT_DIRECTORY */
export function loadDirectory(view: Reader, fid: Fid, context: NameContext): InodeValue {
  const inode = load(view, fid, context)
  if (inode.kind !== 'directory') throw new Failure('NOT_DIRECTORY', `inode ${fid.inode} is a ${inode.kind}`)
  return inode
}

/** @throws Failure IS_DIRECTORY, INVALID */
export function demandFile(inode: InodeValue): void {
  if (inode.kind === 'directory') throw new Failure('IS_DIRECTORY', 'a directory has no bytes')
  if (inode.kind !== 'file') throw new Failure('INVALID', `a ${inode.kind} has no bytes`)
}

/** @throws Failure STALE, IS_DIRECTORY, INVALID */
export function loadFile(view: Reader, fid: Fid, context: NameContext): InodeValue {
  const inode = load(view, fid, context)
  demandFile(inode)
  return inode
}
