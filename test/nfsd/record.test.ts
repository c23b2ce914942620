/**
 * Claims about record marking (RFC 5531 §11): fragments, limits, and streams cut anywhere.
 */
import t from 'tap'
import { openRecord, RecordReader, sealRecord } from '../../nfsd/rpc/record.ts'
import { XdrWriter } from '../../nfsd/xdr/writer.ts'

const limits = { recordBytesMax: 64, fragmentsMax: 4 }

function fragment(text: string, last: boolean): Buffer {
  const bytes = Buffer.alloc(4 + text.length)
  bytes.writeUInt32BE(text.length + (last ? 2 ** 31 : 0))
  bytes.write(text, 4)
  return bytes
}

const stream = Buffer.concat([
  fragment('one', true),
  fragment('', true),
  fragment('tw', false),
  fragment('', false),
  fragment('o', true),
  fragment('three', false),
  fragment('', true),
])
const expected = ['one', '', 'two', 'three']

function records(chunks: readonly Buffer[]): string[] {
  const reader = new RecordReader(limits)
  const all = chunks.flatMap((chunk) => reader.push(chunk))
  t.notOk(reader.partial, 'nothing is left over')
  return all.map(({ pieces, bytes }) => {
    const joined = Buffer.concat(pieces)
    t.equal(joined.length, bytes)
    return joined.toString()
  })
}

t.test('records come out whole wherever the stream was cut', async (t) => {
  t.strictSame(records([stream]), expected)
  for (let i = 1; i < stream.length; i++)
    t.strictSame(records([stream.subarray(0, i), stream.subarray(i)]), expected, `cut at ${i}`)
  t.strictSame(records(Array.from(stream, (_, i) => stream.subarray(i, i + 1))), expected, 'byte by byte')
})

t.test('a written record is one fragment with its length', async (t) => {
  const xdr = new XdrWriter()
  openRecord(xdr)
  xdr.u32(7)
  xdr.payload([Buffer.from('payload')], 7)
  const bytes = Buffer.concat(sealRecord(xdr))
  t.equal(bytes.toString('hex'), `80000010${'00000007'}${'00000007'}${Buffer.from('payload\0').toString('hex')}`)
})

t.test('limits hold before memory is taken', async (t) => {
  const tooLarge = /^TOO_LARGE/
  t.throws(() => new RecordReader(limits).push(fragment('', false).fill(0x7f)), tooLarge, 'a fragment of 2 GiB')
  const many = () => {
    const reader = new RecordReader(limits)
    for (;;) reader.push(fragment('', false))
  }
  t.throws(many, tooLarge, 'empty fragments without end')
  const long = () => {
    const reader = new RecordReader({ ...limits, fragmentsMax: 1000 })
    for (;;) reader.push(fragment('twenty bytes of text', false))
  }
  t.throws(long, tooLarge, 'a record of many fragments')
  const half = new RecordReader(limits)
  half.push(fragment('half', true).subarray(0, 6))
  t.ok(half.partial, 'a record that has begun is seen')
})
