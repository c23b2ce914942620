/**
 * setattr: chmod, chown, truncate and utimes in one, by the rules of Linux and knfsd.
 *
 * Pure.
 */
import { Failure } from '../../protocol/failures.ts'
import type { Changes, Credentials, Time } from '../../protocol/messages/attributes.ts'
import { resize } from './bytes.ts'
import { attributesOf, beforeOf, type InodeValue, sameTime, stamp } from './inode.ts'
import { Draft, demandFile, load, loadOrGone, type Mutation } from './mutation.ts'
import { inGroup, isRoot, modeBits, owns, permission, permits } from './permission.ts'

const changesNothing = (changes: Changes): boolean =>
  changes.mode === undefined &&
  changes.uid === undefined &&
  changes.gid === undefined &&
  changes.sizeBytes === undefined &&
  changes.accessed === undefined &&
  changes.modified === undefined

/**
 * Root may do all of it. The owner may set mode, times and size, and the group to one of its own; whoever may write may
 * truncate and set times to now. An owner may truncate without write permission: it may hold the file open.
 */
function demandAllowed(inode: InodeValue, changes: Changes, caller: Credentials): void {
  const { mode, uid, gid, sizeBytes, accessed, modified } = changes
  const times = [accessed, modified].filter((time) => time !== undefined)
  const owner = owns(caller, inode)
  const forOwner = mode !== undefined || uid !== undefined || gid !== undefined || times.some((time) => !time.now)
  if (forOwner && !owner) throw new Failure('NOT_OWNER', `uid ${caller.uid} does not own it`)
  if (!isRoot(caller)) {
    if (uid !== undefined && uid !== inode.uid) throw new Failure('NOT_OWNER', 'only root gives files away')
    if (gid !== undefined && gid !== inode.gid && !inGroup(caller, gid)) {
      throw new Failure('NOT_OWNER', `uid ${caller.uid} is not in group ${gid}`)
    }
  }
  const forWriter = sizeBytes !== undefined || times.length > 0
  if (forWriter && !owner && !permits(inode, caller, permission.write)) {
    throw new Failure('ACCESS', `uid ${caller.uid} may not write it`)
  }
}

/** A new owner or group takes the privileges of a program away; so does a caller outside of its group with setgid. */
function modeAfter(inode: InodeValue, changes: Changes, caller: Credentials): number {
  let mode = changes.mode ?? inode.mode
  if (inode.kind !== 'directory' && (changes.uid !== undefined || changes.gid !== undefined)) {
    mode &= ~modeBits.setuid
    if ((mode & modeBits.groupExecute) !== 0) mode &= ~modeBits.setgid
  }
  const group = changes.gid ?? inode.gid
  if (changes.mode !== undefined && !isRoot(caller) && !inGroup(caller, group)) mode &= ~modeBits.setgid
  return mode
}

/** @returns the inode with everything but its size changed */
export function applied(inode: InodeValue, changes: Changes, caller: Credentials, now: Time): InodeValue {
  const changed = stamp(inode, now)
  const { accessed, modified } = changes
  const modifiedElse = changes.sizeBytes === undefined ? inode.modified : changed
  return {
    ...inode,
    mode: modeAfter(inode, changes, caller),
    uid: changes.uid ?? inode.uid,
    gid: changes.gid ?? inode.gid,
    accessed: accessed ? (accessed.now ? changed : accessed.time) : inode.accessed,
    modified: modified ? (modified.now ? changed : modified.time) : modifiedElse,
    changed,
  }
}

export const setattr: Mutation<'setattr'> = {
  perform(view, request, _payloadBytes, context) {
    const { fid, changes, credentials, guard } = request
    const inode = load(view, fid, context)
    const before = beforeOf(inode)
    if (guard && !sameTime(guard, inode.changed)) throw new Failure('NOT_SYNC', 'changed since the guard was taken')
    if (changesNothing(changes))
      return { changes: [], reply: { before, attributes: attributesOf(fid, inode) }, result: 0 }
    if (changes.sizeBytes !== undefined) demandFile(inode)
    demandAllowed(inode, changes, credentials)
    const draft = new Draft(view)
    const sized = changes.sizeBytes === undefined ? inode : resize(draft, fid.inode, inode, changes.sizeBytes)
    const next = applied(sized, changes, credentials, context.now)
    draft.putInode(fid.inode, next)
    return { changes: draft.changes, reply: { before, attributes: attributesOf(fid, next) }, result: 0 }
  },
  repeat(view, { fid }, _result, context) {
    const inode = loadOrGone(view, fid, 'file', context)
    return { before: beforeOf(inode), attributes: attributesOf(fid, inode) }
  },
}
