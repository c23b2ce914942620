/**
 * What was measured, beside the goals and beside what a user would pick instead: one table of figures gives the
 * printed table and the JSON.
 *
 * Pure. MB and GB are 10^6 and 10^9 bytes. The others' figures were measured on such a machine with three copies
 * through FUSE (issue 2); CPU time stands there per GiB and is converted here.
 */
import Table from 'cli-table3'

const perGiB = 1e9 / 2 ** 30

export type Goal = { readonly least: number } | { readonly most: number }

export type Row = {
  readonly title: string
  readonly unit: 'MB/s' | '/s' | 'CPU-s/GB'
  readonly goal?: Goal
  /** Replicated writes: of the bare chain's rate. */
  readonly ofChainMin?: number
  readonly mooseFs?: number
  readonly glusterFs?: number
}

/** Keyed by the figure's place in the JSON: `creates.16` is `{ creates: { "16": ... } }`. */
export const rows = {
  bareChainMBs: { title: 'bare chain of three processes', unit: 'MB/s' },
  write1MBs: {
    title: 'sequential write, 1 stream',
    unit: 'MB/s',
    goal: { least: 600 },
    ofChainMin: 0.6,
    mooseFs: 337,
    glusterFs: 385,
  },
  write4MBs: { title: 'sequential write, 4 streams', unit: 'MB/s', goal: { least: 600 }, ofChainMin: 0.6 },
  read1MBs: {
    title: 'sequential read, 1 stream',
    unit: 'MB/s',
    goal: { least: 2000 },
    mooseFs: 1090,
    glusterFs: 1560,
  },
  read4MBs: { title: 'sequential read, 4 streams', unit: 'MB/s', goal: { least: 2000 } },
  cpuSecondsPerGBWritten: {
    title: 'CPU time of all processes, written',
    unit: 'CPU-s/GB',
    goal: { most: 2.8 * perGiB },
    mooseFs: 4.8 * perGiB,
    glusterFs: 3.0 * perGiB,
  },
  'creates.1': { title: 'create + write 100 B + close, 1', unit: '/s', goal: { least: 3000 } },
  'creates.16': {
    title: 'create + write 100 B + close, 16',
    unit: '/s',
    goal: { least: 10_000 },
    mooseFs: 2390,
    glusterFs: 480,
  },
  'creates.64': { title: 'create + write 100 B + close, 64', unit: '/s', goal: { least: 15_000 } },
  'randRead4k.1': { title: 'random read 4 KiB, 1', unit: '/s' },
  'randRead4k.16': {
    title: 'random read 4 KiB, 16',
    unit: '/s',
    goal: { least: 60_000 },
    mooseFs: 25_800,
    glusterFs: 28_000,
  },
  'randWrite4k.1': { title: 'random write 4 KiB, 1', unit: '/s' },
  'randWrite4k.16': { title: 'random write 4 KiB, 16', unit: '/s' },
  'randWrite4kSync.1': { title: 'random write 4 KiB synced, 1', unit: '/s' },
  'randWrite4kSync.16': {
    title: 'random write 4 KiB synced, 16',
    unit: '/s',
    goal: { least: 20_000 },
    mooseFs: 1150,
    glusterFs: 1270,
  },
  'stats.16': { title: 'stat, 16', unit: '/s' },
  'unlinks.16': { title: 'unlink, 16', unit: '/s' },
} as const satisfies Record<string, Row>

export type Figure = keyof typeof rows
export type Figures = { readonly [F in Figure]?: number }

const table: readonly [Figure, Row][] = Object.entries(rows) as [Figure, Row][]

/** Three significant digits, at least, and no more than the measurement is worth. */
const rounded = (value: number): number => (value >= 100 ? Math.round(value) : Math.round(value * 100) / 100)

/** @returns what the JSON file holds: every figure; null for one that was not measured. */
export function toJson(figures: Figures): Record<string, unknown> {
  const json: Record<string, unknown> = {}
  for (const [figure] of table) {
    const [group, inFlight] = figure.split('.') as [string, string | undefined]
    const measured = figures[figure]
    const value = measured === undefined ? null : rounded(measured)
    if (inFlight === undefined) json[group] = value
    else json[group] = { ...(json[group] as object | undefined), [inFlight]: value }
  }
  return json
}

/** @returns whether the figure reaches its goals; undefined without a goal or what it is compared with. */
export function reached(figure: Figure, figures: Figures): boolean | undefined {
  const row: Row = rows[figure]
  const value = figures[figure]
  if (value === undefined || row.goal === undefined) return undefined
  const absolute = 'least' in row.goal ? value >= row.goal.least : value <= row.goal.most
  const chain = figures.bareChainMBs
  const relative = row.ofChainMin === undefined || chain === undefined || value >= row.ofChainMin * chain
  return absolute && relative
}

/** @returns the table that is printed: a row to a measured figure. */
export function toTable(figures: Figures): string {
  const text = new Table({
    head: ['', 'measured', 'of the chain', 'goal', '', 'MooseFS', 'GlusterFS'],
    colAligns: ['left', 'right', 'right', 'left', 'left', 'right', 'right'],
    style: { head: [], border: [], compact: true },
  })
  const chain = figures.bareChainMBs
  for (const [figure, row] of table) {
    const value = figures[figure]
    if (value === undefined) continue
    const share = row.ofChainMin !== undefined && chain !== undefined ? `${Math.round((value / chain) * 100)} %` : ''
    const outcome = reached(figure, figures)
    text.push([
      row.title,
      `${formatted(value)} ${row.unit}`,
      share,
      goalText(row),
      outcome === undefined ? '' : outcome ? 'reached' : 'missed',
      row.mooseFs === undefined ? '' : formatted(row.mooseFs),
      row.glusterFs === undefined ? '' : formatted(row.glusterFs),
    ])
  }
  return text.toString()
}

const formatted = (value: number): string => rounded(value).toLocaleString('en-US')

function goalText({ goal, ofChainMin }: Row): string {
  const chain = ofChainMin === undefined ? '' : ` and ${ofChainMin * 100} % of the chain`
  if (goal === undefined) return ''
  return 'least' in goal ? `>= ${formatted(goal.least)}${chain}` : `<= ${formatted(goal.most)}`
}
