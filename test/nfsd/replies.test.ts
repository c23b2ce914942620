/**
 * Claims about the duplicate request cache.
 */
import t from 'tap'
import { type Answered, ReplyCache } from '../../nfsd/rpc/replies.ts'

/** A call that says how often it ran, and ends when told. */
function call(transient = false) {
  let runs = 0
  let end = () => {}
  const run = (): Promise<Answered> => {
    const reply = [Buffer.from(`answer ${++runs}`)]
    return new Promise((resolve) => {
      end = () => resolve({ reply, transient })
    })
  }
  return { run, end: () => end(), runs: () => runs }
}

t.test('a repetition waits for the first one, and later gets the same answer', async (t) => {
  const cache = new ReplyCache(10)
  const { run, end, runs } = call()
  const both = [cache.answer('key', true, run), cache.answer('key', true, run)]
  end()
  const [first, second] = await Promise.all(both)
  t.equal(first, second)
  t.equal(await cache.answer('key', true, run), first)
  t.equal(runs(), 1)
  void cache.answer('other', true, run)
  t.equal(runs(), 2, 'another call runs')
})

t.test('a call that is only to be joined runs again after its end', async (t) => {
  const cache = new ReplyCache(10)
  const { run, end, runs } = call()
  const both = [cache.answer('key', false, run), cache.answer('key', false, run)]
  end()
  await Promise.all(both)
  t.equal(runs(), 1)
  void cache.answer('key', false, run)
  t.equal(runs(), 2)
})

t.test('"try again later" is not remembered', async (t) => {
  const cache = new ReplyCache(10)
  const { run, end, runs } = call(true)
  for (const expected of [1, 2]) {
    const answer = cache.answer('key', true, run)
    end()
    await answer
    t.equal(runs(), expected)
  }
})

t.test('a call that broke is not remembered', async (t) => {
  const cache = new ReplyCache(10)
  const broken = () => Promise.reject(new Error('broken'))
  await t.rejects(cache.answer('key', true, broken), /broken/)
  const { run, end, runs } = call()
  const answer = cache.answer('key', true, run)
  end()
  await answer
  t.equal(runs(), 1)
})

t.test('the oldest answers make room', async (t) => {
  const cache = new ReplyCache(3)
  const { run, end, runs } = call()
  for (const key of ['a', 'b', 'c', 'd']) {
    const answer = cache.answer(key, true, run)
    end()
    await answer
  }
  for (const key of ['b', 'c', 'd']) await cache.answer(key, true, run)
  t.equal(runs(), 4, 'the newest three are there')
  void cache.answer('a', true, run)
  t.equal(runs(), 5, 'the oldest is not')
})
