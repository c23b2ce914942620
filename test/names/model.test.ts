/**
 * A random tree of names against a simple model of it: same answers, same failures, same tree.
 *
 * The model is a few objects that know POSIX and nothing of keys. The seeds are printed.
 */
import t from 'tap'
import { cookieMin, nameCookie } from '../../fileserver/names/directory.ts'
import type { Fid } from '../../protocol/ids.ts'
import { type Random, randomFrom } from './random.ts'
import { bytesOf, creation, noChanges, root, rootFid, World } from './world.ts'

type Node = {
  kind: 'file' | 'directory' | 'symlink'
  links: number
  content: string
  readonly entries: Map<string, Node>
  readonly fid: Fid
}

const node = (kind: Node['kind'], fid: Fid, content = ''): Node => ({
  kind,
  links: 1,
  content,
  entries: new Map(),
  fid,
})

const below = (top: Node): Node[] => [top, ...[...top.entries.values()].flatMap(below)]

class Pair {
  readonly top: Node = node('directory', rootFid)
  readonly world: World
  readonly #random: Random

  constructor(world: World, random: Random) {
    this.world = world
    this.#random = random
  }

  #pick = <T>(list: readonly T[]): T => list[this.#random(list.length)]!
  #directory = (): Node => this.#pick(below(this.top).filter(({ kind }) => kind === 'directory'))
  #name = (): string => `n${this.#random(5)}`

  /** One call on both. @returns a line that says what differed */
  step(): string | undefined {
    const call = this.#pick([
      this.#create,
      this.#create,
      this.#remove,
      this.#remove,
      this.#rename,
      this.#rename,
      this.#link,
      this.#write,
    ])
    this.world.tick(this.#random(2))
    return call()
  }

  #create = (): string | undefined => {
    const kind = this.#pick(['file', 'directory', 'directory', 'symlink'] as const)
    const [directory, name, content] = [this.#directory(), this.#name(), `${this.#random(1000)}`]
    const target = kind === 'symlink' ? bytesOf(content) : undefined
    const payload = kind === 'file' ? content : ''
    const asked = creation(directory.fid, name, { kind, target })
    const expected = directory.entries.has(name) ? 'EXISTS' : undefined
    if (expected) return this.#same(`create ${name}`, this.world.fails('create', asked, bytesOf(payload)), expected)
    const { fid } = this.world.do('create', asked, bytesOf(payload)).attributes
    directory.entries.set(name, node(kind, fid, kind === 'directory' ? '' : content))
    return undefined
  }

  #remove = (): string | undefined => {
    const [directory, name, kind] = [this.#directory(), this.#name(), this.#pick(['file', 'directory'] as const)]
    const victim = directory.entries.get(name)
    const expected = victim ? wrongVictim(victim, kind === 'directory') : 'NOT_FOUND'
    const asked = { directory: directory.fid, name: bytesOf(name), credentials: root, kind }
    const failed = this.world.fails('remove', asked)
    if (!expected) {
      directory.entries.delete(name)
      victim!.links--
    }
    return this.#same(`remove ${name}`, failed, expected)
  }

  #rename = (): string | undefined => {
    const [source, sourceName, target, targetName] = [this.#directory(), this.#name(), this.#directory(), this.#name()]
    const replace = this.#random(4) > 0
    const ends = {
      source: source.fid,
      sourceName: bytesOf(sourceName),
      target: target.fid,
      targetName: bytesOf(targetName),
    }
    const failed = this.world.fails('rename', { ...ends, credentials: root, replace })
    const moved = source.entries.get(sourceName)
    const over = target.entries.get(targetName)
    const expected = renameFailure(moved, over, target, replace)
    if (!expected && moved && moved !== over) {
      source.entries.delete(sourceName)
      target.entries.set(targetName, moved)
      if (over) over.links--
    }
    return this.#same(`rename ${sourceName} ${targetName}`, failed, expected)
  }

  #link = (): string | undefined => {
    const [object, directory, name] = [this.#pick(below(this.top)), this.#directory(), this.#name()]
    const asked = { fid: object.fid, directory: directory.fid, name: bytesOf(name), credentials: root }
    const failed = this.world.fails('link', asked)
    const expected = directory.entries.has(name) ? 'EXISTS' : object.kind === 'directory' ? 'NOT_OWNER' : undefined
    if (!expected) {
      directory.entries.set(name, object)
      object.links++
    }
    return this.#same(`link ${name}`, failed, expected)
  }

  #write = (): string | undefined => {
    const files = below(this.top).filter(({ kind }) => kind === 'file')
    if (files.length === 0) return undefined
    const [file, offset, text] = [this.#pick(files), this.#random(20), `${this.#random(1000)}`]
    if (this.#random(2) === 0) {
      const changes = { ...noChanges, sizeBytes: offset }
      this.world.do('setattr', { fid: file.fid, credentials: root, changes, guard: undefined })
      file.content = file.content.padEnd(offset, '\0').slice(0, offset)
    } else {
      this.world.do('write', { fid: file.fid, offset, stable: false }, bytesOf(text))
      const padded = file.content.padEnd(offset, '\0')
      file.content = padded.slice(0, offset) + text + padded.slice(offset + text.length)
    }
    return this.#same('bytes', this.world.read(file.fid, 0, 1000), file.content)
  }

  #same = (call: string, found: string | undefined, expected: string | undefined): string | undefined =>
    found === expected ? undefined : `${call}: ${found}, not ${expected}`

  /** Walks both trees. @returns what differs */
  async differences(): Promise<string[]> {
    const found: string[] = []
    for (const { kind, links, content, entries, fid } of below(this.top)) {
      const attributes = this.world.attributes(fid)
      const subdirectories = [...entries.values()].filter((entry) => entry.kind === 'directory').length
      if (attributes.kind !== kind) found.push(`kind of ${fid.inode}`)
      if (attributes.links !== (kind === 'directory' ? 2 + subdirectories : links)) found.push(`links of ${fid.inode}`)
      if (kind === 'file' && this.world.read(fid, 0, 1000) !== content) found.push(`bytes of ${fid.inode}`)
      if (kind !== 'directory') continue
      const names = (await this.world.list(fid, 2)).sort()
      if (names.join() !== [...entries.keys()].sort().join()) found.push(`names in ${fid.inode}: ${names}`)
      for (const [name, entry] of entries)
        if (this.world.lookup(fid, name).inode !== entry.fid.inode) found.push(`${name} in ${fid.inode}`)
    }
    return found
  }
}

function wrongVictim(victim: Node, asDirectory: boolean): string | undefined {
  if (asDirectory && victim.kind !== 'directory') return 'NOT_DIRECTORY'
  if (!asDirectory && victim.kind === 'directory') return 'IS_DIRECTORY'
  return victim.entries.size > 0 ? 'NOT_EMPTY' : undefined
}

function renameFailure(
  moved: Node | undefined,
  over: Node | undefined,
  target: Node,
  replace: boolean,
): string | undefined {
  if (!moved) return 'NOT_FOUND'
  if (over && !replace) return 'EXISTS'
  if (below(moved).includes(target)) return 'INVALID'
  return over && over !== moved ? wrongVictim(over, moved.kind === 'directory') : undefined
}

for (const seed of process.env.SEED ? [Number(process.env.SEED)] : [1, 2, 3, 4]) {
  t.test(`the tree and its model agree (seed ${seed})`, async (t) => {
    const crowded = { hash: (name: Uint8Array) => cookieMin + (nameCookie(name) % 2) }
    const pair = new Pair(World.formatted(seed % 2 === 0 ? crowded : {}), randomFrom(seed))
    for (let step = 0; step < 1500; step++) {
      const wrong = pair.step()
      if (wrong) t.fail(`step ${step}: ${wrong}`)
      if (step % 50 !== 0) continue
      pair.world.check()
      t.strictSame(await pair.differences(), [])
    }
    t.comment(`${below(pair.top).length} objects in the end`)
  })
}
