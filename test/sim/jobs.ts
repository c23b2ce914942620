/**
 * Runs seeds one after the other, in this process or spread over several; the outcomes come in the order of the seeds.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { type Outcome, run, type Settings } from './run.ts'

const worker = new URL('./worker.ts', import.meta.url).pathname

/** A young generation of many runs' small objects: collected at its usual 16 MiB it costs a tenth of the time. */
const memory = ['--max-semi-space-size=64']

/** Outcomes that wait for an earlier one at most: one seed that takes long must not gather all others in memory. */
const waitingMax = 1000

export async function* outcomes(
  first: number,
  count: number,
  jobs: number,
  settings: Settings,
): AsyncGenerator<Outcome> {
  if (jobs <= 1) {
    for (let seed = first; seed < first + count; seed++) yield await run(seed, settings)
    return
  }
  const done = new Map<number, Outcome>()
  let wake = (): void => {}
  let failed: Error | undefined
  let next = first
  let wanted = first
  const idle = new Set<ChildProcess>()
  const children = Array.from({ length: Math.min(jobs, count) }, () =>
    fork(worker, { execArgv: [...process.execArgv, ...memory] }),
  )
  const hand = (child: ChildProcess): void => {
    if (next >= first + count || next >= wanted + waitingMax) {
      idle.add(child)
      return
    }
    idle.delete(child)
    child.send({ seed: next++, settings })
  }
  for (const child of children) {
    child.on('message', (outcome: Outcome) => {
      done.set(outcome.seed, outcome)
      hand(child)
      wake()
    })
    child.on('exit', (code) => {
      failed = new Error(`a process of the simulator ended with ${code}`)
      wake()
    })
    hand(child)
  }
  try {
    for (; wanted < first + count; wanted++) {
      while (!done.has(wanted)) {
        if (failed !== undefined) throw failed
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      yield done.get(wanted)!
      done.delete(wanted)
      for (const child of [...idle]) hand(child)
    }
  } finally {
    for (const child of children) if (child.connected) child.disconnect()
  }
}
