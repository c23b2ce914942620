/**
 * The file `installing` in a replica's directory: what the directory holds is not a whole replica.
 *
 * Driver. It is there from before the first segment is touched until all of a copy is durable. What it leaves behind is not
 * trusted but not lost either: the next copy compares it with the master's segments.
 */
import type { Disk } from '../pool/disk.ts'

const name = 'installing'

/** From now on the replica counts as having nothing, also after a restart. */
export const disown = (disk: Disk, directory: string): void => {
  disk.makeDirectory(directory)
  disk.save(`${directory}/${name}`, Buffer.alloc(0))
}

export const isInstalling = (disk: Disk, directory: string): boolean => disk.list(directory).includes(name)

export function installed(disk: Disk, directory: string): void {
  disk.remove(`${directory}/${name}`)
  disk.syncDirectory(directory)
}
