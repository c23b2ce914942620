/**
 * Claims about lists of extents, against a plain array that knows for each byte where it came from.
 */
import t from 'tap'
import {
  blockBytes,
  cut,
  decodeExtents,
  type Extent,
  encodeExtents,
  inserted,
} from '../../../fileserver/index/extents.ts'
import { randomFrom } from '../../names/random.ts'
import { s } from '../world.ts'

const size = 200

const extent = (offset: number, length: number, record: number, payloadOffset: number): Extent => ({
  offset,
  length,
  segment: s(2 ** 40),
  record,
  headBytes: 100,
  payloadBytes: size,
  payloadOffset,
})

/** Of each byte of a block: record and place in its payload. */
function flat(extents: readonly Extent[]): (string | undefined)[] {
  const bytes: (string | undefined)[] = Array(size).fill(undefined)
  for (const { offset, length, record, payloadOffset } of extents)
    for (let i = 0; i < length; i++) bytes[offset + i] = `${record}+${payloadOffset + i}`
  return bytes
}

t.test('overwrites and holes leave each byte what was written last', async (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = randomFrom(seed)
    let extents: readonly Extent[] = []
    const model: (string | undefined)[] = Array(size).fill(undefined)
    for (let record = 1; record <= 40; record++) {
      const from = random(size)
      const to = from + 1 + random(Math.min(60, size - from))
      const before = flat(extents)
      const { kept, gone } = cut(extents, from, to)
      t.equal(
        gone.reduce((sum, { part }) => sum + part.length, 0),
        before.slice(from, to).filter((byte) => byte !== undefined).length,
        'what is gone is counted once',
      )
      const payloadOffset = random(100)
      if (random(3) > 0) {
        extents = inserted(kept, extent(from, to - from, record, payloadOffset))
        for (let at = from; at < to; at++) model[at] = `${record}+${payloadOffset + at - from}`
      } else {
        extents = kept
        model.fill(undefined, from, to)
      }
      const ends = extents.map(({ offset, length }) => offset + length)
      if (!extents.every(({ offset }, i) => i === 0 || offset >= ends[i - 1]!)) t.fail(`seed ${seed}: not ascending`)
    }
    t.strictSame(flat(extents), model, `seed ${seed}`)
    t.strictSame(decodeExtents(encodeExtents(extents)), extents, 'as bytes and back')
  }
})

t.test('a cut beside everything takes nothing', async (t) => {
  const extents = [extent(10, 10, 1, 0), extent(30, 10, 2, 0)]
  for (const [from, to] of [
    [0, 10],
    [20, 30],
    [40, blockBytes],
  ] as const)
    t.strictSame(cut(extents, from, to), { kept: extents, gone: [] }, `${from} to ${to}`)
})

t.test('a cut through the middle leaves both ends, which still know their bytes', async (t) => {
  const { kept, gone } = cut([extent(10, 30, 1, 5)], 20, 30)
  t.strictSame(kept, [extent(10, 10, 1, 5), extent(30, 10, 1, 25)])
  t.strictSame(gone, [{ part: extent(20, 10, 1, 15), pieces: 2 }])
})

t.test('a list that is cut short is no list', async (t) => {
  t.throws(() => decodeExtents(encodeExtents([extent(0, 1, 1, 0)]).subarray(1)), /whole extents/)
})
