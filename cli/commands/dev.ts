/**
 * `holdfast dev`: an embedded cluster to try things on, until Ctrl-C; `--demo` shows that it survives a crash.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { type Cluster, startCluster } from '../dev/cluster.ts'
import { demonstrate } from '../dev/demo.ts'
import { type GraceTime, graceSettings, rereplicateAfterOption } from '../duration.ts'
import { counted, print } from '../output.ts'
import { globalsOf } from '../session.ts'

type Options = {
  readonly directory?: string
  readonly port?: number
  readonly listen: string
  readonly fileservers: number
  readonly demo?: boolean
} & GraceTime

const within =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text)
    if (Number.isInteger(value) && value >= min && value <= max) return value
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`)
  }

export function devCommand(program: Command): void {
  program
    .command('dev')
    .description('run an embedded cluster on this machine, until Ctrl-C')
    .option('--directory <dir>', 'where its data are kept (./data; with --demo a temporary one)')
    .option('--port <port>', "the gateway's port (2049, or the one of the last time)", within(1, 65535))
    .option('--listen <address>', 'where the gateway listens: 0.0.0.0 lets other machines mount', '127.0.0.1')
    .option('--fileservers <count>', 'how many fileservers', within(1, 64), 4)
    .addOption(rereplicateAfterOption())
    .option('--demo', 'write a file, kill a server that holds it, read the file back, and end')
    .action((options: Options, command: Command) => (options.demo ? demo : run)(options, globalsOf(command).json))
}

async function run(options: Options, json: boolean): Promise<void> {
  const say = speaker(json)
  const directory = options.directory ?? 'data'
  const cluster = await startCluster({ ...clusterOptions(options), directory, say })
  const ended = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve())
  })
  const mount = mountCommand(cluster)
  print(json, { directory: cluster.directory, cldb: cluster.cldb, nfs: cluster.nfs, mount, pid: process.pid }, () =>
    welcome(cluster, options.fileservers, mount),
  )
  await ended
  say('stopping')
  await cluster.close()
  say(`stopped; the data stay in ${cluster.directory}`)
}

async function demo(options: Options, json: boolean): Promise<void> {
  const say = speaker(json)
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'holdfast-demo-')))
  try {
    say(`starting a cluster of ${counted(options.fileservers, 'fileserver')} in ${directory}`)
    const cluster = await startCluster({ ...clusterOptions(options), directory, say })
    try {
      const outcome = await demonstrate(cluster, say)
      print(json, outcome, () => '')
    } finally {
      await cluster.close()
    }
  } finally {
    if (options.directory === undefined) await rm(directory, { recursive: true, force: true })
  }
}

const clusterOptions = ({ fileservers, listen, port, ...rest }: Options) => ({
  fileservers,
  host: listen,
  nfsPort: port,
  cldb: graceSettings(rest),
})

/** To a person on stdout; beside JSON, to stderr. */
function speaker(json: boolean): (line: string) => void {
  const stream = json ? process.stderr : process.stdout
  return (line) => void stream.write(`${line}\n`)
}

function mountCommand({ nfs }: Cluster): string {
  const port = nfs.slice(nfs.lastIndexOf(':') + 1)
  const host = nfs.startsWith('0.0.0.0:') ? '127.0.0.1' : nfs.slice(0, nfs.lastIndexOf(':'))
  return `mount -t nfs -o vers=3,proto=tcp,port=${port},mountport=${port},nolock ${host}:/ /mnt`
}

const welcome = (cluster: Cluster, fileservers: number, mount: string): string => `
Holdfast runs: 1 CLDB at ${cluster.cldb}, ${counted(fileservers, 'fileserver')}, 1 NFS gateway at ${cluster.nfs}.
The data are in ${cluster.directory}, the logs in its logs/.
The volume "main" is mounted at /: ${Math.min(3, fileservers)} copies of everything.
${cluster.exportsFile} lets this machine and private networks in, read-write, with root as root.

Mount it (as root):
  ${mount}
Look at it from another terminal:
  npx holdfast status${cluster.cldb === '127.0.0.1:7400' ? '' : ` --cldb ${cluster.cldb}`}

Ctrl-C stops it; the data stay.`
