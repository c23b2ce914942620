/**
 * Which functions a process spent its time in: the self times of a V8 CPU profile (`node --cpu-prof`).
 *
 * Summing is pure; reading a directory of profiles is not. Self time of a node is the sum of the time deltas of its
 * samples (Chrome DevTools Protocol, Profiler.Profile). `(program)` is native code outside of any function, system
 * calls and other threads' waits included; `(idle)` is no work at all and is left out of the shares.
 */
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import Table from 'cli-table3'

type CallFrame = { readonly functionName: string; readonly url: string; readonly lineNumber: number }

export type CpuProfile = {
  readonly nodes: readonly { readonly id: number; readonly callFrame: CallFrame }[]
  readonly samples: readonly number[]
  /** Microseconds since the sample before. */
  readonly timeDeltas: readonly number[]
}

export type SelfTime = { readonly place: string; readonly ms: number; readonly share: number }

const topCount = 20

/** @returns functions by self time, longest first; `share` is of the time that was not idle. */
export function selfTimes(profile: CpuProfile): { readonly busyMs: number; readonly functions: SelfTime[] } {
  const places = new Map(profile.nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]))
  const micros = new Map<string, number>()
  profile.samples.forEach((id, i) => {
    const place = places.get(id) ?? '(unknown)'
    micros.set(place, (micros.get(place) ?? 0) + (profile.timeDeltas[i] ?? 0))
  })
  micros.delete('(idle)')
  const busy = [...micros.values()].reduce((sum, value) => sum + value, 0)
  const functions = [...micros]
    .map(([place, value]) => ({ place, ms: value / 1000, share: value / busy }))
    .toSorted((a, b) => b.ms - a.ms)
  return { busyMs: busy / 1000, functions }
}

/** `append fileserver/log/segments.ts:12`; the line counts from 1. */
function placeOf({ functionName, url, lineNumber }: CallFrame): string {
  const name = functionName === '' ? '(anonymous)' : functionName
  if (url === '') return name
  const path = url.replace(/^file:\/\//, '').replace(`${process.cwd()}/`, '')
  return `${name} ${path.replace(/^.*node_modules\//, '').replace(/^dist\//, '')}:${lineNumber + 1}`
}

/** @returns a table for each profile below the directory: its functions with the longest self times. */
export async function describeProfiles(directory: string): Promise<string> {
  const names = (await readdir(directory, { recursive: true }))
    .filter((name) => name.endsWith('.cpuprofile'))
    .toSorted()
  const parts: string[] = []
  for (const name of names) {
    const profile = JSON.parse(await readFile(join(directory, name), 'utf8')) as CpuProfile
    const { busyMs, functions } = selfTimes(profile)
    const table = new Table({
      head: ['self ms', '%', 'function'],
      colAligns: ['right', 'right', 'left'],
      style: { head: [], border: [], compact: true },
    })
    for (const { place, ms, share } of functions.slice(0, topCount))
      table.push([ms.toFixed(0), (share * 100).toFixed(1), place])
    parts.push(`${dirname(name)}: busy for ${(busyMs / 1000).toFixed(1)} s\n${table}`)
  }
  return parts.join('\n\n')
}
