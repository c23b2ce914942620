/**
 * A small language for claims about names: one call a line, `user verb arguments -> what it answers`.
 *
 * Paths are walked as root; the last step is the user's. `%xx` is a byte, `x*300` a name of 300 x. A line without an
 * arrow must succeed. An upper-case answer is a failure's code; others are what `stat`, `ls`, `read`, `access` print.
 */

import { queries } from '../../fileserver/names/operations.ts'
import { isFailure } from '../../protocol/failures.ts'
import type { Fid } from '../../protocol/ids.ts'
import type { Changes, Credentials, Kind } from '../../protocol/messages/attributes.ts'
import { access } from '../../protocol/messages/files.ts'
import { atTime, bytesOf, creation, noChanges, rightNow, root, rootFid, type World } from './world.ts'

const users: Readonly<Record<string, Credentials>> = {
  root,
  alice: { uid: 1000, gid: 1000, groups: [] },
  bob: { uid: 1001, gid: 1001, groups: [] },
  /** In the group of alice, and in 50. */
  carol: { uid: 1002, gid: 1002, groups: [1000, 50] },
}

const component = (name: string): string => {
  const long = /^(.)\*(\d+)$/.exec(name)
  return long
    ? long[1]!.repeat(Number(long[2]))
    : name.replaceAll(/%(..)/g, (_, byte) => String.fromCharCode(Number.parseInt(byte, 16)))
}

type Line = {
  readonly user: string
  readonly verb: string
  readonly given: readonly string[]
  readonly expected: string
}

/** Runs one line. @returns what it answered, in the language's own words */
async function answer(world: World, { user, verb, given }: Line): Promise<string> {
  const credentials = users[user]!
  const [path = '', second = '', third = '', fourth = ''] = given
  const names = (whole: string): string[] =>
    whole
      .split('/')
      .filter((name) => name !== '')
      .map(component)
  const walk = (parts: readonly string[]): Fid => parts.reduce((fid, name) => world.lookup(fid, name), rootFid)
  const place = (whole: string): { directory: Fid; name: string } => {
    const parts = names(whole)
    return { directory: walk(parts.slice(0, -1)), name: parts.at(-1) ?? '' }
  }
  const make = (kind: Kind, changes: Partial<Changes>, more: object = {}, data = ''): string => {
    const { directory, name } = place(path)
    const asked = { credentials, kind, changes: { ...noChanges, ...changes }, ...more }
    const { created } = world.do('create', creation(directory, name, asked), bytesOf(data))
    return created ? '' : 'existed'
  }
  const set = (changes: Partial<Changes>): string => {
    world.do('setattr', {
      fid: walk(names(path)),
      credentials,
      changes: { ...noChanges, ...changes },
      guard: undefined,
    })
    return ''
  }
  const mode = (octal: string) => (octal === '' ? {} : { mode: Number.parseInt(octal, 8) })
  switch (verb) {
    case 'mkdir':
      return make('directory', mode(second))
    case 'create':
      return make('file', mode(second), { how: third || 'guarded' }, fourth)
    case 'open-truncating':
      return make('file', { sizeBytes: 0 }, { how: 'unchecked' }, second)
    case 'create-as':
      return make('file', { mode: 0o644, uid: Number(second), gid: Number(third) })
    case 'symlink':
      return make('symlink', {}, { target: bytesOf(second) })
    case 'mknod':
      return make(second as Kind, mode(third), { major: 8, minor: 1 })
    case 'exclusive':
      return make('file', {}, { how: 'exclusive', verifier: bytesOf(second) })
    case 'remove':
    case 'rmdir': {
      const { directory, name } = place(path)
      world.do('remove', { directory, name: bytesOf(name), credentials, kind: verb === 'rmdir' ? 'directory' : 'file' })
      return ''
    }
    case 'rename': {
      const [from, to] = [place(path), place(second)]
      const ends = {
        source: from.directory,
        sourceName: bytesOf(from.name),
        target: to.directory,
        targetName: bytesOf(to.name),
      }
      world.do('rename', { ...ends, credentials, replace: third !== 'keep' })
      return ''
    }
    case 'link': {
      const { directory, name } = place(second)
      world.do('link', { fid: walk(names(path)), directory, name: bytesOf(name), credentials })
      return ''
    }
    case 'chmod':
      return set(mode(second))
    case 'chown':
      return set({ uid: second === '-' ? undefined : Number(second), gid: third === '' ? undefined : Number(third) })
    case 'truncate':
      return set({ sizeBytes: Number(second) })
    case 'touch':
      return set(
        second === 'now' ? { accessed: rightNow, modified: rightNow } : { modified: atTime(Number(second), 7) },
      )
    case 'write':
      world.do('write', { fid: walk(names(path)), offset: Number(second), stable: true }, bytesOf(third))
      return ''
    case 'read':
      return world.read(walk(names(path)), Number(second), Number(third)).replaceAll('\0', '.')
    case 'readlink':
      return Buffer.from(
        queries.readlink(world, { fid: walk(names(path)), credentials }, world.context).target,
      ).toString()
    case 'find': {
      const { directory, name } = place(path)
      world.lookup(directory, name, credentials)
      return ''
    }
    case 'ls': {
      const asked = { directory: walk(names(path)), credentials, cookie: 0, entriesMax: 100, withAttributes: false }
      const { entries } = await queries.readdir(world, asked, world.context)
      return entries
        .map(({ name }) => Buffer.from(name).toString('latin1'))
        .sort()
        .join(' ')
    }
    case 'access': {
      const { allowed } = queries.access(world, { fid: walk(names(path)), credentials }, world.context)
      return Object.entries(access)
        .filter(([, bit]) => (allowed & bit) !== 0)
        .map(([name]) => name)
        .join(' ')
    }
    case 'stat': {
      const { kind, mode: bits, links, uid, gid, sizeBytes } = world.attributes(walk(names(path)))
      return `${kind} ${bits.toString(8)} links=${links} ${uid}:${gid} ${sizeBytes}`
    }
    default:
      throw new Error(`no verb ${verb}`)
  }
}

/** @returns the lines that were answered otherwise than claimed; time goes on by a second with each line */
export async function differences(world: World, script: string): Promise<string[]> {
  const found: string[] = []
  for (const source of script
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')) {
    const [call = '', expected = ''] = source.split('->').map((part) => part.trim())
    const [user = '', verb = '', ...given] = call.split(/\s+/)
    world.tick()
    let answered: string
    try {
      answered = await answer(world, { user, verb, given, expected })
    } catch (error) {
      if (!isFailure(error)) throw error
      answered = error.failure
    }
    world.check()
    if (answered !== expected) found.push(`${source}   (answered: ${answered || 'done'})`)
  }
  return found
}
