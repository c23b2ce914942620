/**
 * The parts of the SDK that decide: ranges, tickets, coalesced growth, pieces, tokens.
 */
import t from 'tap'
import { joined, pieceBytes, piecesOf, pipelined } from '../../client/handle/transfer.ts'
import { Unsynced } from '../../client/handle/unsynced.ts'
import { split } from '../../client/operations/ranges.ts'
import { inFlightMax, Tickets } from '../../client/operations/tickets.ts'
import { clientId, containerId, epoch, sequence } from '../../protocol/ids.ts'
import { type CallNumber, callsKeptMax } from '../../protocol/messages/attributes.ts'

const KiB = 1024
const one = containerId(1)
const two = containerId(2)

t.test('a range is split at the ends of chunks', async (t) => {
  const chunk = 256 * KiB
  t.strictSame(split(64 * KiB, 100, chunk), [{ index: 0, offset: 64 * KiB, start: 0, length: 100 }])
  t.strictSame(split(chunk - 10, 30, chunk), [
    { index: 0, offset: chunk - 10, start: 0, length: 10 },
    { index: 1, offset: 0, start: 10, length: 20 },
  ])
  t.strictSame(split(chunk, 2 * chunk, chunk), [
    { index: 1, offset: 0, start: 0, length: chunk },
    { index: 2, offset: 0, start: chunk, length: chunk },
  ])
  t.strictSame(split(2 ** 50 - 1, 1, chunk), [{ index: 2 ** 32 - 1, offset: chunk - 1, start: 0, length: 1 }])
  t.strictSame(split(chunk, 0, chunk), [])
  t.throws(() => split(0, 1, chunk), /inline/)
})

/** Calls that end when the test says so. */
function held(tickets: Tickets) {
  const sent: CallNumber[] = []
  const ends: (() => void)[] = []
  const begin = (container = one): Promise<void> =>
    tickets.run(container, (ticket) => {
      sent.push(ticket)
      return new Promise((resolve) => ends.push(resolve))
    })
  return { sent, ends, begin }
}

t.test('tickets ascend, and name the oldest that is unanswered in their container', async (t) => {
  const { sent, ends, begin } = held(new Tickets(clientId(7)))
  const calls = [begin(), begin(), begin(two), begin()]
  t.strictSame(sent, [
    { client: 7, number: 1, oldest: 1 },
    { client: 7, number: 2, oldest: 1 },
    { client: 7, number: 3, oldest: 3 },
    { client: 7, number: 4, oldest: 1 },
  ])
  ends[0]!()
  await calls[0]
  calls.push(begin())
  t.strictSame(sent.at(-1), { client: 7, number: 5, oldest: 2 }, 'an answered one is no longer the oldest')
  for (const end of ends) end()
  await Promise.all(calls)
})

t.test('a container has only so many calls in flight; the rest wait in turn', async (t) => {
  const { sent, ends, begin } = held(new Tickets(clientId(7)))
  const calls = Array.from({ length: inFlightMax + 3 }, () => begin())
  t.equal(sent.length, inFlightMax)
  const other = begin(two)
  t.equal(sent.length, inFlightMax + 1, 'another container is not held up')
  ends[5]!()
  await calls[5]
  t.equal(sent.length, inFlightMax + 2, 'one answer lets one more go')
  for (let i = 0; i < ends.length; i++) {
    ends[i]!()
    await new Promise(setImmediate)
  }
  await Promise.all([...calls, other])
  const numbers = sent.map(({ number }) => number)
  t.equal(new Set(numbers).size, inFlightMax + 4, 'no number is given twice')
  t.ok(
    sent.every(({ number, oldest }) => oldest <= number),
    'the oldest is never younger than the call',
  )
})

t.test('no call is sent that is so far from the oldest that a container would forget it', async (t) => {
  const { sent, ends, begin } = held(new Tickets(clientId(7)))
  const oldest = begin()
  for (let i = 1; i < callsKeptMax; i++) {
    const call = begin()
    ends[i]!()
    await call
  }
  const calls = [begin(), begin()]
  t.equal(sent.length, callsKeptMax)
  ends[0]!()
  await oldest
  t.strictSame(
    sent.slice(callsKeptMax).map(({ number }) => number),
    [callsKeptMax + 1, callsKeptMax + 2],
  )
  for (const end of ends) end()
  await Promise.all(calls)
})

t.test('a call that fails gives its ticket back', async (t) => {
  const tickets = new Tickets(clientId(7))
  await t.rejects(
    tickets.run(one, () => Promise.reject(new Error('no'))),
    /no/,
  )
  await tickets.run(one, async (ticket) => t.equal(ticket.oldest, ticket.number))
})

t.test('long transfers are cut at whole pieces of the file', async (t) => {
  t.strictSame(piecesOf(0, 10), [{ start: 0, length: 10 }])
  t.strictSame(piecesOf(pieceBytes - 1, pieceBytes + 2), [
    { start: 0, length: 1 },
    { start: 1, length: pieceBytes },
    { start: pieceBytes + 1, length: 1 },
  ])
})

t.test('pipelined runs all, a few at a time, and stops at a failure', async (t) => {
  let running = 0
  let most = 0
  const seen: number[] = []
  await pipelined(20, 4, async (index) => {
    most = Math.max(most, ++running)
    seen.push(index)
    await new Promise(setImmediate)
    running -= 1
  })
  t.equal(most, 4)
  t.strictSame(
    seen,
    Array.from({ length: 20 }, (_, index) => index),
  )
  let begun = 0
  const failing = pipelined(100, 4, async (index) => {
    begun += 1
    await new Promise(setImmediate)
    if (index === 2) throw new Error('the third')
  })
  await t.rejects(failing, /the third/)
  t.ok(begun < 12, 'no more are begun after it')
})

t.test('a payload of one buffer is not copied, unless it would keep much more alive', async (t) => {
  const whole = Buffer.alloc(100_000, 1)
  t.equal(joined([whole]).buffer, whole.buffer)
  t.not(joined([whole.subarray(0, 10)]).buffer, whole.buffer)
  t.equal(joined([Buffer.from('a'), Buffer.from('b')]).toString(), 'ab')
})

t.test('unsynced tokens: the last of each container and epoch, until it is dropped', async (t) => {
  const token = (container: number, at: number, of = 1) => ({
    container: containerId(container),
    epoch: epoch(of),
    sequence: sequence(at),
  })
  const unsynced = new Unsynced()
  unsynced.add(token(1, 5), false)
  unsynced.add(token(1, 4), false)
  unsynced.add(token(1, 6, 2), false)
  unsynced.add(token(9, 1), true)
  t.strictSame(unsynced.bytes(), [token(1, 5), token(1, 6, 2)], 'one for each epoch: a later one proves no earlier one')
  t.strictSame(unsynced.all(), [token(1, 5), token(1, 6, 2), token(9, 1)])
  const synced = unsynced.all()
  unsynced.add(token(1, 7, 2), false)
  unsynced.drop(synced)
  t.strictSame(unsynced.all(), [token(1, 7, 2)], 'what came during the sync stays')
})
