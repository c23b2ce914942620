/**
 * Containers as the tests of storage see them: real ones on a disk, and a model in memory of what they should hold.
 */
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Change } from '../../fileserver/index/changes.ts'
import { containerPrefix } from '../../fileserver/index/container-index.ts'
import { type Index, openIndex } from '../../fileserver/index/store.ts'
import { encodeChanges } from '../../fileserver/log/changes-codec.ts'
import { readObject } from '../../fileserver/replica/reader.ts'
import { Storage } from '../../fileserver/replica/storage.ts'
import { containerId } from '../../protocol/ids.ts'
import type { Random } from '../names/random.ts'
import { bytes, container, draft, e, type Place, s, type Wanted } from './world.ts'

export type Stored = { readonly index: Index; readonly storage: Storage }

/** @param name of the directory: two that differ share nothing. */
export async function stored(
  here: Place,
  name: string,
  how: 'create' | 'open',
  segmentBytes?: number,
): Promise<Stored> {
  const index = await openIndex(join(here.directory, `${name}-index`))
  const directory = join(here.directory, name)
  const soon = (run: () => void) => void setImmediate(run)
  const options = { disk: here.disk, index, directory, container, soon, segmentBytes }
  try {
    return { index, storage: how === 'open' ? await Storage.open(options) : await Storage.create(options, e(0)) }
  } catch (error) {
    await index.close()
    throw error
  }
}

export async function close({ index, storage }: Stored): Promise<void> {
  // What is only gathered goes with the process.
  storage.log.write()
  await storage.close()
  await index.close()
}

/** Closes at the end of the test whatever is open then. */
export function closing(t: Test, open: () => Stored): void {
  t.teardown(() => close(open()))
}

export function add({ storage }: Stored, wanted: Wanted, of = 1, committed = 0): void {
  const { changes = [] } = wanted
  storage.append({ ...draft(wanted), changes: encodeChanges(changes) }, changes, e(of), s(committed))
}

export const put = (key: string, value: string, fresh = false): Change => ({
  type: 'put',
  key: bytes(key),
  value: bytes(value),
  fresh,
})
export const remove = (key: string): Change => ({ type: 'delete', key: bytes(key) })
export const extent = (object: string, offset: number, length: number, payloadOffset = 0): Change => ({
  type: 'extent',
  object: bytes(object),
  offset,
  length,
  payloadOffset,
})
export const punch = (object: string, from: number, to: number): Change => ({
  type: 'punch',
  object: bytes(object),
  from,
  to,
})

/** The bytes of an object; any damage is an error. */
export async function read({ storage }: Stored, object: string, offset: number, length: number): Promise<Buffer> {
  const refuse = (): never => {
    throw new Error('nothing is damaged here')
  }
  const found = storage.index.extents(bytes(object), offset, offset + length)
  const reading = await readObject(storage.log, found, offset, length, {
    copies: refuse,
    mend: refuse,
    found: refuse,
    repaired: refuse,
  })
  return Buffer.concat([...reading.payload])
}

/** Everything that the index holds of the container, but that a segment was dropped: that is forgotten by and by. */
export async function dump({ index }: Stored): Promise<Record<string, string>> {
  const found = await index.scan(containerPrefix(container), containerPrefix(containerId(container + 1)), 1_000_000)
  return Object.fromEntries(
    found
      .filter(({ value }) => value.length > 0)
      .map(({ key, value }) => [
        Buffer.from(key).subarray(6).toString('latin1'),
        Buffer.from(value).toString('base64'),
      ]),
  )
}

export const objectBytes = 700_000

/** What a container should hold. */
export class Model {
  readonly keys = new Map<string, string>()
  readonly objects = new Map<string, Buffer>()

  apply(changes: readonly Change[], payload: Buffer): void {
    for (const change of changes) {
      if (change.type === 'put') this.keys.set(text(change.key), text(change.value))
      else if (change.type === 'delete') this.keys.delete(text(change.key))
      else if (change.type !== 'call') {
        const object = this.objects.get(text(change.object)) ?? Buffer.alloc(objectBytes)
        this.objects.set(text(change.object), object)
        if (change.type === 'punch') object.fill(0, change.from, change.to)
        else payload.copy(object, change.offset, change.payloadOffset, change.payloadOffset + change.length)
      }
    }
  }

  /** Some changes that make sense now, and their payload. */
  invent(random: Random, number: number): { changes: Change[]; payload: Buffer } {
    const changes: Change[] = []
    const payload = Buffer.alloc(random(3) === 0 ? 20_000 : 200, `${number} `)
    const touched = new Set<string>()
    for (let count = 1 + random(4); count > 0; count--) {
      const key = `key ${random(60)}`
      const object = `object ${random(3)}`
      if (touched.has(key)) continue
      touched.add(key)
      const what = random(4)
      if (what === 0) changes.push(remove(key))
      else if (what === 1) changes.push(put(key, `${number}`, !this.keys.has(key)))
      else if (what === 2) {
        const length = 1 + random(payload.length)
        changes.push(extent(object, random(objectBytes - length), length, random(payload.length - length + 1)))
      } else {
        const from = random(objectBytes)
        changes.push(punch(object, from, from + random(objectBytes - from + 1)))
      }
    }
    return { changes, payload }
  }
}

const text = (content: Uint8Array): string => Buffer.from(content).toString('latin1')

/** @returns in what the container differs from the model, if in anything. */
export async function difference(found: Stored, model: Model, random: Random): Promise<string | undefined> {
  const { view } = found.storage.index
  for (let i = 0; i < 60; i++) {
    const key = `key ${i}`
    const value = view.get(bytes(key))
    if ((value && text(value)) !== model.keys.get(key))
      return `${key}: ${value && text(value)}, not ${model.keys.get(key)}`
  }
  const [from, to, limit] = [`key ${random(60)}`, `key ${random(60)}`, 1 + random(20)]
  const expected = [...model.keys].filter(([key]) => key >= from && key < to).sort(([a], [b]) => (a < b ? -1 : 1))
  const scanned = (await view.scan(bytes(from), bytes(to), limit)).map(({ key, value }) => [text(key), text(value)])
  if (JSON.stringify(scanned) !== JSON.stringify(expected.slice(0, limit))) return `${from} to ${to}: ${scanned}`
  for (const [object, content] of model.objects) {
    const offset = random(objectBytes)
    const length = 1 + random(Math.min(300_000, objectBytes - offset))
    const actual = await read(found, object, offset, length)
    if (!actual.equals(content.subarray(offset, offset + length))) return `${object}: ${length} bytes at ${offset}`
  }
  return undefined
}
