/**
 * Attributes on the wire: fattr3, wcc_data, sattr3 and the optional forms of them.
 *
 * Pure. `fsid` and `fileid` are the same on every gateway and after every restart.
 *
 * Source: RFC 1813 §2.5 and §2.6.
 */
import { Failure } from '../../protocol/failures.ts'
import type { ContainerId, Fid } from '../../protocol/ids.ts'
import type { Attributes, Before, Changes, Kind, NewTime, Time } from '../../protocol/messages/attributes.ts'
import type { XdrReader } from '../xdr/reader.ts'
import type { XdrWriter } from '../xdr/writer.ts'
import { handleBytes, writeHandle } from './handle.ts'

const types: Readonly<Record<Kind, number>> = {
  file: 1,
  directory: 2,
  block: 3,
  character: 4,
  symlink: 5,
  socket: 6,
  fifo: 7,
}

export const fattrBytes = 84
/** post_op_attr and post_op_fh3 with something in them. */
export const postAttributesBytes = 4 + fattrBytes
export const postHandleBytes = 4 + 4 + handleBytes

/** What a reply says of an object beside its attributes: how the client reached it. */
export type Origin = { readonly exportId: number; readonly volume: ContainerId }

export function writeAttributes(xdr: XdrWriter, attributes: Attributes, { volume }: Origin): void {
  xdr.u32(types[attributes.kind])
  xdr.u32(attributes.mode)
  xdr.u32(attributes.links)
  xdr.u32(attributes.uid)
  xdr.u32(attributes.gid)
  xdr.u64(attributes.sizeBytes)
  xdr.u64(attributes.usedBytes)
  xdr.u32(attributes.major)
  xdr.u32(attributes.minor)
  writeFsid(xdr, volume)
  writeFileid(xdr, attributes.fid, volume)
  writeTime(xdr, attributes.accessed)
  writeTime(xdr, attributes.modified)
  writeTime(xdr, attributes.changed)
}

export function writePostAttributes(xdr: XdrWriter, attributes: Attributes | undefined, origin: Origin): void {
  xdr.boolean(attributes !== undefined)
  if (attributes !== undefined) writeAttributes(xdr, attributes, origin)
}

export function writePostHandle(xdr: XdrWriter, fid: Fid, { exportId, volume }: Origin): void {
  xdr.boolean(true)
  xdr.opaque(writeHandle({ exportId, volume, fid }))
}

/** `before` only where it was taken atomically with the operation. */
export function writeWcc(xdr: XdrWriter, before: Before | undefined, after: Attributes, origin: Origin): void {
  xdr.boolean(before !== undefined)
  if (before !== undefined) {
    xdr.u64(before.sizeBytes)
    writeTime(xdr, before.modified)
    writeTime(xdr, before.changed)
  }
  writePostAttributes(xdr, after, origin)
}

/** The seconds are unsigned: what lies outside 1970 to 2106 is shown as the nearest that fits. */
export function writeTime(xdr: XdrWriter, time: Time): void {
  xdr.u32(Math.min(Math.max(time.seconds, 0), 0xffffffff))
  xdr.u32(time.nanoseconds)
}

export function readTime(xdr: XdrReader): Time {
  const seconds = xdr.u32()
  const nanoseconds = xdr.u32()
  return { seconds, nanoseconds }
}

/** A 32-bit number to another, one to one (the finaliser of MurmurHash3). */
function mix(value: number): number {
  let h = value | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

function writeFsid(xdr: XdrWriter, volume: ContainerId): void {
  xdr.u32(mix(volume ^ 0x48464644))
  xdr.u32(mix(Math.floor(volume / 2 ** 32) ^ 0x6e667364))
}

/** The inode in the volume's first container; elsewhere the container is mixed in, since inodes repeat there. */
export function writeFileid(xdr: XdrWriter, { container, inode }: Fid, volume: ContainerId): void {
  const high = Math.floor(inode / 2 ** 32)
  xdr.u32(container === volume ? high : high ^ mix(container))
  xdr.u32(container === volume ? inode : inode ^ mix(~container))
}

export const noChanges: Changes = {
  mode: undefined,
  uid: undefined,
  gid: undefined,
  sizeBytes: undefined,
  accessed: undefined,
  modified: undefined,
}

/** sattr3, as it came: `checkChanges` says whether a file can have it. */
export function readChanges(xdr: XdrReader): Changes {
  const mode = xdr.boolean() ? xdr.u32() & 0o7777 : undefined
  const uid = xdr.boolean() ? xdr.u32() : undefined
  const gid = xdr.boolean() ? xdr.u32() : undefined
  const sizeBytes = xdr.boolean() ? xdr.u64() : undefined
  const accessed = readNewTime(xdr)
  const modified = readNewTime(xdr)
  return { mode, uid, gid, sizeBytes, accessed, modified }
}

function readNewTime(xdr: XdrReader): NewTime | undefined {
  const how = xdr.choice(2)
  if (how === 0) return undefined
  return how === 1 ? { now: true, time: { seconds: 0, nanoseconds: 0 } } : { now: false, time: readTime(xdr) }
}

/** What the XDR form allows and no file can have. @throws Failure INVALID, FILE_TOO_LARGE. */
export function checkChanges(changes: Changes, fileBytesMax: number): void {
  if ((changes.sizeBytes ?? 0) > fileBytesMax) throw new Failure('FILE_TOO_LARGE', `${changes.sizeBytes} bytes`)
  for (const change of [changes.accessed, changes.modified])
    if (change !== undefined && change.time.nanoseconds > 999_999_999)
      throw new Failure('INVALID', `${change.time.nanoseconds} nanoseconds`)
}
