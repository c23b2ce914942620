/**
 * `npm run bench -- divergence`: what it costs a new master to find where other logs part from its own, over the length of
 * what was written after the last checkpoint that all share.
 *
 * Not pure; prints its seed. One process: three replicas with logs on the disk, over TCP. What is found must not cost
 * more than the logarithm of the length, and a few KB on the wire; opening a log after a crash, and bringing it forward
 * afterwards, cost what has to be read and moved, and stand beside it.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Table from 'cli-table3'
import { randomFrom } from '../../cldb/placement.ts'
import { median } from '../measure.ts'
import { linePlot } from '../plot.ts'
import type { Findings, Scene } from '../scene.ts'
import { runTrial, type Trial } from './trial.ts'

export type DivergenceOptions = { readonly seed?: number; readonly svg?: string }

const full = { logs: [1e6, 1e7, 1e8, 1e9], trials: 5 }
const quick = { logs: [1e6, 1e7], trials: 2 }
const wireBytesMax = 4096
const seeds = 2 ** 32
/** A message and its answer between processes on one machine: below this a time says nothing of the log. */
const noiseMs = 5

export async function divergence(
  scene: Scene,
  { seed = Math.floor(Math.random() * seeds), svg }: DivergenceOptions,
): Promise<Findings> {
  const { logs, trials } = scene.quick ? quick : full
  const random = randomFrom(seed / seeds)
  const rows: Row[] = []
  // The first trial of all is slower than the others, as nothing of the program was run before.
  await runTrial(join(scene.directory, 'warm-up'), logs[0]!, random)
  for (const logBytes of logs) {
    const done: Trial[] = []
    for (let trial = 1; trial <= trials; trial++) {
      scene.say(`a log of ${logBytes / 1e6} MB: trial ${trial} of ${trials}`)
      done.push(await runTrial(join(scene.directory, `log-${logBytes}-${trial}`), logBytes, random))
    }
    rows.push(rowOf(logBytes, done))
  }
  if (svg !== undefined) await writeFile(svg, plot(rows))
  return { text: page(rows, trials, seed), figures: { seed, trials, rows } }
}

export type Row = { readonly logBytes: number; readonly agreedMsMax: number; readonly bytesMax: number } & {
  readonly [K in 'openMs' | 'foundMs' | 'agreedMs' | 'equalMs' | 'messages' | 'bytes' | 'undone']: number
}

/** Medians, and what was worst. */
function rowOf(logBytes: number, trials: readonly Trial[]): Row {
  const of = (key: keyof Trial): number => median(trials.map((trial) => trial[key]))
  const most = (key: keyof Trial): number => Math.max(...trials.map((trial) => trial[key]))
  return {
    logBytes,
    openMs: of('openMs'),
    foundMs: of('foundMs'),
    agreedMs: of('agreedMs'),
    agreedMsMax: most('agreedMs'),
    equalMs: of('equalMs'),
    messages: of('messages'),
    bytes: of('bytes'),
    bytesMax: most('bytes'),
    undone: of('undone'),
  }
}

/** Whether the time grows no faster than the logarithm of the log's length, from the shortest log on. */
export function growsSlowly(times: readonly { readonly logBytes: number; readonly ms: number }[]): boolean {
  const base = times[0]!
  return times.every(
    ({ logBytes, ms }) => ms <= Math.max(noiseMs, base.ms) * (Math.log(logBytes) / Math.log(base.logBytes)),
  )
}

const ms = (value: number): string => `${value.toFixed(value < 10 ? 1 : 0)} ms`

function page(rows: readonly Row[], trials: number, seed: number): string {
  const table = new Table({
    head: ['log', 'undone', 'messages', 'on the wire', 'points found', 'logs cut', 'worst', 'all equal', 'opening'],
    style: { head: [], border: [] },
    colAligns: Array.from({ length: 9 }, () => 'right' as const),
  })
  for (const row of rows)
    table.push([
      `${row.logBytes / 1e6} MB`,
      `${row.undone} records`,
      Math.round(row.messages),
      `${Math.round(row.bytes)} B`,
      ms(row.foundMs),
      ms(row.agreedMs),
      ms(row.agreedMsMax),
      ms(row.equalMs),
      ms(row.openMs),
    ])
  const slowly = (key: 'foundMs' | 'agreedMs'): string =>
    growsSlowly(rows.map((row) => ({ logBytes: row.logBytes, ms: row[key] }))) ? 'reached' : 'MISSED'
  const few = rows.every(({ bytesMax }) => bytesMax <= wireBytesMax) ? 'reached' : 'MISSED'
  return [
    `Three replicas crash amid writes, a random one leads: medians of ${trials} trials, seed ${seed}. Times from the first message.`,
    table.toString(),
    `Grows no faster than the logarithm: until the points are found: ${slowly('foundMs')}; until the logs are cut: ${slowly('agreedMs')}.`,
    `At most ${wireBytesMax} bytes on the wire: ${few}.`,
  ].join('\n')
}

function plot(rows: readonly Row[]): string {
  const line = (key: 'foundMs' | 'agreedMs' | 'openMs') => rows.map((row) => [row.logBytes / 1e6, row[key]] as const)
  return linePlot({
    title: 'Three crashed replicas agree',
    subtitle: 'over the log after the last shared checkpoint; medians',
    x: { name: 'MB', scale: 'log' },
    y: { name: 'ms', scale: 'log' },
    lines: [
      { name: 'first message to points found', points: line('foundMs') },
      { name: 'to logs cut', points: line('agreedMs') },
      { name: 'opening a log, before', dashed: true, points: line('openMs') },
    ],
  })
}
