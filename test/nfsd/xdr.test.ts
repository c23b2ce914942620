/**
 * Claims about XDR: bytes written by hand from RFC 4506, and messages cut anywhere.
 */
import t from 'tap'
import { XdrReader } from '../../nfsd/xdr/reader.ts'
import { XdrWriter } from '../../nfsd/xdr/writer.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

const message = hex(
  [
    '80000001', // unsigned 2^31 + 1
    '00000001 00000002', // unsigned hyper 2^32 + 2
    '00000001', // true
    '00000003 61626300', // opaque "abc" with a byte of padding
    '0102030405 000000', // fixed opaque of 5
    '00000000', // empty opaque
    '00000006 666f6f626172 0000', // opaque "foobar", read as a payload
    'fffffffe',
  ].join(' '),
)

function write(xdr: XdrWriter): void {
  xdr.u32(2 ** 31 + 1)
  xdr.u64(2 ** 32 + 2)
  xdr.boolean(true)
  xdr.opaque(Buffer.from('abc'))
  xdr.fixed(Uint8Array.of(1, 2, 3, 4, 5))
  xdr.opaque(new Uint8Array(0))
  xdr.payload([Buffer.from('foo'), Buffer.from('bar')], 6)
  xdr.u32(2 ** 32 - 2)
}

function read(xdr: XdrReader): readonly unknown[] {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()
  return [
    xdr.u32(),
    xdr.u64(),
    xdr.boolean(),
    text(xdr.opaque(3)),
    [...xdr.fixed(5)],
    text(xdr.opaque(10)),
    text(Buffer.concat(xdr.payload(6))),
    xdr.u32(),
    xdr.left,
  ]
}

const values = [2 ** 31 + 1, 2 ** 32 + 2, true, 'abc', [1, 2, 3, 4, 5], '', 'foobar', 2 ** 32 - 2, 0]

t.test('writing gives the bytes of the RFC', async (t) => {
  const xdr = new XdrWriter()
  write(xdr)
  t.equal(xdr.length, message.length)
  t.equal(Buffer.concat(xdr.finish()).toString('hex'), message.toString('hex'))
})

t.test('a payload goes out as the buffers that were given', async (t) => {
  const piece = Buffer.alloc(100_000)
  const xdr = new XdrWriter()
  xdr.payload([piece, piece], 200_000)
  t.ok(
    xdr
      .finish()
      .slice(1)
      .every((given) => given === piece),
  )
})

t.test('a writer grows', async (t) => {
  const xdr = new XdrWriter()
  const expected: Buffer[] = []
  for (let i = 0; i < 500; i++) {
    const bytes = Buffer.alloc(i % 40, i)
    xdr.fixed(bytes)
    expected.push(bytes, Buffer.alloc(-bytes.length & 3))
  }
  t.ok(Buffer.concat(xdr.finish()).equals(Buffer.concat(expected)))
})

t.test('a message reads the same wherever it was cut', async (t) => {
  t.strictSame(read(new XdrReader([message])), values)
  for (let i = 0; i <= message.length; i++)
    for (let j = i; j <= message.length; j++) {
      const cut = read(new XdrReader([message.subarray(0, i), message.subarray(i, j), message.subarray(j)]))
      if (JSON.stringify(cut) !== JSON.stringify(values)) t.strictSame(cut, values, `cut at ${i} and ${j}`)
    }
  const bytes = Array.from(message, (_, i) => message.subarray(i, i + 1))
  t.strictSame(read(new XdrReader(bytes)), values, 'or came byte by byte')
})

t.test('peeking reads nothing, over any cut', async (t) => {
  for (let i = 0; i <= 12; i++) {
    const xdr = new XdrReader([message.subarray(0, i), message.subarray(i, i + 1), message.subarray(i + 1)])
    t.equal(Buffer.from(xdr.peek(12)).toString('hex'), message.subarray(0, 12).toString('hex'))
    t.strictSame(read(xdr), values)
  }
  t.equal(new XdrReader([message.subarray(0, 5)]).peek(12).length, 5, 'and stops at the end')
})

for (const [bytes, field, why] of [
  ['0000', (xdr: XdrReader) => xdr.u32(), 'a number of two bytes'],
  ['00000002', (xdr: XdrReader) => xdr.boolean(), 'a boolean that is neither'],
  ['00000005 61626300', (xdr: XdrReader) => xdr.opaque(9), 'an opaque that ends early'],
  ['00000003 616263', (xdr: XdrReader) => xdr.opaque(9), 'an opaque without its padding'],
  ['00000004 61626364', (xdr: XdrReader) => xdr.opaque(3), 'an opaque above its maximum'],
  ['ffffffff', (xdr: XdrReader) => xdr.payload(2 ** 32), 'a payload of 4 GiB that is not there'],
] as const)
  t.throws(() => field(new XdrReader([hex(bytes)])), /^BAD_MESSAGE/, `${why} is refused`)
