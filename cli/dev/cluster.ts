/**
 * The embedded cluster: one CLDB, some fileservers and one gateway, each a child process, all in one directory.
 *
 *     DIR/cldb.json, fileserver-N.json, nfsd.json   their configuration, written anew at each start
 *     DIR/cldb, fileserver-N                        their data
 *     DIR/logs                                      what they say
 *     DIR/exports                                   who may mount; written once, then yours
 *     DIR/cluster.json                              the addresses of the last start, kept for those who have it mounted
 */
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../client/index.ts'
import { Failure, isFailure } from '../../protocol/failures.ts'
import { control } from '../../protocol/messages/control.ts'
import { isAbsent } from '../failure.ts'
import { type Child, child } from './child.ts'
import { acquire } from './lock.ts'
import { freePort } from './ports.ts'

type Overrides = Readonly<Record<string, unknown>>

export type ClusterOptions = {
  readonly directory: string
  readonly fileservers: number
  /** The address that the gateway listens on: 127.0.0.1, or 0.0.0.0 for all. */
  readonly host: string
  /** Where absent, the last start's, or 2049. */
  readonly nfsPort?: number | undefined
  readonly say: (line: string) => void
  /** Further settings of the servers' configuration files. */
  readonly cldb?: Overrides
  readonly fileserver?: Overrides
  readonly nfsd?: Overrides
}

export type Cluster = {
  /** `host:port` of the CLDB. */
  readonly cldb: string
  /** `host:port` of the gateway. */
  readonly nfs: string
  readonly directory: string
  readonly exportsFile: string
  readonly fileservers: readonly Child[]
  /** Stops the gateway, then the fileservers, then the CLDB; the data stay. */
  readonly close: () => Promise<void>
}

type Addresses = { readonly cldb: string; readonly nfs: string }

const nfsPortDefault = 2049
const cldbPortDefault = 7400
const registeredWithinMs = 30_000
const callMs = 10_000

const exportsText = `# Who may mount what from this embedded cluster: path, then client(options) ...
# Root stays root here, for this machine and for private networks; README.md says how to be stricter.
/ ${['127.0.0.0/8', '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'].map((range) => `${range}(rw,no_root_squash)`).join(' ')}
`

/** @throws Failure CONFLICT when another process runs a cluster in the directory. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { host, say } = options
  const directory = resolve(options.directory)
  const at = (name: string): string => join(directory, name)
  await mkdir(at('logs'), { recursive: true })
  const lock = await acquire(at('lock'))
  if ('heldBy' in lock)
    throw new Failure('CONFLICT', `a cluster is already running in ${directory} (process ${lock.heldBy})`)

  const [gateways, fileservers, cldbs]: [Child[], Child[], Child[]] = [[], [], []]
  const close = async (): Promise<void> => {
    for (const layer of [gateways, fileservers, cldbs]) await Promise.all(layer.map((server) => server.stop()))
    await lock.release()
  }
  const launch = async (layer: Child[], part: string, name: string, config: Overrides): Promise<void> => {
    const file = at(`${name}.json`)
    const server = child({ name, command: [part, '--config', file], logFile: at(`logs/${name}.log`), say })
    layer.push(server)
    await writeWhole(file, config)
    await server.start()
  }

  try {
    const last = await lastAddresses(at('cluster.json'))
    const cldbPort = await freePort('127.0.0.1', last === undefined ? cldbPortDefault : portOf(last.cldb))
    const cldb = `127.0.0.1:${cldbPort}`
    await launch(cldbs, 'cldb', 'cldb', { directory: at('cldb'), listen: cldb, ...options.cldb })

    const starting = Array.from({ length: options.fileservers }, (_, i) => {
      const name = `fileserver-${i + 1}`
      const config = { directory: at(name), listen: '127.0.0.1:0', cldb: [cldb], topology: `/embedded/${name}` }
      return launch(fileservers, 'fileserver', name, { ...config, ...options.fileserver })
    })
    await Promise.all(starting)
    await populate(cldb, options.fileservers, last === undefined)

    if (!existsSync(at('exports'))) await writeFile(at('exports'), exportsText)
    const wanted = options.nfsPort ?? (last === undefined ? nfsPortDefault : portOf(last.nfs))
    const port = await freePort(host, wanted)
    if (port !== wanted) say(`port ${wanted} is taken or not permitted: the gateway listens on ${port}`)
    const nfs = `${host}:${port}`
    await launch(gateways, 'nfsd', 'nfsd', { listen: nfs, cldb: [cldb], exports: at('exports'), ...options.nfsd })
    await writeWhole(at('cluster.json'), { cldb, nfs } satisfies Addresses)
    return { cldb, nfs, directory, exportsFile: at('exports'), fileservers, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** Waits for the fileservers to register; at the first start, makes the volume `main`. */
async function populate(cldb: string, fileservers: number, first: boolean): Promise<void> {
  const client = await connect({ cldb: [cldb] })
  try {
    const end = performance.now() + registeredWithinMs
    for (;;) {
      const { servers } = await client.cldb.call(control.calls.status, {}, callMs)
      const alive = servers.filter((server) => server.state === 'alive').length
      if (alive >= fileservers) break
      if (performance.now() > end)
        throw new Failure('NO_SERVERS', `only ${alive} of ${fileservers} fileservers came up`)
      await sleep(50)
    }
    if (!first) return
    const policy = {
      replication: Math.min(3, fileservers),
      minimum: Math.min(2, fileservers),
      topology: '/',
      chunkBytes: 256 * 1024 * 1024,
    }
    await client.cldb.call(control.calls.createVolume, { name: 'main', mountPath: '/', ...policy }, callMs)
  } catch (error) {
    if (!isFailure(error, 'EXISTS')) throw error
  } finally {
    await client.close()
  }
}

const portOf = (address: string): number => Number(address.slice(address.lastIndexOf(':') + 1))

async function lastAddresses(file: string): Promise<Addresses | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Addresses
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw new Error(`${file} is not what was written there: ${(error as Error).message}`)
  }
}

async function writeWhole(file: string, value: unknown): Promise<void> {
  await writeFile(`${file}.new`, `${JSON.stringify(value, null, 2)}\n`)
  await rename(`${file}.new`, file)
}
