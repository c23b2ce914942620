/**
 * Scrubs that somebody asked for: what is left of each, and what it found.
 *
 * Pure. Reports of the latest runs are kept; so many may wait.
 */
import { Failure } from '../../protocol/failures.ts'
import type { ContainerId } from '../../protocol/ids.ts'
import { type ScrubReport, scrubProblemsMax, scrubRunsMax } from '../../protocol/messages/maintenance.ts'

type Counts = { -readonly [K in keyof Omit<ScrubReport, 'problems'>]: ScrubReport[K] }

class Run {
  readonly number: number
  readonly waiting: ContainerId[]
  readonly #counts: Counts
  readonly #problems: { readonly container: ContainerId; readonly problem: string }[] = []

  constructor(number: number, containers: readonly ContainerId[], totalBytes: number) {
    this.number = number
    this.waiting = [...containers].reverse()
    this.#counts = {
      done: containers.length === 0,
      containers: containers.length,
      containersChecked: 0,
      totalBytes,
      checkedBytes: 0,
      found: 0,
      repaired: 0,
      remaining: 0,
      unchecked: 0,
    }
  }

  get report(): ScrubReport {
    return { ...this.#counts, problems: this.#problems }
  }

  read(bytes: number): void {
    this.#counts.checkedBytes += bytes
  }

  checked({ found, repaired, remaining }: Pick<ScrubReport, 'found' | 'repaired' | 'remaining'>): void {
    this.#counts.found += found
    this.#counts.repaired += repaired
    this.#counts.remaining += remaining
    this.#ended()
  }

  unchecked(container: ContainerId, why: string): void {
    this.#counts.unchecked += 1
    this.problem(container, why)
    this.#ended()
  }

  problem(container: ContainerId, problem: string): void {
    if (this.#problems.length < scrubProblemsMax) this.#problems.push({ container, problem: problem.slice(0, 1024) })
  }

  #ended(): void {
    this.#counts.containersChecked += 1
    this.#counts.done = this.#counts.containersChecked === this.#counts.containers
  }
}

export class Runs {
  #runs: Run[] = []
  #number = 0

  /** @throws Failure OVERLOADED when too many are not done. */
  add(containers: readonly ContainerId[], totalBytes: number): Run {
    if (this.#runs.length >= scrubRunsMax) {
      const oldest = this.#runs.findIndex(({ report }) => report.done)
      if (oldest < 0) throw new Failure('OVERLOADED', `${scrubRunsMax} scrubs are under way or wait already`)
      this.#runs.splice(oldest, 1)
    }
    const run = new Run(++this.#number, containers, totalBytes)
    this.#runs.push(run)
    return run
  }

  /** Oldest first. */
  get numbers(): readonly number[] {
    return this.#runs.map(({ number }) => number)
  }

  /** @throws Failure NOT_FOUND */
  report(number: number): ScrubReport {
    const run = this.#runs.find((other) => other.number === number)
    if (run === undefined) throw new Failure('NOT_FOUND', `no scrub ${number} is known here (any more)`)
    return run.report
  }

  /** The next container that somebody waits for. */
  next(): { readonly run: Run; readonly container: ContainerId } | undefined {
    for (const run of this.#runs) {
      const container = run.waiting.pop()
      if (container !== undefined) return { run, container }
    }
    return undefined
  }
}
