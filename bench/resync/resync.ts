/**
 * `npm run bench -- resync`: both measurements of resync.
 *
 * Not pure.
 */
import { writeFile } from 'node:fs/promises'
import type { Findings, Scene } from '../scene.ts'
import { plot } from './plot.ts'
import { throttledJson, throttledTable, unthrottledJson, unthrottledTable } from './report.ts'
import { type ThrottledScale, throttled } from './throttled.ts'
import { type UnthrottledScale, unthrottled } from './unthrottled.ts'

export type ResyncOptions = {
  readonly only?: readonly ('throttled' | 'unthrottled')[]
  readonly servers?: readonly number[]
  readonly rate?: number
  readonly svg?: string
}

/**
 * 20 MB/s for each of 32 servers would be more than two cores can move; at 0.5 MB/s the rate is the limit and not the
 * machine. Containers are small and many, as they are meant to be: the fewer there are, the less evenly chance shares out
 * whose master is where.
 */
const full: ThrottledScale = { servers: [4, 8, 16, 32], rate: 5e5, idealSeconds: 28, containersEach: 32 }
const quick: ThrottledScale = { servers: [4, 6], rate: 2e6, idealSeconds: 2, containersEach: 8 }
const fullUnthrottled: UnthrottledScale = { killedMiB: 2048, newMiB: 1024, overwrittenMiB: 256 }
const quickUnthrottled: UnthrottledScale = { killedMiB: 128, newMiB: 64, overwrittenMiB: 16 }

export async function resync(scene: Scene, options: ResyncOptions): Promise<Findings> {
  const { only = ['throttled', 'unthrottled'], svg } = options
  const pages: string[] = []
  let figures = {}
  if (only.includes('throttled')) {
    const usual = scene.quick ? quick : full
    const { servers = usual.servers, rate = usual.rate } = options
    const samples = await throttled(scene, { ...usual, servers, rate })
    pages.push(throttledTable(samples, rate))
    figures = { throttled: throttledJson(samples, rate) }
    if (svg !== undefined) await writeFile(svg, plot(samples, rate))
  }
  if (only.includes('unthrottled')) {
    const sample = await unthrottled(scene, scene.quick ? quickUnthrottled : fullUnthrottled)
    pages.push(unthrottledTable(sample))
    figures = { ...figures, unthrottled: unthrottledJson(sample) }
  }
  return { text: pages.join('\n\n'), figures }
}
