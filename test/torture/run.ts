/**
 * One run: a cluster, a load, faults by the seed; then everything is healed and everything that was promised is looked for.
 *
 * Not pure: needs root, `ip` and loop devices. All it makes is in `directory` and in namespaces of its own.
 */
import { appendFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Status } from '../harness/cluster.ts'
import { until } from '../harness/processes.ts'
import { differences, replicaSizes } from './audit.ts'
import { type Changes, changesOf } from './changes.ts'
import { deeds, mayForget, type World } from './faults.ts'
import type { Counts } from './load/tally.ts'
import { makeNetwork } from './network.ts'
import { type Fault, type FaultKind, schedule } from './schedule.ts'
import { type Servers, startServers } from './servers.ts'
import { startWorkers, type Workers } from './workers.ts'

export type Options = {
  readonly seed: number
  readonly lengthMs: number
  readonly kinds: readonly FaultKind[]
  /** Existing and empty. */
  readonly directory: string
  readonly print: (line: string) => void
}

export type Outcome = {
  readonly counts: Counts
  /** Those that did harm. */
  readonly faults: Readonly<Record<string, number>>
  readonly changes: Changes
  readonly problems: readonly string[]
  readonly notes: readonly string[]
}

const fileservers = 6
const workers = 3
const MiB = 2 ** 20
const orderMs = 120_000
const verifyMs = 300_000
const healthyMs = 180_000
const settledMs = 120_000
/** What may be left of the segments of a data container's replica when every file is gone. */
const emptyBytesMax = 2 * MiB
const rootAlone = { files: 0, directories: 1 }
/** Beyond this many the rest only hides the first. */
const problemsMax = 20

export async function torture(options: Options): Promise<Outcome> {
  const { seed, lengthMs, directory, print } = options
  const problems: string[] = []
  const notes: string[] = []
  const log = (line: string): void =>
    appendFileSync(join(directory, 'run.log'), `${new Date().toISOString()} ${line}\n`)
  const note = (line: string): void => {
    notes.push(line)
    log(line)
  }
  const problem = (line: string): void => {
    if (problems.length < problemsMax) problems.push(line)
    log(`PROBLEM ${line}`)
    print(`PROBLEM ${line}`)
  }
  mkdirSync(directory, { recursive: true })
  const serverNames = Array.from({ length: fileservers }, (_, index) => `fileserver-${index + 1}`)
  const clients = Array.from({ length: workers }, (_, index) => `worker-${index + 1}`)
  const network = makeNetwork(['cldb', ...serverNames, ...clients, 'admin'])
  const servers = await startServers({ directory, network, fileservers, note, problem })
  const world: World = {
    servers,
    network,
    clients,
    note: log,
    rot: [],
    outages: [],
    idle: new Set(),
  }
  const cldb = `${network.addressOf('cldb')}:7100`
  let staff: Workers | undefined
  const faults: Record<string, number> = {}
  let changes: Changes = { configurations: 0, masters: 0 }
  try {
    await servers.command(['volume', 'create', 'main', '--mount', '/', '--chunk-size', '4M'])
    const lost = (path: string, sinceMs: number, untilMs: number): void => {
      if (mayForget(world, sinceMs, untilMs)) note(`unsynced bytes of ${path} went with the power`)
      else problem(`unsynced bytes of ${path} are lost, though some replica of them must hold them`)
    }
    staff = startWorkers({ names: clients, directory, network, cldb, seed, problem, lost })
    await staff.order('load', orderMs)
    print('the load runs')
    await harm(schedule(seed, lengthMs, fileservers, options.kinds))
    print('everything is healed; looking for what was promised')
    await sleep(1000)
    await staff.order('stop', orderMs)
    print(`healthy after ${await healthy(servers)} ms`)
    await staff.order('verify', verifyMs)
    await scrubbed(servers)
    await replicasAgree(servers)
    await staff.order('remove', verifyMs)
    await nothingLeft(servers)
    await replicasAgree(servers)
    await staff.order('end', orderMs)
  } catch (error) {
    problem(`${(error as Error).stack}`)
  } finally {
    await staff?.end()
    await servers.end()
    changes = changesOf(servers.fileservers.map(({ name }) => join(directory, `${name}.log`)))
    for (const { disk } of servers.all) disk.remove()
    network.remove()
  }
  const counts = staff?.counts() ?? { operations: {}, failures: {}, longest: { kind: 'none', tookMs: 0 } }
  return { counts, faults, changes, problems, notes }

  /** Does what the schedule says, until a problem; settles when all harm is undone. */
  async function harm(plan: readonly Fault[]): Promise<void> {
    const began = performance.now()
    const running: Promise<void>[] = []
    for (const fault of plan) {
      while (performance.now() - began < fault.atMs && problems.length === 0) await sleep(50)
      if (problems.length > 0) break
      const line = `${fault.kind} for ${Math.round(fault.durationMs)} ms, servers ${fault.servers.map((index) => index + 1)}`
      log(`${Math.round(fault.atMs)} ms: ${line}`)
      const deed = deeds[fault.kind](world, fault).then(
        () => {
          if (!world.idle.has(fault)) faults[fault.kind] = (faults[fault.kind] ?? 0) + 1
          log(`end of: ${line}`)
        },
        (error) => problem(`${fault.kind}: ${(error as Error).stack}`),
      )
      running.push(deed)
    }
    await Promise.all(running)
  }

  async function healthy({ status }: Servers): Promise<number> {
    const began = performance.now()
    let last: Status | undefined
    try {
      await until(
        'every container has its full in-sync set',
        healthyMs,
        async () => {
          last = await status()
          return (
            last.servers.filter(({ state }) => state === 'alive').length === fileservers &&
            last.volumes.every(({ underReplicated, unavailable }) => underReplicated === 0 && unavailable === 0) &&
            last.list.every(({ resyncing }) => resyncing.length === 0)
          )
        },
        500,
      )
    } catch (error) {
      const lacking = last?.list.filter(({ resyncing, inSync }) => resyncing.length > 0 || inSync.length < 3)
      throw new Error(`${(error as Error).message}: ${JSON.stringify(lacking)}`)
    }
    return Math.round(performance.now() - began)
  }

  /** What rotted where nobody read it is found by a scrub; what moves meanwhile is left to the next. */
  async function scrubbed({ command }: Servers): Promise<void> {
    const scrub = async (): Promise<boolean> => {
      try {
        log(`scrub: ${await command(['scrub', '--all', '--wait'], verifyMs)}`)
        return true
      } catch (error) {
        const { stdout, stderr } = error as { stdout?: string; stderr?: string }
        log(`scrub: ${stdout ?? error}${stderr ?? ''}`)
        return false
      }
    }
    await until('a scrub leaves nothing unrepaired', settledMs, scrub, 1000)
  }

  /** Replicas go on for a moment after the last write: watermarks, drops, removals of what is surplus. */
  async function replicasAgree({ status, fileservers }: Servers): Promise<void> {
    let found: readonly string[] = []
    try {
      await until(
        'replicas agree',
        settledMs,
        async () => {
          found = differences(await status(), fileservers, network.addressOf)
          return found.length === 0
        },
        1000,
      )
    } catch (error) {
      problem(`${error}`)
      for (const line of found) problem(line)
    }
  }

  async function nothingLeft({ status, fileservers, command }: Servers): Promise<void> {
    let left: readonly string[] = []
    try {
      await until(
        'nothing is left',
        settledMs,
        async () => {
          const replicas = replicaSizes(await status(), fileservers, 'data')
          const [tree] = JSON.parse(await command(['fs', 'du', '/', '--json'])) as (typeof rootAlone)[]
          left = [
            ...replicas
              .filter(({ bytes }) => bytes > emptyBytesMax)
              .map(({ server, container, bytes }) => `${server} holds ${bytes} bytes of data container ${container}`),
            ...(tree?.files === rootAlone.files && tree.directories === rootAlone.directories
              ? []
              : [`the names hold ${tree?.files} files and ${tree?.directories} directories`]),
          ]
          if (left.length > 0) return false
          const largest = Math.max(0, ...replicas.map(({ bytes }) => bytes))
          print(`after everything was removed: at most ${largest} bytes in each of ${replicas.length} data replicas`)
          return true
        },
        1000,
      )
    } catch (error) {
      if (left.length === 0) throw error
      for (const line of left) problem(`everything was removed, yet ${line}`)
    }
  }
}
