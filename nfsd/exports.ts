/**
 * The exports file: which paths of the global namespace which clients may mount, and with what rights.
 *
 * Pure. One export per line, after exports(5):
 *
 *   PATH CLIENT[,CLIENT...][(option,...)] ...
 *
 * A client is an IPv4 or IPv6 address, a CIDR range, or `*`. The first rule of a line that matches a client counts.
 * A handle names its export by a hash of the path, so it is valid on every gateway that has the export, and each
 * access checks the client again.
 */
import { BlockList, isIP } from 'node:net'
import { Failure } from '../protocol/failures.ts'
import { hash64 } from '../protocol/hash.ts'
import type { Credentials } from '../protocol/messages/attributes.ts'

const nobody = 65534
const uidMax = 0xffffffff
/** Decisions kept per client and export; thrown away together when there are more. */
const decisionsMax = 16_384

export type Rights = {
  readonly writable: boolean
  /** Whom the anonymous identity replaces: nobody, uid and gid 0, or everyone. */
  readonly squash: 'none' | 'root' | 'all'
  readonly anonymousUid: number
  readonly anonymousGid: number
}

type Rule = { readonly client: string; readonly matches: (address: string) => boolean; readonly rights: Rights }

export type Export = {
  /** 52 bits of the path's hash. */
  readonly id: number
  /** Absolute, without trailing slash (but `/`). */
  readonly path: string
  readonly rules: readonly Rule[]
}

export class Exports {
  readonly list: readonly Export[]
  readonly #byId: ReadonlyMap<number, Export>
  readonly #decisions = new Map<string, Rights | undefined>()

  constructor(list: readonly Export[]) {
    this.list = list
    this.#byId = new Map(list.map((item) => [item.id, item]))
  }

  /** @returns the export with the longest path that is `path` or above it. */
  find(path: string): Export | undefined {
    let best: Export | undefined
    for (const item of this.list)
      if (contains(item.path, path) && item.path.length >= (best?.path.length ?? 0)) best = item
    return best
  }

  get(id: number): Export | undefined {
    return this.#byId.get(id)
  }

  /** @returns what `address` may do with the export; `undefined` when nothing. */
  rights(item: Export, address: string): Rights | undefined {
    const key = `${item.id} ${address}`
    const known = this.#decisions.get(key)
    if (known !== undefined || this.#decisions.has(key)) return known
    const rights = item.rules.find((rule) => rule.matches(address))?.rights
    if (this.#decisions.size >= decisionsMax) this.#decisions.clear()
    this.#decisions.set(key, rights)
    return rights
  }
}

/** Whether `path` is `directory` or below it; both normalised. */
export const contains = (directory: string, path: string): boolean =>
  directory === '/' || path === directory || path.startsWith(`${directory}/`)

/** @returns the path without double and trailing slashes; `undefined` when it is not absolute or has `.` or `..` in it. */
export function normalPath(path: string): string | undefined {
  if (!path.startsWith('/') || path.includes('\0')) return undefined
  const parts = path.split('/').filter((part) => part !== '')
  if (parts.some((part) => part === '.' || part === '..')) return undefined
  return `/${parts.join('/')}`
}

/** @returns who `credentials` (absent: AUTH_NONE) are under `rights`. */
export function squash(rights: Rights, credentials: Credentials | undefined): Credentials {
  const { anonymousUid, anonymousGid } = rights
  if (credentials === undefined || rights.squash === 'all') return { uid: anonymousUid, gid: anonymousGid, groups: [] }
  const { uid, gid, groups } = credentials
  if (rights.squash === 'none' || (uid !== 0 && gid !== 0 && !groups.includes(0))) return credentials
  return {
    uid: uid === 0 ? anonymousUid : uid,
    gid: gid === 0 ? anonymousGid : gid,
    groups: groups.map((group) => (group === 0 ? anonymousGid : group)),
  }
}

/** @throws Failure INVALID naming `file`, the line and what is wrong with it. */
export function parseExports(text: string, file: string): Exports {
  const exports = new Map<string, { path: string; rules: Rule[] }>()
  text.split('\n').forEach((line, index) => {
    const fail = (problem: string): never => {
      throw new Failure('INVALID', `${file}, line ${index + 1}: ${problem}`)
    }
    const parsed = parseLine(line, fail)
    if (parsed === undefined) return
    const known = exports.get(parsed.path)
    if (known === undefined) exports.set(parsed.path, { path: parsed.path, rules: [...parsed.rules] })
    else known.rules.push(...parsed.rules)
  })
  return new Exports([...exports.values()].map(({ path, rules }) => ({ id: exportId(path), path, rules })))
}

/** Below 2^52, so that it is a safe integer. */
const exportId = (path: string): number => Number(hash64(Buffer.from(path)) >> 12n)

type Fail = (problem: string) => never

function parseLine(line: string, fail: Fail): { path: string; rules: Rule[] } | undefined {
  const match = /^\s*(?:"([^"]*)"|([^\s"#]+))(?:\s+([^#]*))?(?:#.*)?$/.exec(line)
  if (match === null) return /^\s*(#.*)?$/.test(line) ? undefined : fail('it should read: PATH CLIENT(options) ...')
  const given = match[1] ?? match[2] ?? ''
  const path = normalPath(given) ?? fail(`${given} is not an absolute path without "." and ".."`)
  const words = (match[3] ?? '').split(/\s+/).filter((word) => word !== '')
  if (words.length === 0) fail(`${path} has no clients; write * for everyone`)
  return { path, rules: words.flatMap((word) => parseRules(word, fail)) }
}

function parseRules(word: string, fail: Fail): Rule[] {
  const match = /^([^()]+)(?:\(([^()]*)\))?$/.exec(word)
  if (match === null) return fail(`"${word}" should read CLIENT or CLIENT(options), without blanks`)
  const rights = parseOptions(match[2] ?? '', fail)
  return match[1]!.split(',').map((client) => ({ client, matches: parseClient(client, fail), rights }))
}

function parseOptions(text: string, fail: Fail): Rights {
  let rights: Rights = { writable: false, squash: 'root', anonymousUid: nobody, anonymousGid: nobody }
  for (const option of text.split(',').filter((part) => part !== '')) {
    const [name, value] = option.split('=', 2)
    if (name === 'anonuid' || name === 'anongid') {
      const number = /^\d+$/.test(value ?? '') ? Number(value) : Number.NaN
      if (!(number <= uidMax)) fail(`${name} must be a number from 0 to ${uidMax}, not "${value ?? ''}"`)
      rights = { ...rights, [name === 'anonuid' ? 'anonymousUid' : 'anonymousGid']: number }
    } else rights = { ...rights, ...(Object.hasOwn(plain, option) ? plain[option] : fail(unknown(option))) }
  }
  return rights
}

const plain: Readonly<Record<string, Partial<Rights>>> = {
  rw: { writable: true },
  ro: { writable: false },
  root_squash: { squash: 'root' },
  no_root_squash: { squash: 'none' },
  all_squash: { squash: 'all' },
}

const unknown = (option: string): string =>
  `unknown option "${option}"; known are ${Object.keys(plain).join(', ')}, anonuid=, anongid=`

function parseClient(client: string, fail: Fail): (address: string) => boolean {
  if (client === '*') return () => true
  const [address = '', prefix, ...more] = client.split('/')
  const family = isIP(address)
  const bits = family === 4 ? 32 : 128
  const length = prefix === undefined ? bits : /^\d+$/.test(prefix) ? Number(prefix) : Number.NaN
  if (family === 0 || more.length > 0 || !(length <= bits))
    fail(`"${client}" is not an IP address, a range such as 10.0.0.0/8 or 2001:db8::/32, or *`)
  const list = new BlockList()
  list.addSubnet(address, length, family === 4 ? 'ipv4' : 'ipv6')
  return (candidate) => {
    const kind = isIP(candidate)
    return kind !== 0 && list.check(candidate, kind === 4 ? 'ipv4' : 'ipv6')
  }
}
