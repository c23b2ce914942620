/**
 * Claims about a record's bytes: they are the same for ever, come back as they went in, and nothing less is taken.
 *
 * A difference from the fixtures means that an older log can no longer be read, or that replicas of two versions differ.
 * When the format changed on purpose, write them anew: `GOLDEN=write npx tap run test/fileserver/log/record.test.ts`.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Change } from '../../../fileserver/index/changes.ts'
import { decodeChanges, encodeChanges } from '../../../fileserver/log/changes-codec.ts'
import {
  changesOf,
  decodeHeader,
  encodeHead,
  headerBytes,
  parseRecords,
  recordBytes,
  sumsOf,
} from '../../../fileserver/log/record.ts'
import { append, bytes, create, draft, e, failure, large, place, s, ticket } from '../world.ts'

const changes: Record<string, Change> = {
  put: { type: 'put', key: bytes('i\0\x01'), value: bytes('a value'), fresh: false },
  freshPut: { type: 'put', key: bytes('k'), value: bytes(''), fresh: true },
  delete: { type: 'delete', key: bytes('gone') },
  extent: { type: 'extent', object: bytes('file'), offset: 2 ** 40 + 5, length: 11, payloadOffset: 3 },
  punch: { type: 'punch', object: bytes('file'), from: 2 ** 33, to: 2 ** 40 },
  call: { type: 'call', client: 2 ** 47, number: 2 ** 52, oldest: 2 ** 51, result: 2 ** 53 - 1 },
}

const records = {
  epochStart: { draft: draft({ kind: 'epochStart' }), sequence: 1, committed: 0 },
  operation: {
    draft: draft({
      stable: false,
      ticket: ticket(2 ** 47, 2 ** 52, 2 ** 51),
      result: 2 ** 53 - 1,
      changes: Object.values(changes),
      payload: [bytes('fourteen bytes')],
    }),
    sequence: 2 ** 50,
    committed: 2 ** 50 - 300,
  },
  dropSegment: { draft: draft({ kind: 'dropSegment', result: 40 }), sequence: 100_000, committed: 2 },
  sealSegment: { draft: draft({ kind: 'sealSegment', stable: false, result: 40 }), sequence: 100_000, committed: 2 },
}

const headOf = ({ draft, sequence, committed }: (typeof records)[keyof typeof records]): Buffer =>
  encodeHead(draft, { epoch: e(9), sequence: s(sequence), committed: s(committed), chainBefore: 0x1234n })

t.test('the bytes on disk are those of the version before', async (t) => {
  const { directory, ...where } = place(t)
  const log = create({ directory, ...where })
  append(log, 'first')
  const actual = {
    changes: Object.fromEntries(
      Object.entries(changes).map(([name, change]) => [name, encodeChanges([change]).toString('hex')]),
    ),
    heads: Object.fromEntries(Object.entries(records).map(([name, record]) => [name, headOf(record).toString('hex')])),
    segment: readFileSync(join(directory, 'log', '00000000000001.segment')).toString('hex'),
  }
  const file = new URL('fixtures/log.json', import.meta.url)
  if (process.env.GOLDEN === 'write') writeFileSync(file, `${JSON.stringify(actual, null, 2)}\n`)
  t.strictSame(actual, JSON.parse(readFileSync(file, 'utf8')))
})

t.test('changes come back as they went in', async (t) => {
  const all = Object.values(changes)
  const decoded = decodeChanges(encodeChanges(all))
  t.equal(decoded.length, all.length)
  for (const [i, change] of decoded.entries()) t.match(change, all[i]!, change.type)
  t.strictSame(decodeChanges(encodeChanges([])), [])
})

t.test('changes that are cut short are refused', async (t) => {
  const all = Object.values(changes)
  const whole = encodeChanges(all)
  const ends = new Set(all.map((_, i) => encodeChanges(all.slice(0, i + 1)).length).concat(0))
  for (let size = 0; size <= whole.length; size++)
    if (ends.has(size)) decodeChanges(whole.subarray(0, size))
    else
      t.equal(
        failure(() => decodeChanges(whole.subarray(0, size))),
        'CORRUPT',
        `${size} bytes`,
      )
  t.equal(
    failure(() => decodeChanges(Buffer.from([9, 0, 0]))),
    'CORRUPT',
    'a type that does not exist',
  )
})

t.test('a head comes back as it went in', async (t) => {
  for (const [name, record] of Object.entries(records)) {
    const head = headOf(record)
    const header = decodeHeader(head)
    const { kind, stable, ticket, result, payloadBytes } = record.draft
    // So far back that the two bytes for it do not reach.
    const committed = record.sequence - record.committed > 65_535 ? 0 : record.committed
    t.match(
      header,
      { kind, stable, ...ticket, result, payloadBytes, epoch: 9, sequence: record.sequence, committed },
      name,
    )
    t.equal(header.headBytes, head.length)
    t.equal(recordBytes(header), head.length + payloadBytes)
    t.strictSame(sumsOf(head, header), record.draft.sums)
    t.strictSame(changesOf(head, header), record.draft.changes)
  }
})

t.test('a record that does not fit is a mistake of ours', async (t) => {
  const place = { epoch: e(1), sequence: s(2), committed: s(0), chainBefore: 0n }
  t.throws(() => encodeHead({ ...draft(), sums: Buffer.alloc(8) }, place), /one sum for each block/)
  t.throws(() => encodeHead(draft({ payload: [large, large] }), place), /too large/)
  t.throws(() => encodeHead(draft(), { ...place, committed: s(2) }), /not committed before/)
})

t.test('only whole records, the next ones, are taken', async (t) => {
  const first = records.operation
  const head = headOf(first)
  const record = Buffer.concat([head, ...first.draft.payload])
  const after = { next: s(first.sequence), chain: 0x1234n, epoch: e(9) }
  t.strictSame(parseRecords([record], after)[0]!.payload, first.draft.payload)
  t.strictSame(parseRecords([], after), [], 'nothing is nothing')
  const pieces = [...record].map((byte) => Buffer.from([byte]))
  t.strictSame(parseRecords(pieces, after)[0]!.head, head, 'in pieces of one byte')
  for (let size = 1; size < record.length; size++)
    t.equal(
      failure(() => parseRecords([record.subarray(0, size)], after)),
      'BAD_MESSAGE',
      `${size} bytes`,
    )
  t.equal(
    failure(() => parseRecords([record], { ...after, next: s(2 ** 50 + 1) })),
    'BAD_MESSAGE',
    'another sequence',
  )
  t.equal(
    failure(() => parseRecords([record], { ...after, chain: 1n })),
    'CORRUPT',
    'another chain before',
  )
  t.equal(
    failure(() => parseRecords([record], { ...after, epoch: e(10) })),
    'BAD_MESSAGE',
    'an epoch that is over',
  )
})

t.test('a flipped bit anywhere in a record is found', async (t) => {
  const { draft, sequence } = records.operation
  const record = Buffer.concat([headOf(records.operation), ...draft.payload])
  const after = { next: s(sequence), chain: 0x1234n, epoch: e(9) }
  let refused = 0
  for (let at = 0; at < record.length; at++) {
    const spoiled = Buffer.from(record)
    spoiled[at]! ^= 1 << (at % 8)
    const code = failure(() => parseRecords([spoiled], after))
    if (code === 'CORRUPT' || code === 'BAD_MESSAGE') refused += 1
    else t.fail(`byte ${at}: ${code}`)
  }
  t.equal(refused, record.length)
})

t.test('a header that says something impossible is no header', async (t) => {
  for (const [what, spoil] of [
    ['another magic number', (head: Buffer) => head.writeUInt32LE(1, 8)],
    ['a head shorter than its parts', (head: Buffer) => head.writeUInt32LE(headerBytes, 12)],
    ['a head of gigabytes', (head: Buffer) => head.writeUInt32LE(2 ** 31, 12)],
    ['a payload of gigabytes', (head: Buffer) => head.writeUInt32LE(2 ** 31, 16)],
    ['an unknown kind', (head: Buffer) => head.writeUInt8(7, 20)],
    ['a sequence beyond all', (head: Buffer) => head.writeUInt32LE(2 ** 31, 36)],
  ] as const) {
    const head = headOf(records.operation)
    spoil(head)
    t.equal(
      failure(() => decodeHeader(head)),
      'CORRUPT',
      what,
    )
  }
})
