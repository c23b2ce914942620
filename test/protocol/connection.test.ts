/**
 * Connections over real sockets: calls, failures, deadlines, ends, and peers that break the rules.
 */
import { createServer, type Socket } from 'node:net'
import t from 'tap'
import { AssertionError } from '../../protocol/assert.ts'
import { systemClock } from '../../protocol/clock.ts'
import { silentLog } from '../../protocol/logging.ts'
import { framePayloadBytesMax, kinds } from '../../protocol/transport/frame.ts'
import { readFailure } from '../../protocol/transport/wire.ts'
import { missing, serve, service, sleep, transportOf } from './echo.ts'
import { failureIn } from './outcome.ts'
import { frameOf, helloFrame, rawPeer } from './raw.ts'

const { calls } = service
const soon = { timeoutMs: 20_000 }
/** What is due at once may take this long on a machine that is busy with other tests. */
const slowMs = 3000
const joined = (payload: readonly Uint8Array[]): Buffer => Buffer.concat(payload)

t.test('a call carries message and payload there and back, of any size', async (t) => {
  const { connect } = await serve(t)
  const connection = await connect()
  const sizes = [0, 1, 100, 4095, 4096, 4097, 65_511, 65_512, 65_536, 300_000, 1_048_576, framePayloadBytesMax]
  const payloads = sizes.map((size) => Buffer.alloc(size, `${size}.`))
  const answers = await Promise.all(
    payloads.map((bytes, n) => {
      const third = Math.floor(bytes.length / 3)
      const payload = [bytes.subarray(0, third), bytes.subarray(third)]
      return connection.call(calls.echo, { n }, { ...soon, payload })
    }),
  )
  for (const [n, bytes] of payloads.entries()) {
    t.equal(answers[n]!.reply.n, n)
    t.ok(joined(answers[n]!.payload).equals(bytes), `${bytes.length} bytes`)
  }
})

t.test('many small payloads and messages of one tick stay whole', async (t) => {
  const { connect } = await serve(t)
  const connection = await connect()
  const answers = await Promise.all(
    Array.from({ length: 3000 }, (_, n) => {
      const payload = [Buffer.alloc(n % 700, `${n},`)]
      return connection.call(n % 2 === 0 ? calls.echo : calls.later, { n }, { ...soon, payload })
    }),
  )
  const wrong = answers.filter(
    ({ reply, payload }, n) => reply.n !== n || !joined(payload).equals(Buffer.alloc(n % 700, `${n},`)),
  )
  t.equal(wrong.length, 0)
})

t.test('replies come in whatever order the handlers finish', async (t) => {
  const { connect } = await serve(t)
  const connection = await connect()
  const order: number[] = []
  await Promise.all(
    [80, 40, 0].map((n) => connection.call(calls.wait, { n }, soon).then(({ reply }) => order.push(reply.n))),
  )
  t.strictSame(order, [0, 40, 80])
})

t.test('a handler fails its own call only', async (t) => {
  const logged: string[] = []
  const { connect } = await serve(t, {
    log: { ...silentLog, error: (_fields, message) => void logged.push(message) },
  })
  const connection = await connect()
  const outcomes = await Promise.all([
    failureIn(connection.call(calls.fail, { n: 1 }, soon)),
    failureIn(connection.call(calls.fail, { n: 2 }, soon)),
    failureIn(connection.call(calls.fail, { n: 3 }, soon)),
    failureIn(connection.call(missing, { n: 1 }, soon)),
    failureIn(connection.call(calls.echo, { n: -1 }, soon)),
    failureIn(connection.call(calls.echo, { n: 1 }, { ...soon, payload: [Buffer.alloc(framePayloadBytesMax + 1)] })),
    failureIn(connection.call(calls.size, { n: framePayloadBytesMax + 1 }, soon)),
    failureIn(connection.call(calls.echo, { n: 1 }, soon)),
  ])
  t.strictSame(outcomes, [
    'NOT_EMPTY',
    'CONFLICT',
    'INTERNAL',
    'NOT_SUPPORTED',
    'BAD_MESSAGE',
    'TOO_LARGE',
    'TOO_LARGE',
    'none',
  ])
  t.equal(logged.length, 1, 'what nobody expected is logged')
})

t.test('an assertion that fails in a handler is fatal, and never an answer', async (t) => {
  const fatal: unknown[] = []
  const { connect } = await serve(t, { onFatal: (error) => fatal.push(error) })
  for (const n of [4, 5]) {
    const connection = await connect()
    t.equal(await failureIn(connection.call(calls.fail, { n }, soon)), 'UNAVAILABLE')
    t.ok(fatal.pop() instanceof AssertionError)
  }
})

t.test('after its deadline a call fails, and its late reply is dropped', async (t) => {
  const { connect, letGo, held } = await serve(t)
  const connection = await connect()
  const start = performance.now()
  t.equal(await failureIn(connection.call(calls.hold, { n: 1 }, { timeoutMs: 100 })), 'DEADLINE')
  const tookMs = performance.now() - start
  t.ok(tookMs >= 100 && tookMs < slowMs, `${tookMs} ms`)
  t.equal(held.now, 1, 'the server is still at it')
  letGo()
  t.equal((await connection.call(calls.echo, { n: 7 }, soon)).reply.n, 7, 'the connection goes on')
})

t.test('the handler sees the deadline and the peer', async (t) => {
  const { connect, clock } = await serve(t)
  const connection = await connect()
  const before = clock.monotonicMs()
  const { reply } = await connection.call(calls.deadline, { n: 0 }, { timeoutMs: 1234 })
  t.ok(reply.n >= before + 1234 && reply.n <= clock.monotonicMs() + 1235)
})

t.test('closing fails what is in flight, on both sides', async (t) => {
  const { connect, listener } = await serve(t)
  const [first, second] = [await connect(), await connect()]
  const calling = [first, second].map((connection) => failureIn(connection.call(calls.wait, { n: 5000 }, soon)))
  first.close()
  t.equal(await calling[0], 'UNAVAILABLE')
  t.equal(await first.closed, 'UNAVAILABLE')
  await listener.close()
  t.equal(await calling[1], 'UNAVAILABLE')
  t.equal(await second.closed, 'UNAVAILABLE')
  t.equal(await failureIn(second.call(calls.echo, { n: 1 }, soon)), 'UNAVAILABLE', 'and what comes later')
})

t.test('release runs once: after the payload went out, or when the connection is gone', async (t) => {
  const { connect, released } = await serve(t)
  const connection = await connect()
  await Promise.all([0, 1, 100_000].map((n) => connection.call(calls.size, { n }, soon)))
  await sleep(20)
  t.strictSame(released.splice(0).sort(), [0, 1, 100_000])

  const late = failureIn(connection.call(calls.sizeLater, { n: 50 }, soon))
  const lost = Array.from({ length: 20 }, () => failureIn(connection.call(calls.size, { n: 4_000_000 }, soon)))
  await sleep(5)
  connection.close()
  await Promise.all([...lost, late])
  await sleep(200)
  t.equal(released.filter((n) => n === 50).length, 1, 'an answer that came too late')
  const { length } = released.filter((n) => n === 4_000_000)
  t.ok(length <= 20, 'none twice')
  await sleep(100)
  t.equal(released.filter((n) => n === 4_000_000).length, length)
})

t.test('connecting fails with a reason', async (t) => {
  const { listener } = await serve(t, { cluster: 'one' })
  const to = (cluster: string, address = listener.address) => transportOf({ cluster }).connect(address, 1000)
  t.equal(await failureIn(to('two')), 'WRONG_CLUSTER')
  t.equal(await failureIn(to('one', '127.0.0.1:1')), 'UNAVAILABLE')
  t.equal(await failureIn(to('one', 'nonsense')), 'INVALID')
  for (const cluster of ['one', '']) (await to(cluster)).close()
})

t.test('a peer that accepts and says nothing is UNAVAILABLE in time', async (t) => {
  const server = createServer(() => undefined).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  const start = performance.now()
  t.equal(await failureIn(transportOf({}).connect(`127.0.0.1:${port}`, 150)), 'UNAVAILABLE')
  t.ok(performance.now() - start < slowMs)
})

const echo = (id: number, n: unknown = id) =>
  frameOf({ kind: kinds.call, number: calls.echo.number, id, timeoutMs: 1000, wire: [n] })
const payloadCall = { kind: kinds.call, number: calls.echo.number, id: 2, timeoutMs: 1000, wire: [2] } as const
const laterVersion = helloFrame()
laterVersion[2] = 2

for (const [bytes, code, why] of [
  [echo(1), 'BAD_FRAME', 'a call before the hello'],
  [Buffer.concat([helloFrame(), helloFrame()]), 'BAD_FRAME', 'two hellos'],
  [Buffer.concat([helloFrame(), echo(2)]), 'BAD_FRAME', 'a call out of order'],
  [Buffer.concat([helloFrame(), echo(1), echo(1)]), 'BAD_FRAME', 'a call number used twice'],
  [Buffer.concat([helloFrame(), frameOf({ kind: kinds.reply, id: 1, wire: [1] })]), 'BAD_FRAME', 'a reply to nothing'],
  [Buffer.from('GET / HTTP/1.1\r\nHost: holdfast\r\n\r\n'), 'BAD_FRAME', 'an HTTP client'],
  [Buffer.concat([helloFrame(), Buffer.alloc(24, 0xff)]), 'BAD_FRAME', 'garbage after the hello'],
  [laterVersion, 'VERSION_MISMATCH', 'a hello of a later version'],
  [helloFrame('another'), 'WRONG_CLUSTER', 'a hello of another cluster'],
  [frameOf({ kind: kinds.hello, wire: ['', 5] }), 'BAD_MESSAGE', 'a hello of the wrong shape'],
  [frameOf({ kind: kinds.hello, wire: ['', 'x'.repeat(2000), 1, 1] }), 'TOO_LARGE', 'an enormous hello'],
] as const)
  t.test(`${why} closes that connection with ${code}, and no other`, async (t) => {
    const { connect, listener } = await serve(t, { cluster: 'one' })
    const good = await connect()
    const waiting = good.call(calls.wait, { n: 60 }, soon)
    const bad = await rawPeer(listener.address)
    bad.socket.write(bytes)
    t.equal(await bad.ended(), code)
    t.equal((await waiting).reply.n, 60)
    t.equal((await good.call(calls.echo, { n: 1 }, soon)).reply.n, 1)
  })

t.test('a peer that breaks off inside a frame harms nobody', async (t) => {
  const { connect, listener } = await serve(t)
  const good = await connect()
  const whole = Buffer.concat([helloFrame(), echo(1), frameOf({ ...payloadCall, payload: Buffer.alloc(1000) })])
  for (let cut = 1; cut < whole.length; cut += 37) {
    const bad = await rawPeer(listener.address)
    bad.socket.end(whole.subarray(0, cut))
    t.equal(await bad.ended(), undefined)
  }
  t.equal((await good.call(calls.echo, { n: 1 }, soon)).reply.n, 1)
})

t.test('a bad message fails its call, and the connection goes on', async (t) => {
  const { listener } = await serve(t)
  const peer = await rawPeer(listener.address)
  peer.socket.write(Buffer.concat([helloFrame(), echo(1, 'text'), echo(2)]))
  while (peer.frames.length < 3) await sleep(5)
  t.equal(peer.frames[1]!.kind, kinds.failure)
  t.equal((peer.frames[1]!.wire as string[])[0], 'BAD_MESSAGE')
  t.equal(peer.frames[2]!.kind, kinds.reply)
  peer.socket.destroy()
})

t.test('a server that breaks the rules fails the calls of its connection', async (t) => {
  const answers = [
    frameOf({ kind: kinds.reply, id: 99, wire: [1] }),
    frameOf({ kind: kinds.call, number: 1, id: 1, timeoutMs: 1, wire: [1] }),
    Buffer.from('this is not a frame, and it is long enough'),
  ]
  for (const answer of answers) {
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.once('data', () => {
        socket.write(helloFrame())
        socket.once('data', () => socket.write(answer))
      })
    }).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    const connection = await transportOf({}).connect(`127.0.0.1:${port}`, 1000)
    t.equal(await failureIn(connection.call(calls.echo, { n: 1 }, soon)), 'BAD_FRAME')
    t.equal(await connection.closed, 'BAD_FRAME')
    server.close()
  }
})

t.test('an unknown failure code is INTERNAL, never a crash', async (t) => {
  for (const wire of [null, 5, [], ['NO_SUCH_CODE', 'detail'], ['NOT_FOUND'], ['__proto__', 'x']])
    t.equal(readFailure(wire).failure, 'INTERNAL')
  t.equal(readFailure(['NOT_FOUND', 'x']).failure, 'NOT_FOUND')
})

t.test('nothing is put into the buffer of a call that its broken connection has ended', async (t) => {
  const bytes = 1_000_000
  let peer: Socket | undefined
  const server = createServer((socket) => {
    peer = socket
    socket.on('error', () => undefined)
    socket.on('data', () => undefined)
    socket.write(helloFrame())
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  let aheadMs = 0
  const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs }
  const connection = await transportOf({ clock }).connect(`127.0.0.1:${port}`, 1000)
  t.equal(await failureIn(connection.call(calls.echo, { n: 1 }, { timeoutMs: 50 })), 'DEADLINE')
  const into = Buffer.alloc(bytes)
  const read = failureIn(connection.call(calls.echo, { n: 2 }, { timeoutMs: 60_000, into }))
  await sleep(20)
  const reply = frameOf({
    kind: kinds.reply,
    number: calls.echo.number,
    id: 2,
    wire: [2],
    payload: Buffer.alloc(bytes, 1),
  })
  peer!.write(reply.subarray(0, bytes / 2))
  while (into[bytes / 4] === 0) await sleep(5)
  aheadMs = 60_000
  t.equal(await read, 'UNAVAILABLE', 'the first call was never answered')
  into.fill(2)
  peer!.write(reply.subarray(bytes / 2))
  await sleep(100)
  t.ok(into.every((byte) => byte === 2))
})
