/**
 * Procedures that take a name: LOOKUP, CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK.
 *
 * Not pure: asks the cluster, which checks permissions. Exclusive CREATE stores the client's verifier in the cluster,
 * so a repetition succeeds after restarts of everything.
 *
 * Source: RFC 1813 §3.2, §3.3.3 and §3.3.8 to §3.3.15.
 */
import type { Creation, DirectoryChange } from '../../client/operations.ts'
import { Failure } from '../../protocol/failures.ts'
import {
  type Attributes,
  type Changes,
  fileBytesMax,
  type Kind,
  nameBytesMax,
  targetBytesMax,
} from '../../protocol/messages/attributes.ts'
import { access } from '../../protocol/messages/files.ts'
import type { Caller, Encode } from '../rpc/program.ts'
import type { XdrReader } from '../xdr/reader.ts'
import { checkChanges, noChanges, readChanges, writePostAttributes, writePostHandle, writeWcc } from './attributes.ts'
import { writeHandle } from './handle.ts'
import { type Definition, type Gateway, open, readHandleArgument, root, type Target } from './procedure.ts'
import { type ProcedureName, StatusFailure, status } from './status.ts'

/** diropargs3 */
type Place = { readonly directory: Uint8Array; readonly name: Uint8Array }

/** Strings have no maximum in the protocol; what is too long for us is answered as such up to here. */
const stringBytesMax = 64 * 1024

const readPlace = (xdr: XdrReader): Place => ({
  directory: readHandleArgument(xdr),
  name: xdr.opaque(stringBytesMax),
})

const slash = 0x2f
const dot = 0x2e
const isDot = (name: Uint8Array) => name.length === 1 && name[0] === dot
const isDotDot = (name: Uint8Array) => name.length === 2 && name[0] === dot && name[1] === dot

function checkName(name: Uint8Array): void {
  if (name.length === 0) throw new Failure('ACCESS', 'an empty name')
  if (name.length > nameBytesMax) throw new Failure('NAME_TOO_LONG', `a name of ${name.length} bytes`)
  if (name.includes(slash) || name.includes(0)) throw new Failure('INVALID', 'a name with "/" or NUL in it')
}

/** For a name that is to be made, or taken away. `.` and `..` are there always and cannot be. */
function checkChange(name: Uint8Array, dots: 'EXISTS' | 'INVALID'): void {
  checkName(name)
  if (isDot(name) || isDotDot(name)) throw new Failure(dots, 'this name is the directory itself or its parent')
}

export function lookup(gateway: Gateway): Definition<Place> {
  const { operations } = gateway
  return {
    name: 'LOOKUP',
    repetition: 'run',
    emptyOnFailure: 1,
    decode: readPlace,
    run: async ({ directory, name }, caller) => {
      const target = open(gateway, directory, caller, false)
      checkName(name)
      const found =
        isDot(name) || isDotDot(name)
          ? await lookupDots(gateway, target, isDotDot(name))
          : await operations.lookup(target.credentials, target.fid, name)
      return (xdr) => {
        xdr.opaque(writeHandle({ ...target, fid: found.attributes.fid }))
        writePostAttributes(xdr, found.attributes, target)
        writePostAttributes(xdr, found.directory, target)
      }
    },
  }
}

/** The directory itself or its parent, for callers who may search the directory. */
async function lookupDots(
  { operations }: Gateway,
  { credentials, fid }: Target,
  parent: boolean,
): Promise<{ attributes: Attributes; directory: Attributes }> {
  const { attributes: directory, allowed } = await operations.access(credentials, fid)
  if (directory.kind !== 'directory') throw new Failure('NOT_DIRECTORY', 'a look-up in what is no directory')
  if ((allowed & access.lookup) === 0) throw new Failure('ACCESS', 'no permission to search the directory')
  if (!parent) return { attributes: directory, directory }
  const page = await operations.readdir(root, fid, 0, 1, false)
  return { attributes: await operations.getattr(page.parent), directory }
}

async function make(gateway: Gateway, place: Place, creation: Creation, caller: Caller): Promise<Encode> {
  const target = open(gateway, place.directory, caller, true)
  checkChange(place.name, 'EXISTS')
  checkChanges(creation.changes, fileBytesMax)
  const made = await gateway.operations.create(target.credentials, target.fid, place.name, creation)
  return (xdr) => {
    writePostHandle(xdr, made.attributes.fid, target)
    writePostAttributes(xdr, made.attributes, target)
    writeWcc(xdr, made.directoryBefore, made.directory, target)
  }
}

/** A procedure that makes an object of what `decode` read. */
const maker = (
  gateway: Gateway,
  name: ProcedureName,
  decode: (xdr: XdrReader) => { readonly place: Place; readonly creation: Creation },
): Definition<{ readonly place: Place; readonly creation: Creation }> => ({
  name,
  repetition: 'remember',
  emptyOnFailure: 2,
  decode,
  run: ({ place, creation }, caller) => make(gateway, place, creation, caller),
})

/** createmode3 */
const modes = ['unchecked', 'guarded', 'exclusive'] as const

/** Until the client's SETATTR, which follows an exclusive CREATE, the file is its owner's alone. */
const beforeSetattr: Changes = { ...noChanges, mode: 0o600 }

export const create = (gateway: Gateway) =>
  maker(gateway, 'CREATE', (xdr) => {
    const place = readPlace(xdr)
    const how = modes[xdr.choice(2)]!
    if (how !== 'exclusive') return { place, creation: { kind: 'file', how, changes: readChanges(xdr) } }
    return { place, creation: { kind: 'file', how, changes: beforeSetattr, verifier: xdr.fixed(8) } }
  })

export const mkdir = (gateway: Gateway) =>
  maker(gateway, 'MKDIR', (xdr) => ({
    place: readPlace(xdr),
    creation: { kind: 'directory', how: 'guarded', changes: readChanges(xdr) },
  }))

type Symlink = { readonly place: Place; readonly changes: Changes; readonly link: Uint8Array }

export function symlink(gateway: Gateway): Definition<Symlink> {
  return {
    name: 'SYMLINK',
    repetition: 'remember',
    emptyOnFailure: 2,
    decode: (xdr) => ({ place: readPlace(xdr), changes: readChanges(xdr), link: xdr.opaque(stringBytesMax) }),
    run: async ({ place, changes, link }, caller) => {
      if (link.length > targetBytesMax) throw new Failure('NAME_TOO_LONG', `a symlink of ${link.length} bytes`)
      if (link.length === 0 || link.includes(0)) throw new Failure('INVALID', 'a symlink that no path can be')
      return make(gateway, place, { kind: 'symlink', how: 'guarded', changes, target: link }, caller)
    },
  }
}

/** ftype3 to what MKNOD makes. */
const nodes = new Map<number, Kind>([
  [3, 'block'],
  [4, 'character'],
  [6, 'socket'],
  [7, 'fifo'],
])

type Mknod = { readonly place: Place; readonly creation: Creation | undefined }

export function mknod(gateway: Gateway): Definition<Mknod> {
  return {
    name: 'MKNOD',
    repetition: 'remember',
    emptyOnFailure: 2,
    decode: (xdr) => {
      const place = readPlace(xdr)
      const kind = nodes.get(xdr.u32())
      if (kind === undefined) return { place, creation: undefined }
      const creation = { kind, how: 'guarded', changes: readChanges(xdr) } as const
      if (kind !== 'block' && kind !== 'character') return { place, creation }
      return { place, creation: { ...creation, major: xdr.u32(), minor: xdr.u32() } }
    },
    run: async ({ place, creation }, caller) => {
      if (creation === undefined) throw new StatusFailure(status.badtype, 'no kind of object that MKNOD makes')
      return make(gateway, place, creation, caller)
    },
  }
}

const remover = (gateway: Gateway, name: ProcedureName, kind: 'file' | 'directory'): Definition<Place> => ({
  name,
  repetition: 'remember',
  emptyOnFailure: 2,
  decode: readPlace,
  run: async (place, caller) => {
    const target = open(gateway, place.directory, caller, true)
    checkChange(place.name, kind === 'directory' && isDotDot(place.name) ? 'EXISTS' : 'INVALID')
    const change: DirectoryChange = await gateway.operations.remove(target.credentials, target.fid, place.name, kind)
    return (xdr) => writeWcc(xdr, change.directoryBefore, change.directory, target)
  },
})

export const remove = (gateway: Gateway) => remover(gateway, 'REMOVE', 'file')
export const rmdir = (gateway: Gateway) => remover(gateway, 'RMDIR', 'directory')

/** Two handles of one call must belong together, or rights and volumes would mix. */
function sameExport(one: Target, other: Target): void {
  if (one.exportId !== other.exportId || one.volume !== other.volume)
    throw new Failure('CROSS_VOLUME', 'two objects of different exports or volumes')
}

export function rename(gateway: Gateway): Definition<{ readonly source: Place; readonly target: Place }> {
  return {
    name: 'RENAME',
    repetition: 'remember',
    emptyOnFailure: 4,
    decode: (xdr) => ({ source: readPlace(xdr), target: readPlace(xdr) }),
    run: async ({ source, target }, caller) => {
      const from = open(gateway, source.directory, caller, true)
      const to = open(gateway, target.directory, caller, true)
      sameExport(from, to)
      checkChange(source.name, 'INVALID')
      checkChange(target.name, 'INVALID')
      const { operations } = gateway
      const done = await operations.rename(from.credentials, from.fid, source.name, to.fid, target.name, true)
      return (xdr) => {
        writeWcc(xdr, done.sourceBefore, done.source, from)
        writeWcc(xdr, done.targetBefore, done.target, to)
      }
    },
  }
}

export function link(gateway: Gateway): Definition<{ readonly handle: Uint8Array; readonly place: Place }> {
  return {
    name: 'LINK',
    repetition: 'remember',
    emptyOnFailure: 3,
    decode: (xdr) => ({ handle: readHandleArgument(xdr), place: readPlace(xdr) }),
    run: async ({ handle, place }, caller) => {
      const target = open(gateway, handle, caller, true)
      const directory = open(gateway, place.directory, caller, true)
      sameExport(target, directory)
      checkChange(place.name, 'EXISTS')
      const made = await gateway.operations.link(directory.credentials, target.fid, directory.fid, place.name)
      return (xdr) => {
        writePostAttributes(xdr, made.attributes, target)
        writeWcc(xdr, made.directoryBefore, made.directory, directory)
      }
    },
  }
}
