/**
 * The demonstration: a file survives the SIGKILL of the server that is the master of its bytes.
 */
import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect } from '../../client/index.ts'
import { systemClock } from '../../protocol/clock.ts'
import { openContainers } from '../../protocol/cluster/containers.ts'
import { Failure } from '../../protocol/failures.ts'
import { type ContainerId, clientId, type Epoch } from '../../protocol/ids.ts'
import { control } from '../../protocol/messages/control.ts'
import { files } from '../../protocol/messages/files.ts'
import type { RequestOf } from '../../protocol/messages/service.ts'
import { tcpTransport } from '../../protocol/transport/tcp.ts'
import type { Cluster } from './cluster.ts'

export type Outcome = {
  readonly bytes: number
  readonly sha256: string
  /** The server's name. */
  readonly killed: string
  /** From the SIGKILL until the whole file was read and the next write was acknowledged. */
  readonly readAfterMs: number
  readonly writtenAfterMs: number
}

type Say = (line: string) => void

const fileBytes = 16 * 1024 * 1024
const path = '/demo.bin'
const callMs = 15_000
const healedWithinMs = 60_000

/** @throws Failure CORRUPT when the bytes that come back differ, UNAVAILABLE when the cluster does not heal. */
export async function demonstrate(cluster: Cluster, say: Say): Promise<Outcome> {
  const client = await connect({ cldb: [cluster.cldb], timeoutMs: callMs })
  try {
    const data = randomBytes(fileBytes)
    const sha256 = digest(data)
    await client.fs.writeFile(path, data, { flush: true })
    say(`wrote ${path}: ${fileBytes / 2 ** 20} MiB, sha256 ${sha256.slice(0, 16)}, on disk in three copies`)

    const container = await containerOf(client)
    const victim = await masterOf(client, cluster, container)
    await victim.kill()
    const killedMs = performance.now()
    say(`killed ${victim.name} with SIGKILL: it was the master of container ${container}, which holds the file's bytes`)

    const read = await client.fs.readFile(path)
    const readAfterMs = Math.round(performance.now() - killedMs)
    if (digest(read) !== sha256) throw new Failure('CORRUPT', `${path} came back different`)
    say(`read ${path} back: ${read.length / 2 ** 20} MiB, the same sha256, ${readAfterMs} ms after the kill`)

    await client.fs.writeFile(path, data.subarray(0, fileBytes / 2), { flush: true })
    const writtenAfterMs = Math.round(performance.now() - killedMs)
    say(`wrote it again, without ${victim.name}, ${writtenAfterMs} ms after the kill`)

    await victim.start()
    say(`started ${victim.name} again`)
    await healed(client)
    say('every container has all its copies again')
    if (digest(await client.fs.readFile(path)) !== digest(data.subarray(0, fileBytes / 2)))
      throw new Failure('CORRUPT', `${path} came back different after ${victim.name} returned`)
    say('read it once more: the same. Nothing was lost.')
    return { bytes: fileBytes, sha256, killed: victim.name, readAfterMs, writtenAfterMs }
  } finally {
    await client.close()
  }
}

const digest = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex')

/** The data container that holds the file's first chunk. */
async function containerOf(client: Client): Promise<ContainerId> {
  const { fid } = await client.fs.stat(path)
  const clock = systemClock
  const transport = tcpTransport({ role: 'client', cluster: () => '', clock })
  const containers = openContainers({ cldb: client.cldb, transport, clock })
  try {
    const request = (epoch: Epoch): RequestOf<typeof files.calls.map> => ({
      ticket: { client: clientId(1), number: 0, oldest: 0, epoch },
      fid,
      first: 0,
      count: 1,
      allocate: false,
    })
    const { reply } = await containers.call(fid.container, files.calls.map, request, { timeoutMs: callMs })
    return reply.containers[0] ?? fid.container
  } finally {
    containers.close()
  }
}

async function masterOf(client: Client, cluster: Cluster, container: ContainerId) {
  const { locations } = await client.cldb.call(control.calls.locate, { containers: [container] }, callMs)
  const { master, servers } = locations[0]!
  const address = servers.find(({ server }) => server === master)?.address
  const child = cluster.fileservers.find((server) => server.address() === address)
  if (child === undefined) throw new Failure('UNAVAILABLE', `container ${container} has no master among our servers`)
  return child
}

async function healed(client: Client): Promise<void> {
  const end = performance.now() + healedWithinMs
  for (;;) {
    const { volumes } = await client.cldb.call(control.calls.status, {}, callMs)
    if (volumes.every((volume) => volume.underReplicated === 0 && volume.unavailable === 0)) return
    if (performance.now() > end) throw new Failure('UNAVAILABLE', 'copies are still missing')
    await sleep(100)
  }
}
