/**
 * Claims about reading: damage is found at every read, mended from other replicas, and never returned.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Log } from '../../../fileserver/log/log.ts'
import { readObject } from '../../../fileserver/replica/reader.ts'
import { hash64 } from '../../../protocol/hash.ts'
import { add, closing, extent, put, type Stored, stored } from '../stored.ts'
import { append, bytes, flip, open, type Place, place, s } from '../world.ts'

/** Eleven blocks and a bit, all different. */
const content = Buffer.alloc(11 * 16_384 + 100)
for (let at = 0; at < content.length; at += 8)
  content.writeUInt32LE(Number(hash64(Buffer.from(`${at}`)) % 2n ** 32n), at)

type World = {
  readonly here: Place
  readonly now: Stored
  readonly path: string
  /** Where the record's head, its sums and its payload begin in the file. */
  readonly head: number
  readonly sums: number
  readonly payload: number
  readonly whole: Buffer
}

async function world(t: Test): Promise<World> {
  const here = place(t)
  const now = await stored(here, 'a', 'create')
  closing(t, () => now)
  add(now, { changes: [put('before', 'x', true)] })
  add(now, { payload: [content], changes: [extent('file', 1000, content.length), put('k', 'v', true)] })
  add(now, {})
  now.storage.log.write()
  const [, entry] = [...now.storage.log.entries(s(0))]
  const path = join(here.directory, 'a', '00000000000001.segment')
  const head = entry!.offset
  const whole = readFileSync(path)
  return { here, now, path, head, sums: head + 72, payload: head + entry!.header.headBytes, whole }
}

type Outcome = { readonly bytes: Buffer; readonly found: number; readonly repaired: number; readonly asked: number }

/** @param copies what each other replica has in its file. */
async function read({ now }: World, offset: number, length: number, copies: readonly Buffer[]): Promise<Outcome> {
  const counts = { found: 0, repaired: 0, asked: 0 }
  const extents = now.storage.index.extents(bytes('file'), offset, offset + length)
  const reading = await readObject(now.storage.log, extents, offset, length, {
    copies: async function* (_segment, at, size) {
      for (const copy of copies) {
        counts.asked += 1
        yield [copy.subarray(at, at + size)]
      }
    },
    found: () => {
      counts.found += 1
    },
    mend: async () => {},
    repaired: () => {
      counts.repaired += 1
    },
  })
  return { bytes: Buffer.concat([...reading.payload]), ...counts }
}

const expected = (offset: number, length: number): Buffer => {
  const object = Buffer.concat([Buffer.alloc(1000), content, Buffer.alloc(300_000)])
  return object.subarray(offset, offset + length)
}

t.test('a read gives the bytes that were written, and zeros where none were', async (t) => {
  const here = await world(t)
  for (const [offset, length] of [
    [0, 1000],
    [0, 1],
    [999, 2],
    [1000, content.length],
    [1000 + 16_383, 2],
    [5000, 70_000],
    [1000 + content.length - 1, 2],
    [0, content.length + 250_000],
  ] as const) {
    const outcome = await read(here, offset, length, [])
    t.ok(outcome.bytes.equals(expected(offset, length)), `${length} bytes at ${offset}`)
    t.equal(outcome.found, 0)
  }
})

t.test('damage is mended from another replica', async (t) => {
  for (const [what, block, at] of [
    ['the first byte of the payload', 0, ({ payload }: World) => payload],
    ['a byte in its middle', 5, ({ payload }: World) => payload + 5 * 16_384 + 7],
    ['its last byte', 11, ({ payload }: World) => payload + content.length - 1],
    ['a sum', 5, ({ sums }: World) => sums + 5 * 8],
  ] as const)
    for (const length of [content.length, 3000]) {
      const here = await world(t)
      flip(here.path, at(here))
      const offset = 1000 + Math.min(block * 16_384, content.length - length)
      const outcome = await read(here, offset, length, [here.whole])
      t.ok(outcome.bytes.equals(expected(offset, length)), `${what}, in a read of ${length} bytes`)
      t.match(outcome, { found: 1, repaired: 1, asked: 1 })
      t.ok(readFileSync(here.path).equals(here.whole), 'on the disk too')
      t.match(await read(here, offset, length, []), { found: 0 }, 'once')
    }
})

t.test('a head that is spoiled elsewhere does not hinder a read, and is mended with the rest', async (t) => {
  const here = await world(t)
  flip(here.path, here.payload - 1)
  t.match(await read(here, 1000, 100, []), { found: 0 })
  flip(here.path, here.payload)
  const outcome = await read(here, 1000, 100, [here.whole])
  t.ok(outcome.bytes.equals(expected(1000, 100)))
  t.ok(readFileSync(here.path).equals(here.whole))
})

t.test('every replica may be damaged, each elsewhere', async (t) => {
  const here = await world(t)
  const spoiled = (...at: number[]): Buffer => {
    const copy = Buffer.from(here.whole)
    for (const one of at) copy[one]! ^= 1
    return copy
  }
  const block = (number: number): number => here.payload + number * 16_384
  flip(here.path, block(1))
  flip(here.path, block(2))
  flip(here.path, here.sums)
  const outcome = await read(here, 1000, content.length, [
    spoiled(here.head + 5, block(1)),
    Buffer.alloc(10),
    spoiled(block(1)),
    spoiled(block(2)),
  ])
  t.ok(outcome.bytes.equals(expected(1000, content.length)))
  t.match(outcome, { found: 1, repaired: 1, asked: 4 })
  t.ok(readFileSync(here.path).equals(here.whole))
})

t.test('what is whole nowhere is an error, and never returned', async (t) => {
  const here = await world(t)
  flip(here.path, here.payload)
  await t.rejects(read(here, 1000, 5, []), /CORRUPT/, 'nobody to ask')
  const other = Buffer.from(here.whole)
  other[here.payload + 1]! ^= 1
  await t.rejects(read(here, 1000, 5, [other, other]), /CORRUPT/, 'the same block')
  t.ok((await read(here, 1000 + 16_384, 5, [])).bytes.equals(expected(1000 + 16_384, 5)), 'other blocks are read')
  t.ok((await read(here, 1000, 5, [other, here.whole])).bytes.equals(expected(1000, 5)), 'until somebody has it')
})

t.test('another record in its place is not taken for it', async (t) => {
  const here = await world(t)
  flip(here.path, here.payload)
  // The same sizes, whole in itself: a replica that was left out would have it.
  const elsewhere = await world(t)
  const log: Log = elsewhere.now.storage.log
  log.rollback(s(0))
  append(log, '')
  add(elsewhere.now, {
    payload: [Buffer.alloc(content.length, 'x')],
    changes: [extent('file', 1000, content.length), put('k', 'v', true)],
  })
  log.write()
  const from = [...log.entries(s(1))][0]!.offset
  const foreign = Buffer.concat([Buffer.alloc(here.head), readFileSync(elsewhere.path).subarray(from)])
  await t.rejects(read(here, 1000, 5, [foreign]), /CORRUPT/)
})

t.test('what was mended holds when the log is opened again', async (t) => {
  const here = await world(t)
  flip(here.path, here.payload + 40)
  await read(here, 1000, content.length, [here.whole])
  t.equal(open(here.here, {}, 'a').last, 3)
})
