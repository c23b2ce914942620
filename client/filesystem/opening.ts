/**
 * `open`: from a path and flags to a `FileHandle`, and files written whole in one call.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import type { Fid } from '../../protocol/ids.ts'
import type { Attributes } from '../../protocol/messages/attributes.ts'
import { access } from '../../protocol/messages/files.ts'
import { FileHandle } from '../handle/file-handle.ts'
import { changes } from './changes.ts'
import type { Flags } from './flags.ts'
import { bytesOf, type Path, target } from './paths.ts'
import type { Session } from './session.ts'

type Created = { readonly attributes: Attributes; readonly created: boolean }

/** What `open` comes to; an existing file was truncated if the flags say so. */
async function opened(session: Session, path: Path, flags: Flags, mode: number): Promise<Created> {
  if (!flags.create) return await openExisting(session, await session.walk.existing(path, !flags.noFollow), flags)
  if (target(path).slash) throw new Failure('IS_DIRECTORY', 'a file cannot be made by a path that ends in a slash')
  try {
    return await session.walk.at(path, (directory, name) => make(session, directory, name, flags, mode))
  } catch (error) {
    // The name is there already and is no file: a symlink to follow, or nothing that can be opened so.
    if (flags.exclusive || !isFailure(error, 'EXISTS')) throw error
  }
  const found = await session.walk.find(path, !flags.noFollow)
  if (found.attributes !== undefined) return await openExisting(session, found.attributes, flags)
  return await make(session, session.walk.holder(found), bytesOf(found.name), flags, mode)
}

function make(
  { operations, caller, umask }: Session,
  directory: Fid,
  name: Buffer,
  flags: Flags,
  mode: number,
  data?: Uint8Array,
): Promise<Created> {
  return operations.create(caller, directory, name, {
    kind: 'file',
    how: flags.exclusive ? 'guarded' : 'unchecked',
    changes: changes({ mode: mode & ~umask, sizeBytes: flags.truncate ? 0 : undefined }),
    ...(data === undefined ? {} : { data }),
  })
}

async function openExisting({ operations, caller }: Session, attributes: Attributes, flags: Flags): Promise<Created> {
  const { kind, fid } = attributes
  if (kind === 'symlink') throw new Failure('LOOP', 'it is a symbolic link')
  if (kind === 'directory' && flags.write) throw new Failure('IS_DIRECTORY', 'a directory cannot be opened for writing')
  if (kind !== 'directory' && flags.directory) throw new Failure('NOT_DIRECTORY', 'it is not a directory')
  if (kind !== 'directory' && kind !== 'file') throw new Failure('NOT_SUPPORTED', `a ${kind} cannot be opened here`)
  if (!flags.truncate || !flags.write) return { attributes, created: false }
  const set = await operations.setattr(caller, fid, changes({ sizeBytes: 0 }))
  return { attributes: set.attributes, created: false }
}

/** @throws Failure ACCESS */
async function demandAccess({ operations, caller }: Session, fid: Fid, flags: Flags): Promise<Attributes> {
  const wanted = (flags.read ? access.read : 0) | (flags.write ? access.modify | access.extend : 0)
  const { attributes, allowed } = await operations.access(caller, fid)
  if ((allowed & wanted) !== wanted) throw new Failure('ACCESS', 'permission denied')
  return attributes
}

/** Whoever creates a file may do with it what the flags say, whatever its mode. */
export async function open(session: Session, path: Path, flags: Flags, mode: number): Promise<FileHandle> {
  const { attributes, created } = await opened(session, path, flags, mode)
  const seen = created ? attributes : await demandAccess(session, attributes.fid, flags)
  return new FileHandle(session, path, seen, flags)
}

/**
 * A small file in one call and one durable record, made or replaced.
 * @returns false where the path leads through a symlink or to no file, so that it must be opened.
 */
export async function writeWhole(session: Session, path: Path, data: Uint8Array, flags: Flags, mode: number) {
  try {
    await session.walk.at(path, (directory, name) => make(session, directory, name, flags, mode, data))
    return true
  } catch (error) {
    if (flags.exclusive || !isFailure(error, 'EXISTS')) throw error
    return false
  }
}
