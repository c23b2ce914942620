/**
 * Data that lies in many containers.
 *
 * Not pure. A volume spreads the chunks of a file over its open containers, at most 64 (cldb/query.ts): so there are as
 * many volumes as are needed, with a file each.
 */
import type { Client } from '../../client/index.ts'
import { makeVolume } from '../cluster.ts'
import { repeat } from '../measure.ts'

export const openContainers = 64
const chunkUnit = 64 * 1024
const chunksPerContainer = 4
const pieceBytes = 1024 * 1024
const inFlight = 8
const volumesAtOnce = 4
/** Not a limit, but an end: a cluster that writes more slowly measures nothing. */
const secondsMax = 600

/** Writes `containers` x `containerBytes`, in whole volumes, and waits until it is durable. @returns how many volumes. */
export async function fill(client: Client, containers: number, containerBytes: number): Promise<number> {
  const volumes = Math.max(1, Math.round(containers / openContainers))
  const each = Math.ceil((containers * containerBytes) / volumes / pieceBytes)
  const chunkBytes = Math.max(1, Math.round(containerBytes / chunksPerContainer / chunkUnit)) * chunkUnit
  await repeat({ inFlight: volumesAtOnce, seconds: secondsMax, countMax: volumes }, async (index) => {
    await makeVolume(client, `v${index}`, `/v${index}`, chunkBytes)
    await writePieces(client, `/v${index}/data`, 0, each)
  })
  return volumes
}

/** Writes `count` MiB from MiB `first` on, durably; makes the file where it is missing. */
export async function writePieces(client: Client, path: string, first: number, count: number): Promise<void> {
  const handle = await client.fs.open(path, 'a+').then(async (made) => {
    await made.close()
    return client.fs.open(path, 'r+')
  })
  const piece = Buffer.alloc(pieceBytes, 0x5a)
  const { amount } = await repeat({ inFlight, seconds: secondsMax, countMax: count }, (index) =>
    handle.write(piece, 0, pieceBytes, (first + index) * pieceBytes),
  )
  await handle.sync()
  await handle.close()
  if (amount < count) throw new Error(`${path}: only ${amount} of ${count} MiB were written in ${secondsMax} s`)
}
