/**
 * The worker processes as the run sees them: orders go to all, and what they tell comes back.
 *
 * Not pure. Each worker has a namespace of its own, so that its links can be cut; its ledger is outside of the cluster's disks.
 */
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Started, start, tail } from '../harness/processes.ts'
import type { Counts } from './load/tally.ts'
import type { Told } from './load/worker.ts'
import type { Network } from './network.ts'

export type Order = 'load' | 'stop' | 'verify' | 'remove' | 'end'

export type Workers = {
  /** Settles when all have carried it out. Throws when one ended or took longer than `timeoutMs`. */
  readonly order: (order: Order, timeoutMs: number) => Promise<void>
  /** Of all workers together, as of the last order. */
  readonly counts: () => Counts
  readonly end: () => Promise<void>
}

export type Staff = {
  readonly names: readonly string[]
  readonly directory: string
  readonly network: Network
  readonly cldb: string
  readonly seed: number
  readonly problem: (line: string) => void
  /** A `sync` said that bytes are gone which were acknowledged between the two times (milliseconds since 1970). */
  readonly lost: (path: string, sinceMs: number, untilMs: number) => void
}

const program = fileURLToPath(new URL('load/worker.ts', import.meta.url))

export function startWorkers(staff: Staff): Workers {
  const workers = staff.names.map((name, index) => startWorker(staff, name, index))
  return {
    order: async (order, timeoutMs) => {
      await Promise.all(workers.map((worker) => worker.order(order, timeoutMs)))
    },
    counts: () => {
      const all = workers.map(({ counts }) => counts())
      const longest = all.map(({ longest }) => longest)
      return {
        operations: sum(all.map(({ operations }) => operations)),
        failures: sum(all.map(({ failures }) => failures)),
        longest: longest.reduce((one, other) => (other.tookMs > one.tookMs ? other : one)),
      }
    },
    end: async () => {
      await Promise.all(workers.map(({ process }) => process.kill()))
    },
  }
}

type Worker = {
  readonly process: Started
  readonly order: (order: Order, timeoutMs: number) => Promise<void>
  readonly counts: () => Counts
}

function startWorker({ directory, network, cldb, seed, problem, lost }: Staff, name: string, index: number): Worker {
  const started = start({
    name,
    command: process.execPath,
    args: ['--import=tsx', program, name, cldb, String(seed * 1000 + index), join(directory, `${name}.ledger`)],
    logFile: join(directory, `${name}.log`),
    namespace: network.namespaceOf(name),
    piped: true,
  })
  const waiting = new Map<string, () => void>()
  let counts: Counts = { operations: {}, failures: {}, longest: { kind: 'none', tookMs: 0 } }
  createInterface({ input: started.child.stdout! }).on('line', (line) => {
    const told = JSON.parse(line) as Told
    if (told.type === 'problem') problem(told.line)
    else if (told.type === 'lost') lost(told.path, told.sinceMs, told.untilMs)
    else {
      counts = told.counts
      waiting.get(told.order)?.()
    }
  })
  return {
    process: started,
    counts: () => counts,
    order: async (order, timeoutMs) => {
      const answered = new Promise<void>((resolve) => waiting.set(order, resolve))
      started.child.stdin!.write(`${order}\n`)
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${name}: no answer to ${order} in ${timeoutMs} ms`)), timeoutMs)
      })
      const gone = started.exited.then(() => {
        if (order !== 'end') throw new Error(`${name} ended:\n${tail(started.logFile)}`)
      })
      try {
        await Promise.race([answered, late, gone])
      } finally {
        clearTimeout(timer)
      }
    },
  }
}

function sum(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {}
  for (const one of all) for (const [name, count] of Object.entries(one)) total[name] = (total[name] ?? 0) + count
  return total
}
