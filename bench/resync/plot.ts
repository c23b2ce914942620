/**
 * The speed-up of re-replication over the size of the cluster, as a drawing.
 *
 * Pure, as plot.ts is.
 */
import { linePlot } from '../plot.ts'
import { goalOf, speedup } from './report.ts'
import type { ThrottledSample } from './throttled.ts'

export function plot(samples: readonly ThrottledSample[], rate: number): string {
  const base = samples[0]!
  const first = speedup(base, rate)
  return linePlot({
    title: 'Re-replication of one lost server',
    subtitle: `resync of each server held to ${rate / 1e6} MB/s in and out`,
    x: { name: 'fileservers', scale: 'log' },
    y: { name: 'times as fast as one source to one target', scale: 'log' },
    lines: [
      { name: 'measured', points: samples.map((sample) => [sample.servers, speedup(sample, rate)]) },
      {
        name: 'goal',
        dashed: true,
        points: samples.map(({ servers }) => [servers, first * goalOf(servers, base.servers)]),
      },
      { name: 'N − 1: no time lost', dashed: true, points: samples.map(({ servers }) => [servers, servers - 1]) },
    ],
  })
}
