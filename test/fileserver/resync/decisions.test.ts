/**
 * Claims about the decisions of resync: how fast it goes, whose turn it is, when it ends, what has to be fetched.
 */
import t from 'tap'
import { blockBytes, missingRuns, sumsBytes, wholeRuns } from '../../../fileserver/resync/plan.ts'
import { Progress } from '../../../fileserver/resync/progress.ts'
import { nextTurn, Places } from '../../../fileserver/resync/queue.ts'
import { begun, holds, type Rounds, streamed } from '../../../fileserver/resync/rounds.ts'
import { emptyBucket, Foreground, resyncRate, take } from '../../../fileserver/resync/throttle.ts'
import { containerId, serverId } from '../../../protocol/ids.ts'
import { randomFrom } from '../../names/random.ts'

const MiB = 2 ** 20

t.test('whatever is asked for, and when, no more goes than the rate and a burst', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = randomFrom(seed)
    const rate = 1 + random(100) * MiB
    let bucket = emptyBucket
    let nowMs = 1000
    let bytes = 0
    let doneMs = nowMs
    for (let i = 0; i < 500; i++) {
      nowMs += random(50)
      const size = random(2 * MiB)
      const taken = take(bucket, size, rate, nowMs)
      bucket = taken.bucket
      bytes += size
      doneMs = Math.max(doneMs, nowMs + taken.waitMs)
    }
    t.ok(bytes <= (rate * (doneMs - 1000 + 101)) / 1000, `seed ${seed}`)
  }
})

t.test('a piece larger than the bucket passes, and those after it wait until its debt is paid', async (t) => {
  const first = take(emptyBucket, 10 * MiB, MiB, 0)
  t.equal(first.waitMs, 10_000)
  t.equal(take(first.bucket, MiB, MiB, 4000).waitMs, 7000)
  t.equal(take(first.bucket, MiB, Number.POSITIVE_INFINITY, 4000).waitMs, 0, 'an idle server forgives it')
})

t.test('resync leaves the larger share to the foreground, and all of an idle server is its own', async (t) => {
  const foreground = new Foreground()
  t.equal(resyncRate(0, foreground.bytesPerSecond(0)), Number.POSITIVE_INFINITY)
  for (let ms = 0; ms < 1000; ms++) foreground.note(300_000, ms)
  const load = foreground.bytesPerSecond(1000)
  t.ok(load > 300e6 && load < 400e6, 'bytes, and something for each operation')
  t.equal(resyncRate(0, load), load / 3)
  t.ok(resyncRate(0, 1) >= MiB, 'a trickle of operations does not stop it')
  t.equal(resyncRate(5, load), 5, 'a fixed limit is one')
  t.equal(resyncRate(200 * MiB, load), load / 3, 'and gives way as well')
  t.equal(resyncRate(200 * MiB, 0), 200 * MiB, 'an idle server reaches it')
  t.equal(foreground.bytesPerSecond(1250), 0, 'soon after the last operation it has all')
})

t.test(
  'the container with the fewest copies goes first, then who goes where few are, then the one that waits longest',
  async (t) => {
    const entry = (name: string, copies: number, sinceMs: number, to: number) => {
      const target = serverId(to.toString(16).padStart(16, '0'))
      return { name, copies: () => copies, sinceMs, target }
    }
    const waiting = [
      entry('safe', 3, 1, 1),
      entry('late', 1, 9, 2),
      entry('early', 1, 8, 2),
      entry('two', 2, 0, 3),
      entry('two more', 2, 1, 3),
      entry('two elsewhere', 2, 2, 4),
    ]
    const order: (typeof waiting)[0][] = []
    while (waiting.length > 0) {
      const next = nextTurn(waiting, order)!
      order.push(next)
      waiting.splice(waiting.indexOf(next), 1)
    }
    t.strictSame(
      order.map(({ name }) => name),
      ['early', 'late', 'two', 'two elsewhere', 'two more', 'safe'],
    )
    t.equal(nextTurn([], []), undefined)
  },
)

t.test('a target takes as many as it may; one that is silent loses its place', async (t) => {
  const places = new Places(2, 1000)
  const [a, b, c] = [1, 2, 3].map(containerId)
  t.ok(places.take(a!, 0) && places.take(b!, 0) && places.take(a!, 900))
  t.notOk(places.take(c!, 1000))
  t.ok(places.take(c!, 1001), 'b was not heard of')
  t.notOk(places.take(b!, 1100))
  places.leave(a!)
  t.ok(places.take(b!, 1100))
})

/** Streams against writes that come `share` times as fast. @returns how long it takes, or nothing when it never ends. */
function race(share: number, free: number): { readonly rounds: number; readonly pace: Rounds['pace'] } | undefined {
  let gap = 1024 * MiB
  let rounds = begun(gap)
  let owed = 0
  for (let pieces = 0; pieces < 100_000; pieces++) {
    if (gap <= 8 * MiB) return { rounds: pieces, pace: rounds.pace }
    // Free of the throttle it goes `free` times as fast.
    owed += share / (rounds.pace === 'throttled' ? 1 : free)
    while (owed >= 1 && !holds(rounds, gap)) {
      owed -= 1
      gap += MiB
    }
    gap -= MiB
    rounds = streamed(rounds, MiB, gap)
  }
  return undefined
}

t.test('however fast new records come, a replica catches up in the end', async (t) => {
  for (const [share, free, pace, why] of [
    [0, 1, 'throttled', 'nothing is written'],
    [0.5, 1, 'throttled', 'the throttle lets more through than is written'],
    [2, 10, 'free', 'the throttle lets less through: what is new goes unthrottled'],
    [3, 2, 'holding', 'even so more comes: new writes are held back'],
    [5, 1, 'holding', 'much more comes'],
  ] as const)
    t.equal(race(share, free)?.pace, pace, why)
})

t.test('what is held back is never more than half of what was streamed', async (t) => {
  const holding: Rounds = { pace: 'holding', roundBytes: 100, leftBytes: 40 }
  t.notOk(holds(holding, 40 + 30))
  t.ok(holds(holding, 40 + 31))
  t.notOk(holds({ ...holding, pace: 'free' }, 1000))
})

t.test('only blocks that differ are fetched', async (t) => {
  const sizeBytes = 5 * blockBytes + 10
  const theirs = Buffer.alloc(sumsBytes(sizeBytes))
  for (let i = 0; i < theirs.length; i++) theirs[i] = i
  t.strictSame(missingRuns(theirs, theirs, sizeBytes, MiB), [])
  const one = Buffer.from(theirs)
  one[8]! ^= 1
  t.strictSame(missingRuns(one, theirs, sizeBytes, MiB), [{ offset: blockBytes, length: blockBytes }])
  t.strictSame(missingRuns(theirs.subarray(0, 32), theirs, sizeBytes, MiB), [
    { offset: 4 * blockBytes, length: blockBytes + 10 },
  ])
  t.strictSame(
    missingRuns(Buffer.alloc(0), theirs, sizeBytes, 2 * blockBytes),
    wholeRuns(sizeBytes, 2 * blockBytes),
    'all of it, in runs that are not too long',
  )
  t.strictSame(wholeRuns(0, MiB), [])
})

t.test('progress tells the rate of the latest seconds', async (t) => {
  const progress = new Progress(0)
  for (let ms = 0; ms <= 20_000; ms += 100) progress.note(ms < 10_000 ? ms : 10_000 + (ms - 10_000) * 3, 50_000, ms)
  t.equal(progress.doneBytes, 40_000)
  t.equal(progress.bytesPerSecond(20_000), 3000)
  progress.note(60_000, 50_000, 20_000)
  t.equal(progress.totalBytes, 60_000, 'never less than what is done')
})
