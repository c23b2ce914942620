/**
 * `npm run bench`: measures clusters of real processes on this machine, and prints what it found.
 *
 * Not pure. Without a subcommand: reads, writes and metadata beside a bare chain (suite/). Every measurement gets a
 * directory of its own, and what it started is stopped and removed even when it fails or is interrupted.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { connect } from '../client/index.ts'
import { startChain } from './chain/chain.ts'
import { makeVolume, startCluster } from './cluster.ts'
import { type DivergenceOptions, divergence } from './divergence/divergence.ts'
import { type FailoverOptions, failover } from './failover/failover.ts'
import { describeProfiles } from './profile.ts'
import { type ResyncOptions, resync } from './resync/resync.ts'
import type { Findings, Scene } from './scene.ts'
import type { ClientTasks } from './suite/client-process.ts'
import { toJson, toTable } from './suite/report.ts'
import { full, type MeasurementName, measure, measurements, quick } from './suite/suite.ts'
import { programPath, startWorker } from './worker.ts'

type Common = { readonly json?: string; readonly quick?: true; readonly directory: string }

/** statfs(2): a filesystem in memory has no disk to wait for. */
const tmpfsMagic = 0x01021994

/** Of each server's log, when a run fails. */
const logLines = 10

const natural = (text: string): number => {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('a number from 1 on is needed')
  return Number(text)
}

const program = new Command('bench').enablePositionalOptions()
common(program)
  .description('Measures a cluster of real processes on this machine, beside a bare Node.js chain.')
  .addOption(
    new Option('--only <name...>', 'only these measurements').choices(Object.keys(measurements) as MeasurementName[]),
  )
  .option('--profile <directory>', 'have every process write a CPU profile below it, and print where its time went')
  .action((options: Common & { readonly only?: readonly MeasurementName[]; readonly profile?: string }) =>
    run(options, (scene) => suite(scene, options)),
  )
common(program.command('resync'))
  .description(
    'Kills one of N throttled servers, and measures how fast its data is replicated again; then unthrottled.',
  )
  .addOption(new Option('--only <part...>', 'only these parts').choices(['throttled', 'unthrottled']))
  .option('--servers <n...>', 'numbers of fileservers of the throttled part', (text: string, all: number[] = []) => [
    ...all,
    natural(text),
  ])
  .option('--rate <bytes>', "each server's limit in the throttled part, in bytes a second, each way", natural)
  .option('--svg <file>', 'draw the throttled part there')
  .action((options: Common & ResyncOptions) => run(options, (scene) => resync(scene, options)))
common(program.command('failover'))
  .description('Kills masters under load, and measures how long nothing is served.')
  .option('--trials <n>', 'how many', natural)
  .option('--seed <n>', 'of what is killed and when', natural)
  .action((options: Common & FailoverOptions) => run(options, (scene) => failover(scene, options)))
common(program.command('divergence'))
  .description('Crashes three replicas amid writes, and measures how a random master finds where their logs part.')
  .option('--seed <n>', 'of who is cut off, when, and who leads', natural)
  .option('--svg <file>', 'draw it there')
  .action((options: Common & DivergenceOptions) => run(options, (scene) => divergence(scene, options)))

function common(command: Command): Command {
  return command
    .option('--json <file>', 'write the figures there, too')
    .option('--quick', 'smaller and shorter')
    .option('--directory <directory>', 'where the servers keep their data: on a real disk', tmpdir())
}

const undo: (() => Promise<unknown>)[] = []
async function cleanUp(): Promise<void> {
  for (let last = undo.pop(); last !== undefined; last = undo.pop()) await last()
}
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void cleanUp().finally(() => process.exit(1)))

await program.parseAsync()

async function run(options: Common, body: (scene: Scene) => Promise<Findings>): Promise<void> {
  await mkdir(options.directory, { recursive: true })
  if ((await statfs(options.directory)).type === tmpfsMagic)
    throw new Error(`${options.directory} is in memory: name a --directory on a disk`)
  const directory = await mkdtemp(join(resolve(options.directory), 'holdfast-bench-'))
  undo.push(() => rm(directory, { recursive: true }))
  try {
    const scene = {
      directory,
      quick: options.quick === true,
      say,
      undo: (run: () => Promise<unknown>) => undo.push(run),
    }
    const { text, figures } = await body(scene)
    await cleanUp()
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
    process.stdout.write(`${text}\n`)
    if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(figures, null, 2)}\n`)
  } catch (error) {
    process.exitCode = 1
    process.stderr.write(`\n${await lastWords(directory)}\nbench: ${error instanceof Error ? error.stack : error}\n`)
  } finally {
    await cleanUp()
  }
}

async function suite(
  { directory, quick: isQuick, say, undo }: Scene,
  options: { readonly only?: readonly MeasurementName[]; readonly profile?: string },
): Promise<Findings> {
  const run = new Date().toISOString().replaceAll(':', '-')
  const profiling = options.profile === undefined ? undefined : resolve(options.profile, run)

  const chain = once(async () => {
    const started = await startChain(directory, profiling)
    undo(started.stop)
    return started
  })
  const application = once(async () => {
    const cluster = await startCluster({ directory, fileservers: 3, profiling })
    undo(cluster.stop)
    const administrator = await connect({ cldb: [cluster.cldb] })
    await makeVolume(administrator, 'bench', '/', 256 * 2 ** 20)
    await administrator.close()
    const client = startWorker<ClientTasks>('client', programPath('./suite/client-process', import.meta.url), profiling)
    undo(client.stop)
    await client.call('connect', { cldb: cluster.cldb })
    return { client, programs: [client, ...cluster.programs] }
  })
  const names = options.only ?? (Object.keys(measurements) as MeasurementName[])
  const scale = isQuick ? quick : full
  const figures = await measure({ chain, application, directory, scale }, names, say)
  await cleanUp()
  const profiles = profiling === undefined ? '' : `\n\n${await describeProfiles(profiling)}`
  return { text: `${toTable(figures)}${profiles}`, figures: toJson(figures) }
}

/** The ends of the servers' logs. */
async function lastWords(directory: string): Promise<string> {
  const names = await readdir(directory, { recursive: true })
  const ends = names
    .filter((name) => name.endsWith('.log') && !name.includes('/index/'))
    .toSorted()
    .map(async (name) => {
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
