/**
 * Who may do what, as POSIX and Linux have it.
 *
 * Pure. Uid 0 may do everything, except execute a file that has no execute bit at all.
 */
import { Failure } from '../../protocol/failures.ts'
import type { Credentials } from '../../protocol/messages/attributes.ts'
import type { InodeValue } from './inode.ts'

export const permission = { read: 4, write: 2, execute: 1, search: 1 } as const
export const modeBits = { setuid: 0o4000, setgid: 0o2000, sticky: 0o1000, groupExecute: 0o010 } as const

export const isRoot = (caller: Credentials): boolean => caller.uid === 0

export const inGroup = (caller: Credentials, gid: number): boolean => caller.gid === gid || caller.groups.includes(gid)

export const owns = (caller: Credentials, inode: InodeValue): boolean => isRoot(caller) || caller.uid === inode.uid

/** @returns whether the caller has every bit of `wanted`. */
export function permits(inode: InodeValue, caller: Credentials, wanted: number): boolean {
  if (isRoot(caller)) {
    return (wanted & permission.execute) === 0 || inode.kind === 'directory' || (inode.mode & 0o111) !== 0
  }
  const shift = caller.uid === inode.uid ? 6 : inGroup(caller, inode.gid) ? 3 : 0
  return ((inode.mode >> shift) & wanted) === wanted
}

/** @throws Failure ACCESS */
export function demand(inode: InodeValue, caller: Credentials, wanted: number): void {
  if (!permits(inode, caller, wanted)) throw new Failure('ACCESS', `uid ${caller.uid} lacks permission ${wanted}`)
}

/** May the caller take `victim` out of `directory`? @throws Failure ACCESS, or NOT_OWNER in a sticky directory. */
export function demandRemoval(directory: InodeValue, victim: InodeValue, caller: Credentials): void {
  demand(directory, caller, permission.write | permission.search)
  if ((directory.mode & modeBits.sticky) === 0 || owns(caller, directory) || owns(caller, victim)) return
  throw new Failure('NOT_OWNER', 'the directory is sticky')
}
