/**
 * How something failed, as text that a claim can be made about.
 */
import { isFailure } from '../../protocol/failures.ts'

const nameOf = (error: unknown): string => (isFailure(error) ? error.failure : `not a Failure: ${error}`)

/** @returns the code of the `Failure` that `run` throws, or `none`. */
export function failureOf(run: () => unknown): string {
  try {
    run()
    return 'none'
  } catch (error) {
    return nameOf(error)
  }
}

/** @returns the code of the `Failure` that `promise` rejects with, or `none`. */
export const failureIn = (promise: Promise<unknown>): Promise<string> => promise.then(() => 'none', nameOf)
