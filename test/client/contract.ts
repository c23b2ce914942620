/**
 * The filesystem contract: what every way to the same files must do alike (the SDK, NFS, …).
 *
 * A function of a filesystem; it says nothing about which one it is. The local disk passes it too, which shows that
 * the contract is POSIX's and not ours.
 */
import type { Test } from 'tap'
import { bytesContract } from './contract/bytes.ts'
import { namesContract } from './contract/names.ts'
import type { Subject } from './contract/subject.ts'

/** `root`: an empty directory, or a volume's root, in which the suite works. */
export function filesystemContract(t: Test, fs: Subject, root: string): void {
  const top = root === '/' ? '' : root
  t.test('bytes', async (t) => {
    await fs.mkdir(`${top}/bytes`)
    bytesContract(t, fs, `${top}/bytes`)
  })
  t.test('names', async (t) => {
    await fs.mkdir(`${top}/names`)
    namesContract(t, fs, `${top}/names`)
  })
}
