/**
 * Assertions about our own code, kept in production.
 *
 * Pure. A failed assertion is a programmer's error: it is never caught on the way and never answered as an
 * ordinary failure. It stops the replica (or the process) before wrong bytes can be written.
 */

/** Thrown by `assert`; recognised only by the drivers that stop a replica. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError'
}

export function assert(condition: boolean, claim: string): asserts condition {
  if (!condition) throw new AssertionError(claim)
}

/** For the default of a switch that must cover every case. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`)
}
