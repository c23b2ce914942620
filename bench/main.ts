/**
 * `npm run bench`: starts the bare chain and a cluster of real processes, measures them in one run, prints a table.
 *
 * Not pure.
 */
import { mkdir, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Command, Option } from 'commander'
import { startChain } from './chain.ts'
import type { ClientTasks } from './client-process.ts'
import { startCluster } from './cluster.ts'
import { describeProfiles } from './profile.ts'
import { toJson, toTable } from './report.ts'
import { full, type MeasurementName, measure, measurements, quick } from './suite.ts'
import { programPath, startWorker } from './worker.ts'

type Options = {
  readonly json?: string
  readonly quick?: true
  readonly directory: string
  readonly only?: readonly MeasurementName[]
  readonly profile?: string
}

/** statfs(2): a filesystem in memory has no disk to wait for. */
const tmpfsMagic = 0x01021994

const names = Object.keys(measurements) as MeasurementName[]

const options = new Command('bench')
  .description('Measures a cluster of real processes on this machine, beside a bare Node.js chain.')
  .option('--json <file>', 'write the figures there, too')
  .option('--quick', 'smaller and shorter: under 50 s')
  .option('--directory <directory>', 'where the servers keep their data: on a real disk', tmpdir())
  .addOption(new Option('--only <name...>', 'only these measurements').choices(names))
  .option('--profile <directory>', 'have every process write a CPU profile there, and print where its time went')
  .parse()
  .opts<Options>()

const undo: (() => Promise<unknown>)[] = []
async function cleanUp(): Promise<void> {
  for (let last = undo.pop(); last !== undefined; last = undo.pop()) await last()
}
process.once('SIGINT', () => void cleanUp().finally(() => process.exit(130)))

try {
  await run()
} finally {
  await cleanUp()
}

async function run(): Promise<void> {
  await mkdir(options.directory, { recursive: true })
  if ((await statfs(options.directory)).type === tmpfsMagic)
    throw new Error(`${options.directory} is in memory: name a --directory on a disk`)
  const directory = await mkdtemp(join(resolve(options.directory), 'holdfast-bench-'))
  undo.push(() => rm(directory, { recursive: true }))
  const profiling = options.profile === undefined ? undefined : resolve(options.profile)
  if (profiling !== undefined) await mkdir(profiling, { recursive: true })

  const chain = await startChain(directory, profiling)
  undo.push(chain.stop)
  const cluster = await startCluster(directory, profiling)
  undo.push(cluster.stop)
  const client = startWorker<ClientTasks>('client', programPath('./client-process', import.meta.url), profiling)
  undo.push(client.stop)
  await client.call('connect', { cldb: cluster.cldb })

  const bench = { chain, client, programs: [client, ...cluster.programs], directory }
  const scale = options.quick === true ? quick : full
  const figures = await measure({ ...bench, scale }, options.only ?? names, say)
  await client.call('close', {})
  await cleanUp()

  process.stdout.write(`${toTable(figures)}\n`)
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(toJson(figures), null, 2)}\n`)
  if (profiling !== undefined) process.stdout.write(`\n${await describeProfiles(profiling)}\n`)
}

/** One line that changes on a terminal, and nothing elsewhere. */
function say(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${line}`)
}
