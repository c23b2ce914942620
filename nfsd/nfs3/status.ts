/**
 * nfsstat3, and which of its values each procedure may answer.
 *
 * Pure. A failure's own code comes from the failure table; where RFC 1813 does not list it for the procedure, the
 * nearest listed one goes out. JUKEBOX (try again later) is listed for every procedure. A handle that is dead is
 * STALE in every procedure that takes no name.
 *
 * Source: RFC 1813 §2.6 and the ERRORS of each procedure in §3.3.
 */
import { Failure } from '../../protocol/failures.ts'

export const status = {
  ok: 0,
  perm: 1,
  noent: 2,
  io: 5,
  nxio: 6,
  acces: 13,
  exist: 17,
  xdev: 18,
  notdir: 20,
  isdir: 21,
  inval: 22,
  fbig: 27,
  nospc: 28,
  rofs: 30,
  mlink: 31,
  nametoolong: 63,
  notempty: 66,
  dquot: 69,
  stale: 70,
  badhandle: 10001,
  notSync: 10002,
  badCookie: 10003,
  notsupp: 10004,
  toosmall: 10005,
  serverfault: 10006,
  badtype: 10007,
  jukebox: 10008,
} as const
export type Status = (typeof status)[keyof typeof status]

const { perm, noent, io, acces, exist, xdev, notdir, isdir, inval, fbig, nospc, rofs, mlink, nametoolong } = status
const { notempty, dquot, stale, badhandle, notSync, badCookie, notsupp, toosmall, serverfault, badtype } = status

/** Of every procedure that takes a handle, whatever RFC 1813 says of it. */
const always = [stale, badhandle, serverfault, status.jukebox]
const making = [io, acces, exist, notdir, nospc, rofs, nametoolong, dquot, notsupp, inval]

/** The codes of RFC 1813 §3.3 by procedure; INVAL stands for an impossible name wherever one is made. */
export const statuses = {
  GETATTR: [io],
  SETATTR: [perm, io, acces, inval, nospc, fbig, rofs, dquot, notSync],
  LOOKUP: [io, noent, acces, notdir, nametoolong],
  ACCESS: [io],
  READLINK: [io, inval, acces, notsupp],
  READ: [io, status.nxio, acces, inval],
  WRITE: [io, acces, fbig, dquot, nospc, inval, rofs],
  CREATE: making,
  MKDIR: making,
  SYMLINK: making,
  MKNOD: [...making, badtype],
  REMOVE: [noent, io, acces, notdir, isdir, nametoolong, rofs, perm, inval],
  RMDIR: [noent, io, acces, inval, exist, notdir, nametoolong, rofs, notempty, notsupp, perm],
  RENAME: [
    ...[noent, io, acces, exist, xdev, notdir, isdir, inval, nospc, rofs, mlink, nametoolong, notempty, dquot],
    ...[notsupp, perm],
  ],
  LINK: [io, acces, exist, xdev, notdir, inval, nospc, rofs, mlink, nametoolong, dquot, notsupp, perm, noent],
  READDIR: [io, acces, notdir, badCookie, toosmall],
  READDIRPLUS: [io, acces, notdir, badCookie, toosmall, notsupp],
  FSSTAT: [io],
  FSINFO: [],
  PATHCONF: [],
  COMMIT: [io],
} as const satisfies Record<string, readonly Status[]>
export type ProcedureName = keyof typeof statuses

/** What to say instead, where a code is not one of the procedure's. */
const substitutes = new Map<number, readonly number[]>([
  [noent, [stale]],
  [acces, [stale]],
  [perm, [acces]],
  [isdir, [inval]],
  [notdir, [inval]],
  [inval, [noent]],
  [exist, [inval]],
  [mlink, [nospc]],
  [fbig, [nospc, inval]],
  [dquot, [nospc]],
])

/** Refusals that only NFS knows and that have no row in the failure table: TOOSMALL and BADTYPE. */
export class StatusFailure extends Failure {
  readonly status: Status

  constructor(code: Status, detail: string) {
    super('INVALID', detail)
    this.status = code
  }
}

/** @returns the code that `procedure` answers for `failure`: always one that RFC 1813 lists for it, or JUKEBOX. */
export function statusOf(procedure: ProcedureName, failure: Failure): number {
  const code = failure instanceof StatusFailure ? failure.status : failure.row.nfs
  const listed: readonly number[] = statuses[procedure]
  const may = (candidate: number) => listed.includes(candidate) || (always as number[]).includes(candidate)
  if (may(code)) return code
  return substitutes.get(code)?.find(may) ?? [io].find(may) ?? serverfault
}
