/**
 * A progress bar on stderr for transfers that take long, where a person is looking.
 */
import { Presets, SingleBar } from 'cli-progress'
import { formatBytes } from './output.ts'

export type Progress = { readonly add: (bytes: number) => void; readonly done: () => void }

/** A transfer that is over within this needs no bar. */
const showAfterMs = 500

/** @param totalBytes what is known of it so far; 0 when nothing is. */
export function progress(name: string, totalBytes: number): Progress & { readonly grow: (bytes: number) => void } {
  if (!process.stderr.isTTY) return { add: () => {}, grow: () => {}, done: () => {} }
  const startedMs = performance.now()
  const bar = new SingleBar(
    {
      format: `${name} {bar} {percentage} %  {moved} of {all}  {rate}/s`,
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
    },
    Presets.shades_classic,
  )
  let shown = false
  let total = totalBytes
  let moved = 0
  const update = (): void => {
    const elapsedMs = performance.now() - startedMs
    if (elapsedMs < showAfterMs) return
    const rate = formatBytes((moved * 1000) / elapsedMs)
    const values = { moved: formatBytes(moved), all: formatBytes(Math.max(total, moved)), rate }
    if (!shown) bar.start(Math.max(total, moved), moved, values)
    else {
      bar.setTotal(Math.max(total, moved))
      bar.update(moved, values)
    }
    shown = true
  }
  return {
    add: (bytes) => {
      moved += bytes
      update()
    },
    grow: (bytes) => {
      total += bytes
    },
    done: () => {
      if (shown) bar.stop()
    },
  }
}
