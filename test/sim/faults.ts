/**
 * What goes wrong in a run, and when: some kinds of faults, chosen by the seed, one after the other.
 */
import type { ContainerId } from '../../protocol/ids.ts'
import type { Cluster } from './cluster/cluster.ts'
import type { Server } from './cluster/server.ts'
import { roomBytes, sound } from './world/disk.ts'
import type { Random } from './world/random.ts'

/** @returns whether anything came of it. */
type Fault = (cluster: Cluster, random: Random) => boolean

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

function crash(cluster: Cluster, random: Random, server: Server, awayMs = absenceMs(random)): void {
  cluster.kill(server, random.chance(0.5))
  later(cluster, awayMs, () => {
    cluster.start(server)
    // Who has hardly begun may end again.
    if (random.chance(0.2)) endAtEffect(cluster, random, server)
  })
}

/** The end of the server's process comes at one of its next effects. @returns whether one runs. */
function endAtEffect(cluster: Cluster, random: Random, server: Server): boolean {
  const { process } = server
  if (process === undefined) return false
  process.fuse = random.below(random.chance(0.5) ? 30 : 600)
  process.onBurnt = () => {
    cluster.timeline.tally.add('ends at an effect')
    crash(cluster, random, server)
  }
  return true
}

function crashCldb(cluster: Cluster, random: Random): void {
  cluster.timeline.note('the CLDB is killed')
  cluster.cldb.kill()
  later(cluster, random.between(5, random.chance(0.2) ? 5000 : 500), () => {
    if (cluster.cldb.process === undefined) cluster.cldb.start()
  })
}

const awayNow = ({ servers }: Cluster): number => servers.filter(({ process }) => process === undefined).length

function cutBetween(cluster: Cluster, random: Random, pairs: readonly (readonly [string, string])[]): boolean {
  // Mostly one at a time: a cluster that is all in pieces does nothing that could be wrong.
  if (cluster.network.cuts.length > 0 && random.chance(0.8)) return false
  for (const [from, to] of pairs) {
    cluster.timeline.note(`${from} no longer reaches ${to}`)
    cluster.network.cut(from, to)
  }
  later(cluster, random.chance(0.5) ? random.between(2500, 6000) : random.between(50, 2500), () => {
    for (const [from, to] of pairs) cluster.network.heal(from, to)
  })
  return true
}

export const faults = {
  crash: (cluster, random) => {
    if (awayNow(cluster) >= 2 && !random.chance(0.2)) return false
    crash(cluster, random, random.pick(cluster.servers))
    return true
  },

  crashAtEffect: (cluster, random) => endAtEffect(cluster, random, random.pick(cluster.servers)),

  crashAll: (cluster, random) => {
    const power = random.next()
    for (const server of cluster.servers) cluster.kill(server, random.chance(power))
    for (const server of cluster.servers) later(cluster, absenceMs(random), () => cluster.start(server))
    if (cluster.cldb.process !== undefined && random.chance(0.3)) crashCldb(cluster, random)
    return true
  },

  /** So long that others have taken its place, or that logs no longer reach back to what it has. */
  longAbsence: (cluster, random) => {
    if (awayNow(cluster) > 0) return false
    crash(cluster, random, random.pick(cluster.servers), random.between(4000, 14_000))
    return true
  },

  crashCldb: (cluster, random) => {
    if (cluster.cldb.process === undefined) return false
    crashCldb(cluster, random)
    return true
  },

  /** At a batch for its store, or a message. */
  crashCldbAtEffect: (cluster, random) => {
    const { process } = cluster.cldb
    if (process === undefined) return false
    process.fuse = random.below(60)
    process.onBurnt = () => {
      cluster.timeline.tally.add('ends of the CLDB at an effect')
      crashCldb(cluster, random)
    }
    return true
  },

  pause: (cluster, random) => {
    const { process, name } = random.pick(cluster.servers)
    if (process === undefined) return false
    const pauseMs = random.between(10, 4000)
    cluster.timeline.note(`${name} stands still for ${pauseMs} ms`)
    process.resumesMs = cluster.timeline.nowMs + pauseMs
    return true
  },

  pauseCldb: (cluster, random) => {
    const { process } = cluster.cldb
    if (process === undefined) return false
    process.resumesMs = cluster.timeline.nowMs + random.between(10, random.chance(0.2) ? 4000 : 1000)
    return true
  },

  partition: (cluster, random) => {
    const everybody = [...cluster.servers.map(({ name }) => name), 'cldb']
    const one = random.chance(0.7) ? masterOf(cluster, random) : random.pick(everybody)
    const others = everybody.filter((name) => name !== one)
    const cut = random.chance(0.7) ? others : [random.pick(others)]
    const way = random.next()
    const out = cut.map((other) => [one, other] as const)
    const back = cut.map((other) => [other, one] as const)
    return cutBetween(cluster, random, way < 0.2 ? out : way < 0.4 ? back : [...out, ...back])
  },

  clientPartition: (cluster, random) => {
    const server = random.pick(cluster.servers).name
    const client = `c${random.below(4)}`
    return cutBetween(cluster, random, random.chance(0.5) ? [[client, server]] : [[server, client]])
  },

  breakConnections: (cluster, random) => {
    const broken = cluster.wires.break(random.next())
    cluster.timeline.note(`${broken} connections break`)
    return broken > 0
  },

  slowNetwork: (cluster, random) => {
    cluster.network.slow = { share: random.between(0.05, 0.5), mostMs: random.between(5, 400) }
    later(cluster, random.between(100, 3000), () => {
      cluster.network.slow = { share: 0.01, mostMs: 50 }
    })
    return true
  },

  /** Requests and answers. */
  loseMessages: (cluster, random) => {
    cluster.network.unsure.lost = random.between(0.005, 0.1)
    later(cluster, random.between(100, 2000), () => {
      cluster.network.unsure.lost = 0
    })
    return true
  },

  repeatMessages: (cluster, random) => {
    cluster.network.unsure.repeated = random.between(0.01, 0.5)
    later(cluster, random.between(100, 3000), () => {
      cluster.network.unsure.repeated = 0
    })
    return true
  },

  wallClockJump: (cluster, random) => {
    const { oscillator } = random.pick([...cluster.servers, cluster.cldb])
    oscillator.wallOffsetMs += random.between(-3.6e6, 3.6e6)
    return true
  },

  /** Together less than the margin that the CLDB leaves for it. */
  clockDrift: (cluster, random) => {
    for (const { oscillator } of cluster.servers) oscillator.drift(random.between(0.92, 1.08))
    cluster.cldb.oscillator.drift(random.between(0.95, 1.05))
    return true
  },

  slowDisk: (cluster, random) => {
    const { disk } = random.pick(cluster.servers)
    disk.faults.slowSyncs = random.between(0.1, 0.6)
    later(cluster, random.between(100, 4000), () => {
      disk.faults.slowSyncs = sound.slowSyncs
    })
    return true
  },

  diskErrors: (cluster, random) => {
    const { disk } = random.pick(cluster.servers)
    disk.faults.writeFails = random.between(0, 0.3)
    disk.faults.syncFails = random.between(0, 0.3)
    disk.faults.readFails = random.between(0, 0.3)
    later(cluster, random.between(50, 1500), () => Object.assign(disk.faults, { ...sound }))
    return true
  },

  /** No room is left soon; later there is some again. */
  fullDisk: (cluster, random) => {
    const { disk } = random.pick(cluster.servers)
    disk.capacityBytes = disk.usedBytes + random.below(random.pick([600, 48, 1]) * 1024)
    later(cluster, random.between(100, 4000), () => {
      disk.capacityBytes = roomBytes
    })
    return true
  },

  /** An administrator has a server emptied or taken out of service for some time, or puts it back. */
  modes: (cluster, random) => {
    const server = random.pick(cluster.servers)
    const forMs = Math.ceil(random.between(500, 6000))
    const mode = random.pick(['draining', 'maintenance', 'normal'] as const)
    void cluster.setMode(server, mode, mode === 'maintenance' ? forMs : 0)
    if (mode === 'maintenance') crash(cluster, random, server, random.between(100, forMs))
    return true
  },

  /**
   * Bits turn on one server's disk, sectors become unreadable: that replica may be worth nothing, others must not suffer.
   * A spoiled end looks like a torn one, so what was not yet settled is left alone: it has other copies. So is the last
   * replica in sync, which may have records of its own: nobody could mend it. For the same reason a server that holds one
   * is not started anew: it may be spoiled from before, while others were in sync as well.
   */
  rot: (cluster, random) => {
    cluster.spoiled ??= random.pick(cluster.servers)
    const server = cluster.spoiled
    const state = random.chance(0.05)
    const { containers } = cluster.cldb.records
    const within = (path: string): number => {
      const container = Number(path.split('/')[3]) as ContainerId
      if ((containers.get(container)?.inSync.length ?? 0) < 2) return 0
      if (state) return path.endsWith('/state') ? Number.POSITIVE_INFINITY : 0
      return path.endsWith('.segment') ? server.settledBytes(path) : 0
    }
    let spoiled = false
    for (let places = random.chance(0.5) ? 1 : 1 + random.below(12); places > 0; places--) {
      const unreadable = random.chance(0.2)
      const path = server.disk.rot(within, unreadable && !state)
      if (path === undefined) continue
      spoiled = true
      cluster.timeline.tally.add(unreadable ? 'sectors spoiled' : 'bits turned')
      cluster.timeline.note(`${server.name}: ${unreadable ? 'a sector' : 'a bit'} of ${path} is spoiled`)
    }
    const isLast = [...containers.values()].some(({ inSync }) => inSync.length === 1 && inSync[0] === server.id)
    if (spoiled && !isLast && random.chance(0.3) && server.process !== undefined) {
      cluster.kill(server, false)
      later(cluster, random.between(5, 2000), () => cluster.start(server))
    }
    return spoiled
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
const besideRot: readonly FaultName[] = [
  'breakConnections',
  'slowNetwork',
  'repeatMessages',
  'wallClockJump',
  'slowDisk',
  'crashCldb',
  'crashCldbAtEffect',
]

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

/** Which of the faults of a run come, by their number; the others are as they would be with it. */
export type Kept = (number: number) => boolean

/** Brings faults on until `done`. Each has numbers of its own to draw, so that one more or less does not change the others. */
export function torment(cluster: Cluster, random: Random, plan: Plan, kept: Kept, done: () => boolean): void {
  let number = 0
  const next = (): void => {
    if (done()) return
    const kind = random.pick(plan.kinds)
    const own = random.split()
    number += 1
    if (kept(number)) {
      cluster.timeline.note(`fault ${number}: ${kind}`)
      if (faults[kind](cluster, own)) cluster.timeline.tally.add(kind)
    }
    later(cluster, random.between(0, 2 * plan.pauseMs), next)
  }
  later(cluster, random.between(0, plan.pauseMs), next)
}

/** Nothing is wrong any more, and everybody is up. */
export function heal(cluster: Cluster): void {
  cluster.timeline.note('everything is healed')
  cluster.network.healAll()
  cluster.network.slow = { share: 0.01, mostMs: 50 }
  cluster.network.unsure = { lost: 0, repeated: 0 }
  const { cldb } = cluster
  if (cldb.process === undefined) cldb.start()
  Object.assign(cldb.process!, awake)
  for (const server of cluster.servers) {
    const { disk, process } = server
    disk.capacityBytes = roomBytes
    Object.assign(disk.faults, sound)
    if (process !== undefined) Object.assign(process, awake)
    cluster.start(server)
  }
}

const awake = { fuse: Number.POSITIVE_INFINITY, resumesMs: 0 }
