/**
 * The frame codec: any split of the stream gives the same frames, and nothing malformed gets through.
 */
import t from 'tap'
import {
  Decoder,
  type Frame,
  type FrameHead,
  frameBytes,
  framePayloadBytesMax,
  kinds,
  messageBytesMax,
  type Pieces,
  writeHead,
} from '../../protocol/transport/frame.ts'
import { pack } from '../../protocol/transport/wire.ts'
import { failureOf } from './outcome.ts'
import { frameOf } from './raw.ts'

const big = Buffer.alloc(100_000, 'payload')
const stream = Buffer.concat([
  frameOf({ kind: kinds.hello, wire: ['cluster', 'role', 1, 2] }),
  frameOf({ kind: kinds.call, number: 0x0101, id: 1, timeoutMs: 1000, wire: [1, 'two', Buffer.from('three')] }),
  frameOf({ kind: kinds.call, number: 0x0102, id: 2, timeoutMs: 5, wire: [], payload: Buffer.from('0123456789') }),
  frameOf({ kind: kinds.reply, id: 1, wire: [[null, true]], payload: Buffer.from('x') }),
  frameOf({ kind: kinds.failure, id: 2, wire: ['NOT_FOUND', 'gone'] }),
])

type Summary = readonly [kind: number, number: number, id: number, timeoutMs: number, wire: unknown, payload: string]

function decoder(pieces: Pieces): {
  readonly decoder: Decoder
  readonly frames: Frame[]
  readonly summary: () => Summary[]
} {
  const frames: Frame[] = []
  const made = new Decoder(pieces, (frame) => frames.push(frame))
  made.messageBytesMax = messageBytesMax
  const summary = (): Summary[] =>
    frames.map((frame) => [
      frame.kind,
      frame.number,
      frame.id,
      frame.timeoutMs,
      frame.wire,
      Buffer.concat(frame.payload).toString(),
    ])
  return { decoder: made, frames, summary }
}

const expected: Summary[] = [
  [kinds.hello, 0, 0, 0, ['cluster', 'role', 1, 2], ''],
  [kinds.call, 0x0101, 1, 1000, [1, 'two', Buffer.from('three')], ''],
  [kinds.call, 0x0102, 2, 5, [], '0123456789'],
  [kinds.reply, 0, 1, 0, [[null, true]], 'x'],
  [kinds.failure, 0, 2, 0, ['NOT_FOUND', 'gone'], ''],
]

for (const pieces of ['keep', 'copy'] as const) {
  t.test(`${pieces}: the stream may be split anywhere`, async (t) => {
    const wrong: number[] = []
    for (let at = 0; at <= stream.length; at++) {
      const { decoder: made, summary } = decoder(pieces)
      for (const part of [stream.subarray(0, at), stream.subarray(at)]) {
        // A copying decoder must not look at a piece again: overwrite it.
        const piece = Buffer.from(part)
        made.push(piece)
        if (pieces === 'copy') piece.fill(0xee)
      }
      if (JSON.stringify(summary()) !== JSON.stringify(expected)) wrong.push(at)
    }
    t.strictSame(wrong, [], 'split in two')

    for (const size of [1, 2, 3, 7, 23, 24, 25]) {
      const { decoder: made, summary } = decoder(pieces)
      for (let at = 0; at < stream.length; at += size) made.push(Buffer.from(stream.subarray(at, at + size)))
      t.strictSame(summary(), expected, `pieces of ${size} bytes`)
    }
  })

  t.test(`${pieces}: a truncated stream gives its whole frames and no more`, async (t) => {
    const counts = new Set<number>()
    for (let at = 0; at < stream.length; at++) {
      const { decoder: made, summary } = decoder(pieces)
      made.push(stream.subarray(0, at))
      const got = summary()
      counts.add(got.length)
      if (JSON.stringify(got) !== JSON.stringify(expected.slice(0, got.length))) t.fail(`cut at ${at}`)
    }
    t.strictSame([...counts], [0, 1, 2, 3, 4])
  })
}

t.test('a kept payload is cut out of the pieces that came, not copied', async (t) => {
  const { decoder: made, frames } = decoder('keep')
  const bytes = frameOf({ kind: kinds.reply, id: 1, wire: [], payload: big })
  const parts = [bytes.subarray(0, 50_000), bytes.subarray(50_000)]
  for (const part of parts) made.push(part)
  t.equal(frames[0]!.payload.length, 2)
  for (const piece of frames[0]!.payload) t.equal(piece.buffer, bytes.buffer)
  t.ok(Buffer.concat(frames[0]!.payload).equals(big))
})

t.test('the socket may fill a copied payload itself', async (t) => {
  const { decoder: made, frames } = decoder('copy')
  const bytes = frameOf({ kind: kinds.reply, id: 1, wire: [], payload: big })
  const start = bytes.length - big.length + 10
  made.push(bytes.subarray(0, start))
  for (let at = start; at < bytes.length; ) {
    const space = made.space!
    const count = Math.min(space.length, 33_000)
    bytes.copy(space, 0, at, at + count)
    at += count
    made.filled(count)
  }
  t.equal(made.space, undefined)
  t.equal(frames[0]!.payload.length, 1)
  t.ok(Buffer.from(frames[0]!.payload[0]!).equals(big))
  made.push(stream)
  t.equal(frames.length, 6, 'and the stream goes on')
})

t.test('while paused frames are held back, in order', async (t) => {
  const seen: number[] = []
  const made: Decoder = new Decoder('keep', (frame) => {
    seen.push(frame.kind)
    made.pause()
  })
  made.messageBytesMax = messageBytesMax
  for (let at = 0; at < stream.length; at += 40) made.push(stream.subarray(at, at + 40))
  for (let count = 1; count <= expected.length; count++) {
    t.equal(seen.length, count)
    t.equal(made.paused, true)
    made.resume()
  }
  t.strictSame(
    seen,
    expected.map(([kind]) => kind),
  )
})

const good: FrameHead = { kind: kinds.call, number: 1, id: 1, messageBytes: 1, payloadBytes: 0, timeoutMs: 1 }
const headWith = (change: Partial<FrameHead>, patch?: (head: Buffer) => void): Buffer => {
  const head = Buffer.alloc(frameBytes)
  writeHead(head, 0, { ...good, ...change })
  patch?.(head)
  return head
}

for (const [head, code, why] of [
  [headWith({}, (b) => b.writeUInt16LE(0x4547, 0)), 'BAD_FRAME', 'another magic (GE…)'],
  [Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n'), 'BAD_FRAME', 'an HTTP client'],
  [headWith({}, (b) => b.writeUInt8(9, 2)), 'VERSION_MISMATCH', 'a later version'],
  [headWith({}, (b) => b.writeUInt8(0, 3)), 'BAD_FRAME', 'kind 0'],
  [headWith({}, (b) => b.writeUInt8(5, 3)), 'BAD_FRAME', 'an unknown kind'],
  [headWith({}, (b) => b.writeUInt16LE(1, 6)), 'BAD_FRAME', 'reserved bytes that are set'],
  [headWith({ messageBytes: 0 }), 'BAD_FRAME', 'no message'],
  [headWith({ messageBytes: messageBytesMax + 1 }), 'TOO_LARGE', 'a message beyond the limit'],
  [headWith({ payloadBytes: framePayloadBytesMax + 1 }), 'TOO_LARGE', 'a payload beyond the limit'],
  [headWith({ kind: kinds.failure, payloadBytes: 1 }), 'BAD_FRAME', 'a failure with a payload'],
  [headWith({ kind: kinds.hello, payloadBytes: 1 }), 'BAD_FRAME', 'a hello with a payload'],
] as const)
  t.test(`${why} is ${code}`, async (t) => {
    for (const size of [1, 24]) {
      const { decoder: made, frames } = decoder('keep')
      const push = (): void => {
        for (let at = 0; at < head.length; at += size) made.push(head.subarray(at, at + size))
      }
      t.equal(failureOf(push), code, `in pieces of ${size}`)
      t.equal(frames.length, 0)
    }
  })

t.test('before the hello only a small message is read', async (t) => {
  const made = new Decoder('keep', () => undefined)
  const hello = headWith({ kind: kinds.hello, id: 0, messageBytes: 4096 })
  t.equal(
    failureOf(() => made.push(hello)),
    'TOO_LARGE',
  )
})

t.test('a message that is not one msgpack array is BAD_FRAME', async (t) => {
  for (const [message, why] of [
    [Buffer.from([0xc1]), 'a byte that msgpack never uses'],
    [Buffer.from([0x93, 1]), 'an array that is cut off'],
    [Buffer.from([0x91, 1, 1]), 'more than one value'],
    [pack('text'), 'a text'],
    [pack({ a: 1 }), 'a map'],
    [Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]), 'an array of four thousand million items'],
    [Buffer.alloc(1_000_000, 0x91), 'a million arrays in one another'],
  ] as const) {
    const { decoder: made } = decoder('keep')
    const head = headWith({ messageBytes: message.length })
    t.equal(
      failureOf(() => made.push(Buffer.concat([head, message]))),
      'BAD_FRAME',
      why,
    )
  }
})

t.test('garbage is refused or waited on, never anything else', async (t) => {
  let state = 0x2545f491
  const random = (): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
  const outcomes = new Map<string, number>()
  for (let round = 0; round < 5000; round++) {
    const { decoder: made } = decoder(round % 2 === 0 ? 'keep' : 'copy')
    const bytes = Buffer.from(stream)
    for (let flips = 1 + Math.floor(random() * 4); flips > 0; flips--)
      bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256)
    const outcome = failureOf(() => made.push(bytes))
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
  }
  t.strictSame([...outcomes.keys()].sort(), ['BAD_FRAME', 'TOO_LARGE', 'VERSION_MISMATCH', 'none'])
})
