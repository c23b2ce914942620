/**
 * What is made of several operations: removal of whole trees, directories with their parents, copies.
 *
 * None of it is atomic. A tree is walked by fid, so that nobody can lead it elsewhere by a rename or a symlink.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import { type Fid, sameFid } from '../../protocol/ids.ts'
import type { FileHandle } from '../handle/file-handle.ts'
import { inFlightMax, pieceBytes, pipelined } from '../handle/transfer.ts'
import { changes } from './changes.ts'
import { entriesOf, type Listed } from './directory.ts'
import { bytesOf, type Path, target, textOf } from './paths.ts'
import type { Session } from './session.ts'

const removalsInFlight = 32
const batchEntries = 1024
/** Somebody who keeps adding entries wins after so many listings. */
const listingsMax = 16

/** Removes what is in the directory, then the entry itself. What another removes meanwhile is as good as removed. */
export async function removeTree(session: Session, holder: Fid, name: Uint8Array, directory: Fid): Promise<void> {
  const { operations, caller, walk } = session
  for (let listing = 1; ; listing++) {
    await removeEntries(session, directory)
    try {
      await operations.remove(caller, holder, name, 'directory')
      walk.forget(holder, name)
      return
    } catch (error) {
      if (isFailure(error, 'NOT_FOUND')) return
      if (!isFailure(error, 'NOT_EMPTY') || listing === listingsMax) throw error
    }
  }
}

async function removeEntries(session: Session, directory: Fid): Promise<void> {
  let batch: Listed[] = []
  const removeBatch = async (): Promise<void> => {
    const entries = batch
    batch = []
    await pipelined(entries.length, removalsInFlight, (index) => removeEntry(session, directory, entries[index]!))
  }
  try {
    for await (const entry of entriesOf(session, directory)) {
      batch.push(entry)
      if (batch.length === batchEntries) await removeBatch()
    }
    await removeBatch()
  } catch (error) {
    // The directory itself is gone.
    if (!isFailure(error, 'STALE')) throw error
  }
}

async function removeEntry(session: Session, holder: Fid, { name, fid, kind }: Listed): Promise<void> {
  try {
    if (kind === 'directory' && fid !== undefined) {
      // It was listed a while ago: one that was moved elsewhere before its turn is not to be emptied there.
      const { attributes } = await session.operations.lookup(session.caller, holder, name)
      if (sameFid(attributes.fid, fid)) await removeTree(session, holder, name, fid)
      return
    }
    await session.operations.remove(session.caller, holder, name, 'file')
    session.walk.forget(holder, name)
  } catch (error) {
    if (!isFailure(error, 'NOT_FOUND')) throw error
  }
}

export async function makeDirectory(session: Session, path: Path, mode: number): Promise<void> {
  const { operations, caller, umask, walk } = session
  await walk.at(path, (directory, name) =>
    operations.create(caller, directory, name, {
      kind: 'directory',
      how: 'guarded',
      changes: changes({ mode: mode & ~umask }),
    }),
  )
}

/** Also the directories before it. @returns the path of the first that had to be made, if any. */
export async function makeDirectories(session: Session, path: Path, mode: number): Promise<string | undefined> {
  const { parent, name } = target(path)
  if (name === '') return undefined
  try {
    await makeDirectory(session, path, mode)
    return textOf(bytesOf(parent + name))
  } catch (error) {
    if (isFailure(error, 'EXISTS', 'INVALID')) {
      const { kind } = await session.walk.existing(path, true)
      if (kind !== 'directory') throw new Failure('EXISTS', 'it is there and is no directory')
      return undefined
    }
    if (!isFailure(error, 'NOT_FOUND')) throw error
  }
  const first = await makeDirectories(session, bytesOf(parent), mode)
  const own = await makeDirectories(session, path, mode)
  return first ?? own
}

/** Copies all bytes; both handles stay open. */
export async function copyBytes(source: FileHandle, target: FileHandle): Promise<void> {
  const { size } = await source.stat()
  const pieces = Math.ceil(size / pieceBytes)
  await pipelined(pieces, inFlightMax, async (index) => {
    const position = index * pieceBytes
    const { payload } = await source.readPayload(position, Math.min(pieceBytes, size - position))
    await target.writev(payload, position)
  })
}
