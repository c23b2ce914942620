/**
 * Memory that is as fast as it will be, before a measurement that fills page cache.
 *
 * Not pure. A virtual machine commonly gives memory that was free for 2 s back to its host (free page reporting), and
 * gets it again page by page when it is next touched: about ten times slower than memory that stayed. A filesystem
 * that writes three copies would then be measured by that and by nothing else. So as much as a measurement is about
 * to fill is touched just before it.
 */
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'

const pieceBytes = 1024 * 1024
/** Filled at once: one for each of few cores. */
const files = 2

/** Memory that is filled faster than this, in bytes a second, is warm. */
const warmRate = 1.5e9
/** The kernel does not give the same pages again at once: it takes some passes until it does. */
const passesMax = 5

/** Fills `bytes` of page cache with unlinked files in `directory` and lets them go, unwritten, until that is fast. */
export async function warmMemory(directory: string, bytes: number): Promise<void> {
  const piece = Buffer.alloc(pieceBytes)
  const fill = async (name: string): Promise<void> => {
    const handle = await open(join(directory, name), 'w')
    await rm(join(directory, name))
    for (let at = 0; at < bytes / files; at += pieceBytes) await handle.write(piece)
    await handle.close()
  }
  for (let pass = 0; pass < passesMax; pass++) {
    const began = performance.now()
    await Promise.all(Array.from({ length: files }, (_, i) => fill(`warm-${i}`)))
    if (bytes / ((performance.now() - began) / 1000) > warmRate) return
  }
}
