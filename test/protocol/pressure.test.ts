/**
 * Back-pressure from end to end: whoever is slow, nothing piles up without bound and nothing is lost.
 */
import t from 'tap'
import { ownWindow } from '../../protocol/transport/connection.ts'
import { kinds } from '../../protocol/transport/frame.ts'
import { serve, service, sleep } from './echo.ts'
import { failureIn } from './outcome.ts'
import { frameOf, helloFrame, rawPeer } from './raw.ts'

const { calls } = service
const mebibyte = 1024 * 1024
const patient = { timeoutMs: 20_000 }

t.test('a caller keeps within the bytes that the server takes', async (t) => {
  const { connect, held, letGo } = await serve(t)
  const connection = await connect()
  const payload = [Buffer.alloc(4 * mebibyte)]
  const answers = Array.from({ length: 24 }, (_, n) => connection.call(calls.hold, { n }, { ...patient, payload }))
  while (held.now < 15) await sleep(10)
  await sleep(100)
  t.ok(held.now * 4 * mebibyte <= ownWindow.bytes, `${held.now} calls of 4 MiB at the server`)
  letGo()
  const all = await Promise.all(answers)
  t.strictSame(
    all.map(({ reply }) => reply.n),
    all.map((_, n) => n),
    'those that waited were sent in order',
  )
})

t.test('a caller keeps within the calls that the server takes, and its queue has an end', async (t) => {
  const { connect, held, letGo } = await serve(t)
  const connection = await connect()
  const outcomes = Array.from({ length: 10_000 }, (_, n) => failureIn(connection.call(calls.hold, { n }, patient)))
  while (held.now < ownWindow.calls) await sleep(10)
  await sleep(100)
  t.equal(held.now, ownWindow.calls)
  letGo()
  const all = await Promise.all(outcomes)
  const overloaded = all.filter((outcome) => outcome === 'OVERLOADED').length
  t.equal(all.filter((outcome) => outcome === 'none').length, all.length - overloaded)
  t.ok(overloaded > 0 && overloaded < 2000, `${overloaded} were refused at once`)
  t.equal(held.most, ownWindow.calls)
})

t.test('a call that waits for the window has its deadline too', async (t) => {
  const { connect, letGo } = await serve(t)
  const connection = await connect()
  const held = Array.from({ length: ownWindow.calls }, (_, n) => connection.call(calls.hold, { n }, patient))
  t.equal(await failureIn(connection.call(calls.hold, { n: 0 }, { timeoutMs: 80 })), 'DEADLINE')
  letGo()
  await Promise.all(held)
  t.equal((await connection.call(calls.echo, { n: 3 }, patient)).reply.n, 3)
})

t.test('calls past their deadline fill the window until the server answers them', async (t) => {
  const { connect, held, letGo } = await serve(t)
  const connection = await connect()
  const payload = [Buffer.alloc(4 * mebibyte)]
  const call = (timeoutMs: number) => failureIn(connection.call(calls.hold, { n: 0 }, { timeoutMs, payload }))
  t.ok((await Promise.all(Array.from({ length: 20 }, () => call(100)))).every((outcome) => outcome === 'DEADLINE'))
  await sleep(50)
  t.ok(held.most * 4 * mebibyte <= ownWindow.bytes)
  letGo()
  t.equal(await call(20_000), 'none')
})

t.test('a peer that does not read its answers stops being served', async (t) => {
  const { listener, released } = await serve(t)
  const peer = await rawPeer(listener.address)
  peer.socket.pause()
  const asked = 100
  const size = (id: number): Buffer =>
    frameOf({ kind: kinds.call, number: calls.size.number, id, timeoutMs: 60_000, wire: [mebibyte] })
  peer.socket.write(Buffer.concat([helloFrame(), ...Array.from({ length: asked }, (_, i) => size(i + 1))]))
  const rssBefore = process.memoryUsage.rss()
  await sleep(400)
  t.ok(process.memoryUsage.rss() - rssBefore < 100 * mebibyte, 'memory stays small')
  t.ok(released.length < 40, `${released.length} of ${asked} went out`)
  peer.socket.resume()
  while (peer.frames.length < asked + 1) await sleep(10)
  t.ok(
    peer.frames
      .slice(1)
      .every(({ kind, bytes }, i) => kind === kinds.reply && bytes > mebibyte && peer.frames[i + 1]!.id === i + 1),
  )
  await sleep(20)
  t.equal(released.length, asked, 'reading on gets the rest')
  peer.socket.destroy()
})

t.test('a peer that ignores the window is not read', async (t) => {
  const { listener, held, letGo } = await serve(t)
  const peer = await rawPeer(listener.address)
  const payload = Buffer.alloc(mebibyte)
  const asked = 80
  peer.socket.write(helloFrame())
  for (let id = 1; id <= asked; id++)
    peer.socket.write(
      frameOf({ kind: kinds.call, number: calls.hold.number, id, timeoutMs: 60_000, wire: [id], payload }),
    )
  while (held.most < ownWindow.bytes / mebibyte - 1) await sleep(10)
  await sleep(200)
  t.ok(held.most <= ownWindow.bytes / mebibyte + 1, `${held.most} of ${asked} MiB were taken`)
  letGo()
  while (peer.frames.length < asked + 1) await sleep(10)
  t.equal(held.now, 0, 'answering gets the rest')
  peer.socket.destroy()
})
