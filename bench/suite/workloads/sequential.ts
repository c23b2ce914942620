/**
 * Long files, written and read from end to end, one or several at a time.
 *
 * Runs in the client's process. Each piece of 1 MiB begins with its offset, which the reader checks. The sync at the
 * end of each file is part of a write's time. What is read was just written: it comes from the servers' page caches.
 */
import type { Filesystem } from '../../../client/index.ts'
import { repeat, type Sample } from '../../measure.ts'

const pieceBytes = 1024 * 1024
const inFlight = 8

/** `secondsMax`: no piece begins later, so that a slow cluster's run ends, too. */
export type Streams = {
  readonly name: string
  readonly streams: number
  readonly bytes: number
  readonly secondsMax: number
}

const paths = ({ name, streams }: Streams): string[] => Array.from({ length: streams }, (_, i) => `/${name}-${i}`)

/** Writes `bytes` in all, shared among the streams. */
export async function write(fs: Filesystem, streams: Streams): Promise<Sample> {
  return together(paths(streams), async (path) => {
    const handle = await fs.open(path, 'w')
    const pieces = Array.from({ length: inFlight }, () => Buffer.alloc(pieceBytes, 0xa5))
    const countMax = Math.floor(streams.bytes / streams.streams / pieceBytes)
    const { amount } = await repeat(
      { inFlight, seconds: streams.secondsMax, countMax, finish: () => handle.sync() },
      async (index, lane) => {
        const piece = pieces[lane]!
        piece.writeDoubleLE(index * pieceBytes)
        await handle.write(piece, 0, pieceBytes, index * pieceBytes)
      },
    )
    await handle.close()
    return amount * pieceBytes
  })
}

/** Reads the files that `write` left. */
export async function read(fs: Filesystem, streams: Streams): Promise<Sample> {
  return together(paths(streams), async (path) => {
    const handle = await fs.open(path, 'r')
    const pieces = Array.from({ length: inFlight }, () => Buffer.alloc(pieceBytes))
    const countMax = (await handle.stat()).size / pieceBytes
    const { amount } = await repeat({ inFlight, seconds: streams.secondsMax, countMax }, async (index, lane) => {
      const piece = pieces[lane]!
      const { bytesRead } = await handle.read(piece, 0, pieceBytes, index * pieceBytes)
      if (bytesRead !== pieceBytes || piece.readDoubleLE() !== index * pieceBytes)
        throw new Error(`${path}: what was written at ${index * pieceBytes} was not read back`)
    })
    await handle.close()
    return amount * pieceBytes
  })
}

export async function remove(fs: Filesystem, streams: Streams): Promise<void> {
  await Promise.all(paths(streams).map((path) => fs.rm(path)))
}

async function together(names: readonly string[], run: (path: string) => Promise<number>): Promise<Sample> {
  const begin = performance.now()
  const bytes = await Promise.all(names.map(run))
  return { amount: bytes.reduce((sum, value) => sum + value, 0), seconds: (performance.now() - begin) / 1000 }
}
