/**
 * From a path of the global namespace to the handle of its object.
 *
 * Not pure: asks the cluster. The volume is the one with the longest mount path that is the path or above it; the rest
 * is looked up as root, since only the exports decide on who may mount.
 */
import type { Operations } from '../../client/operations.ts'
import { Failure } from '../../protocol/failures.ts'
import type { Attributes, Volume } from '../../protocol/messages/attributes.ts'
import { contains } from '../exports.ts'
import { root } from '../nfs3/procedure.ts'

/** @param path normalised. @throws Failure NOT_FOUND, NOT_DIRECTORY, and whatever the cluster answers. */
export async function resolve(
  operations: Operations,
  path: string,
): Promise<{ readonly volume: Volume; readonly directory: Attributes }> {
  let volume: Volume | undefined
  for (const candidate of await operations.volumes())
    if (contains(candidate.mountPath, path) && candidate.mountPath.length >= (volume?.mountPath.length ?? 0))
      volume = candidate
  if (volume === undefined) throw new Failure('NOT_FOUND', `no volume is mounted at ${path} or above`)
  const names = path
    .slice(volume.mountPath.length)
    .split('/')
    .filter((name) => name !== '')
  let directory = await operations.getattr(volume.root)
  for (const name of names) {
    const found = await operations.lookup(root, directory.fid, Buffer.from(name))
    directory = found.attributes
  }
  if (directory.kind !== 'directory') throw new Failure('NOT_DIRECTORY', `${path} is no directory`)
  return { volume, directory }
}
