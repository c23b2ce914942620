/**
 * A worker process: several lanes of load through the SDK, told what to do by lines on standard input.
 *
 * Its own end of the conversation: an order is `load`, `stop`, `verify`, `remove` or `end`; each is answered by one JSON line
 * `{done}` when it has been carried out; `{problem}` and `{lost}` come when they happen; `{counts}` with every answer.
 */
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect, Failure, type FailureCode } from '../../../client/index.ts'
import { Random } from '../../sim/world/random.ts'
import { appends } from './appends.ts'
import type { Ground, Lane } from './lane.ts'
import { largeFiles } from './large-files.ts'
import { smallFiles } from './small-files.ts'
import { type Counts, Tally } from './tally.ts'

export type Told =
  | { readonly type: 'done'; readonly order: string; readonly counts: Counts }
  | { readonly type: 'problem'; readonly line: string }
  | { readonly type: 'lost'; readonly path: string; readonly sinceMs: number; readonly untilMs: number }

const [name, cldb, seed, ledger] = process.argv.slice(2) as [string, string, string, string]
const timeoutMs = 90_000
/** Between two turns of a lane: the load is mixed, not heavy. */
const pauseMs = 20
const pauseAfterFailureMs = 200
/** What a cluster under torture may answer; anything else is a problem. */
const expected: readonly FailureCode[] = [
  'NO_SPACE',
  'DEADLINE',
  'UNAVAILABLE',
  'NOT_READY',
  'TOO_FEW_REPLICAS',
  'UNSYNCED_LOST',
]

const tell = (told: Told): void => void process.stdout.write(`${JSON.stringify(told)}\n`)
const problem = (line: string): void => tell({ type: 'problem', line: `${name}: ${line}` })
const open = (): Promise<Client> => connect({ cldb: [cldb], timeoutMs })

const random = new Random(Number(seed))
const tally = new Tally(ledger)
const [writer, reader] = await Promise.all([open(), open()])
const kinds = { small: smallFiles, append: appends, large: largeFiles }
const counts = { small: 4, append: 2, large: 1 }
const lanes = Object.entries(kinds).flatMap(([kind, make]) =>
  Array.from({ length: counts[kind as keyof typeof counts] }, (_, index): Lane => {
    const directory = `/${name}/${kind}-${index}`
    const lost: Ground['lost'] = (path, sinceMs) => tell({ type: 'lost', path, sinceMs, untilMs: Date.now() })
    return make({ directory, writer, reader, random: random.split(), tally, problem, lost })
  }),
)
let stopping = false
let running: Promise<unknown> = Promise.resolve()

async function turns(lane: Lane): Promise<void> {
  while (!stopping) {
    try {
      await lane.turn()
      await sleep(Math.random() * pauseMs)
    } catch (error) {
      if (!(error instanceof Failure) || !expected.includes(error.failure)) problem(`${(error as Error).stack}`)
      await sleep(pauseAfterFailureMs)
    }
  }
}

async function verify(): Promise<void> {
  const fresh = await open()
  try {
    for (const lane of lanes) await lane.verify(fresh)
  } finally {
    await fresh.close()
  }
}

const orders: Readonly<Record<string, () => Promise<void>>> = {
  load: async () => {
    for (const lane of lanes) await lane.prepare()
    running = Promise.all(lanes.map(turns))
  },
  stop: async () => {
    stopping = true
    await running
  },
  verify,
  remove: () => writer.fs.rm(`/${name}`, { recursive: true }),
  end: async () => process.exit(0),
}

for await (const order of createInterface({ input: process.stdin })) {
  try {
    await orders[order]!()
  } catch (error) {
    problem(`${order}: ${(error as Error).stack}`)
  }
  tell({ type: 'done', order, counts: tally.counts() })
}
