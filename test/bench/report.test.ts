/**
 * The benchmark's pure parts: medians, rates, the report, /proc and CPU profiles.
 */
import t from 'tap'
import { median, rate, repeat } from '../../bench/measure.ts'
import { type CpuProfile, selfTimes } from '../../bench/profile.ts'
import { type Figures, reached, toJson, toTable } from '../../bench/suite/report.ts'
import { parseCpuSeconds } from '../../bench/worker.ts'

t.test('the JSON has exactly the keys that were promised', async (t) => {
  const whole = {
    bareChainMBs: null,
    write1MBs: 612,
    write4MBs: null,
    read1MBs: null,
    read4MBs: null,
    cpuSecondsPerGBWritten: 2.35,
    creates: { '1': null, '16': 10_001, '64': null },
    randRead4k: { '1': null, '16': null },
    randWrite4k: { '1': null, '16': null },
    randWrite4kSync: { '1': null, '16': null },
    stats: { '16': null },
    unlinks: { '16': 8000 },
  }
  const figures: Figures = {
    write1MBs: 612.4,
    cpuSecondsPerGBWritten: 2.3456,
    'creates.16': 10_000.6,
    'unlinks.16': 8000,
  }
  t.strictSame(toJson(figures), whole, 'null where nothing was measured')
  t.strictSame(Object.keys(toJson({})), Object.keys(whole))
})

t.test('a goal is reached when all that it asks for is', async (t) => {
  for (const [figure, figures, expected, why] of [
    ['write1MBs', { write1MBs: 600, bareChainMBs: 900 }, true, 'both'],
    ['write1MBs', { write1MBs: 600, bareChainMBs: 1100 }, false, 'too little of the chain'],
    ['write1MBs', { write1MBs: 599, bareChainMBs: 500 }, false, 'too slow'],
    ['write1MBs', { write1MBs: 600 }, true, 'the chain was not measured'],
    ['cpuSecondsPerGBWritten', { cpuSecondsPerGBWritten: 2.6 }, true, '2.8 per GiB are 2.608 per GB'],
    ['cpuSecondsPerGBWritten', { cpuSecondsPerGBWritten: 2.61 }, false, 'less is better'],
    ['stats.16', { 'stats.16': 1 }, undefined, 'no goal'],
    ['creates.64', {}, undefined, 'not measured'],
  ] as const)
    t.equal(reached(figure, figures), expected, why)
})

t.test('the table shows what was measured, and nothing else', async (t) => {
  const table = toTable({ bareChainMBs: 900, write1MBs: 630, 'creates.16': 12_345.6 })
  t.match(table, /sequential write, 1 stream.*630 MB\/s.*70 %.*>= 600 and 60 % of the chain.*reached.*337.*385/)
  t.match(table, /create.*16.*12,346 \/s/)
  t.notMatch(table, /random/)
})

t.test('the median is the middle', async (t) => {
  for (const [values, expected] of [
    [[3], 3],
    [[9, 1, 2], 2],
    [[4, 1, 3, 2], 2.5],
    [[], Number.NaN],
  ] as const)
    t.same(median(values), expected)
})

t.test('operations are kept in flight, each begun once', async (t) => {
  const begun: number[] = []
  let running = 0
  let most = 0
  let finished = false
  const finish = async (): Promise<void> => {
    finished = true
    t.equal(running, 0, 'after the last operation')
  }
  const sample = await repeat({ inFlight: 4, seconds: 5, countMax: 30, finish }, async (index) => {
    begun.push(index)
    most = Math.max(most, ++running)
    await new Promise((resolve) => setImmediate(resolve))
    running--
  })
  t.same(
    begun,
    Array.from({ length: 30 }, (_, i) => i),
  )
  t.equal(most, 4)
  t.ok(finished)
  t.equal(sample.amount, 30)
  t.equal(rate({ amount: 30, seconds: 2 }), 15)
  t.equal((await repeat({ inFlight: 2, seconds: 0 }, async () => t.fail())).amount, 0, 'no time, no operation')
})

t.test("CPU time is read past any process's name", async (t) => {
  const after = 'S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0'
  t.equal(parseCpuSeconds(`123 (node) ${after}`), 4)
  t.equal(parseCpuSeconds(`123 (a ) b) ${after}`), 4)
})

t.test('self time is what was sampled in a function itself', async (t) => {
  const frame = (functionName: string, url = '') => ({ functionName, url, lineNumber: 11 })
  const profile: CpuProfile = {
    nodes: [
      { id: 1, callFrame: frame('(idle)') },
      { id: 2, callFrame: frame('append', `file://${process.cwd()}/dist/fileserver/log/log.js`) },
      { id: 3, callFrame: frame('', 'file:///x/node_modules/msgpackr/pack.js') },
      { id: 4, callFrame: frame('append', `file://${process.cwd()}/dist/fileserver/log/log.js`) },
    ],
    samples: [1, 2, 3, 4],
    timeDeltas: [9000, 2000, 1000, 1000],
  }
  t.strictSame(selfTimes(profile), {
    busyMs: 4,
    functions: [
      { place: 'append fileserver/log/log.js:12', ms: 3, share: 0.75 },
      { place: '(anonymous) msgpackr/pack.js:12', ms: 1, share: 0.25 },
    ],
  })
})
