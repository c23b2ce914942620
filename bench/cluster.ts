/**
 * The cluster that is measured: one CLDB and three fileservers, each a process of its own, with data in a directory.
 *
 * Not pure. The servers are the `holdfast` command as it stands beside this program: what an administrator runs.
 */
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../client/index.ts'
import { control } from '../protocol/messages/control.ts'
import { launch, type Profiling, type Program, programPath } from './worker.ts'

const fileservers = 3
const readyMs = 20_000
const callMs = 10_000

export type Cluster = {
  /** `host:port` of the CLDB. */
  readonly cldb: string
  readonly programs: readonly Program[]
  readonly stop: () => Promise<void>
}

type Server = Program & { readonly address: string }

/** Starts the servers with empty stores below `directory` and makes a volume at `/` with three copies. */
export async function startCluster(directory: string, profiling?: Profiling): Promise<Cluster> {
  const programs: Server[] = []
  const stop = async (): Promise<void> => {
    for (const program of programs.toReversed()) await program.stop()
  }
  const start = async (name: string, part: string, settings: object): Promise<Server> => {
    const server = await startServer(name, part, directory, settings, profiling)
    programs.push(server)
    return server
  }
  try {
    const { address } = await start('cldb', 'cldb', { listen: '127.0.0.1:0' })
    for (let i = 1; i <= fileservers; i++)
      await start(`fileserver${i}`, 'fileserver', {
        listen: '127.0.0.1:0',
        cldb: [address],
        topology: `/bench/node${i}`,
      })
    await makeVolume(address)
    return { cldb: address, programs, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Starts `holdfast PART --config FILE` and waits until it says that it serves. */
async function startServer(
  name: string,
  part: string,
  directory: string,
  settings: object,
  profiling: Profiling,
): Promise<Server> {
  const config = join(directory, `${name}.json`)
  const log = join(directory, `${name}.log`)
  await mkdir(join(directory, name), { recursive: true })
  await writeFile(config, JSON.stringify({ directory: join(directory, name), ...settings }))
  const output = openSync(log, 'a')
  const program = launch(
    name,
    programPath('../cli/main', import.meta.url),
    [part, '--config', config],
    output,
    profiling,
  )
  closeSync(output)
  const said = await Promise.race([
    once(program.child, 'message'),
    once(program.child, 'exit').then(() => undefined),
    sleep(readyMs, undefined, { ref: false }),
  ])
  if (said === undefined) throw new Error(`${name} did not start:\n${await readFile(log, 'utf8')}`)
  return { ...program, address: (said[0] as { readonly ready: string }).ready }
}

/** Three copies need all fileservers: waits until they are registered. */
async function makeVolume(cldb: string): Promise<void> {
  const client = await connect({ cldb: [cldb] })
  try {
    const end = performance.now() + readyMs
    for (;;) {
      const { servers } = await client.cldb.call(control.calls.status, {}, callMs)
      if (servers.filter((server) => server.state === 'alive').length === fileservers) break
      if (performance.now() > end) throw new Error(`only ${servers.length} of ${fileservers} fileservers came up`)
      await sleep(50)
    }
    const policy = { replication: 3, minimum: 2, topology: '/', chunkBytes: 256 * 2 ** 20 }
    await client.cldb.call(control.calls.createVolume, { name: 'bench', mountPath: '/', ...policy }, callMs)
  } finally {
    await client.close()
  }
}
