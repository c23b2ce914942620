/**
 * The entries of a directory: a hash table in the key space, in order of cookie.
 *
 * Pure. A name's home is its 53-bit hash; a name that finds its home taken goes to the next free cookie. Invariant: from
 * a name's home to where it stands, every cookie has a value. So an entry that goes leaves a `vacant` marker while the
 * next cookie has a value, and takes the markers just before it along when not: an empty directory has no keys.
 * An entry never moves, so its cookie is good for as long as the name stands.
 *
 * Value: kind + 1 (1 byte), generation (4), inode (8), name; of a marker one byte 0.
 */
import { Failure } from '../../protocol/failures.ts'
import { hash64 } from '../../protocol/hash.ts'
import type { Inode } from '../../protocol/ids.ts'
import { type Kind, nameBytesMax } from '../../protocol/messages/attributes.ts'
import { kindNumber, kindOf } from './inode.ts'
import { endsWith, entryKey, get32, get64, put32, put64 } from './keys.ts'
import type { Draft, NameContext, Reader } from './mutation.ts'

/** Names that may share a home before a directory counts as full for them: bounds what crafted names can cost. */
const probesMax = 256
/** NFS keeps the cookies below for itself and for `.` and `..`. */
export const cookieMin = 16
const cookieMax = Number.MAX_SAFE_INTEGER - probesMax
const headBytes = 13
const vacant: Uint8Array = Buffer.from([0])

export type Entry = { readonly inode: Inode; readonly generation: number; readonly kind: Kind }
export type NamedEntry = Entry & { readonly name: Uint8Array }

/** Where a name stands, or would. */
export type Place = {
  /** Undefined when there is none free. */
  readonly cookie: number | undefined
  readonly entry: Entry | undefined
  /** The cookie has no value at all. */
  readonly fresh: boolean
}

export const nameCookie = (name: Uint8Array): number =>
  Math.min(Math.max(Number(hash64(name) >> 11n), cookieMin), cookieMax)

const isDot = (name: Uint8Array): boolean => name.length === 1 && name[0] === 0x2e
const isDotDot = (name: Uint8Array): boolean => name.length === 2 && name[0] === 0x2e && name[1] === 0x2e

/** @returns which of the names that every directory has this is; else `undefined`. @throws Failure INVALID, NAME_TOO_LONG */
export function checkName(name: Uint8Array): 'self' | 'parent' | undefined {
  if (name.length > nameBytesMax) throw new Failure('NAME_TOO_LONG', `${name.length} bytes`)
  if (name.length === 0) throw new Failure('INVALID', 'an empty name')
  if (name.includes(0x2f) || name.includes(0)) throw new Failure('INVALID', 'a name with / or NUL')
  if (isDot(name)) return 'self'
  return isDotDot(name) ? 'parent' : undefined
}

function encodeEntry(name: Uint8Array, entry: Entry): Uint8Array {
  const bytes = Buffer.allocUnsafe(headBytes + name.length)
  bytes[0] = kindNumber(entry.kind) + 1
  put32(bytes, entry.generation, 1)
  put64(bytes, entry.inode, 5)
  bytes.set(name, headBytes)
  return bytes
}

const entryOf = (value: Uint8Array): Entry => ({
  kind: kindOf(value[0]! - 1),
  generation: get32(value, 1),
  inode: get64(value, 5) as Inode,
})

/** @returns the entry, or `undefined` for a marker; the name shares the value's bytes */
export function decodeEntry(value: Uint8Array): NamedEntry | undefined {
  return value[0] === 0 ? undefined : { ...entryOf(value), name: value.subarray(headBytes) }
}

export function find(view: Reader, directory: Inode, name: Uint8Array, context: NameContext): Place {
  const home = (context.hash ?? nameCookie)(name)
  let free: number | undefined
  for (let cookie = home; cookie < home + probesMax; cookie++) {
    const value = view.get(entryKey(directory, cookie))
    if (value === undefined) return { cookie: free ?? cookie, entry: undefined, fresh: free === undefined }
    if (value[0] === 0) free ??= cookie
    else if (endsWith(value, headBytes, name)) return { cookie, entry: entryOf(value), fresh: false }
  }
  return { cookie: free, entry: undefined, fresh: false }
}

/** Puts the entry where `find` said, over one of the same name. @throws Failure NO_SPACE */
export function enter(draft: Draft, directory: Inode, place: Place, name: Uint8Array, entry: Entry): void {
  if (place.cookie === undefined) throw new Failure('NO_SPACE', `${probesMax} names of the directory share a hash`)
  draft.put(entryKey(directory, place.cookie), encodeEntry(name, entry), place.fresh)
}

/** Takes out the entry that stands at `cookie`. */
export function leave(draft: Draft, directory: Inode, cookie: number): void {
  const key = entryKey(directory, cookie)
  if (draft.get(entryKey(directory, cookie + 1)) !== undefined) {
    draft.put(key, vacant)
    return
  }
  draft.delete(key)
  for (let before = cookie - 1; ; before--) {
    const marker = entryKey(directory, before)
    if (draft.get(marker)?.[0] !== 0) return
    draft.delete(marker)
  }
}
