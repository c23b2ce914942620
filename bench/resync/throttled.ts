/**
 * Does re-replication grow with the cluster? Every server's resync is held to a fixed rate in and out, one of N is killed,
 * and the time until every container has its copies again is measured.
 *
 * Not pure. What one source and one target would need is bytes / rate; N - 1 servers that are both all the time would
 * be N - 1 times as fast. Each N has as much data for each surviving server, so that all take about as long, and as
 * many containers, so that all can be shared out as evenly.
 */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from '../../client/index.ts'
import { startCluster } from '../cluster.ts'
import type { Scene } from '../scene.ts'
import { fill, openContainers } from './fill.ts'
import { isReplicated, logBytes, received, stateOf, until } from './watch.ts'

export type ThrottledScale = {
  readonly servers: readonly number[]
  /** Bytes a second, of each server, in and out. */
  readonly rate: number
  /** What N - 1 servers would need without any loss. */
  readonly idealSeconds: number
  /** Replicas of the killed server for each survivor. */
  readonly containersEach: number
}

export type ThrottledSample = {
  readonly servers: number
  /** Of the killed server's replicas. */
  readonly bytes: number
  readonly containers: number
  readonly seconds: number
  readonly receivedBytes: number
  /** Most that a server received, over the mean. */
  readonly imbalance: number
}

const copies = 3
/** Dozens of processes on few cores are late at times; the time until a server is dead is not measured. */
const patience = { leaseMs: 6000, heartbeatMs: 1000, rereplicateAfterMs: 8000 }

export async function throttled(scene: Scene, scale: ThrottledScale): Promise<ThrottledSample[]> {
  const samples: ThrottledSample[] = []
  for (const servers of scale.servers) samples.push(await one(scene, scale, servers))
  return samples
}

async function one(scene: Scene, scale: ThrottledScale, servers: number): Promise<ThrottledSample> {
  const { rate, idealSeconds, containersEach } = scale
  const directory = join(scene.directory, `servers-${servers}`)
  await mkdir(directory)
  scene.say(`${servers} fileservers: starting them`)
  const cluster = await startCluster({
    directory,
    fileservers: servers,
    cldb: { ...patience, openContainersMin: openContainers, openContainersMax: openContainers },
    fileserver: { resyncInBytesPerSecond: rate, resyncOutBytesPerSecond: rate },
  })
  scene.undo(cluster.stop)
  const client = await connect({ cldb: [cluster.cldb] })
  scene.undo(client.close)

  const containers = Math.round((containersEach * (servers - 1) * servers) / copies)
  scene.say(`${servers} fileservers: writing ${containers} containers`)
  await fill(client, containers, Math.round((rate * idealSeconds) / containersEach))
  await until(client, 'all copies are there', isReplicated)
  const before = await received(client)

  const victim = cluster.fileservers[0]!
  const bytes = await logBytes(victim.directory)
  scene.say(`${servers} fileservers: one is killed, with ${(bytes / 1e6).toFixed(0)} MB`)
  await victim.kill()
  const diedMs = await until(client, 'the server is dead', (status) => stateOf(status, victim.address) === 'dead')
  const doneMs = await until(client, 'all copies are there again', isReplicated)

  const after = await received(client)
  const moved = [...after].map(([address, count]) => count - (before.get(address) ?? 0))
  const receivedBytes = moved.reduce((sum, count) => sum + count, 0)
  const seconds = (doneMs - diedMs) / 1000
  scene.say(`${servers} fileservers: replicated again in ${seconds.toFixed(1)} s`)
  const imbalance = Math.max(...moved) / (receivedBytes / moved.length)
  await client.close()
  await cluster.stop()
  await rm(directory, { recursive: true })
  return { servers, bytes, containers, seconds, receivedBytes, imbalance }
}
