/**
 * A disk that can lose its power: an ext4 in a file on a loop device, with everything of a cluster on it.
 *
 * Not pure: needs root and loop devices. The cut is ext4's own shutdown (ioctl FS_IOC_GOINGDOWN without a flush of
 * the journal): from then on every call on the filesystem fails, and what was never synced is gone at the next mount.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, rmdirSync, statfsSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { atExit } from './cleanup.ts'

export type LoopDisk = {
  /** Where it is mounted. */
  readonly directory: string
  /** The power goes: nothing more reaches the disk, and nothing unsynced is kept. */
  readonly cut: () => void
  /** After `cut`, once every process on it has ended: unmounts and mounts again, as after a boot. */
  readonly restore: () => void
  readonly remove: () => void
}

// _IOR('X', 125, __u32) and FSOP_GOING_FLAGS_NOLOGFLUSH (include/uapi/linux/fs.h, fs/ext4/ext4.h).
const shutdown =
  'sysopen(my $d, $ARGV[0], 0) or die "open: $!"; my $f = pack("I", 2); ioctl($d, 0x8004587d, $f) or die "ioctl: $!"'

/** Makes the image `name`.ext4 in `parent` (sparse) and mounts it beside it. */
export function makeLoopDisk(parent: string, name: string, sizeBytes: number): LoopDisk {
  const image = join(parent, `${name}.ext4`)
  const directory = join(parent, name)
  mkdirSync(directory)
  writeFileSync(image, '')
  truncateSync(image, sizeBytes)
  execFileSync('mkfs.ext4', ['-q', '-F', '-m', '0', image])
  const mount = (): void => void execFileSync('mount', ['-o', 'loop', image, directory])
  mount()
  let cutOff = false
  const remove = atExit(() => {
    // Lazily: a process that we have just killed may still hold a file for a moment.
    execFileSync('umount', ['-l', directory])
  })
  return {
    directory,
    cut: () => {
      execFileSync('perl', ['-e', shutdown, directory])
      cutOff = true
    },
    restore: () => {
      if (!cutOff) throw new Error('the power is on')
      execFileSync('umount', [directory])
      mount()
      // It must be a new mount: where anything else still has the old one, this would be that, without power.
      mkdirSync(join(directory, 'powered'), { recursive: true })
      rmdirSync(join(directory, 'powered'))
      cutOff = false
    },
    remove,
  }
}

/** Makes a file of all that its disk has free, at once: what others give up later stays free. */
export function fillDisk(path: string): void {
  const { bsize, bavail } = statfsSync(dirname(path))
  const sizeBytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  for (let bytes = bsize * bavail; bytes > 0; bytes -= 8 * bsize) {
    const { status } = spawnSync('fallocate', ['--offset', `${sizeBytes}`, '--length', `${bytes}`, path])
    if (status === 0) return
  }
}
