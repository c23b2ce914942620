/**
 * A container's state in memory, for driving the pure operations as a fileserver would.
 *
 * It applies changes as a replica does, file bytes included, and checks on the way what every replica relies on: `fresh`
 * is true, and a repeated call answers what the first one did.
 */
import { deepStrictEqual, doesNotThrow, ok } from 'node:assert/strict'
import type { Change, View } from '../../fileserver/index/changes.ts'
import { decodeEntry } from '../../fileserver/names/directory.ts'
import { decodeInode, fidOf } from '../../fileserver/names/inode.ts'
import { get64, inodeKey, inodeOfKey, nextInodeKey } from '../../fileserver/names/keys.ts'
import type { Reply, Request } from '../../fileserver/names/mutation.ts'
import { format, type MapContext, mutations, orphanOf, queries, reclaimed } from '../../fileserver/names/operations.ts'
import { isFailure } from '../../protocol/failures.ts'
import { type ContainerId, containerId, type Fid, type Inode } from '../../protocol/ids.ts'
import type { Attributes, Changes, Credentials, NewTime, Time } from '../../protocol/messages/attributes.ts'

export const container = containerId(5)
export const rootFid: Fid = fidOf(container, 1 as Inode)
export const chunkBytes = 1024 * 1024

export const noChanges: Changes = {
  mode: undefined,
  uid: undefined,
  gid: undefined,
  sizeBytes: undefined,
  accessed: undefined,
  modified: undefined,
}
export const atTime = (seconds: number, nanoseconds = 0): NewTime => ({ now: false, time: { seconds, nanoseconds } })
export const rightNow: NewTime = { now: true, time: { seconds: 0, nanoseconds: 0 } }

export const root: Credentials = { uid: 0, gid: 0, groups: [] }
export const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1')

const text = (key: Uint8Array): string => Buffer.from(key).toString('latin1')

export type Mutations = typeof mutations
export type Name = keyof Mutations
/** `ticket` and `sums` are the driver's affair: the operations never look. */
export type Asked<N extends Name> = Omit<Request<N>, 'ticket' | 'sums'>

export class World implements View {
  readonly values = new Map<string, Uint8Array>()
  readonly objects = new Map<string, Buffer>()
  readonly context: { -readonly [K in keyof MapContext]: MapContext[K] }
  /** How many changes the last record had. */
  lastLength = 0

  constructor(context: Partial<MapContext> = {}) {
    this.context = {
      container,
      volume: { chunkBytes },
      now: { seconds: 1000, nanoseconds: 0 },
      dataContainers: [containerId(101), containerId(102), containerId(103)],
      random: 0,
      ...context,
    }
  }

  static formatted(context: Partial<MapContext> = {}): World {
    const world = new World(context)
    world.apply(format(world.context), noPayload)
    return world
  }

  get = (key: Uint8Array): Uint8Array | undefined => this.values.get(text(key))

  scan = async (from: Uint8Array, to: Uint8Array, limit: number) => {
    const [low, high] = [text(from), text(to)]
    const keys = [...this.values.keys()].filter((key) => key >= low && key < high).sort()
    return keys.slice(0, limit).map((key) => ({ key: bytesOf(key), value: this.values.get(key)! }))
  }

  apply(changes: readonly Change[], payload: Uint8Array): void {
    this.lastLength = changes.length
    for (const change of changes) {
      switch (change.type) {
        case 'put':
          ok(!(change.fresh && this.get(change.key)), 'a fresh key has no value')
          this.values.set(text(change.key), Buffer.from(change.value))
          break
        case 'delete':
          this.values.delete(text(change.key))
          break
        case 'extent': {
          const { offset, length, payloadOffset } = change
          const object = this.#object(change.object, offset + length)
          object.set(payload.subarray(payloadOffset, payloadOffset + length), offset)
          break
        }
        case 'punch':
          this.#object(change.object, 0).subarray(change.from, change.to).fill(0)
      }
    }
  }

  #object(name: Uint8Array, sizeBytes: number): Buffer {
    const had = this.objects.get(text(name)) ?? Buffer.alloc(0)
    const object = had.length >= sizeBytes ? had : Buffer.concat([had, Buffer.alloc(sizeBytes - had.length)])
    this.objects.set(text(name), object)
    return object
  }

  /** The bytes of an object, with zeros where it has none. */
  bytes(object: Uint8Array, offset: number, length: number): Buffer {
    return Buffer.from(this.#object(object, offset + length).subarray(offset, offset + length))
  }

  /** Performs and applies. @throws Failure, and then nothing has changed */
  do<N extends Name>(name: N, asked: Asked<N>, payload: Uint8Array = noPayload): Reply<N> {
    const mutation = mutations[name] as unknown as {
      perform: (...given: unknown[]) => { changes: readonly Change[]; reply: Reply<N>; result: number }
      repeat: (...given: unknown[]) => Reply<N>
    }
    const { changes, reply, result } = mutation.perform(this, asked, payload.length, this.context)
    ok(Number.isSafeInteger(result) && result >= 0, 'the result fits the retry table')
    this.apply(changes, payload)
    deepStrictEqual(
      lasting(mutation.repeat(this, asked, result, this.context)),
      lasting(reply),
      'a repeat answers alike',
    )
    const gone = { get: () => undefined }
    if (name !== 'map') doesNotThrow(() => mutation.repeat(gone, asked, result, this.context), 'also of what has gone')
    return reply
  }

  /** The failure's code, or `undefined` when it went well. */
  fails<N extends Name>(name: N, asked: Asked<N>, payload: Uint8Array = noPayload): string | undefined {
    return codeOf(() => this.do(name, asked, payload))
  }

  create(
    directory: Fid,
    name: string,
    more: Partial<Asked<'create'>> = {},
    payload: Uint8Array = noPayload,
  ): Attributes {
    return this.do('create', creation(directory, name, more), payload).attributes
  }

  lookup(directory: Fid, name: string, credentials: Credentials = root): Fid {
    return queries.lookup(this, { directory, name: bytesOf(name), credentials }, this.context).attributes.fid
  }

  attributes(fid: Fid): Attributes {
    return queries.getattr(this, { fid }, this.context).attributes
  }

  read(fid: Fid, offset: number, length: number): string {
    const range = queries.read(this, { fid, offset, length }, this.context)
    return this.bytes(range.object, range.offset, range.length).toString('latin1')
  }

  /** All names, by pages of `entriesMax`. */
  async list(directory: Fid, entriesMax = 4096): Promise<string[]> {
    const names: string[] = []
    for (let cookie = 0, end = false; !end; ) {
      const asked = { directory, credentials: root, cookie, entriesMax, withAttributes: true }
      const page = await queries.readdir(this, asked, this.context)
      names.push(...page.entries.map(({ name }) => text(name)))
      end = page.end
      cookie = page.entries.at(-1)?.cookie ?? cookie
    }
    return names
  }

  tick(seconds = 1): Time {
    const { now } = this.context
    this.context.now = { ...now, seconds: now.seconds + seconds }
    return this.context.now
  }

  /** Has the chunks trimmed of everything that one file cut off; `inContainer` is told each trim. */
  async reclaim(
    fid: Fid,
    inContainer: (container: ContainerId, index: number, keepBytes: number, cut: number) => void,
  ): Promise<void> {
    for (let orphan = await orphanOf(this, fid); orphan; orphan = await orphanOf(this, fid)) {
      for (const { chunk, keepBytes } of orphan.chunks) inContainer(chunk.container, chunk.index, keepBytes, orphan.cut)
      this.apply(reclaimed(this, orphan), noPayload)
    }
  }

  /** Everything that must hold of a name container between two records. */
  check(): void {
    const links = new Map<Inode, number>([[rootFid.inode, 1]])
    const entries = new Map<Inode, number>()
    const subdirectories = new Map<Inode, number>()
    const add = (counts: Map<Inode, number>, inode: Inode) => counts.set(inode, (counts.get(inode) ?? 0) + 1)
    for (const [key, value] of this.values) {
      if (!key.startsWith('d')) continue
      const directory = inodeOfKey(bytesOf(key))
      const owner = this.get(inodeKey(directory))
      ok(owner && decodeInode(owner).kind === 'directory', 'an entry, or a marker, has a directory')
      const entry = decodeEntry(value)
      if (!entry) continue
      const inode = this.attributes(fidOf(container, entry.inode))
      deepStrictEqual(inode.kind, entry.kind)
      add(entries, directory)
      add(links, entry.inode)
      if (entry.kind !== 'directory') continue
      add(subdirectories, directory)
      const { parent } = decodeInode(this.get(inodeKey(entry.inode))!)
      deepStrictEqual(parent, directory, 'a directory knows its parent')
    }
    for (const [key, value] of this.values) {
      if (!key.startsWith('i')) continue
      const number = inodeOfKey(bytesOf(key))
      const inode = decodeInode(value)
      deepStrictEqual(inode.entries, entries.get(number) ?? 0, 'the count of entries')
      const expected = inode.kind === 'directory' ? 2 + (subdirectories.get(number) ?? 0) : links.get(number)
      deepStrictEqual(inode.links, expected, 'the count of links')
      ok(links.has(number), 'every inode has a name')
      ok(number < get64(this.get(nextInodeKey)!, 0), 'the next inode is new')
    }
  }
}

export const noPayload = new Uint8Array(0)

/** A reply without what a repeat cannot know: how things were before. */
const lasting = (reply: object): object =>
  Object.fromEntries(Object.entries(reply).filter(([name]) => !/before$/i.test(name)))

export const creation = (directory: Fid, name: string, more: Partial<Asked<'create'>> = {}): Asked<'create'> => ({
  directory,
  name: bytesOf(name),
  credentials: root,
  kind: 'file',
  how: 'guarded',
  changes: noChanges,
  verifier: undefined,
  target: undefined,
  major: 0,
  minor: 0,
  ...more,
})

export function codeOf(run: () => unknown): string | undefined {
  try {
    run()
    return undefined
  } catch (error) {
    if (isFailure(error)) return error.failure
    throw error
  }
}
