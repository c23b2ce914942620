/**
 * What a worker did: operations by kind, the longest of each, failures by code; each acknowledged one is a line in the ledger.
 *
 * Not pure: the ledger is a file outside of the cluster's disks.
 */
import { appendFileSync } from 'node:fs'
import { Failure } from '../../../client/index.ts'

export type Counts = {
  readonly operations: Readonly<Record<string, number>>
  readonly failures: Readonly<Record<string, number>>
  readonly longest: { readonly kind: string; readonly tookMs: number }
}

export class Tally {
  readonly #ledger: string
  readonly #operations = new Map<string, number>()
  readonly #failures = new Map<string, number>()
  #longest = { kind: 'none', tookMs: 0 }

  constructor(ledger: string) {
    this.#ledger = ledger
  }

  /** Runs an operation; `what` is the line that is written when it was acknowledged. Failures are counted and passed on. */
  async run<T>(kind: string, what: string, operation: () => Promise<T>): Promise<T> {
    const began = performance.now()
    const at = new Date().toISOString()
    try {
      const result = await operation()
      count(this.#operations, kind)
      this.#write(`${at} ${kind} ${what}`)
      return result
    } catch (error) {
      count(this.#failures, error instanceof Failure ? `${kind} ${error.failure}` : `${kind} ${error}`)
      this.#write(`${at} ${kind} ${what} FAILED ${error}`)
      throw error
    } finally {
      const tookMs = performance.now() - began
      if (tookMs > this.#longest.tookMs) this.#longest = { kind: `${kind} ${what}, begun ${at}`, tookMs }
    }
  }

  counts(): Counts {
    return {
      operations: Object.fromEntries(this.#operations),
      failures: Object.fromEntries(this.#failures),
      longest: this.#longest,
    }
  }

  #write(line: string): void {
    appendFileSync(this.#ledger, `${new Date().toISOString().slice(11)} ${line}\n`)
  }
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1)
}
