/**
 * Flags of `open`, in Node.js's words ('r', 'wx+', …) or as the numbers of `fs.constants`.
 *
 * Pure.
 */
import { constants } from 'node:fs'
import { Failure } from '../../protocol/failures.ts'

export type Flags = {
  readonly read: boolean
  readonly write: boolean
  readonly append: boolean
  readonly create: boolean
  readonly exclusive: boolean
  readonly truncate: boolean
  /** Only a directory will do. */
  readonly directory: boolean
  /** A symlink is an error, not a way. */
  readonly noFollow: boolean
  /** Each write is durable when it returns. */
  readonly sync: boolean
}

const { O_RDWR, O_WRONLY, O_APPEND, O_CREAT, O_EXCL, O_TRUNC, O_DIRECTORY, O_NOFOLLOW, O_DSYNC } = constants

const none: Flags = {
  read: false,
  write: false,
  append: false,
  create: false,
  exclusive: false,
  truncate: false,
  directory: false,
  noFollow: false,
  sync: false,
}

const words: { readonly [word: string]: Partial<Flags> } = {
  r: {},
  w: { write: true, create: true, truncate: true },
  a: { write: true, create: true, append: true },
}

/** @throws Failure INVALID for flags that `fs.open` does not know. */
export function parseFlags(flags: string | number): Flags {
  if (typeof flags === 'number') return fromBits(flags)
  const match = /^(?<word>[rwa])(?<rest>[xs+]{0,3})$/.exec(flags)
  const word = match?.groups?.word ?? ''
  const rest = match?.groups?.rest ?? ''
  const repeated = new Set(rest).size !== rest.length
  if (match === null || repeated || (rest.includes('x') && word === 'r') || (rest.includes('s') && word === 'w'))
    throw new Failure('INVALID', `no such flags of open: ${flags}`)
  const both = rest.includes('+')
  return {
    ...none,
    ...words[word],
    read: word === 'r' || both,
    ...(both ? { write: true } : {}),
    exclusive: rest.includes('x'),
    sync: rest.includes('s'),
  }
}

function fromBits(bits: number): Flags {
  if (!Number.isInteger(bits) || bits < 0)
    throw new Failure('INVALID', `flags of open must be a natural number: ${bits}`)
  const has = (bit: number): boolean => (bits & bit) === bit
  return {
    read: !has(O_WRONLY),
    write: has(O_WRONLY) || has(O_RDWR),
    append: has(O_APPEND),
    create: has(O_CREAT),
    exclusive: has(O_CREAT | O_EXCL),
    truncate: has(O_TRUNC),
    directory: has(O_DIRECTORY),
    noFollow: has(O_NOFOLLOW),
    sync: has(O_DSYNC),
  }
}
