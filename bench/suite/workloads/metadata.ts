/**
 * Many small files: made with 100 bytes in them, looked at, removed.
 *
 * Runs in the client's process. Each of these operations is durable on three servers when it returns.
 */
import type { Filesystem } from '../../../client/index.ts'
import { repeat, type Sample } from '../../measure.ts'

const content = Buffer.alloc(100, 'holdfast ')
/** For files that are only a preparation. */
const makingInFlight = 64
const secondsMax = 10

export type Directory = { readonly directory: string; readonly inFlight: number; readonly seconds: number }

const nameOf = (directory: string, index: number): string => `${directory}/file-${index}`

/** Makes files 0, 1, 2, ... in the new `directory`: create + write 100 bytes + close of each. */
export async function creates(fs: Filesystem, { directory, inFlight, seconds }: Directory): Promise<Sample> {
  await fs.mkdir(directory)
  return repeat({ inFlight, seconds }, (index) => fs.writeFile(nameOf(directory, index), content))
}

/** Of files that it makes first. */
export async function stats(fs: Filesystem, { directory, inFlight, seconds }: Directory): Promise<Sample> {
  const { amount } = await creates(fs, { directory, inFlight: makingInFlight, seconds })
  return repeat({ inFlight, seconds }, async () => {
    const { size } = await fs.stat(nameOf(directory, Math.floor(Math.random() * amount)))
    if (size !== content.length) throw new Error(`a file of ${content.length} bytes has ${size}`)
  })
}

/** Of as many files as it makes first in `seconds`. */
export async function unlinks(fs: Filesystem, { directory, inFlight, seconds }: Directory): Promise<Sample> {
  const { amount } = await creates(fs, { directory, inFlight: makingInFlight, seconds })
  return repeat({ inFlight, seconds: secondsMax, countMax: amount }, (index) => fs.unlink(nameOf(directory, index)))
}
