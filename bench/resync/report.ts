/**
 * What resync was measured at, beside the goals: tables and JSON.
 *
 * Pure. MB are 10^6 bytes. The others' figures were measured on such a machine (issue 3).
 */
import Table from 'cli-table3'
import type { ThrottledSample } from './throttled.ts'
import type { Transfer, UnthrottledSample } from './unthrottled.ts'

/** Of what one server more for each of N - 1 would give, relative to the smallest cluster. */
const linearMin = 0.9
const fastMBs = 1000
const smallBytesMax = 64 * 1024

/** One source to one target would need bytes / rate. */
export const speedup = ({ bytes, seconds }: ThrottledSample, rate: number): number => bytes / rate / seconds

/** @returns what the goal asks for relative to the cluster of `base` servers. */
export const goalOf = (servers: number, base: number): number => (linearMin * (servers - 1)) / (base - 1)

const dashes = { head: [], border: [] }
const reachedOr = (reached: boolean): string => (reached ? 'reached' : 'MISSED')
const rateOf = ({ bytes, seconds }: Transfer): number => bytes / 1e6 / seconds
const kilobytes = (bytes: number): string => `${(bytes / 1e3).toFixed(1)} kB`
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`

export function throttledJson(samples: readonly ThrottledSample[], rate: number): object {
  const base = samples[0]!
  return {
    bytesPerSecond: rate,
    samples: samples.map((sample) => ({
      ...sample,
      speedup: speedup(sample, rate),
      relative: speedup(sample, rate) / speedup(base, rate),
      goal: goalOf(sample.servers, base.servers),
    })),
  }
}

export function throttledTable(samples: readonly ThrottledSample[], rate: number): string {
  const base = samples[0]!
  const table = new Table({
    head: [
      'servers',
      'lost',
      'containers',
      'time',
      'received',
      'most/mean',
      'speed-up',
      `to ${base.servers}`,
      'goal',
      '',
    ],
    style: dashes,
    colAligns: Array.from({ length: 9 }, () => 'right' as const),
  })
  for (const sample of samples) {
    const { servers, bytes, containers, seconds, receivedBytes, imbalance } = sample
    const relative = speedup(sample, rate) / speedup(base, rate)
    const goal = goalOf(servers, base.servers)
    table.push([
      servers,
      megabytes(bytes),
      containers,
      `${seconds.toFixed(2)} s`,
      megabytes(receivedBytes),
      imbalance.toFixed(2),
      `${speedup(sample, rate).toFixed(2)} of ${servers - 1}`,
      relative.toFixed(2),
      sample === base ? '' : goal.toFixed(2),
      sample === base ? '' : reachedOr(relative >= goal),
    ])
  }
  const title = `One of N servers killed; resync held to ${rate / 1e6} MB/s in and out on each; from its death to all copies.`
  return `${title}\n${table.toString()}`
}

export function unthrottledJson(sample: UnthrottledSample): object {
  const { killed, returning, small, cpMBs, cpSyncedMBs } = sample
  return {
    killed: { ...killed, MBs: rateOf(killed) },
    cpMBs,
    cpSyncedMBs,
    returning: { ...returning, MBs: rateOf(returning) },
    small,
  }
}

export function unthrottledTable({ killed, cpMBs, cpSyncedMBs, returning, small }: UnthrottledSample): string {
  const table = new Table({
    head: ['', 'lacking', 'received', 'time', 'rate', 'goal', '', 'MooseFS', 'GlusterFS'],
    style: dashes,
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right', 'left', 'right', 'right'],
  })
  const row = (title: string, transfer: Transfer, goal: string, reached: boolean, others: readonly string[]): void => {
    const { bytes, receivedBytes, seconds } = transfer
    const size = bytes < 1e6 ? kilobytes : megabytes
    const rate = `${rateOf(transfer).toFixed(bytes < 1e6 ? 2 : 0)} MB/s`
    table.push([
      title,
      size(bytes),
      size(receivedBytes),
      `${seconds.toFixed(2)} s`,
      rate,
      goal,
      reachedOr(reached),
      ...others,
    ])
  }
  const fast = `>= ${fastMBs} MB/s`
  row("a killed server's data", killed, fast, rateOf(killed) >= fastMBs, ['900 to 1070 MB/s', '200 MB/s'])
  row('a server that was away', returning, fast, rateOf(returning) >= fastMBs, ['4 MB/s', ''])
  const few = small.receivedBytes <= smallBytesMax
  row('one that missed 4 KiB', small, `<= ${kilobytes(smallBytesMax)}`, few, ['', 'reads 1 GB'])
  const beside = `cp of what the killed server had: ${cpMBs.toFixed(0)} MB/s; with a sync: ${cpSyncedMBs.toFixed(0)} MB/s.`
  return `Resync without a limit.\n${table.toString()}\n${beside}`
}
