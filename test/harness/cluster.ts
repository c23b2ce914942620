/**
 * A real cluster: one CLDB, some fileservers and gateways, each a process of the built command (dist/cli/main.js).
 *
 * Not pure. Every cluster has a loopback address of its own and fixed ports, below the kernel's ephemeral ones, so that
 * nothing else can take a killed server's port; or it lives in a network namespace. All its files are in `directory`.
 */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { Location } from '../../protocol/messages/attributes.ts'
import type { control } from '../../protocol/messages/control.ts'
import type { ReplyOf } from '../../protocol/messages/service.ts'
import { entering, type Namespace } from './namespace.ts'
import { listening, type Started, start, tail, until } from './processes.ts'

export const holdfast = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** What `holdfast status --containers --json` prints. */
export type Status = ReplyOf<typeof control.calls.status> & { readonly list: readonly Location[] }

export type ClusterOptions = {
  /** Existing; the servers' data go there. */
  readonly directory: string
  /** Existing; for configuration and logs, where they should not stand with the data. */
  readonly outside?: string
  readonly fileservers?: number
  readonly gateways?: number
  readonly namespace?: Namespace
  /** Over the defaults below. */
  readonly cldb?: Readonly<Record<string, number>>
  /** Options of the CLDB's command, over all. */
  readonly cldbOptions?: readonly string[]
  /** Directory of a storage pool (from 1) that does not stand in `directory`. */
  readonly pool?: (index: number) => string | undefined
  readonly reserveBytes?: number
}

export type Cluster = {
  readonly cldb: string
  /** `host:port` of each gateway. */
  readonly gateways: readonly string[]
  /** `fileserver-1` and so on. */
  readonly fileservers: readonly string[]
  readonly poolOf: (fileserver: string) => string
  readonly addressOf: (fileserver: string) => string
  /** SIGKILL to the named servers, all of them without names, at once. */
  readonly kill: (...names: readonly string[]) => Promise<void>
  /** Starts the named servers, all that don't run without names, and waits until each listens. */
  readonly start: (...names: readonly string[]) => Promise<void>
  readonly running: (name: string) => boolean
  /** Runs the `holdfast` command against this cluster. Throws, with what it said, unless it exits 0. */
  readonly command: (...args: readonly string[]) => Promise<string>
  readonly status: () => Promise<Status>
  /** Waits until every container has its full in-sync set, of servers that run. @returns the time it took, in ms. */
  readonly waitHealthy: (timeoutMs: number) => Promise<number>
  /** The end of every server's log. */
  readonly tails: () => string
  readonly close: () => Promise<void>
}

/** Short times, so that a test sees in seconds what takes minutes otherwise. */
const times = { leaseMs: 1500, heartbeatMs: 300, rereplicateAfterMs: 3000 }
const listenWithinMs = 30_000
const commandMs = 30_000

const ports = { cldb: 7100, fileserver: 7200, nfsd: 7300 }
let clusters = 0

/** Starts a cluster for `body` and ends it after; when something failed, the ends of all logs are in the report. */
export async function withCluster(
  t: Test,
  options: ClusterOptions,
  body: (cluster: Cluster) => Promise<void>,
): Promise<void> {
  const cluster = await startCluster(options)
  let passed = false
  try {
    await body(cluster)
    passed = t.passing()
  } finally {
    if (!passed) t.comment(cluster.tails())
    await cluster.close()
  }
}

async function startCluster(options: ClusterOptions): Promise<Cluster> {
  if (!existsSync(holdfast)) throw new Error(`${holdfast} is not there: npm run build`)
  const { directory, namespace } = options
  const outside = options.outside ?? directory
  const host = ownLoopback()
  const shift = 1000 * clusters++
  const cldb = `${host}:${ports.cldb + shift}`
  const gatewayHost = namespace?.hostAddress ?? host
  const servers = new Map<string, { command: string; config: string; port: number }>()
  const running = new Map<string, Started>()

  function declare(name: string, command: string, port: number, config: Readonly<Record<string, unknown>>): string {
    const file = join(outside, `${name}.json`)
    writeFileSync(file, JSON.stringify(config, null, 2))
    servers.set(name, { command, config: file, port })
    return name
  }
  const numbered = <T>(count: number, make: (index: number) => T): readonly T[] =>
    Array.from({ length: count }, (_, index) => make(index + 1))
  const made = (path: string): string => {
    mkdirSync(path, { recursive: true })
    return path
  }

  declare('cldb', 'cldb', ports.cldb + shift, {
    listen: cldb,
    directory: made(join(directory, 'cldb')),
    ...times,
    ...options.cldb,
  })
  const pools = new Map<string, string>()
  const addresses = new Map<string, string>()
  const fileservers = numbered(options.fileservers ?? 4, (index) => {
    const name = `fileserver-${index}`
    const port = ports.fileserver + shift + index
    pools.set(name, made(options.pool?.(index) ?? join(directory, `pool-${index}`)))
    addresses.set(name, `${host}:${port}`)
    return declare(name, 'fileserver', port, {
      cldb: [cldb],
      directory: pools.get(name),
      listen: addresses.get(name),
      topology: `/rack${index}/node${index}`,
      reserveBytes: options.reserveBytes ?? 64 * 1024 * 1024,
    })
  })
  const exports = join(outside, 'exports')
  writeFileSync(exports, `/ ${namespace === undefined ? '127.0.0.0/8' : '192.0.2.0/24'}(rw,no_root_squash)\n`)
  const gateways = numbered(options.gateways ?? 1, (index) => {
    const port = ports.nfsd + shift + index
    declare(`nfsd-${index}`, 'nfsd', port, { cldb: [cldb], listen: `${gatewayHost}:${port}`, exports })
    return `${gatewayHost}:${port}`
  })

  async function startOne(name: string): Promise<void> {
    const server = servers.get(name)!
    if (running.get(name)?.running() === true) return
    const started = start({
      name,
      command: process.execPath,
      args: [
        holdfast,
        server.command,
        '--config',
        server.config,
        ...(name === 'cldb' ? (options.cldbOptions ?? []) : []),
      ],
      logFile: join(outside, `${name}.log`),
      namespace,
      environment: { NO_COLOR: '1' },
    })
    running.set(name, started)
    await until(`${name} listens`, listenWithinMs, () => {
      if (!started.running()) throw new Error(`${name} ended:\n${tail(started.logFile)}`)
      return listening(started.pid, server.port)
    })
  }

  async function command(...args: readonly string[]): Promise<string> {
    const [program, ...rest] = [...entering(namespace), process.execPath, holdfast, ...args, '--cldb', cldb]
    try {
      const { stdout } = await promisify(execFile)(program!, rest, { timeout: commandMs, maxBuffer: 64 * 1024 * 1024 })
      return stdout
    } catch (error) {
      const { killed, stderr } = error as { killed?: boolean; stderr?: string }
      const how = killed === true ? `took more than ${commandMs} ms` : `failed: ${stderr}`
      throw new Error(`holdfast ${args.join(' ')} ${how}`, { cause: error })
    }
  }
  const status = async (): Promise<Status> => JSON.parse(await command('status', '--containers', '--json')) as Status
  const kill = async (...names: readonly string[]): Promise<void> => {
    const victims = names.length > 0 ? names : [...running.keys()]
    await Promise.all(victims.map((name) => running.get(name)?.kill()))
  }

  const runningAt = (address: string): boolean =>
    fileservers.some((name) => addresses.get(name) === address && running.get(name)?.running() === true)

  const cluster: Cluster = {
    cldb,
    gateways,
    fileservers,
    poolOf: (fileserver) => pools.get(fileserver)!,
    addressOf: (fileserver) => addresses.get(fileserver)!,
    kill,
    start: async (...names) => {
      await Promise.all((names.length > 0 ? names : [...servers.keys()]).map(startOne))
    },
    running: (name) => running.get(name)?.running() === true,
    command,
    status,
    waitHealthy: async (timeoutMs) => {
      const begin = performance.now()
      let last: unknown
      try {
        await until('a full in-sync set of every container', timeoutMs, () => healthy(), 250)
      } catch (error) {
        throw new Error(`${error}: ${JSON.stringify(last)}\n${cluster.tails()}`)
      }
      return performance.now() - begin

      async function healthy(): Promise<boolean> {
        try {
          const { volumes, servers, list } = await status()
          last = volumes
          const up = servers.filter(({ address }) => runningAt(address)).map(({ server }) => server)
          const copies = new Map(volumes.map(({ volume }) => [volume.name, volume.replication]))
          return (
            volumes.every((volume) => volume.underReplicated === 0 && volume.unavailable === 0) &&
            list.every(
              ({ inSync, volume }) => inSync.filter((server) => up.includes(server)).length >= copies.get(volume)!,
            )
          )
        } catch (error) {
          last = String(error)
          return false
        }
      }
    },
    tails: () => [...running.values()].map((server) => `--- ${server.name}\n${tail(server.logFile)}`).join('\n'),
    close: () => kill(),
  }
  await cluster.start('cldb')
  await cluster.start(...fileservers)
  await until('all fileservers are alive', listenWithinMs, async () => {
    const { servers } = await status()
    return servers.filter((server) => server.state === 'alive').length === fileservers.length
  })
  await cluster.start()
  return cluster
}

/** SIGKILL to the master of a name container. @returns who it was. */
export async function killMasterOfNames(cluster: Cluster): Promise<string> {
  const { list, servers } = await cluster.status()
  const master = list.find(({ kind }) => kind === 'name')!.master
  const address = servers.find(({ server }) => server === master)!.address
  const victim = cluster.fileservers.find((fileserver) => cluster.addressOf(fileserver) === address)!
  await cluster.kill(victim)
  return victim
}

/** All of 127/8 is loopback on Linux: each process takes its own address by its id. */
function ownLoopback(): string {
  const id = process.pid
  return `127.${64 + ((id >> 16) & 63)}.${(id >> 8) & 255}.${1 + (id % 254)}`
}
