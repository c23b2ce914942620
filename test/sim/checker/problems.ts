/**
 * What a run has found wrong. The first problem ends the run.
 */
import { AssertionError } from '../../../protocol/assert.ts'

export class Problem extends Error {
  override readonly name = 'Problem'
}

export const isAssertion = (error: unknown): boolean => error instanceof AssertionError

export class Problems {
  first: Problem | undefined

  readonly report = (what: string, error?: unknown): void => {
    const detail =
      error instanceof Error ? `: ${error.stack ?? error.message}` : error === undefined ? '' : `: ${error}`
    this.first ??= new Problem(what + detail, { cause: error })
  }

  readonly check = (): void => {
    if (this.first !== undefined) throw this.first
  }
}
