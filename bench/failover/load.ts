/**
 * An application at work: small files made one after the other by each of some writers, and a file that is written over
 * and made durable again and again. Tells how long it had to wait.
 *
 * Not pure. Times are of the monotonic clock, in milliseconds.
 */
import type { Filesystem } from '../../client/index.ts'

const creators = 4
const overwriters = 2
const fileBytes = 8 * 2 ** 20
const pieceBytes = 64 * 1024

export type Waits = {
  /** The longest time in which nothing was acknowledged. */
  readonly gapMs: number
  /** The longest that an operation took. */
  readonly longestMs: number
}

export type Load = {
  readonly acknowledged: () => number
  /** Begins to measure anew: operations under way count with what they take from now on. */
  readonly reset: () => void
  /** Of what was acknowledged since `reset`, and of what is still under way. */
  readonly waits: () => Waits
  /** @throws what an operation failed with. */
  readonly stop: () => Promise<void>
}

/** @param directory its own. */
export async function startLoad(fs: Filesystem, directory: string): Promise<Load> {
  await fs.mkdir(directory)
  const piece = Buffer.alloc(pieceBytes, 0x3c)
  const begun = new Map<number, number>()
  let stopping = false
  let acknowledged = 0
  let resetMs = performance.now()
  let latestMs = resetMs
  let gapMs = 0
  let longestMs = 0

  async function worker(lane: number, operation: (index: number) => Promise<unknown>): Promise<void> {
    for (let index = 0; !stopping; index++) {
      begun.set(lane, performance.now())
      await operation(index)
      const now = performance.now()
      acknowledged += 1
      gapMs = Math.max(gapMs, now - latestMs)
      longestMs = Math.max(longestMs, now - Math.max(begun.get(lane)!, resetMs))
      latestMs = now
    }
    begun.delete(lane)
  }

  const create = (lane: number): Promise<void> =>
    worker(lane, (index) => fs.writeFile(`${directory}/${lane}-${index}`, `${index}`))
  const overwrite = async (lane: number): Promise<void> => {
    const handle = await fs.open(`${directory}/${lane}`, 'w')
    const places = fileBytes / pieceBytes
    await worker(lane, async (index) => {
      await handle.write(piece, 0, pieceBytes, (index % places) * pieceBytes)
      await handle.datasync()
    })
    await handle.close()
  }
  const lanes = [
    ...Array.from({ length: creators }, (_, lane) => create(lane)),
    ...Array.from({ length: overwriters }, (_, lane) => overwrite(creators + lane)),
  ]
  const working = Promise.all(lanes)
  working.catch(() => undefined)

  return {
    acknowledged: () => acknowledged,
    reset: () => {
      resetMs = performance.now()
      latestMs = resetMs
      gapMs = 0
      longestMs = 0
    },
    waits: () => {
      const now = performance.now()
      const pending = [...begun.values()].map((beganMs) => now - Math.max(beganMs, resetMs))
      return { gapMs: Math.max(gapMs, now - latestMs), longestMs: Math.max(longestMs, ...pending) }
    },
    stop: async () => {
      stopping = true
      await working
    },
  }
}
