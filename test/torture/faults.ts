/**
 * Carries out one fault of the schedule: does the harm, waits, and takes it back.
 *
 * Not pure. Whatever a fault does it undoes before it settles, so that a run that waited for all of them is healed,
 * but for rot: that only the cluster itself puts right.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, rmSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../harness/processes.ts'
import { flipByte, isGone, type Place } from '../harness/rot.ts'
import type { Network, Way } from './network.ts'
import type { Fault, FaultKind } from './schedule.ts'
import type { Server, Servers } from './servers.ts'

export type World = {
  readonly servers: Servers
  readonly network: Network
  /** Nodes of the workers. */
  readonly clients: readonly string[]
  readonly note: (line: string) => void
  /** Bytes that rotted, and whether each has been put right. */
  readonly rot: Rot[]
  readonly outages: Outage[]
  /** Faults that found nothing to do harm to. */
  readonly idle: Set<Fault>
}

/** When the CLDB did not hear a fileserver, in milliseconds since 1970; `power`: that of its disk was off. */
type Outage = { readonly server: Server; readonly power: boolean; readonly fromMs: number; untilMs: number }

/**
 * Whether unsynced bytes may be lost: at one moment as many servers as there are copies were away, and one of them has lost
 * its power since the bytes were written. If it is back first it leads; with one that has kept running, that one does
 * (cldb/replicas/elections.ts).
 */
export function mayForget({ outages }: World, sinceMs: number, untilMs: number): boolean {
  const awayAt = (atMs: number): Outage[] =>
    outages.filter((one) => one.fromMs <= atMs && atMs <= one.untilMs + (one.power ? rematchedMs : restartMs))
  return outages.some(({ fromMs }) => {
    if (fromMs < sinceMs || fromMs > untilMs) return false
    const away = awayAt(fromMs)
    const isLoss = away.some((one) => one.power && one.untilMs >= sinceMs)
    return isLoss && new Set(away.map(({ server }) => server)).size >= copies
  })
}

export type Rot = Place & { readonly server: Server; readonly repaired: () => boolean }
type Deed = (world: World, fault: Fault) => Promise<void>

const copies = 3
/** Until a server is heard again. */
const restartMs = 2000
/** Until a server without power has from the others again what it lost, if they still run. */
const rematchedMs = 10_000
const unmountWithinMs = 20_000
const rejoinWithinMs = 90_000
/** Only segments that old records fill: what stands at the end may be taken for a torn write, and cut. */
const rottenSegmentBytesMin = 2 * 2 ** 20
const rottenPart = 0.7
/** What a server met of its full disk may be seen so long after there is room again: it ends, and then its exit is heard of. */
const diskFaultSeenWithinMs = 2000

const both = (one: string, other: string): readonly Way[] => [
  [one, other],
  [other, one],
]

async function cutFor({ network }: World, ways: readonly Way[], durationMs: number): Promise<void> {
  network.cut(ways)
  await sleep(durationMs)
  network.heal(ways)
}

/** The first server of the fault, and all nodes that speak to it. */
function oneAndOthers({ servers, clients }: World, fault: Fault) {
  const one = servers.fileservers[fault.servers[0]!]!
  const names = servers.all.map(({ name }) => name)
  return { one, others: [...names, ...clients].filter((name) => name !== one.name) }
}

/** What happens meanwhile keeps the servers away. */
async function away(
  { servers, outages }: World,
  victims: readonly Server[],
  power: boolean,
  meanwhile: Promise<void>,
): Promise<void> {
  const began = victims
    .filter((server) => server !== servers.cldb)
    .map((server) => ({ server, power, fromMs: Date.now(), untilMs: Number.POSITIVE_INFINITY }))
  outages.push(...began)
  await meanwhile
  for (const one of began) one.untilMs = Date.now()
}

const killFor = (world: World, victims: readonly Server[], fault: Fault, power: boolean): Promise<void> =>
  away(world, victims, power, ended(world, victims, fault, power))

async function ended({ servers }: World, victims: readonly Server[], fault: Fault, power: boolean): Promise<void> {
  await Promise.all(victims.map((server) => servers.hold(server, ...(power ? outage(server) : []))))
  await sleep(fault.durationMs)
  await Promise.all(
    victims.map(async (server, index) => {
      if (victims.length > 1) await sleep(fault.delaysMs[index % fault.delaysMs.length]!)
      await servers.release(server)
    }),
  )
}

/**
 * The power of the server's disk goes with its process, and is back before the process may be. The process stands still
 * first, as it does when a machine's power goes: a sync that is under way while ext4 is shut down may count as done.
 */
function outage(server: Server): readonly [before: () => void, between: () => Promise<void>] {
  const { disk } = server
  const cut = (): void => {
    server.process?.signal('SIGSTOP')
    disk.cut()
  }
  const restored = (): boolean => {
    try {
      disk.restore()
      return true
    } catch {
      return false // Something of the killed process still holds the disk.
    }
  }
  return [cut, () => until('the disk is unmounted', unmountWithinMs, restored)]
}

export const deeds: Readonly<Record<FaultKind, Deed>> = {
  kill: (world, fault) => {
    const count = fault.choices[0]! < 0.25 ? 2 : 1
    const victims = fault.servers.slice(0, count).map((index) => world.servers.fileservers[index]!)
    return killFor(world, victims, fault, false)
  },

  killAll: (world, fault) => {
    const { fileservers, all } = world.servers
    return killFor(world, fault.choices[0]! < 0.5 ? all : fileservers, fault, false)
  },

  killCldb: (world, fault) => killFor(world, [world.servers.cldb], fault, false),

  pause: async (world, fault) => {
    const { servers, idle } = world
    const server = servers.fileservers[fault.servers[0]!]!
    if (server.process?.running() !== true) idle.add(fault)
    server.pauses++
    server.process?.signal('SIGSTOP')
    await away(world, [server], false, sleep(fault.durationMs))
    if (--server.pauses === 0) server.process?.signal('SIGCONT')
  },

  isolate: (world, fault) => {
    const { one, others } = oneAndOthers(world, fault)
    const ways = others.flatMap((other) => both(one.name, other))
    return away(world, [one], false, cutFor(world, ways, fault.durationMs))
  },

  cutPair: (world, fault) => {
    const { one } = oneAndOthers(world, fault)
    const other = fault.choices[0]! < 0.2 ? 'cldb' : world.servers.fileservers[fault.servers[1]!]!.name
    const cut = cutFor(world, both(one.name, other), fault.durationMs)
    return other === 'cldb' ? away(world, [one], false, cut) : cut
  },

  /** To or from one other, or all. */
  cutOneWay: (world, fault) => {
    const { one, others } = oneAndOthers(world, fault)
    const outward = fault.choices[0]! < 0.5
    const chosen = fault.choices[1]! < 0.5 ? others : [others[Math.floor(fault.choices[2]! * others.length)]!]
    const ways = chosen.map((other): Way => (outward ? [one.name, other] : [other, one.name]))
    const cut = cutFor(world, ways, fault.durationMs)
    return chosen.includes('cldb') ? away(world, [one], false, cut) : cut
  },

  /** A worker from one server, or from all, or from the CLDB. */
  cutClient: (world, fault) => {
    const client = world.clients[Math.floor(fault.choices[0]! * world.clients.length)]!
    const { fileservers, cldb, all } = world.servers
    const draw = fault.choices[1]!
    const cut = draw < 0.5 ? [fileservers[fault.servers[0]!]!] : draw < 0.8 ? all : [cldb]
    const ways = cut.flatMap(({ name }) => both(client, name))
    return cutFor(world, ways, fault.durationMs)
  },

  power: (world, fault) => {
    const { cldb, fileservers } = world.servers
    const victim = fault.choices[0]! < 0.15 ? cldb : fileservers[fault.servers[0]!]!
    return killFor(world, [victim], fault, true)
  },

  powerAll: (world, fault) => killFor(world, world.servers.all, fault, true),

  fill: async ({ servers }, fault) => {
    const server = servers.fileservers[fault.servers[0]!]!
    const filler = join(server.disk.directory, 'filler')
    server.diskFaults++
    try {
      await servers.exclusively(server, async () => fill(filler, server.disk.directory))
      await sleep(fault.durationMs)
    } finally {
      await servers.exclusively(server, async () => rmSync(filler, { force: true }))
      await sleep(diskFaultSeenWithinMs)
      server.diskFaults--
    }
  },

  /** A byte of one replica only: while a place of another server is rotten, that one rots further instead. */
  rot: async ({ servers, rot, note, idle }, fault) => {
    const rotten = rot.find(({ repaired }) => !repaired())
    const server = rotten?.server ?? servers.fileservers[fault.servers[0]!]!
    await servers.exclusively(server, async () => {
      const segments = oldSegments(server)
      const path = segments[Math.floor(fault.choices[0]! * segments.length)]
      if (path === undefined) {
        idle.add(fault)
        return note('nothing to rot yet')
      }
      const offset = Math.floor(statSync(path).size * rottenPart * fault.choices[1]!)
      note(`rot in ${path} at ${offset}`)
      const isRight = flipByte({ path, offset })
      // A segment that was dropped, or went with its replica, takes its rot with it.
      rot.push({ server, path, offset, repaired: () => isGone(path) || isRight() })
    })
  },

  /** The CLDB may not answer, or refuse as too many others are dead: then nothing is drained. But each rejoins. */
  drain: async ({ servers, idle, note }, fault) => {
    const { name, address } = servers.fileservers[fault.servers[0]!]!
    const ask = async (what: 'drain' | 'rejoin'): Promise<boolean> => {
      try {
        note((await servers.command(['node', what, address])).split('\n')[0]!)
        return true
      } catch (error) {
        note(`no ${what} of ${name}: ${(error as { stderr?: string }).stderr ?? error}`)
        return false
      }
    }
    if (!(await ask('drain'))) idle.add(fault)
    await sleep(fault.durationMs)
    await until(`${name} rejoins`, rejoinWithinMs, () => ask('rejoin'), 500)
  },
}

function oldSegments(server: Server): string[] {
  const containers = join(server.directory, 'containers')
  return readdirSync(containers)
    .flatMap((container) => namesIn(join(containers, container)))
    .filter((path) => path.endsWith('.segment'))
    .filter((path) => (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > rottenSegmentBytesMin)
    .sort()
}

/** Paths of what is in a directory: nothing if that has just been removed. */
function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).map((name) => join(directory, name))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return []
  }
}

/** To the last byte: in one piece as far as that goes, then with zeros. */
function fill(filler: string, directory: string): void {
  const { bsize, bavail } = statfsSync(directory)
  const roughly = Math.max(1, bavail - 1024) * bsize
  execFileSync('fallocate', ['-l', String(roughly), filler])
  // Ends with "no space left on device": that is what it is for.
  spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=64k', 'oflag=append', 'conv=notrunc'], { stdio: 'ignore' })
}
