/**
 * What is measured: each measurement by its name, what it needs, and which figures come of it.
 *
 * Not pure. A suite runs its measurements in rounds, all of them in each round, so that what disturbs the machine for a
 * while disturbs one sample of several figures and not one figure; the first round is only a warming up. A figure is the
 * median of its rounds.
 */
import type { Chain } from '../chain/chain.ts'
import { median, rate, type Sample } from '../measure.ts'
import { warmMemory } from '../memory.ts'
import { cpuSeconds, type Program, type Worker } from '../worker.ts'
import type { ClientTasks } from './client-process.ts'
import type { Figure, Figures } from './report.ts'

export type Scale = {
  readonly rounds: number
  /** Of a sequential write, over all its streams. */
  readonly streamBytes: number
  readonly randomBytes: number
  /** Of each measured run of small operations; the warming up takes a third. */
  readonly seconds: number
  /** No round begins that would probably end later than this. */
  readonly secondsMax: number
}

export const full: Scale = {
  rounds: 5,
  streamBytes: 512 * 2 ** 20,
  randomBytes: 2 ** 30,
  seconds: 1.5,
  secondsMax: 220,
}
export const quick: Scale = {
  rounds: 3,
  streamBytes: 256 * 2 ** 20,
  randomBytes: 2 ** 28,
  seconds: 0.5,
  secondsMax: 38,
}

export type Application = {
  readonly client: Worker<ClientTasks>
  /** The client and all servers: whose CPU time counts. */
  readonly programs: readonly Program[]
}

/** The chain and the cluster start when something first asks for them. */
export type Bench = {
  readonly chain: () => Promise<Chain>
  readonly application: () => Promise<Application>
  readonly directory: string
  readonly scale: Scale
}

/** `tag` differs in each round, `seconds` is for each run of small operations. */
type Round = Bench & { readonly tag: string; readonly seconds: number }
type Measurement = (round: Round) => Promise<Figures>

const copies = 3
/** A sequential run may take so many times as long as one of small operations. */
const sequentialPatience = 4
const mebibyte = 2 ** 20

async function bareChain({ chain, scale }: Round): Promise<Figures> {
  const { bytes, seconds } = await (await chain()).run(scale.streamBytes / mebibyte, false)
  return { bareChainMBs: bytes / 1e6 / seconds }
}

const sequential =
  (streams: 1 | 4): Measurement =>
  async ({ application, directory, scale, tag, seconds }) => {
    const { client, programs } = await application()
    const secondsMax = seconds * sequentialPatience
    const task = { name: `sequential-${tag}`, streams, bytes: scale.streamBytes, secondsMax }
    await warmMemory(directory, scale.streamBytes * copies)
    const before = cpuSeconds(programs)
    const written = await client.call('write', task)
    const cpuSecondsPerGBWritten = (cpuSeconds(programs) - before) / (written.amount / 1e9)
    const read = await client.call('read', task)
    await client.call('remove', task)
    return streams === 1
      ? { write1MBs: rate(written) / 1e6, read1MBs: rate(read) / 1e6, cpuSecondsPerGBWritten }
      : { write4MBs: rate(written) / 1e6, read4MBs: rate(read) / 1e6 }
  }

/** One figure to each number of operations in flight. */
const small =
  (
    group: string,
    inFlights: readonly number[],
    run: (client: Worker<ClientTasks>, round: Round, inFlight: number) => Promise<Sample>,
  ): Measurement =>
  async (round) => {
    const { client } = await round.application()
    const figures: { [F in Figure]?: number } = {}
    for (const inFlight of inFlights)
      figures[`${group}.${inFlight}` as Figure] = rate(await run(client, round, inFlight))
    return figures
  }

const metadata = (task: 'creates' | 'stats' | 'unlinks', inFlights: readonly number[]): Measurement =>
  small(task, inFlights, (client, { tag, seconds }, inFlight) =>
    client.call(task, { directory: `/${task}-${tag}-${inFlight}`, inFlight, seconds }),
  )

export const measurements = {
  chain: bareChain,
  sequential1: sequential(1),
  sequential4: sequential(4),
  creates: metadata('creates', [1, 16, 64]),
  randRead4k: small('randRead4k', [1, 16], (client, { seconds }, inFlight) =>
    client.call('randomRead', { inFlight, seconds }),
  ),
  randWrite4k: small('randWrite4k', [1, 16], (client, { seconds }, inFlight) =>
    client.call('randomWrite', { inFlight, seconds, synced: false }),
  ),
  randWrite4kSync: small('randWrite4kSync', [1, 16], (client, { seconds }, inFlight) =>
    client.call('randomWrite', { inFlight, seconds, synced: true }),
  ),
  stats: metadata('stats', [16]),
  unlinks: metadata('unlinks', [16]),
} as const satisfies Record<string, Measurement>

export type MeasurementName = keyof typeof measurements

/** Runs the named measurements; `say` is told what goes on. */
export async function measure(
  bench: Bench,
  names: readonly MeasurementName[],
  say: (line: string) => void,
): Promise<Figures> {
  const { scale } = bench
  const begin = performance.now()
  const samples = new Map<string, number[]>()
  if (names.some((name) => name.startsWith('rand')))
    await (await bench.application()).client.call('prepareRandom', { bytes: scale.randomBytes })
  let roundMs = 0
  for (let round = 0; round <= scale.rounds; round++) {
    const now = performance.now()
    if (round > 1 && now + roundMs - begin > scale.secondsMax * 1000) {
      say(`no time for more than ${round - 1} rounds`)
      break
    }
    for (const name of names) {
      const elapsed = `${((performance.now() - begin) / 1000).toFixed(0)} s`.padStart(5)
      say(`${elapsed}: ${round === 0 ? 'warming up' : `round ${round} of ${scale.rounds}`}, ${name}`)
      const seconds = round === 0 ? scale.seconds / 3 : scale.seconds
      const figures = await measurements[name]({ ...bench, tag: String(round), seconds })
      if (round === 0) continue
      for (const [figure, value] of Object.entries(figures))
        samples.set(figure, [...(samples.get(figure) ?? []), value])
    }
    roundMs = performance.now() - now
  }
  return Object.fromEntries([...samples].map(([figure, values]) => [figure, median(values)]))
}
