/**
 * How fast is resync when nothing holds it back? Beside a plain `cp` of as many bytes in the same run.
 *
 * Not pure. `killed`: the data of a killed server is replicated again on the others. `returning`: a server was away
 * while new data came and old data was overwritten; `small`: while 4 KiB of a file changed. What is copied was just
 * written, so it is in the page cache, for `cp` as for the servers; resync makes it durable, `cp` does not, and so
 * `cp` is measured a second time with a sync.
 */
import { execFile } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Client, connect } from '../../client/index.ts'
import { type Cluster, type ClusterOptions, makeVolume, startCluster } from '../cluster.ts'
import { warmMemory } from '../memory.ts'
import type { Scene } from '../scene.ts'
import { openContainers, writePieces } from './fill.ts'
import { isReplicated, logBytes, received, stateOf, until } from './watch.ts'

/** MiB of a file's data, before three copies are made of it. */
export type UnthrottledScale = { readonly killedMiB: number; readonly newMiB: number; readonly overwrittenMiB: number }

/** `bytes`: of the logs that were lacking; `receivedBytes`: what the servers counted. */
export type Transfer = { readonly bytes: number; readonly receivedBytes: number; readonly seconds: number }

export type UnthrottledSample = {
  readonly killed: Transfer
  readonly cpMBs: number
  readonly cpSyncedMBs: number
  /** From when it serves. */
  readonly returning: Transfer
  readonly small: Transfer
}

const mebibyte = 2 ** 20
const chunkBytes = 16 * mebibyte
const smallBytes = 4096
const path = '/data'

export async function unthrottled(scene: Scene, scale: UnthrottledScale): Promise<UnthrottledSample> {
  const killed = await withCluster(scene, 'killed', 4, 1000, async (client, cluster) => {
    await writePieces(client, path, 0, scale.killedMiB)
    await until(client, 'all copies are there', isReplicated)
    return replaceKilled(scene, client, cluster)
  })
  const away = await withCluster(scene, 'returning', 3, 600_000, (client, cluster) =>
    comeBack(scene, client, cluster, scale),
  )
  return { ...killed, ...away }
}

async function withCluster<T>(
  scene: Scene,
  name: string,
  fileservers: number,
  rereplicateAfterMs: number,
  body: (client: Client, cluster: Cluster) => Promise<T>,
): Promise<T> {
  const directory = join(scene.directory, name)
  await mkdir(directory)
  const options: ClusterOptions = {
    directory,
    fileservers,
    cldb: { openContainersMin: openContainers, openContainersMax: openContainers, rereplicateAfterMs },
  }
  const cluster = await startCluster(options)
  scene.undo(cluster.stop)
  const client = await connect({ cldb: [cluster.cldb] })
  scene.undo(client.close)
  await makeVolume(client, 'bench', '/', chunkBytes)
  const result = await body(client, cluster)
  await client.close()
  await cluster.stop()
  await rm(directory, { recursive: true })
  return result
}

async function replaceKilled(
  scene: Scene,
  client: Client,
  cluster: Cluster,
): Promise<Pick<UnthrottledSample, 'killed' | 'cpMBs' | 'cpSyncedMBs'>> {
  const victim = cluster.fileservers[0]!
  const bytes = await logBytes(victim.directory)
  const before = sum(await received(client))
  await promisify(execFile)('sync', ['-f', scene.directory])
  await warmMemory(scene.directory, bytes)
  scene.say('a server is killed')
  await victim.kill()
  const diedMs = await until(client, 'the server is dead', (status) => stateOf(status, victim.address) === 'dead')
  const doneMs = await until(client, 'all copies are there again', isReplicated)
  const receivedBytes = sum(await received(client)) - before
  const killed = { bytes, receivedBytes, seconds: (doneMs - diedMs) / 1000 }
  scene.say('cp')
  const cpMBs = await copy(scene, victim.directory, bytes, false)
  const cpSyncedMBs = await copy(scene, victim.directory, bytes, true)
  return { killed, cpMBs, cpSyncedMBs }
}

/** `cp -r` of a server's replicas. @returns MB/s. */
async function copy(scene: Scene, source: string, bytes: number, synced: boolean): Promise<number> {
  const target = join(scene.directory, 'cp')
  await warmMemory(scene.directory, bytes)
  const begin = performance.now()
  await promisify(execFile)('cp', ['-r', join(source, 'containers'), target])
  if (synced) await promisify(execFile)('sync', ['-f', target])
  const seconds = (performance.now() - begin) / 1000
  await rm(target, { recursive: true })
  return bytes / 1e6 / seconds
}

async function comeBack(
  scene: Scene,
  client: Client,
  cluster: Cluster,
  { newMiB, overwrittenMiB }: UnthrottledScale,
): Promise<Pick<UnthrottledSample, 'returning' | 'small'>> {
  const server = cluster.fileservers[2]!
  await writePieces(client, path, 0, overwrittenMiB)

  const away = async (change: () => Promise<void>): Promise<Transfer> => {
    await until(client, 'all copies are there', isReplicated)
    await server.kill()
    await until(client, 'its death was noticed', (status) => !isReplicated(status))
    const before = await logBytes(cluster.fileservers[0]!.directory)
    await change()
    const bytes = (await logBytes(cluster.fileservers[0]!.directory)) - before
    await promisify(execFile)('sync', ['-f', scene.directory])
    await warmMemory(scene.directory, bytes)
    await server.restart()
    const begin = performance.now()
    const doneMs = await until(client, 'all copies are there again', isReplicated)
    const receivedBytes = (await received(client)).get(server.address) ?? 0
    return { bytes, receivedBytes, seconds: (doneMs - begin) / 1000 }
  }

  scene.say(`a server misses ${newMiB} MiB of new and ${overwrittenMiB} MiB of overwritten data`)
  const returning = await away(async () => {
    await writePieces(client, path, overwrittenMiB, newMiB)
    await writePieces(client, path, 0, overwrittenMiB)
  })
  scene.say(`a server misses ${smallBytes} bytes`)
  const small = await away(async () => {
    const handle = await client.fs.open(path, 'r+')
    await handle.write(Buffer.alloc(smallBytes, 0x11), 0, smallBytes, mebibyte)
    await handle.sync()
    await handle.close()
  })
  return { returning, small }
}

const sum = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((all, count) => all + count, 0)
