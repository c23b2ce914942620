/**
 * Claims about what of a record is live, and what a record that moves it holds.
 */
import t from 'tap'
import { type Item, itemsOf, live, type State } from '../../../fileserver/cleaning/live.ts'
import { moved } from '../../../fileserver/cleaning/moving.ts'
import type { Change } from '../../../fileserver/index/changes.ts'
import type { Extent } from '../../../fileserver/index/extents.ts'
import { decodeHeader, encodeHead } from '../../../fileserver/log/record.ts'
import { extent, punch, put, remove } from '../stored.ts'
import { bytes, draft, e, s, ticket } from '../world.ts'

const segment = s(1)
const record = 64
const payloadBytes = 1000

/** What a record at the beginning of the first segment holds. */
function held(changes: readonly Change[], call = ticket(0, 0)): Item[] {
  const payload = [Buffer.alloc(payloadBytes)]
  const where = { epoch: e(1), sequence: s(5), committed: s(4), chainBefore: 0n }
  const head = encodeHead(draft({ changes, payload, ticket: call, result: 77 }), where)
  return itemsOf({ header: decodeHeader(head), head, segment, offset: record })
}

const run = (offset: number, length: number, payloadOffset: number, at: Partial<Extent> = {}): Extent => ({
  offset,
  length,
  segment,
  record,
  headBytes: 100,
  payloadBytes,
  payloadOffset,
  ...at,
})

const state = ({
  keys = {},
  extents = [],
  calls = [],
}: {
  keys?: Record<string, number>
  extents?: Extent[]
  calls?: number[]
}): State => ({
  sequenceOf: (key) => keys[Buffer.from(key).toString()],
  extents: (_object, from, to) =>
    extents
      .filter(({ offset, length }) => offset < to && offset + length > from)
      .map((one) => {
        const low = Math.max(one.offset, from)
        const high = Math.min(one.offset + one.length, to)
        return { ...one, offset: low, length: high - low, payloadOffset: one.payloadOffset + low - one.offset }
      }),
  knows: (_client, number) => calls.includes(number),
})

/** What of the items is live, in words. */
const words = (items: readonly Item[], now: State, oldest = false): string[] =>
  items
    .flatMap((item) => live(item, now, oldest))
    .map((item) => {
      if (item.type === 'put') return `put ${Buffer.from(item.key)}=${Buffer.from(item.value)}`
      if (item.type === 'delete') return `delete ${Buffer.from(item.key)}`
      if (item.type === 'punch') return `punch ${item.from}-${item.to}`
      if (item.type === 'call') return `call ${item.client}.${item.number}.${item.oldest}=${item.result}`
      return `bytes ${item.offset}+${item.length} of ${item.payloadOffset}`
    })

t.test('a put is live while the index names its record', async (t) => {
  const items = held([put('a', 'old'), put('b', 'x', true), put('a', 'new')])
  t.strictSame(words(items, state({ keys: { a: 5, b: 5 } })), ['put b=x', 'put a=new'], 'of two the last')
  t.strictSame(words(items, state({ keys: { a: 9, b: 5 } })), ['put b=x'], 'overwritten')
  t.strictSame(words(items, state({})), [], 'deleted')
})

t.test('a deletion is live while its key is absent, and something older is there', async (t) => {
  const items = held([remove('a')])
  t.strictSame(words(items, state({})), ['delete a'])
  t.strictSame(words(items, state({}), true), [])
  t.strictSame(words(items, state({ keys: { a: 9 } })), [])
  const holes = held([punch('f', 100, 200)])
  t.strictSame(words(holes, state({})), ['punch 100-200'])
  t.strictSame(words(holes, state({}), true), [])
  const extents = [run(90, 20, 0), run(150, 10, 0, { record: 999 })]
  t.strictSame(words(holes, state({ extents })), ['punch 110-150', 'punch 160-200'], 'what was written since is not')
})

t.test('bytes are live where extents name their place', async (t) => {
  const items = held([extent('f', 100, 300, 10)])
  t.strictSame(words(items, state({ extents: [run(100, 300, 10)] })), ['bytes 100+300 of 10'])
  const extents = [run(100, 50, 10), run(150, 10, 0, { record: 999 }), run(160, 240, 70)]
  t.strictSame(words(items, state({ extents })), ['bytes 100+50 of 10', 'bytes 160+240 of 70'])
  t.strictSame(words(items, state({ extents: [run(100, 300, 10, { segment: s(2) })] })), [], 'another segment')
  t.strictSame(words(items, state({ extents: [run(100, 300, 500)] })), [], 'other bytes of the record')
})

t.test('a call is live while the retry table has it', async (t) => {
  const items = held([{ type: 'call', client: 8, number: 3, oldest: 2, result: 9 }], ticket(7, 4, 1))
  t.strictSame(words(items, state({ calls: [3, 4] })), ['call 8.3.2=9', 'call 7.4.1=77'])
  t.strictSame(words(items, state({ calls: [4] })), ['call 7.4.1=77'])
})

t.test('what is moved is what is live in that moment, in runs as long as they can be', async (t) => {
  const content = Buffer.alloc(300, 'abcdefghij')
  const items = held([put('a', 'x'), extent('f', 0, 100, 0), extent('f', 100, 200, 100)])
  const read = items.map((item) => ({
    item,
    bytes: item.type === 'bytes' ? content.subarray(item.payloadOffset, item.payloadOffset + item.length) : undefined,
  }))
  const whole = moved(read, state({ keys: { a: 5 }, extents: [run(0, 300, 0)] }), false)
  t.match(whole.changes, [{ type: 'put', key: bytes('a'), value: bytes('x'), fresh: false }, extent('f', 0, 300, 0)])
  t.strictSame(Buffer.concat([...whole.payload]), content)
  const later = moved(read, state({ keys: { a: 6 }, extents: [run(50, 100, 50), run(290, 10, 290)] }), false)
  t.match(later.changes, [extent('f', 50, 100, 0), extent('f', 290, 10, 100)], 'overwritten since it was read')
  t.equal(later.payloadBytes, 110)
  t.strictSame(Buffer.concat([...later.payload]), Buffer.concat([content.subarray(50, 150), content.subarray(290)]))
  t.strictSame(moved(read, state({}), false).changes, [])
})
