/**
 * Procedures on one object by its handle: GETATTR, SETATTR, ACCESS, READLINK, FSSTAT, FSINFO, PATHCONF.
 *
 * Not pure: asks the cluster.
 *
 * Source: RFC 1813 §3.3.1, §3.3.2, §3.3.4, §3.3.5 and §3.3.18 to §3.3.20.
 */
import { type Changes, fileBytesMax, nameBytesMax, type Time } from '../../protocol/messages/attributes.ts'
import { access as bits } from '../../protocol/messages/files.ts'
import { checkChanges, readChanges, readTime, writeAttributes, writePostAttributes, writeWcc } from './attributes.ts'
import { transferBytesMax } from './data.ts'
import { type Definition, type Gateway, open, readHandleArgument } from './procedure.ts'

type Handle = { readonly handle: Uint8Array }
const decodeHandle: Definition<Handle>['decode'] = (xdr) => ({ handle: readHandleArgument(xdr) })

export function getattr(gateway: Gateway): Definition<Handle> {
  return {
    name: 'GETATTR',
    repetition: 'run',
    emptyOnFailure: 0,
    decode: decodeHandle,
    run: async ({ handle }, caller) => {
      const target = open(gateway, handle, caller, false)
      const attributes = await gateway.operations.getattr(target.fid)
      return (xdr) => writeAttributes(xdr, attributes, target)
    },
  }
}

type Setattr = Handle & { readonly changes: Changes; readonly guard: Time | undefined }

export function setattr(gateway: Gateway): Definition<Setattr> {
  return {
    name: 'SETATTR',
    repetition: 'remember',
    emptyOnFailure: 2,
    decode: (xdr) => ({
      handle: readHandleArgument(xdr),
      changes: readChanges(xdr),
      guard: xdr.boolean() ? readTime(xdr) : undefined,
    }),
    run: async ({ handle, changes, guard }, caller) => {
      const target = open(gateway, handle, caller, true)
      checkChanges(changes, fileBytesMax)
      const { before, attributes } = await gateway.operations.setattr(target.credentials, target.fid, changes, guard)
      gateway.permissions.forget(target.fid)
      return (xdr) => writeWcc(xdr, before, attributes, target)
    },
  }
}

/** What nobody may do on a read-only export. */
const changing = bits.modify | bits.extend | bits.delete

export function access(gateway: Gateway): Definition<Handle & { readonly wanted: number }> {
  return {
    name: 'ACCESS',
    repetition: 'run',
    emptyOnFailure: 1,
    decode: (xdr) => ({ handle: readHandleArgument(xdr), wanted: xdr.u32() }),
    run: async ({ handle, wanted }, caller) => {
      const target = open(gateway, handle, caller, false)
      const { attributes, allowed } = await gateway.operations.access(target.credentials, target.fid)
      return (xdr) => {
        writePostAttributes(xdr, attributes, target)
        xdr.u32(wanted & allowed & (target.rights.writable ? ~0 : ~changing))
      }
    },
  }
}

export function readlink(gateway: Gateway): Definition<Handle> {
  return {
    name: 'READLINK',
    repetition: 'run',
    emptyOnFailure: 1,
    decode: decodeHandle,
    run: async ({ handle }, caller) => {
      const target = open(gateway, handle, caller, false)
      const link = await gateway.operations.readlink(target.credentials, target.fid)
      return (xdr) => {
        writePostAttributes(xdr, link.attributes, target)
        xdr.opaque(link.target)
      }
    },
  }
}

/** Inodes are not limited; programs that look for free ones find plenty. */
const inodes = 2 ** 40

export function fsstat(gateway: Gateway): Definition<Handle> {
  const { operations } = gateway
  return {
    name: 'FSSTAT',
    repetition: 'run',
    emptyOnFailure: 1,
    decode: decodeHandle,
    run: async ({ handle }, caller) => {
      const target = open(gateway, handle, caller, false)
      const [attributes, space] = await Promise.all([operations.getattr(target.fid), operations.space(target.fid)])
      return (xdr) => {
        writePostAttributes(xdr, attributes, target)
        xdr.u64(space.totalBytes)
        xdr.u64(space.freeBytes)
        xdr.u64(space.freeBytes)
        for (const count of [inodes, inodes, inodes]) xdr.u64(count)
        xdr.u32(0) // invarsec: may change at any time
      }
    },
  }
}

/** Entries of about 700 names with their attributes and handles. */
const listingBytesPreferred = 128 * 1024
const blockBytes = 4096
/** FSF3_LINK, FSF3_SYMLINK, FSF3_HOMOGENEOUS, FSF3_CANSETTIME */
const properties = 0x01 | 0x02 | 0x08 | 0x10

export function fsinfo(gateway: Gateway): Definition<Handle> {
  return {
    name: 'FSINFO',
    repetition: 'run',
    emptyOnFailure: 1,
    decode: decodeHandle,
    run: async ({ handle }, caller) => {
      const target = open(gateway, handle, caller, false)
      const attributes = await gateway.operations.getattr(target.fid)
      return (xdr) => {
        writePostAttributes(xdr, attributes, target)
        // Most, preferred and multiple; of READ, then of WRITE.
        for (const bytes of [transferBytesMax, transferBytesMax, blockBytes]) xdr.u32(bytes)
        for (const bytes of [transferBytesMax, transferBytesMax, blockBytes]) xdr.u32(bytes)
        xdr.u32(listingBytesPreferred)
        xdr.u64(fileBytesMax)
        xdr.u32(0) // time_delta: a nanosecond
        xdr.u32(1)
        xdr.u32(properties)
      }
    },
  }
}

const linksMax = 2 ** 31 - 1

export function pathconf(gateway: Gateway): Definition<Handle> {
  return {
    name: 'PATHCONF',
    repetition: 'run',
    emptyOnFailure: 1,
    decode: decodeHandle,
    run: async ({ handle }, caller) => {
      const target = open(gateway, handle, caller, false)
      const attributes = await gateway.operations.getattr(target.fid)
      return (xdr) => {
        writePostAttributes(xdr, attributes, target)
        xdr.u32(linksMax)
        xdr.u32(nameBytesMax)
        xdr.boolean(true) // no_trunc
        xdr.boolean(true) // chown_restricted
        xdr.boolean(false) // case_insensitive
        xdr.boolean(true) // case_preserving
      }
    },
  }
}
