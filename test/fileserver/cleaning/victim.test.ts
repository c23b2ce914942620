/**
 * Claims about which segment is cleaned: only what pays, cold ones first, and never for ever.
 */
import t from 'tap'
import { type Candidate, victim } from '../../../fileserver/cleaning/victim.ts'
import { randomFrom } from '../../names/random.ts'
import { s } from '../world.ts'

const kib = 1024
/** [live, deletions] in hundredths of a segment of 2 MiB, oldest first; the last one takes records still. */
const log = (shares: readonly (readonly [number, number])[]): Candidate[] =>
  shares.map(([live, deletions], i) => ({
    first: s(1 + i * 100),
    sizeBytes: 2048 * kib,
    liveBytes: live * 20.48 * kib,
    deletionBytes: deletions * 20.48 * kib,
  }))
const settled = { settled: true, urgent: false, roomBytes: 1000 * 2048 * kib, lastBytesMin: 1024 * kib }

for (const [shares, expected, why] of [
  [[], undefined, 'an empty log'],
  [[[10, 0]], undefined, 'the last segment is not cleaned'],
  [[[0, 0]], 0, 'unless nothing in it is live'],
  [[[0, 40]], 0, 'deletions in the oldest have nothing to delete'],
  [
    [
      [90, 0],
      [0, 1],
    ],
    undefined,
    'elsewhere they have',
  ],
  [
    [
      [50, 0],
      [10, 0],
    ],
    undefined,
    'half of it is live',
  ],
  [
    [
      [49, 0],
      [10, 0],
    ],
    0,
    'less than half is',
  ],
  [
    [
      [90, 0],
      [30, 30],
      [10, 0],
    ],
    undefined,
    'deletions are moved too',
  ],
  [
    [
      [30, 90],
      [30, 30],
      [10, 0],
    ],
    0,
    'but not those of the oldest',
  ],
  [
    [
      [40, 0],
      [90, 0],
      [40, 0],
      [10, 0],
    ],
    0,
    'of two that are alike the older',
  ],
  [
    [
      [40, 0],
      [0, 0],
      [10, 0],
    ],
    1,
    'what is dead costs nothing',
  ],
  [
    [
      [95, 0],
      [5, 80],
      [5, 80],
      [10, 0],
    ],
    0,
    'deletions outweigh: the oldest goes, whatever is in it',
  ],
] as const)
  t.equal(victim(log(shares), settled)?.first, expected === undefined ? undefined : 1 + expected * 100, why)

t.test('while records are on their way, the last segment stays', async (t) => {
  t.equal(victim(log([[0, 0]]), { ...settled, settled: false }), undefined)
  t.equal(
    victim(
      log([[0, 0]]).map((one) => ({ ...one, sizeBytes: 1000 * kib })),
      settled,
    ),
    undefined,
    'a small one too',
  )
})

t.test('where space is short, more pays, and what gives back most comes first', async (t) => {
  const segments = log([
    [80, 0],
    [70, 0],
    [95, 0],
  ])
  t.equal(victim(segments, settled), undefined)
  t.equal(victim(segments, { ...settled, urgent: true })?.first, 101)
})

t.test('where space is short, the last segment is cleaned too', async (t) => {
  const urgent = { ...settled, urgent: true }
  const last = log([
    [90, 0],
    [40, 0],
  ])
  t.equal(victim(last, settled), undefined)
  t.equal(victim(last, urgent)?.first, 101)
  t.equal(victim(last, { ...urgent, settled: false }), undefined, 'not while records are on their way')
  t.equal(victim(log([[55, 0]]), urgent), undefined, 'nor for little')
})

t.test('what is needed of a segment has to find room before it gives any', async (t) => {
  const segments = log([
    [40, 0],
    [20, 0],
    [95, 0],
  ])
  const room = (share: number) => ({ ...settled, urgent: true, roomBytes: share * 20.48 * kib })
  t.equal(victim(segments, room(1000))?.first, 101)
  t.equal(victim(segments, room(41))?.first, 101)
  t.equal(victim(segments, room(39)), undefined)
  t.equal(
    victim(
      log([
        [0, 0],
        [95, 0],
      ]),
      room(0),
    )?.first,
    1,
    'what is dead needs none',
  )
})

t.test('it comes to an end, and then the log is within its bound', async (t) => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = randomFrom(seed)
    const sizeBytes = 2048 * kib
    let segments = log(Array.from({ length: 1 + random(40) }, () => [random(101), 0] as const)).map((segment) => ({
      ...segment,
      deletionBytes: random(2) * random(sizeBytes - Math.floor(segment.liveBytes) + 1),
    }))
    const liveOf = (all: readonly Candidate[]): number => all.reduce((sum, { liveBytes }) => sum + liveBytes, 0)
    const liveBytes = liveOf(segments)
    let next = 100_000
    for (let steps = 0; ; steps++) {
      const chosen = victim(segments, settled)
      if (chosen === undefined) break
      if (steps > 500) return t.fail(`seed ${seed}: it does not end`)
      // What is needed is packed into the last segment, and the next ones when that is full.
      const oldest = segments[0] === chosen
      const wasLast = segments.at(-1) === chosen
      segments = segments.filter((segment) => segment !== chosen)
      let live = chosen.liveBytes
      let deletions = oldest ? 0 : chosen.deletionBytes
      while (live + deletions > 0 || wasLast) {
        let last = segments.at(-1)
        if (last === undefined || last.sizeBytes >= sizeBytes) {
          last = { first: s(next++), sizeBytes: 0, liveBytes: 0, deletionBytes: 0 }
          segments.push(last)
        }
        const room = sizeBytes - last.sizeBytes
        const moved = Math.min(room, live)
        const kept = Math.min(room - moved, deletions)
        segments[segments.length - 1] = {
          ...last,
          sizeBytes: last.sizeBytes + moved + kept + (wasLast ? 100 : 0),
          liveBytes: last.liveBytes + moved,
          deletionBytes: last.deletionBytes + kept,
        }
        live -= moved
        deletions -= kept
        if (wasLast) break
      }
    }
    const bytes = segments.reduce((sum, segment) => sum + segment.sizeBytes, 0)
    if (Math.abs(liveOf(segments) - liveBytes) > 1) t.fail(`seed ${seed}: what is live changed`)
    if (bytes > 2.5 * liveBytes + 2 * sizeBytes) t.fail(`seed ${seed}: ${bytes} bytes of log for ${liveBytes} live`)
  }
  t.pass('seeds 1 to 200')
})
