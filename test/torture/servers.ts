/**
 * The servers under torture: one CLDB and some fileservers, each a process in a network namespace and on a disk of its own.
 *
 * Not pure. `hold` keeps a server down until it is released, however many faults hold it; a server that ends without
 * having been told to is a problem, unless its disk was failing. They run a copy of the build, so that a build
 * meanwhile changes nothing.
 */
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Status } from '../harness/cluster.ts'
import { entering } from '../harness/namespace.ts'
import { type LoopDisk, makeLoopDisk } from '../harness/power.ts'
import { listening, type Started, start, tail, until } from '../harness/processes.ts'
import type { Network } from './network.ts'

const project = fileURLToPath(new URL('../..', import.meta.url))
const port = 7100
const listenWithinMs = 60_000
const commandMs = 30_000
const restartMs = 500
const times = { leaseMs: 1500, heartbeatMs: 300, rereplicateAfterMs: 4000 }
const MiB = 2 ** 20
/** Sparse: only what is written takes space. */
const diskBytes = 1024 * MiB
const reserveBytes = 48 * MiB
/** Two minutes of a run see several looks; afterwards nothing may be left. */
const abandonedEveryMs = 15_000
/** Small, so that data spread over many containers. */
const containerBytesMax = 96 * MiB

export type Server = {
  readonly name: string
  readonly address: string
  readonly disk: LoopDisk
  /** The CLDB's database or the storage pool. */
  readonly directory: string
  /** Faults that keep it down, and those that keep it stopped. */
  holds: number
  pauses: number
  /** Faults of its disk: it may end by itself while there are some. */
  diskFaults: number
  process: Started | undefined
  /** What must not happen at a time to one server follows one another here. */
  turn: Promise<void>
}

export type Servers = {
  readonly all: readonly Server[]
  readonly cldb: Server
  readonly fileservers: readonly Server[]
  /** SIGKILL, and stays down until `release`. `between` runs when it is down. */
  readonly hold: (server: Server, before?: () => void, between?: () => Promise<void>) => Promise<void>
  readonly release: (server: Server) => Promise<void>
  readonly exclusively: (server: Server, run: () => Promise<void>) => Promise<void>
  readonly command: (args: readonly string[], timeoutMs?: number) => Promise<string>
  readonly status: () => Promise<Status>
  /** Ends all for good. */
  readonly end: () => Promise<void>
}

export type Machine = {
  readonly directory: string
  readonly network: Network
  readonly fileservers: number
  readonly note: (line: string) => void
  readonly problem: (line: string) => void
}

export async function startServers({ directory, network, ...machine }: Machine): Promise<Servers> {
  const program = copyOfBuild(directory)
  const address = (name: string): string => `${network.addressOf(name)}:${port}`
  let ending = false

  function declare(name: string, settings: Readonly<Record<string, unknown>>): Server {
    const disk = makeLoopDisk(directory, name, diskBytes)
    const data = join(disk.directory, 'data')
    mkdirSync(data)
    writeFileSync(join(directory, `${name}.json`), JSON.stringify({ directory: data, ...settings }, undefined, 2))
    return {
      name,
      address: address(name),
      disk,
      directory: data,
      holds: 0,
      pauses: 0,
      diskFaults: 0,
      process: undefined,
      turn: done,
    }
  }
  const cldb = declare('cldb', { listen: address('cldb'), containerBytesMax, openContainersMin: 6, ...times })
  const fileservers = Array.from({ length: machine.fileservers }, (_, index) => {
    const name = `fileserver-${index + 1}`
    const topology = `/rack${index + 1}/node${index + 1}`
    return declare(name, { cldb: [address('cldb')], listen: address(name), topology, reserveBytes, abandonedEveryMs })
  })
  const all = [cldb, ...fileservers]

  async function launch(server: Server): Promise<void> {
    const { name } = server
    const started = start({
      name,
      command: process.execPath,
      args: [program, name === 'cldb' ? 'cldb' : 'fileserver', '--config', join(directory, `${name}.json`)],
      logFile: join(directory, `${name}.log`),
      namespace: network.namespaceOf(name),
      environment: { NO_COLOR: '1' },
    })
    server.process = started
    void started.exited.then(async (exit) => {
      if (server.process !== started || ending) return
      const said = `${name} ended by itself (${exit.signal ?? exit.status}):\n${tail(started.logFile, 8)}`
      if (server.diskFaults > 0) machine.note(said)
      else machine.problem(said)
      await sleep(restartMs)
      await exclusively(server, () => ensure(server))
    })
    await until(`${name} listens`, listenWithinMs, () => !started.running() || listening(started.pid, port))
  }

  /** Runs exactly when nothing holds it. */
  async function ensure(server: Server): Promise<void> {
    if (server.holds === 0 && !ending && server.process?.running() !== true) await launch(server)
  }

  function exclusively(server: Server, run: () => Promise<void>): Promise<void> {
    const mine = server.turn.then(run)
    server.turn = mine.catch(() => undefined)
    return mine
  }

  const servers: Servers = {
    all,
    cldb,
    fileservers,
    exclusively,
    hold: (server, before, between) => {
      server.holds++
      return exclusively(server, async () => {
        before?.()
        const { process } = server
        server.process = undefined
        await process?.kill()
        await between?.()
      })
    },
    release: (server) => {
      server.holds--
      return exclusively(server, () => ensure(server))
    },
    command: async (args, timeoutMs = commandMs) => {
      const [enter, ...rest] = [...entering(network.namespaceOf('admin')), process.execPath, program, ...args]
      const { stdout } = await promisify(execFile)(enter!, [...rest, '--cldb', address('cldb')], {
        timeout: timeoutMs,
        maxBuffer: 64 * MiB,
      })
      return stdout
    },
    status: async () => JSON.parse(await servers.command(['status', '--containers', '--json'])) as Status,
    end: async () => {
      ending = true
      await Promise.all(all.map((server) => server.process?.kill()))
    },
  }
  await launch(cldb)
  await Promise.all(fileservers.map(launch))
  await until('all fileservers are alive', listenWithinMs, async () => {
    const status = await servers.status()
    return status.servers.filter(({ state }) => state === 'alive').length === fileservers.length
  })
  return servers
}

const done: Promise<void> = Promise.resolve()

/** @returns the command of the copy. */
function copyOfBuild(directory: string): string {
  const built = join(project, 'dist')
  if (!existsSync(built)) throw new Error(`${built} is not there: npm run build`)
  cpSync(built, join(directory, 'program/dist'), { recursive: true })
  cpSync(join(project, 'package.json'), join(directory, 'program/package.json'))
  symlinkSync(join(project, 'node_modules'), join(directory, 'program/node_modules'))
  return join(directory, 'program/dist/cli/main.js')
}
