/**
 * What a person is told when a command fails: one line, and the exit code.
 */
import { Failure } from '../protocol/failures.ts'

/** A mistake in how the command was called: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** A file or a process that is not there. */
export const isAbsent = (error: unknown): boolean =>
  ['ENOENT', 'ESRCH'].includes(String((error as NodeJS.ErrnoException).code))

/** @returns one line without the program's name. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error instanceof Failure && error.failure === 'INVALID') return error.message.slice('INVALID: '.length)
  return error.message.split('\n')[0]!
}

/** Prints the failure; the stack too when HOLDFAST_LOG is `debug`. */
export function report(error: unknown): number {
  process.stderr.write(`holdfast: ${explain(error)}\n`)
  if (process.env.HOLDFAST_LOG === 'debug' && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  return error instanceof UsageError ? 2 : 1
}
