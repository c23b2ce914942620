/**
 * Paths as programs give them, and the names of which they are made.
 *
 * Pure. Names are bytes. Inside the SDK they are byte strings: one character for each byte (latin1), so that they
 * can be keys and be split like any text; an ASCII name is its own byte string.
 */
import { Failure } from '../../protocol/failures.ts'

/** Absolute. A string stands for its UTF-8 bytes. */
export type Path = string | Uint8Array

const ascii = /^[ -~]*$/

export function byteString(text: string | Uint8Array): string {
  if (typeof text === 'string') return ascii.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1')
  return Buffer.from(text.buffer, text.byteOffset, text.byteLength).toString('latin1')
}

export const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1')

/** For people and for `fs.Dirent`: bytes that are not UTF-8 become U+FFFD. */
export const textOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')

/** `parent` and `name` are byte strings; `slash` says that slashes followed the name, so that it must be a directory's. */
export type Target = { readonly parent: string; readonly name: string; readonly slash: boolean }

/**
 * @returns the last name of `path` ('' at the root) and the path before it.
 * @throws Failure INVALID for a path that is not absolute or holds NUL.
 */
export function target(path: Path): Target {
  const text = byteString(path)
  if (!text.startsWith('/')) throw new Failure('INVALID', 'a path must be absolute')
  if (text.includes('\0')) throw new Failure('INVALID', 'a path must not hold NUL')
  let end = text.length
  while (end > 0 && text.charCodeAt(end - 1) === slashCode) end--
  const start = text.lastIndexOf('/', end - 1) + 1
  return { parent: text.slice(0, start), name: text.slice(start, end), slash: end < text.length }
}

const slashCode = 0x2f

/** The names of a byte string's path, in order; empty ones left out. */
export const namesOf = (text: string): string[] => text.split('/').filter((name) => name !== '')

/** Names that lead somewhere but name no entry of a directory. */
export const isRelative = (name: string): boolean => name === '' || name === '.' || name === '..'
