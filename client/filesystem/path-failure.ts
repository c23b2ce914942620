/**
 * A failure that says, as Node.js's own do, which call failed on which path.
 *
 * Pure.
 */
import { constants } from 'node:os'
import { Failure, type FailureCode } from '../../protocol/failures.ts'
import { type Path, textOf } from './paths.ts'

const numbers: { readonly [name: string]: number } = constants.errno

/** `code` is the POSIX name ('ENOENT'), `failure` our own (`NOT_FOUND`), and the first `Failure` is the `cause`. */
export class PathFailure extends Failure {
  readonly syscall: string
  readonly path: string
  /** Where a rename, a link or a copy was to lead. */
  readonly dest: string | undefined

  constructor(cause: Failure, syscall: string, path: Path, dest?: Path) {
    super(cause.failure, '', { cause })
    this.syscall = syscall
    this.path = text(path)
    this.dest = dest === undefined ? undefined : text(dest)
    const detail = cause.message.slice(cause.failure.length + 2)
    const where = this.dest === undefined ? `'${this.path}'` : `'${this.path}' -> '${this.dest}'`
    this.message = `${this.code}: ${detail}, ${syscall} ${where}`
  }

  /** Negative, as Node.js gives it. */
  get errno(): number {
    return -(numbers[this.code] ?? 0)
  }
}

const text = (path: Path): string => (typeof path === 'string' ? path : textOf(path))

/** Runs `work`; a `Failure` of it is thrown as one of `syscall` on `path`. */
export async function named<T>(syscall: string, path: Path, work: () => Promise<T>, dest?: Path): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof Failure && !(error instanceof PathFailure)) throw new PathFailure(error, syscall, path, dest)
    throw error
  }
}

/** Waits for `work`, and takes these failures for `otherwise`. */
export async function unless<T, U>(
  work: Promise<T>,
  codes: readonly FailureCode[],
  otherwise: () => U | Promise<U>,
): Promise<T | U> {
  try {
    return await work
  } catch (error) {
    if (error instanceof Failure && codes.includes(error.failure)) return await otherwise()
    throw error
  }
}
