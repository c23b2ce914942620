/**
 * Claims about which replica is scrubbed next, and how fast.
 */
import t from 'tap'
import { isBusy, nextDue, pauseMs } from '../../../fileserver/scrub/order.ts'
import { sequence } from '../../../protocol/ids.ts'

const day = 24 * 3600 * 1000
const now = 100 * day
/** `name: days since it was read`, with `+` when it was begun again since; `never`. */
const candidates = (...texts: string[]) =>
  texts.map((text) => {
    const [name, age] = text.split(': ') as [string, string]
    const completedMs = age.startsWith('never') ? 0 : now - Number.parseFloat(age) * day
    return { name, memory: { completedMs, next: sequence(age.endsWith('+') ? 5 : 0) } }
  })

for (const [texts, expected, why] of [
  [['a: 10', 'b: 20', 'c: 15'], 'b', 'the one that was not read for longest'],
  [['a: 10', 'b: never'], 'b', 'one that was never read'],
  [['a: never', 'b: never+', 'c: never'], 'b', 'of those, the one that was begun'],
  [['a: 1', 'b: 6.9'], undefined, 'nothing is due before its time'],
  [['a: 1', 'b: 7'], 'b', 'a week has gone'],
  [['a: 8+', 'b: 9'], 'b', 'one that was begun does not go before older ones'],
  [['a: 1', 'b: -3'], 'b', 'a time that has not come yet says nothing'],
  [[], undefined, 'nothing is here'],
] as const)
  t.equal(nextDue(candidates(...texts), now, 7 * day)?.name, expected, why)

const mebi = 1024 * 1024
for (const [bytes, tookMs, bytesPerSecond, busy, expected, why] of [
  [mebi, 10, 10 * mebi, false, 90, 'a tenth of a second for each MiB'],
  [mebi, 10, 10 * mebi, true, 390, 'four times as long under load'],
  [mebi, 200, 10 * mebi, false, 0, 'a slow disk needs no pause'],
  [mebi, 10, 0, false, 0, 'no rate, nobody else: no pause'],
  [mebi, 10, 0, true, 90, 'no rate, under load: nine tenths for the others'],
  [mebi, 0.1, 0, true, 5, 'but never less than a few ms'],
] as const)
  t.equal(pauseMs(bytes, tookMs, bytesPerSecond, busy), expected, why)

t.equal(isBusy(100, 100), false, 'a few bytes are no load')
t.equal(isBusy(mebi, 100), true, 'ten MiB a second are')
t.equal(isBusy(0, 0), false)
