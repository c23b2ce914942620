/**
 * What commands print: tables and units for people, one JSON document for programs.
 */
import Table from 'cli-table3'

const edges = ['top', 'bottom', 'mid', 'left', 'right'].flatMap((edge) =>
  ['', '-mid', '-left', '-right'].map((rest) => [`${edge}${rest}`, '']),
)
/** No lines: columns two blanks apart, so that `awk` and people read it alike. */
const chars = { ...Object.fromEntries(edges), middle: '  ' }

export type Cell = string | number | boolean

/** @param columns name of each; one that begins with `>` is aligned right. */
export function table(columns: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const result = new Table({
    head: columns.map((name) => name.replace(/^>/, '').toUpperCase()),
    colAligns: columns.map((name) => (name.startsWith('>') ? 'right' : 'left')),
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    chars,
  })
  for (const row of rows) result.push(row.map(String))
  return result
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}

/** Prints `value` as JSON or what `text` makes of it. */
export function print(json: boolean, value: unknown, text: () => string): void {
  const line = json ? JSON.stringify(value, undefined, process.stdout.isTTY ? 2 : undefined) : text()
  if (line !== '') process.stdout.write(`${line}\n`)
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** `256M` or a plain number of bytes. @returns undefined when it is neither. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?$/i.exec(text)
  if (match === null) return undefined
  return Math.round(Number(match[1]) * 1024 ** ' KMGTP'.indexOf(match[2] === '' ? ' ' : match[2]!.toUpperCase()))
}

const durations = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `90s`, `10m`, `2h`, `1d`, `500ms`. @returns milliseconds, or undefined when it is none of these. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text)
  return match === null ? undefined : Math.round(Number(match[1]) * durations[match[2] as keyof typeof durations])
}

/** `1 replica`, `2 replicas`. */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`

/** `2 h 5 min`: the two largest units. */
export function formatDuration(ms: number): string {
  const seconds = Math.ceil(ms / 1000)
  const parts: readonly (readonly [number, string])[] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ]
  const first = parts.findIndex(([count]) => count > 0)
  if (first === -1) return '0 s'
  const shown = parts.slice(first, first + 2).filter(([count]) => count > 0)
  return shown.map(([count, unit]) => `${count} ${unit}`).join(' ')
}
