/**
 * `npm run bench`: starts the bare chain and a cluster of real processes, measures them in one run, prints a table.
 *
 * Not pure.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises'
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

/** Of each server's log, when a run fails. */
const logLines = 10

const names = Object.keys(measurements) as MeasurementName[]

const options = new Command('bench')
  .description('Measures a cluster of real processes on this machine, beside a bare Node.js chain.')
  .option('--json <file>', 'write the figures there, too')
  .option('--quick', 'smaller and shorter: under 50 s')
  .option('--directory <directory>', 'where the servers keep their data: on a real disk', tmpdir())
  .addOption(new Option('--only <name...>', 'only these measurements').choices(names))
  .option('--profile <directory>', 'have every process write a CPU profile below it, and print where its time went')
  .parse()
  .opts<Options>()

const undo: (() => Promise<unknown>)[] = []
async function cleanUp(): Promise<void> {
  for (let last = undo.pop(); last !== undefined; last = undo.pop()) await last()
}
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void cleanUp().finally(() => process.exit(1)))

await mkdir(options.directory, { recursive: true })
if ((await statfs(options.directory)).type === tmpfsMagic)
  throw new Error(`${options.directory} is in memory: name a --directory on a disk`)
const directory = await mkdtemp(join(resolve(options.directory), 'holdfast-bench-'))
undo.push(() => rm(directory, { recursive: true }))

try {
  await run()
} catch (error) {
  process.exitCode = 1
  process.stderr.write(`\n${await lastWords()}\nbench: ${error instanceof Error ? error.stack : error}\n`)
} finally {
  await cleanUp()
}

async function run(): Promise<void> {
  const run = new Date().toISOString().replaceAll(':', '-')
  const profiling = options.profile === undefined ? undefined : resolve(options.profile, run)

  const chain = once(async () => {
    const started = await startChain(directory, profiling)
    undo.push(started.stop)
    return started
  })
  const application = once(async () => {
    const cluster = await startCluster(directory, profiling)
    undo.push(cluster.stop)
    const client = startWorker<ClientTasks>('client', programPath('./client-process', import.meta.url), profiling)
    undo.push(client.stop)
    await client.call('connect', { cldb: cluster.cldb })
    return { client, programs: [client, ...cluster.programs] }
  })
  const scale = options.quick === true ? quick : full
  const figures = await measure({ chain, application, directory, scale }, options.only ?? names, say)
  await cleanUp()

  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  process.stdout.write(`${toTable(figures)}\n`)
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(toJson(figures), null, 2)}\n`)
  if (profiling !== undefined) process.stdout.write(`\n${await describeProfiles(profiling)}\n`)
}

/** The ends of the servers' logs. */
async function lastWords(): Promise<string> {
  const logs = (await readdir(directory)).filter((name) => name.endsWith('.log')).toSorted()
  const ends = logs.map(async (name) => {
    const lines = (await readFile(join(directory, name), 'utf8')).trimEnd().split('\n')
    return `${name}:\n${lines.slice(-logLines).join('\n')}`
  })
  return (await Promise.all(ends)).join('\n')
}

/** Starts a thing when it is first needed, and only then. */
function once<T>(start: () => Promise<T>): () => Promise<T> {
  let started: Promise<T> | undefined
  return () => {
    started ??= start()
    return started
  }
}

/** One line that changes on a terminal; a line each elsewhere. */
function say(line: string): void {
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${line}` : `${line}\n`)
}
