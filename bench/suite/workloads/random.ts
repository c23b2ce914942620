/**
 * Blocks of 4 KiB at random places of one large file.
 *
 * Runs in the client's process. Every block begins with its own number, before and after any write, so that every
 * read is checked. Unsynced writes count the sync at their end; a synced write counts when it is durable (`O_DSYNC`).
 */
import type { Filesystem } from '../../../client/index.ts'
import { repeat, type Sample } from '../../measure.ts'

const path = '/random'
const blockBytes = 4096
const pieceBytes = 1024 * 1024
const fillInFlight = 8

export type Accesses = { readonly inFlight: number; readonly seconds: number }

/** Makes the file of `bytes`, a multiple of 1 MiB. */
export async function prepareRandom(fs: Filesystem, { bytes }: { readonly bytes: number }): Promise<void> {
  const handle = await fs.open(path, 'w')
  const pieces = Array.from({ length: fillInFlight }, () => Buffer.alloc(pieceBytes, 0x5a))
  const limits = { inFlight: fillInFlight, seconds: Number.POSITIVE_INFINITY, countMax: bytes / pieceBytes }
  await repeat({ ...limits, finish: () => handle.sync() }, async (index, lane) => {
    const piece = pieces[lane]!
    const position = index * pieceBytes
    for (let at = 0; at < pieceBytes; at += blockBytes) piece.writeUInt32LE((position + at) / blockBytes, at)
    await handle.write(piece, 0, pieceBytes, position)
  })
  await handle.close()
}

export async function randomRead(fs: Filesystem, { inFlight, seconds }: Accesses): Promise<Sample> {
  const handle = await fs.open(path, 'r')
  const blocks = (await handle.stat()).size / blockBytes
  const buffers = Array.from({ length: inFlight }, () => Buffer.alloc(blockBytes))
  const sample = await repeat({ inFlight, seconds }, async (_index, lane) => {
    const block = Math.floor(Math.random() * blocks)
    const buffer = buffers[lane]!
    const { bytesRead } = await handle.read(buffer, 0, blockBytes, block * blockBytes)
    if (bytesRead !== blockBytes || buffer.readUInt32LE() !== block) throw new Error(`block ${block} was read wrongly`)
  })
  await handle.close()
  return sample
}

export async function randomWrite(
  fs: Filesystem,
  { inFlight, seconds, synced }: Accesses & { readonly synced: boolean },
) {
  const handle = await fs.open(path, synced ? 'rs+' : 'r+')
  const blocks = (await handle.stat()).size / blockBytes
  const buffers = Array.from({ length: inFlight }, () => Buffer.alloc(blockBytes, 0x5a))
  const sample = await repeat({ inFlight, seconds, finish: () => handle.datasync() }, async (_index, lane) => {
    const block = Math.floor(Math.random() * blocks)
    const buffer = buffers[lane]!
    buffer.writeUInt32LE(block)
    await handle.write(buffer, 0, blockBytes, block * blockBytes)
  })
  await handle.close()
  return sample
}
