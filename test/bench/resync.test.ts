/**
 * The pure parts of the benchmarks of resync, failover and divergence: speed-ups, goals, quantiles, drawings.
 */
import t from 'tap'
import { growsSlowly } from '../../bench/divergence/divergence.ts'
import { quantile } from '../../bench/measure.ts'
import { plot } from '../../bench/resync/plot.ts'
import { goalOf, speedup, throttledTable, unthrottledTable } from '../../bench/resync/report.ts'

const rate = 2e6
const sample = (servers: number, seconds: number) => ({
  servers,
  bytes: 10 * rate * (servers - 1),
  containers: 100,
  seconds,
  receivedBytes: 10 * rate * (servers - 1),
  imbalance: 1.1,
})

t.test('the speed-up is against one source to one target', async (t) => {
  t.equal(speedup(sample(4, 10), rate), 3, 'three servers without any loss')
  t.equal(speedup(sample(4, 30), rate), 1, 'as slow as one')
  for (const [servers, expected] of [
    [4, 0.9],
    [7, 1.8],
    [31, 9],
  ] as const)
    t.equal(goalOf(servers, 4), expected, `${servers} servers`)
})

t.test('the table says what was reached', async (t) => {
  const table = throttledTable([sample(4, 11), sample(8, 11), sample(16, 22)], rate)
  t.match(table, /8 .*6\.36 of 7 .*2\.33 .*2\.10 .*reached/)
  t.match(table, /16 .*6\.82 of 15 .*2\.50 .*4\.50 .*MISSED/)
})

t.test('what nothing holds back stands beside cp', async (t) => {
  const transfer = { bytes: 2e9, receivedBytes: 2e9, seconds: 1 }
  const small = { bytes: 9000, receivedBytes: 9000, seconds: 0.5 }
  const sample = { killed: transfer, returning: { ...transfer, seconds: 4 }, small, cpMBs: 1500, cpSyncedMBs: 500 }
  const table = unthrottledTable(sample)
  t.match(table, /killed server's data .*2000 MB\/s .*reached/)
  t.match(table, /was away .*500 MB\/s .*MISSED/)
  t.match(table, /4 KiB .*9\.0 kB .*reached/)
  t.match(table, /1500 MB\/s; with a sync: 500 MB\/s/)
})

t.test('a time may grow with the logarithm of the log, and no faster', async (t) => {
  const rows = (...times: number[]) => times.map((ms, i) => ({ logBytes: 10 ** (6 + i), ms }))
  t.ok(growsSlowly(rows(20, 21, 25, 29)), '1.5 times from 1 MB to 1 GB')
  t.notOk(growsSlowly(rows(20, 21, 25, 31)))
  t.ok(growsSlowly(rows(0.5, 2, 4, 6)), 'what is less than the noise says nothing')
})

t.test('a quantile is one of the values', async (t) => {
  const values = [5, 1, 4, 2, 3, 10, 9, 8, 7, 6]
  for (const [share, expected] of [
    [0.9, 9],
    [0.5, 5],
    [1, 10],
    [0, 1],
  ] as const)
    t.equal(quantile(values, share), expected)
  t.same(quantile([], 0.9), Number.NaN)
})

t.test('the drawing is an SVG', async (t) => {
  const drawing = plot([sample(4, 11), sample(8, 11)], rate)
  t.ok(drawing.startsWith('<svg '))
  t.ok(drawing.endsWith('</svg>\n'))
  t.match(drawing, 'Re-replication of one lost server')
  t.match(drawing, 'resync of each server held to 2 MB/s')
})
