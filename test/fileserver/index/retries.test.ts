/**
 * Claims about the table from which repeated calls are answered: it knows what was done, and it is bounded.
 */
import t from 'tap'
import { Retries } from '../../../fileserver/index/retries.ts'
import { callsKeptMax } from '../../../protocol/messages/attributes.ts'
import { ticket } from '../world.ts'

const done = (result: number, sequence = 1) => ({ result, sequence, stable: true })
const empty = (): Retries => new Retries(() => undefined)

t.test('a call is known by its client and number', async (t) => {
  const retries = empty()
  retries.add(ticket(1, 5), done(50))
  retries.add(ticket(2, 5), done(60))
  t.strictSame(retries.find(ticket(1, 5)), done(50))
  t.strictSame(retries.find(ticket(2, 5)), done(60))
  t.equal(retries.find(ticket(1, 6)), undefined)
  t.equal(retries.find(ticket(3, 5)), undefined)
})

t.test('what a client no longer asks for is forgotten', async (t) => {
  const retries = empty()
  for (let number = 1; number <= 10; number++) retries.add(ticket(1, number), done(number))
  retries.add(ticket(1, 11, 8), done(11))
  for (let number = 1; number <= 11; number++) {
    t.equal(retries.find(ticket(1, number)) !== undefined, number >= 8, `call ${number}`)
    t.equal(retries.isOver(ticket(1, number)), number < 8, 'and must not be done again')
  }
})

t.test('what is known does not depend on the order in which it was added', async (t) => {
  const calls = Array.from({ length: 1100 }, (_, i) => ticket(1, i + 1, Math.max(0, i - 1040 + (i % 7))))
  const tables = [calls, [...calls].reverse(), [...calls.slice(400), ...calls.slice(0, 400)]].map((order) => {
    const retries = empty()
    for (const call of order) retries.add(call, done(call.number))
    return retries.encode(1, 1)
  })
  t.strictSame(tables[1], tables[0])
  t.strictSame(tables[2], tables[0])
  const again = new Retries(() => tables[0])
  again.add(ticket(1, 3, 0), done(3))
  t.equal(again.find(ticket(1, 3)), undefined, 'nor on when it was stored')
})

t.test('a client has at most so many calls', async (t) => {
  const retries = empty()
  for (let number = 1; number <= 3000; number++) retries.add(ticket(1, number), done(number))
  t.equal(retries.find(ticket(1, 3000 - callsKeptMax)), undefined)
  t.ok(retries.find(ticket(1, 3001 - callsKeptMax)))
  t.equal(retries.encode(1, 1)?.length, 8 + callsKeptMax * 16)
})

t.test('there are at most 1,024 clients, and the least recent goes', async (t) => {
  const retries = empty()
  const forgotten: number[] = []
  for (let client = 1; client <= 1025; client++) {
    const gone = retries.add(ticket(client, 1), done(client))
    if (gone !== undefined) forgotten.push(gone)
    if (client === 600) retries.add(ticket(1, 2), done(1))
  }
  t.strictSame(forgotten, [2])
  t.ok(retries.find(ticket(1, 1)))
  t.equal(retries.find(ticket(2, 1)), undefined)
})

t.test('clients that are stored and silent count, and go first, but not at once', async (t) => {
  const stored = Array.from({ length: 1024 }, (_, i) => i + 1)
  const retries = new Retries(() => undefined, stored)
  const forgotten: (number | undefined)[] = []
  const call = (from: number, count: number): void => {
    for (let client = from; client < from + count; client++) {
      const gone = retries.add(ticket(client, 1), done(1))
      if (gone !== undefined) forgotten.push(gone)
    }
  }
  call(1, 100)
  call(2001, 412)
  t.strictSame(forgotten, [], 'who is silent has the time of 512 clients')
  call(3001, 924)
  t.equal(forgotten.length, 924)
  t.ok(
    forgotten.every((client) => client! > 100 && client! <= 1024),
    'none that has called',
  )
})

t.test('after a rollback those that called last are forgotten last', async (t) => {
  const retries = empty()
  for (let client = 1; client <= 1024; client++) retries.add(ticket(client, 1), done(client))
  retries.clear()
  const forgotten: (number | undefined)[] = []
  for (let client = 2001; client <= 2600; client++) forgotten.push(retries.add(ticket(client, 1), done(1)))
  t.strictSame(
    forgotten.filter((client) => client !== undefined),
    Array.from({ length: 88 }, (_, i) => i + 1),
  )
})

t.test('what is stored comes back as surely committed, and nothing later is stored', async (t) => {
  const retries = empty()
  retries.add(ticket(1, 5), done(50, 10))
  retries.add(ticket(1, 6), { result: 2 ** 53 - 1, sequence: 11, stable: false })
  retries.add(ticket(1, 7), done(70, 12))
  const stored = retries.encode(1, 11)
  const again = new Retries((client) => (client === 1 ? stored : undefined))
  t.strictSame(again.find(ticket(1, 5)), { result: 50, sequence: 0, stable: true })
  t.strictSame(again.find(ticket(1, 6)), { result: 2 ** 53 - 1, sequence: 0, stable: true })
  t.equal(again.find(ticket(1, 7)), undefined)
  again.add(ticket(1, 7), done(70, 12))
  t.ok(again.find(ticket(1, 5)), 'a new call does not hide those that are stored')
  again.clear()
  t.equal(again.find(ticket(1, 7)), undefined, 'after a rollback only what is stored counts')
  t.ok(again.find(ticket(1, 5)))
})
