/**
 * The cluster that is measured: one CLDB and some fileservers, each a process of its own, with data in a directory.
 *
 * Not pure. The servers are the `holdfast` command as it stands beside this program: what an administrator runs. They have a
 * loopback address of this process's own and fixed ports, below the kernel's ephemeral ones: a server that returns is
 * found where it was, and nobody else can have taken its place.
 */
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect } from '../client/index.ts'
import { control } from '../protocol/messages/control.ts'
import { launch, type Profiling, type Program, programPath } from './worker.ts'

/** For one of many that start together on few cores. */
const readyMs = 60_000
const callMs = 10_000
const startedAtOnce = 4
const ports = { cldb: 7100, fileserver: 7200 }

type Settings = Readonly<Record<string, number>>

export type ClusterOptions = {
  readonly directory: string
  readonly fileservers: number
  /** Settings other than the defaults. */
  readonly cldb?: Settings
  readonly fileserver?: Settings
  readonly profiling?: Profiling
}

export type Fileserver = {
  readonly address: string
  readonly directory: string
  readonly kill: () => Promise<void>
  /** Starts it again, with what is in its directory; settles when it serves. */
  readonly restart: () => Promise<void>
}

export type Cluster = {
  /** `host:port` of the CLDB. */
  readonly cldb: string
  /** All that were started first; a restarted server is another program. */
  readonly programs: readonly Program[]
  readonly fileservers: readonly Fileserver[]
  readonly stop: () => Promise<void>
}

/** Starts the servers with empty stores below `directory`; settles when the CLDB holds all for alive. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const host = ownLoopback()
  const cldb = `${host}:${ports.cldb}`
  const running = new Map<string, Program>()
  const start = async (name: string, part: string, settings: object): Promise<void> => {
    running.set(name, await startServer(name, part, options, settings))
  }
  const stop = async (): Promise<void> => {
    // The CLDB last: fileservers that have lost it would say so.
    await Promise.all([...running].filter(([name]) => name !== 'cldb').map(([, program]) => program.stop()))
    await running.get('cldb')?.stop()
  }
  const startFileserver = async (index: number): Promise<Fileserver> => {
    const name = `fileserver${index}`
    const address = `${host}:${ports.fileserver + index}`
    const settings = { listen: address, cldb: [cldb], topology: `/bench/node${index}`, ...options.fileserver }
    await start(name, 'fileserver', settings)
    return {
      address,
      directory: join(options.directory, name),
      kill: () => running.get(name)!.kill(),
      restart: () => start(name, 'fileserver', settings),
    }
  }
  try {
    await start('cldb', 'cldb', { listen: cldb, ...options.cldb })
    const fileservers: Fileserver[] = []
    while (fileservers.length < options.fileservers) {
      const count = Math.min(startedAtOnce, options.fileservers - fileservers.length)
      const first = fileservers.length + 1
      fileservers.push(...(await Promise.all(Array.from({ length: count }, (_, i) => startFileserver(first + i)))))
    }
    await allAlive(cldb, options.fileservers)
    return { cldb, programs: [...running.values()], fileservers, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** All of 127/8 is loopback on Linux: each process takes its own address by its id. */
function ownLoopback(): string {
  const id = process.pid
  return `127.${64 + ((id >> 16) & 63)}.${(id >> 8) & 255}.${1 + (id % 254)}`
}

/** Starts `holdfast PART --config FILE` and waits until it says that it serves. */
async function startServer(name: string, part: string, options: ClusterOptions, settings: object): Promise<Program> {
  const { directory } = options
  const config = join(directory, `${name}.json`)
  const log = join(directory, `${name}.log`)
  await mkdir(join(directory, name), { recursive: true })
  await writeFile(config, JSON.stringify({ directory: join(directory, name), ...settings }))
  const output = openSync(log, 'a')
  const path = programPath('../cli/main', import.meta.url)
  const program = launch(name, path, [part, '--config', config], output, options.profiling)
  closeSync(output)
  const said = await Promise.race([
    once(program.child, 'message'),
    once(program.child, 'exit').then(() => undefined),
    sleep(readyMs, undefined, { ref: false }),
  ])
  if (said === undefined) {
    await program.kill()
    throw new Error(`${name} did not start:\n${await readFile(log, 'utf8')}`)
  }
  return program
}

async function allAlive(cldb: string, count: number): Promise<void> {
  const client = await connect({ cldb: [cldb] })
  try {
    const end = performance.now() + readyMs
    for (;;) {
      const { servers } = await client.cldb.call(control.calls.status, {}, callMs)
      if (servers.filter((server) => server.state === 'alive').length === count) return
      if (performance.now() > end) throw new Error(`only ${servers.length} of ${count} fileservers came up`)
      await sleep(50)
    }
  } finally {
    await client.close()
  }
}

/** A volume with three copies. */
export async function makeVolume(client: Client, name: string, mountPath: string, chunkBytes: number): Promise<void> {
  const policy = { replication: 3, minimum: 2, topology: '/', chunkBytes }
  await client.cldb.call(control.calls.createVolume, { name, mountPath, ...policy }, callMs)
}
