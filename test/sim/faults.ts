/**
 * What goes wrong in a run, and when: some kinds of faults, chosen by the seed, one after the other.
 */
import type { Cluster } from './cluster.ts'
import type { Server } from './server.ts'
import type { Random } from './world/random.ts'

/** Clients at work. */
export const clients = 4

type Fault = (cluster: Cluster, random: Random) => void

const later = (cluster: Cluster, delayMs: number, run: () => void): void =>
  void cluster.timeline.after(delayMs, undefined, run)

/** How long a server stays away: mostly short, sometimes beyond the time after which it counts as dead. */
const absenceMs = (random: Random): number =>
  random.chance(0.15) ? random.between(5000, 14_000) : random.between(5, 2500)

/** The name of a server that leads something, if there is one. */
function masterOf(cluster: Cluster, random: Random): string {
  const masters = [...cluster.cldb.records.containers.values()].map(({ master }) => master)
  const master = random.pick(masters)
  const server = cluster.servers.find(({ id }) => id === master)
  return (server ?? random.pick(cluster.servers)).name
}

function crash(cluster: Cluster, random: Random, server: Server): void {
  cluster.kill(server, random.chance(0.5))
  later(cluster, absenceMs(random), () => cluster.start(server))
}

function cutBetween(cluster: Cluster, random: Random, pairs: readonly (readonly [string, string])[]): void {
  // Mostly one at a time: a cluster that is all in pieces does nothing that could be wrong.
  if (cluster.network.cuts.length > 0 && random.chance(0.8)) return
  for (const [from, to] of pairs) {
    cluster.timeline.note(`${from} no longer reaches ${to}`)
    cluster.network.cut(from, to)
  }
  later(cluster, random.chance(0.5) ? random.between(2500, 6000) : random.between(50, 2500), () => {
    for (const [from, to] of pairs) cluster.network.heal(from, to)
  })
}

export const faults = {
  crash: (cluster, random) => {
    const away = cluster.servers.filter(({ process }) => process === undefined).length
    if (away < 2 || random.chance(0.2)) crash(cluster, random, random.pick(cluster.servers))
  },

  /** The end comes at one of the next effects on the disk. */
  crashAtEffect: (cluster, random) => {
    const server = random.pick(cluster.servers)
    const { process } = server
    if (process === undefined) return
    server.disk.fuse = random.below(random.chance(0.5) ? 20 : 400)
    server.disk.onBurnt = () => crash(cluster, random, server)
  },

  crashAll: (cluster, random) => {
    const power = random.next()
    for (const server of cluster.servers) cluster.kill(server, random.chance(power))
    for (const server of cluster.servers) later(cluster, absenceMs(random), () => cluster.start(server))
  },

  crashCldb: (cluster, random) => {
    cluster.timeline.note('the CLDB is killed')
    cluster.cldb.kill()
    later(cluster, random.between(5, random.chance(0.2) ? 5000 : 500), () => {
      if (cluster.cldb.process === undefined) cluster.cldb.start()
    })
  },

  pause: (cluster, random) => {
    const server = random.pick(cluster.servers)
    if (server.process === undefined) return
    const pauseMs = random.between(10, 4000)
    cluster.timeline.note(`${server.name} stands still for ${pauseMs} ms`)
    server.process.resumesMs = cluster.timeline.nowMs + pauseMs
  },

  partition: (cluster, random) => {
    const everybody = [...cluster.servers.map(({ name }) => name), 'cldb']
    const one = random.chance(0.7) ? masterOf(cluster, random) : random.pick(everybody)
    const others = everybody.filter((name) => name !== one)
    const cut = random.chance(0.7) ? others : [random.pick(others)]
    const way = random.next()
    const out = cut.map((other) => [one, other] as const)
    const back = cut.map((other) => [other, one] as const)
    cutBetween(cluster, random, way < 0.2 ? out : way < 0.4 ? back : [...out, ...back])
  },

  clientPartition: (cluster, random) => {
    const server = random.pick(cluster.servers).name
    const client = `c${random.below(clients)}`
    cutBetween(cluster, random, random.chance(0.5) ? [[client, server]] : [[server, client]])
  },

  breakConnections: (cluster, random) => {
    cluster.timeline.note(`${cluster.wires.break(random.next())} connections break`)
  },

  slowNetwork: (cluster, random) => {
    cluster.network.slow = { share: random.between(0.05, 0.5), mostMs: random.between(5, 400) }
    later(cluster, random.between(100, 3000), () => {
      cluster.network.slow = { share: 0.01, mostMs: 50 }
    })
  },

  wallClockJump: (cluster, random) => {
    const { oscillator } = random.pick(cluster.servers)
    oscillator.wallOffsetMs += random.between(-3.6e6, 3.6e6)
  },

  slowDisk: (cluster, random) => {
    const { disk } = random.pick(cluster.servers)
    disk.faults.slowSyncs = random.between(0.1, 0.6)
    later(cluster, random.between(100, 4000), () => {
      disk.faults.slowSyncs = 0.02
    })
  },

  diskErrors: (cluster, random) => {
    const { disk } = random.pick(cluster.servers)
    disk.faults.writeFails = random.between(0, 0.1)
    disk.faults.syncFails = random.between(0, 0.1)
    later(cluster, random.between(50, 1500), () => {
      disk.faults.writeFails = 0
      disk.faults.syncFails = 0
    })
  },

  fullDisk: (cluster, random) => {
    const { disk } = random.pick(cluster.servers)
    disk.capacityBytes = disk.usedBytes + random.below(600 * 1024)
    later(cluster, random.between(100, 4000), () => {
      disk.capacityBytes = 2 ** 30
    })
  },
  /** Bits turn on one server's disk, which may lose its data so: all others must keep theirs. */
  rot: (cluster, random) => {
    const [server] = cluster.servers
    cluster.spoiled = server
    // A spoiled end looks like a torn one: the log says of records only, by those that follow, that they were committed.
    const path = random.chance(0.1)
      ? server!.disk.rot((name) => name.endsWith('/state'), 0)
      : server!.disk.rot((name) => name.endsWith('.segment'), 16 * 1024)
    cluster.timeline.note(`${server!.name}: a bit of ${path} turns`)
    if (random.chance(0.3)) crash(cluster, random, server!)
  },
} as const satisfies Record<string, Fault>

export type FaultName = keyof typeof faults

/** Kinds of faults that a seed uses, with how often. */
export type Plan = {
  readonly kinds: readonly FaultName[]
  readonly pauseMs: number
  /** See `DiskFaults`. */
  readonly scattered: boolean
}

/** These take no copy away while another one rots. */
const besideRot: readonly FaultName[] = ['breakConnections', 'slowNetwork', 'wallClockJump', 'slowDisk', 'crashCldb']

export function planOf(random: Random): Plan {
  const rots = random.chance(0.15)
  const all = rots ? besideRot : (Object.keys(faults) as FaultName[]).filter((kind) => kind !== 'rot')
  // Few kinds often: many faults at once leave little time for anything to go wrong in earnest.
  const share = random.chance(0.5) ? 2 / all.length : random.between(0.2, 1)
  const kinds: FaultName[] = all.filter(() => random.chance(share))
  if (rots) kinds.push('rot')
  return {
    kinds: kinds.length === 0 ? ['crash'] : kinds,
    pauseMs: random.pick([200, 700, 2000]),
    scattered: random.chance(0.5),
  }
}

/** Brings faults on until `done`. */
export function torment(cluster: Cluster, random: Random, plan: Plan, done: () => boolean): void {
  const next = (): void => {
    if (done()) return
    const kind = random.pick(plan.kinds)
    cluster.timeline.note(`fault: ${kind}`)
    faults[kind](cluster, random)
    later(cluster, random.between(0, 2 * plan.pauseMs), next)
  }
  later(cluster, random.between(0, plan.pauseMs), next)
}

/** Nothing is wrong any more, and everybody is up. */
export function heal(cluster: Cluster): void {
  cluster.timeline.note('everything is healed')
  cluster.network.healAll()
  cluster.network.slow = { share: 0.01, mostMs: 50 }
  if (cluster.cldb.process === undefined) cluster.cldb.start()
  for (const server of cluster.servers) {
    const { disk } = server
    disk.fuse = Number.POSITIVE_INFINITY
    disk.capacityBytes = 2 ** 30
    Object.assign(disk.faults, { writeFails: 0, syncFails: 0, slowSyncs: 0.02 })
    if (server.process !== undefined) server.process.resumesMs = 0
    cluster.start(server)
  }
}
