/**
 * One run: a seed makes a cluster, clients and faults; first safety, then healing, then everything loses its power once
 * more; at the end all that was acknowledged must be there.
 */

import { History } from './checker/history.ts'
import { Problem } from './checker/problems.ts'
import { Cluster, replication } from './cluster/cluster.ts'
import { type FaultName, heal, type Kept, planOf, torment } from './faults.ts'
import { type MutationName, mutations } from './mutants/mutations.ts'
import { Workload } from './workload.ts'
import { Random } from './world/random.ts'
import { isProcessOver, type Timeline } from './world/timeline.ts'

const startMs = 10_000
const healMs = 60_000

/** What makes one run: no more than this and the code. */
export type Settings = {
  /** How long things go wrong. */
  readonly safetyMs: number
  readonly clients: number
  readonly mutation?: MutationName | undefined
  /** Only these kinds of faults. */
  readonly only?: readonly FaultName[] | undefined
  /** Only the faults with these numbers, of those that would come. */
  readonly keep?: readonly number[] | undefined
}

export const usual: Settings = { safetyMs: 10_000, clients: 4 }

export type Outcome = {
  readonly seed: number
  /** What is wrong, if anything. */
  readonly problem: string | undefined
  readonly hash: string
  /** What was met, by name. */
  readonly counts: Readonly<Record<string, number>>
  readonly kinds: readonly string[]
  /** Faults that could have come: the highest of their numbers. */
  readonly faults: number
}

/** @param print told every line of the trace. */
export async function run(seed: number, settings: Settings, print?: (line: string) => void): Promise<Outcome> {
  const random = new Random(seed)
  const plan = planOf(random)
  const kinds = settings.only ?? plan.kinds
  const mutation = settings.mutation && mutations[settings.mutation]
  const cluster = new Cluster(random.split(), 3 + random.below(3), seed % 2 === 0, mutation)
  const history = new History((...given) => cluster.blackouts.excuse(...given))
  const { timeline } = cluster
  timeline.print = print
  let faults = 0
  const kept: Kept = (number) => {
    faults = number
    return settings.keep?.includes(number) ?? true
  }
  const restore = takeTimers(cluster)
  let problem: Problem | undefined
  try {
    await live(cluster, history, random, { ...plan, kinds }, settings, kept)
  } catch (error) {
    problem = error instanceof Problem ? error : new Problem(String((error as Error).stack), { cause: error })
  } finally {
    restore()
  }
  const { tally } = timeline
  for (const { counts } of cluster.servers) tally.addAll(counts)
  tally.addAll({
    events: timeline.count,
    answers: history.answered,
    'calls without an answer': history.unanswered,
    'histories undecided': history.undecided,
    epochs: cluster.epochs,
    'logs shortened': cluster.shortened,
  })
  const hash = timeline.hash.toString(16).padStart(16, '0')
  return { seed, problem: problem?.message, hash, counts: tally.counts, kinds, faults }
}

async function live(
  cluster: Cluster,
  history: History,
  random: Random,
  plan: ReturnType<typeof planOf>,
  { safetyMs, clients }: Settings,
  kept: Kept,
): Promise<void> {
  const { timeline } = cluster
  const until = async (withinMs: number, what: string, holds: () => boolean, why = () => ''): Promise<void> => {
    let held = false
    await timeline.run(timeline.nowMs + withinMs, () => {
      cluster.check()
      held = holds()
      return held
    })
    if (!held) throw new Problem(`${what} not within ${withinMs} ms of simulated time: ${why()}`)
  }
  const finished = async (withinMs: number, what: string, work: Promise<void>, why = () => ''): Promise<void> => {
    let done = false
    work.then(
      () => {
        done = true
      },
      (error) => cluster.report(what, error),
    )
    await until(withinMs, what, () => done, why)
  }
  const rest = async (): Promise<void> => {
    const whole = (): boolean => cluster.unrest() === undefined
    await until(healMs, 'the cluster is whole', whole, () => cluster.unrest() ?? '')
    // What rotted takes its time to be found; a segment that was dropped is removed a moment later.
    let lookMs = 0
    const mended = (): boolean => {
      if (timeline.nowMs < lookMs || !whole()) return false
      lookMs = timeline.nowMs + 250
      return cluster.difference() === undefined
    }
    const different = (): string => cluster.unrest() ?? cluster.difference() ?? ''
    await until(cluster.spoiled === undefined ? 1000 : healMs, 'replicas are the same', mended, different)
    cluster.checkLogs()
  }

  cluster.cldb.start()
  for (const server of cluster.servers) cluster.start(server)
  const workload = new Workload(cluster, history, random.split(), clients)
  await until(startMs, 'all servers are registered', () =>
    cluster.servers.every(({ id }) => cluster.cldb.state?.servers.get(id)?.state === 'alive'),
  )
  await finished(startMs, 'the volume is made', workload.prepare(replication, 2))

  const endMs = timeline.nowMs + safetyMs
  for (const { disk } of cluster.servers) disk.faults.scattered = plan.scattered
  workload.start(random.pick([10, 60, 200]))
  torment(cluster, random.split(), plan, kept, () => timeline.nowMs >= endMs)
  await timeline.run(endMs, () => {
    cluster.check()
    return false
  })
  workload.stopping = true
  heal(cluster)
  // Faults that were under way may still take servers away or bring them back.
  await until(healMs, 'clients are done', () => workload.running === 0)
  heal(cluster)
  const inService = async (): Promise<void> => {
    for (const server of cluster.servers) while (!(await cluster.setMode(server, 'normal'))) await pause(timeline, 200)
  }
  await finished(healMs, 'all servers are in service', inService())
  await rest()
  let abandoned: string | undefined
  const noneAbandoned = async (): Promise<void> => {
    for (;;) {
      abandoned = await cluster.abandoned()
      if (abandoned === undefined) return
      timeline.tally.add('chunks without a file met')
      await pause(timeline, 500)
    }
  }
  await finished(healMs, 'chunks without a file are forgotten', noneAbandoned(), () => abandoned ?? '')
  await finished(healMs, 'everything is read', workload.readAll())

  timeline.note('all lose their power')
  for (const server of cluster.servers) cluster.kill(server, true)
  for (const server of cluster.servers) timeline.after(random.between(0, 1500), undefined, () => cluster.start(server))
  await finished(healMs, 'everything is read after all were away', workload.readAll())
  await rest()
  let wrong: string | undefined
  const compared = async (): Promise<void> => {
    wrong = await cluster.misnamed()
  }
  await finished(healMs, 'names are compared with inodes', compared())
  wrong ??= history.check()
  if (wrong !== undefined) throw new Problem(wrong)
}

const pause = (timeline: Timeline, delayMs: number): Promise<void> =>
  new Promise((resolve) => void timeline.after(delayMs, undefined, resolve))

/** Within a run nothing may wait for real time: timers of the process itself go to the timeline, or nowhere. */
function takeTimers(cluster: Cluster): () => void {
  const { setInterval, setImmediate, setTimeout } = globalThis
  const refuse = (): never => {
    throw new Error('a run has no real timers')
  }
  const immediate = (work: (...given: unknown[]) => void, ...given: unknown[]): object =>
    cluster.timeline.after(0, undefined, () => work(...given))
  Object.assign(globalThis, { setInterval: () => ({}), setImmediate: immediate, setTimeout: refuse })
  const onRejection = (error: unknown): void => {
    if (!isProcessOver(error)) cluster.report('a promise was rejected and nobody heard', error)
  }
  process.on('unhandledRejection', onRejection)
  return () => {
    Object.assign(globalThis, { setInterval, setImmediate, setTimeout })
    process.off('unhandledRejection', onRejection)
  }
}
