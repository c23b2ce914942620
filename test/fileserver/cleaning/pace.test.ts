/**
 * Claims about how fast cleaning goes: at once where nobody asks, else a tenth of the time, half where space is short.
 */
import t from 'tap'
import { isBusy, isUrgent, pauseMs } from '../../../fileserver/cleaning/pace.ts'

for (const [tookMs, busy, urgent, expected] of [
  [50, false, false, 0],
  [50, false, true, 0],
  [50, true, false, 450],
  [0.1, true, false, 20],
  [50, true, true, 50],
] as const)
  t.equal(pauseMs(tookMs, { busy, urgent }), expected, `after ${tookMs} ms, busy ${busy}, urgent ${urgent}`)

t.notOk(isBusy(0, 10))
t.notOk(isBusy(1, 5), 'a single operation is no load')
t.notOk(isBusy(20, 1000))
t.ok(isBusy(200, 1000))
t.notOk(isBusy(-5, 10), 'a replica that was opened anew counts from zero')

t.ok(isUrgent({ capacityBytes: 1000, freeBytes: 49 }, false))
t.notOk(isUrgent({ capacityBytes: 1000, freeBytes: 51 }, false))
t.ok(isUrgent({ capacityBytes: 1000, freeBytes: 500 }, true), 'the reserve has been reached')
