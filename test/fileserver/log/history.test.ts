/**
 * Claims about epoch histories: where two logs part, and what an append or a cut makes of a history.
 */
import t from 'tap'
import {
  divergencePoint,
  epochAt,
  extended,
  type History,
  shortened,
  startsMax,
} from '../../../fileserver/log/history.ts'
import { e, s } from '../world.ts'

/** `1@1 2@6 ..8`: epoch 1 from record 1, epoch 2 from record 6, the last record is 8. */
function log(text: string): History {
  const words = text.split(' ')
  const starts = words.slice(0, -1).map((word) => {
    const [epoch, first] = word.split('@').map(Number)
    return { epoch: e(epoch!), first: s(first!) }
  })
  return { starts, last: s(Number(words.at(-1)!.slice(2))) }
}

t.test('the divergence point is the last record that both logs surely share', async (t) => {
  for (const [ours, theirs, expected, why] of [
    ['1@1 ..7', '1@1 ..9', 7, 'we are a prefix'],
    ['1@1 ..9', '1@1 ..7', 7, 'they are a prefix'],
    ['1@1 ..7', '1@1 ..7', 7, 'equal'],
    ['1@1 2@6 ..8', '1@1 3@5 ..9', 4, 'we wrote in an epoch the master never saw'],
    ['1@1 3@5 ..9', '1@1 2@6 ..8', 4, 'they wrote in an epoch that we never saw'],
    ['1@1 3@6 ..9', '1@1 2@6 ..8', 5, 'both wrote alone after the same record'],
    ['1@1 2@4 5@9 ..12', '1@1 2@4 3@7 ..20', 6, 'the latest common epoch counts, not the first'],
    ['1@1 2@4 5@9 ..12', '1@1 2@4 5@9 6@11 ..20', 10, 'the common epoch ends earlier with them'],
    ['1@1 2@6 ..5', '1@1 2@6 ..8', 5, 'an epoch of which we hold no record yet'],
    ['2@1 ..8', '3@1 ..9', 0, 'no epoch in common: full copy'],
    ['..0', '1@1 ..9', 0, 'we are empty'],
    ['1@1 ..9', '..0', 0, 'they are empty'],
    ['2@40 ..90', '1@1 2@40 ..80', 80, 'our beginning was dropped, and its epochs with it'],
    ['1@1 2@5 ..9', '1@1 2@0 ..9', 9, 'a history that cannot be true is left to the chains'],
  ] as const)
    t.equal(divergencePoint(log(ours), log(theirs)), expected, `${ours} and ${theirs}: ${why}`)
})

t.test('a record belongs to the latest epoch that began before it', async (t) => {
  const history = log('1@1 3@5 4@6 ..9')
  for (const [at, expected] of [
    [1, 1],
    [4, 1],
    [5, 3],
    [6, 4],
    [9, 4],
    [10, 0],
  ] as const)
    t.equal(epochAt(history, s(at)), expected, `record ${at}`)
  t.equal(epochAt(log('2@40 ..90'), s(39)), 0, 'a record before all that is known')
})

t.test('an append begins an epoch only with the first record of it', async (t) => {
  t.strictSame(extended(log('1@1 ..4'), e(1), s(5)), log('1@1 ..5'))
  t.strictSame(extended(log('1@1 ..4'), e(3), s(5)), log('1@1 3@5 ..5'))
  t.strictSame(extended(log('..0'), e(1), s(1)), log('1@1 ..1'))
  t.throws(() => extended(log('1@1 3@5 ..5'), e(2), s(6)), /ascend/, 'an epoch that is over does not come back')
})

t.test('a cut forgets the epochs that began after it', async (t) => {
  t.strictSame(shortened(log('1@1 3@5 4@6 ..9'), s(5)), log('1@1 3@5 ..5'))
  t.strictSame(shortened(log('1@1 3@5 4@6 ..9'), s(4)), log('1@1 ..4'))
  t.strictSame(shortened(log('1@1 3@5 4@6 ..9'), s(0)), log('..0'))
})

t.test('a history is bounded: the latest epochs are enough', async (t) => {
  let history: History = { starts: [], last: s(0) }
  for (let i = 1; i <= startsMax + 100; i++) history = extended(history, e(i), s(i))
  t.equal(history.starts.length, startsMax)
  t.equal(divergencePoint(history, extended(history, e(9_000_000), s(9_000_000))), history.last)
  t.equal(
    divergencePoint(history, log('1@1 2@2 ..2')),
    0,
    'with one who was away for longer nothing is known to be shared',
  )
})
