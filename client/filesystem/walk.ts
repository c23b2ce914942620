/**
 * From paths to fids: volumes by their mount paths, names one by one, symlinks, `.` and `..`.
 *
 * A path's last name is always looked up. The directory that holds it is remembered for `freshMs`, and what is
 * remembered is checked by its use: when a call on it fails in a way that a moved or removed directory could explain,
 * it is forgotten and the path walked again. Removals and renames by this client forget at once what they touch. What
 * is left: within `freshMs`, a path may still lead into a directory that another client has just moved elsewhere.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import { containerId, type Fid, formatFid, inode } from '../../protocol/ids.ts'
import type { Attributes, Credentials, Volume } from '../../protocol/messages/attributes.ts'
import type { Operations } from '../operations.ts'
import { unless } from './path-failure.ts'
import { byteString, bytesOf, isRelative, namesOf, type Path, target } from './paths.ts'

const freshMs = 1000
const rememberedMax = 1024
/** As Linux. */
const linksMax = 40

/** A directory that a walk came to. `fid` is absent above the mount paths of all volumes; `path` has no symlinks in it. */
export type Place = { readonly path: string; readonly fid: Fid | undefined; readonly up: Place | undefined }

/** Where a path leads. Without `attributes` there is nothing of that name in `parent`. */
export type Found = {
  readonly parent: Place
  readonly name: string
  readonly attributes: Attributes | undefined
}

type Mounts = {
  readonly volumes: readonly Volume[]
  readonly roots: ReadonlyMap<string, Fid>
  /** Paths above a volume's, each with the names below it. */
  readonly above: ReadonlyMap<string, ReadonlySet<string>>
}

/** One step of a walk: a directory is a place; at a volume's root its attributes have not been asked for. */
type Step = { readonly place: Place | undefined; readonly attributes: Attributes | undefined }

type Remembered = { readonly place: Promise<Place>; readonly untilMs: number }
type Budget = { links: number }

export class Walk {
  readonly #operations: Operations
  readonly #caller: Credentials
  readonly #remembered = new Map<string, Remembered>()
  /** Every directory entry that a remembered walk went through. */
  readonly #steps = new Set<string>()
  #mounts: Mounts = { volumes: [], roots: new Map(), above: new Map() }

  constructor(operations: Operations, caller: Credentials) {
    this.#operations = operations
    this.#caller = caller
  }

  /** Runs an operation on the last name of `path` and the directory that holds it; symlinks before it are followed. */
  async at<T>(path: Path, run: (directory: Fid, name: Buffer) => Promise<T>): Promise<T> {
    const { parent, name } = target(path)
    if (isRelative(name)) throw new Failure('INVALID', 'the path ends in no name')
    return await this.#checked(parent, (place) => run(this.#holder(place, name), bytesOf(name)))
  }

  /** Looks `path` up; `follow`: also through a symlink at its end. A dangling one gives the place where its target would be. */
  async find(path: Path, follow: boolean): Promise<Found> {
    const { parent, name, slash } = target(path)
    return await this.#checked(
      parent,
      (place) => this.#find(place, name, follow, slash),
      (found) => found.attributes === undefined,
    )
  }

  /** Like `find`, and NOT_FOUND when there is nothing. */
  async existing(path: Path, follow: boolean): Promise<Attributes> {
    const { attributes } = await this.find(path, follow)
    if (attributes === undefined) throw new Failure('NOT_FOUND', 'no such file or directory')
    return attributes
  }

  /** Where a directory of `found` is to be made or changed. */
  holder({ parent, name }: Found): Fid {
    return this.#holder(parent, name)
  }

  /** To be called when this client removed or moved the entry. */
  forget(directory: Fid, name: Uint8Array): void {
    if (this.#steps.has(step(directory, byteString(name)))) this.#forgetAll()
  }

  /** Names below a path that is above the volumes' own; undefined where it is none. */
  above({ parent, name }: Found): ReadonlySet<string> | undefined {
    return this.#mounts.above.get(isRelative(name) ? parent.path : `${parent.path}/${name}`)
  }

  #forgetAll(): void {
    this.#remembered.clear()
    this.#steps.clear()
  }

  #holder(place: Place, name: string): Fid {
    const path = `${place.path}/${name}`
    if (this.#mounts.roots.has(path) || this.#mounts.above.has(path))
      throw new Failure('EXISTS', 'a volume is mounted there')
    if (place.fid === undefined) throw new Failure('READ_ONLY', 'no volume is mounted there')
    return place.fid
  }

  /** Runs with the directory `parent`; again with a fresh walk when the remembered one may be why it failed. */
  async #checked<T>(parent: string, run: (place: Place) => Promise<T>, doubtful?: (result: T) => boolean): Promise<T> {
    const remembered = this.#remembered.get(parent)
    if (remembered !== undefined && performance.now() < remembered.untilMs) {
      try {
        const result = await run(await remembered.place)
        if (doubtful === undefined || !doubtful(result)) return result
      } catch (error) {
        if (!isFailure(error, 'STALE', 'NOT_FOUND', 'NOT_DIRECTORY')) throw error
      }
      if (this.#remembered.get(parent) === remembered) this.#remembered.delete(parent)
    }
    return await run(await this.#remember(parent))
  }

  /** Those that come during a walk share it. */
  #remember(parent: string): Promise<Place> {
    if (this.#remembered.size >= rememberedMax || this.#steps.size >= rememberedMax * 8) this.#forgetAll()
    const place = this.#root().then((root) => this.#walk(root, namesOf(parent), { links: 0 }))
    const remembered = { place, untilMs: performance.now() + freshMs }
    this.#remembered.set(parent, remembered)
    const forget = (): void => {
      if (this.#remembered.get(parent) === remembered) this.#remembered.delete(parent)
    }
    // Above the volumes nothing is remembered: a new one is to be seen at once.
    place.then(({ fid }) => fid === undefined && forget(), forget)
    return place
  }

  async #root(): Promise<Place> {
    const volumes = await this.#operations.volumes()
    if (volumes !== this.#mounts.volumes) this.#mounts = mountsOf(volumes)
    return { path: '', fid: this.#mounts.roots.get(''), up: undefined }
  }

  async #walk(start: Place, names: readonly string[], budget: Budget): Promise<Place> {
    let place = start
    for (const name of names) {
      if (name === '.') continue
      if (name === '..') {
        place = place.up ?? place
        continue
      }
      if (place.fid !== undefined) this.#steps.add(step(place.fid, name))
      const next = await this.#step(place, name)
      if (next.place !== undefined) place = next.place
      else if (next.attributes?.kind === 'symlink') {
        const { start, names } = await this.#follow(place, next.attributes.fid, budget)
        place = await this.#walk(start, names, budget)
      } else throw new Failure('NOT_DIRECTORY', `${JSON.stringify(name)} is not a directory`)
    }
    return place
  }

  async #step(place: Place, name: string): Promise<Step> {
    const path = `${place.path}/${name}`
    const root = this.#mounts.roots.get(path)
    if (root !== undefined) return { place: { path, fid: root, up: place }, attributes: undefined }
    const above = this.#mounts.above.has(path)
      ? { place: { path, fid: undefined, up: place }, attributes: aboveVolumes }
      : undefined
    if (place.fid === undefined) {
      if (above === undefined) throw new Failure('NOT_FOUND', 'no volume is mounted there')
      return above
    }
    let attributes: Attributes
    try {
      attributes = (await this.#operations.lookup(this.#caller, place.fid, bytesOf(name))).attributes
    } catch (error) {
      // A volume within another need not have a directory there.
      if (above !== undefined && isFailure(error, 'NOT_FOUND')) return above
      throw error
    }
    const directory = attributes.kind === 'directory' ? { path, fid: attributes.fid, up: place } : undefined
    return { place: directory, attributes }
  }

  async #follow(place: Place, link: Fid, budget: Budget): Promise<{ start: Place; names: string[] }> {
    if (++budget.links > linksMax) throw new Failure('LOOP', 'too many symbolic links')
    const { target } = await this.#operations.readlink(this.#caller, link)
    const text = byteString(target)
    const names = namesOf(text)
    // What follows a slash at the end must be a directory, which `.` says as well.
    if (text.endsWith('/')) names.push('.')
    return { start: text.startsWith('/') ? await this.#root() : place, names }
  }

  async #find(place: Place, name: string, follow: boolean, slash: boolean): Promise<Found> {
    const budget = { links: 0 }
    for (;;) {
      if (isRelative(name)) {
        const here = name === '..' ? (place.up ?? place) : place
        return { parent: here, name: '.', attributes: await this.#attributes(here) }
      }
      const next = await unless(this.#step(place, name), ['NOT_FOUND'], () => undefined)
      if (next === undefined) return { parent: place, name, attributes: undefined }
      if (next.place !== undefined)
        return { parent: place, name, attributes: next.attributes ?? (await this.#attributes(next.place)) }
      const { attributes } = next
      if (attributes?.kind !== 'symlink' || !(follow || slash)) {
        if (slash) throw new Failure('NOT_DIRECTORY', 'a path that ends in a slash must be a directory')
        return { parent: place, name, attributes }
      }
      const { start, names } = await this.#follow(place, attributes.fid, budget)
      name = names.pop() ?? ''
      place = await this.#walk(start, names, budget)
    }
  }

  async #attributes({ fid }: Place): Promise<Attributes> {
    return fid === undefined ? aboveVolumes : await this.#operations.getattr(fid)
  }
}

const step = (directory: Fid, name: string): string => `${formatFid(directory)}/${name}`

function mountsOf(volumes: readonly Volume[]): Mounts {
  const roots = new Map<string, Fid>()
  const above = new Map<string, Set<string>>([['', new Set()]])
  for (const { mountPath, root } of volumes) {
    const names = namesOf(byteString(mountPath))
    roots.set(names.map((name) => `/${name}`).join(''), root)
    let path = ''
    for (const name of names) {
      const below = above.get(path) ?? new Set()
      above.set(path, below.add(name))
      path += `/${name}`
    }
  }
  return { volumes, roots, above }
}

const epochStart = { seconds: 0, nanoseconds: 0 }

/** A directory that is only part of a volume's mount path: everybody may read it, nobody change it. */
const aboveVolumes: Attributes = {
  fid: { container: containerId(0), inode: inode(0), generation: 0 },
  kind: 'directory',
  mode: 0o555,
  links: 2,
  uid: 0,
  gid: 0,
  sizeBytes: 0,
  usedBytes: 0,
  major: 0,
  minor: 0,
  accessed: epochStart,
  modified: epochStart,
  changed: epochStart,
  chunkBytes: 0,
  cut: 0,
  trimmed: 0,
}
