/**
 * One crash of three replicas amid writes, and how a master that is chosen at random brings them to agree.
 *
 * Not pure. First a record that all three have committed: the checkpoint. Then a storm of unstable writes, so many
 * bytes that nothing of them is committed; on its way the others lose touch with the master, each at a place of its own,
 * and at its end all three crash. One of them begins an epoch that nobody hears of, and crashes again with that record
 * in its log. Another one becomes master: what it does from then on is measured.
 */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../../cldb/placement.ts'
import { noTicket } from '../../fileserver/replica/addition.ts'
import { payloadSums } from '../../protocol/hash.ts'
import { epoch, type ServerId, serverId } from '../../protocol/ids.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import { container, type Exchange, ReplicaServer } from './replica-server.ts'

export type Trial = {
  /** Written after the checkpoint, by the first master. */
  readonly logBytes: number
  /** Opening the longest log: a part of every start. */
  readonly openMs: number
  /** From the first message until the last point of divergence was known, and until the logs were cut to it. */
  readonly foundMs: number
  readonly agreedMs: number
  /** Until every log was the same, durably. */
  readonly equalMs: number
  /** To find the points and to cut the logs, both ways, both replicas. */
  readonly messages: number
  readonly bytes: number
  /** Records that the two others cut away. */
  readonly undone: number
}

const recordBytes = 64 * 1024
const inFlight = 32
const roundMs = 2
const waitMsMax = 120_000
const copies = 3
const object = Buffer.from('object')
const piece = Buffer.alloc(recordBytes, 0x77)

export async function runTrial(directory: string, logBytes: number, random: Random): Promise<Trial> {
  const servers = Array.from({ length: copies }, (_, i) => serverId(String(i + 1).repeat(16)))
  const running: ReplicaServer[] = []
  const startAll = async (): Promise<number> => {
    const openedMs: number[] = []
    // One after the other, so that each has the machine for itself.
    for (const server of servers) {
      const result = await ReplicaServer.start(server, join(directory, server), () => running)
      running.push(result.started)
      openedMs.push(result.openedMs)
    }
    return Math.max(...openedMs)
  }
  const crashAll = async (): Promise<void> => {
    await Promise.all(running.splice(0).map((server) => server.crash()))
  }
  const any = (among: readonly ReplicaServer[]): ReplicaServer => among[Math.floor(random() * among.length)]!
  try {
    for (const server of servers) await mkdir(join(directory, server), { recursive: true })
    await startAll()
    const first = any(running)
    await first.lead(location(servers, first.server, 1))
    await until(() => isMaster(first))
    await append(first, true)
    await until(() => running.every(({ replica }) => replica.storage.index.applied >= 2))
    await storm(first, running, logBytes, random)
    await crashAll()

    await startAll()
    const alone = any(running)
    for (const { server } of running) if (server !== alone.server) alone.cut.add(server)
    await alone.lead(location(servers, alone.server, 2))
    await until(() => alone.replica.core.role === 'recovering')
    await sleep(roundMs)
    await crashAll()

    const openMs = await startAll()
    const last = any(running.filter(({ server }) => server !== alone.server))
    const before = running.map(({ replica }) => replica.storage.log.last)
    await last.lead(location(servers, last.server, 3))
    await until(() => isMaster(last))
    const equalAtMs = performance.now()
    const undone = last.exchanges
      .filter(({ name }) => name === 'rollback')
      .reduce((sum, { server, request }) => {
        const at = running.findIndex((other) => other.server === server)
        return sum + before[at]! - (request as { readonly after: number }).after
      }, 0)
    return { logBytes, openMs, undone, ...summary(last.exchanges, equalAtMs) }
  } finally {
    await crashAll()
    await rm(directory, { recursive: true })
  }
}

/** Writes until so many bytes are in the first one's log; each of the others loses touch somewhere on the way. */
async function storm(
  first: ReplicaServer,
  all: readonly ReplicaServer[],
  logBytes: number,
  random: Random,
): Promise<void> {
  const count = Math.max(1, Math.round(logBytes / recordBytes))
  const others = all.filter((server) => server !== first)
  const cuts = others.map(({ server }) => ({ server, at: Math.floor(random() * count) }))
  const acknowledged: Promise<void>[] = []
  for (let index = 0; index < count; index++) {
    for (const { server, at } of cuts) if (at === index) first.cut.add(server)
    const written = append(first, false, index)
    written.catch(() => undefined)
    // Nothing is acknowledged any more once one is cut off.
    if (first.cut.size === 0) acknowledged.push(written)
    if (acknowledged.length > inFlight) await acknowledged.shift()
    else if (index % inFlight === 0) await sleep(roundMs)
  }
  // What is on its way to a server that is still in touch arrives, or not.
  await sleep(random() * roundMs)
}

/** What it took from the first message on. */
function summary(
  exchanges: readonly Exchange[],
  equalAtMs: number,
): Pick<Trial, 'foundMs' | 'agreedMs' | 'equalMs' | 'messages' | 'bytes'> {
  const found = exchanges.filter(({ name }) => name === 'follow' || name === 'chains')
  const agreed = exchanges.filter(({ name }) => name === 'follow' || name === 'chains' || name === 'rollback')
  const beganMs = Math.min(...agreed.map((exchange) => exchange.beganMs))
  const endOf = (some: readonly Exchange[]): number => Math.max(...some.map(({ endedMs }) => endedMs)) - beganMs
  return {
    foundMs: endOf(found),
    agreedMs: endOf(agreed),
    equalMs: equalAtMs - beganMs,
    messages: 2 * agreed.length,
    bytes: agreed.reduce((sum, exchange) => sum + exchange.bytes, 0),
  }
}

/** Appends a record as a client's call does. */
function append({ replica }: ReplicaServer, stable: boolean, index = 0): Promise<void> {
  const payload = [piece]
  const change = { type: 'extent' as const, object, offset: index * recordBytes, length: recordBytes, payloadOffset: 0 }
  return replica.append({
    kind: 'operation',
    stable,
    ticket: noTicket,
    result: 0,
    changes: [change],
    payload,
    payloadBytes: recordBytes,
    sums: payloadSums(payload, recordBytes),
  }).acknowledged
}

function isMaster(server: ReplicaServer): boolean {
  try {
    return server.replica.core.role === 'master'
  } catch {
    return false // not made yet
  }
}

const location = (servers: readonly ServerId[], master: ServerId, of: number): Location => ({
  container,
  volume: 'bench',
  kind: 'data',
  epoch: epoch(of),
  master,
  inSync: servers,
  resyncing: [],
  minimum: 2,
  chunkBytes: 2 ** 40,
  servers: servers.map((server) => ({ server, address: server, alive: true })),
})

async function until(condition: () => boolean): Promise<void> {
  const endMs = performance.now() + waitMsMax
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`it did not come to it within ${waitMsMax / 1000} s`)
    await sleep(roundMs)
  }
}
