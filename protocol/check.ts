/**
 * Shapes of messages: each gives the TypeScript type, the check at the edge and the compact wire form.
 *
 * Pure. On the wire a message is the array of its fields in the order of its table, so names cost nothing.
 * A message may grow at its end: a missing last field reads as `undefined`, which `optional` accepts; more
 * fields than we know are ignored. Everything else that differs is BAD_MESSAGE; a list or a text beyond its
 * maximum is TOO_LARGE.
 */
import { Failure } from './failures.ts'
import type { ClientId, ContainerId, Epoch, Fid, Inode, Sequence, ServerId } from './ids.ts'

/** `read` checks what came from outside and throws a `Failure`; `write` trusts our own types. */
export type Shape<T> = {
  readonly read: (wire: unknown, where: string) => T
  readonly write: (value: T) => unknown
}
export type Of<S> = S extends Shape<infer T> ? T : never

const same = <T>(value: T): unknown => value

function bad(where: string, expected: string): never {
  throw new Failure('BAD_MESSAGE', `${where} must be ${expected}`)
}

function scalar<T>(expected: string, holds: (wire: unknown) => boolean): Shape<T> {
  return { read: (wire, where) => (holds(wire) ? (wire as T) : bad(where, expected)), write: same }
}

export const boolean: Shape<boolean> = scalar('true or false', (wire) => typeof wire === 'boolean')

/** A natural number up to `max` (2^53 - 1 unless told). */
export function natural(max: number = Number.MAX_SAFE_INTEGER): Shape<number> {
  const expected = `a natural number up to ${max}`
  return scalar(expected, (wire) => Number.isSafeInteger(wire) && (wire as number) >= 0 && (wire as number) <= max)
}

/** A safe integer of either sign: seconds of a time stamp before 1970, for one. */
export const integer: Shape<number> = scalar('an integer', Number.isSafeInteger)
/** A finite number: rates and ratios. */
export const real: Shape<number> = scalar('a finite number', Number.isFinite)

export function text(maxLength: number): Shape<string> {
  return {
    read: (wire, where) => {
      if (typeof wire !== 'string') bad(where, 'text')
      if (wire.length > maxLength) throw new Failure('TOO_LARGE', `${where} is longer than ${maxLength} characters`)
      return wire
    },
    write: same,
  }
}

export function bytes(maxLength: number): Shape<Uint8Array> {
  return {
    read: (wire, where) => {
      if (!(wire instanceof Uint8Array)) bad(where, 'bytes')
      if (wire.length > maxLength) throw new Failure('TOO_LARGE', `${where} is longer than ${maxLength} bytes`)
      return wire
    },
    write: same,
  }
}

export function oneOf<const T extends string>(...names: readonly T[]): Shape<T> {
  return {
    read: (wire, where) =>
      (typeof wire === 'number' ? names[wire] : undefined) ?? bad(where, `one of ${names.join(', ')}`),
    write: (value) => names.indexOf(value),
  }
}

/** `undefined` travels as null, or as nothing at a message's end. */
export function optional<T>(shape: Shape<T>): Shape<T | undefined> {
  return {
    read: (wire, where) => (wire === undefined || wire === null ? undefined : shape.read(wire, where)),
    write: (value) => (value === undefined ? null : shape.write(value)),
  }
}

export function list<T>(shape: Shape<T>, maxLength: number): Shape<readonly T[]> {
  return {
    read: (wire, where) => {
      if (!Array.isArray(wire)) bad(where, 'a list')
      if (wire.length > maxLength) throw new Failure('TOO_LARGE', `${where} has more than ${maxLength} items`)
      return wire.map((item) => shape.read(item, where))
    },
    write: (value) => value.map(shape.write),
  }
}

type Shaped<F> = { readonly [K in keyof F]: Of<F[K]> }

export function message<F extends { readonly [K in keyof F]: Shape<Of<F[K]>> }>(fields: F): Shape<Shaped<F>> {
  const names = Object.keys(fields)
  const shapes = Object.values(fields) as unknown as readonly Shape<unknown>[]
  return {
    read: (wire, where) => {
      if (!Array.isArray(wire)) bad(where, 'a message')
      const value: Record<string, unknown> = {}
      for (let i = 0; i < shapes.length; i++) value[names[i]!] = shapes[i]!.read(wire[i], `${where}.${names[i]}`)
      return value as Shaped<F>
    },
    write: (value) => {
      const wire = new Array<unknown>(shapes.length)
      for (let i = 0; i < shapes.length; i++) wire[i] = shapes[i]!.write((value as Record<string, unknown>)[names[i]!])
      return wire
    },
  }
}

export const nothing = message({})

/** A natural number that carries a brand. */
const branded = <T extends number>(): Shape<T> => natural() as unknown as Shape<T>

export const epochShape = branded<Epoch>()
export const sequenceShape = branded<Sequence>()
export const containerShape = branded<ContainerId>()
export const inodeShape = branded<Inode>()
export const clientShape = branded<ClientId>()
export const serverShape: Shape<ServerId> = scalar(
  'a server id (16 hexadecimal digits)',
  (wire) => typeof wire === 'string' && /^[0-9a-f]{16}$/.test(wire),
)
export const fidShape: Shape<Fid> = message({ container: containerShape, inode: inodeShape, generation: natural() })
/** `host:port`. */
export const addressShape: Shape<string> = scalar(
  'host:port',
  (wire) => typeof wire === 'string' && wire.length <= 261 && /^.+:\d{1,5}$/.test(wire),
)
/** One component of a path: any bytes but `/` and NUL; the directory decides on its length. */
export const nameShape: Shape<Uint8Array> = bytes(1024)
