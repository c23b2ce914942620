/**
 * Claims about what a log that is opened takes for its own: a torn tail is cut, damage to what was committed is refused
 * and never skipped.
 */
import { copyFileSync, cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Log } from '../../../fileserver/log/log.ts'
import type { Known } from '../../../fileserver/log/open.ts'
import {
  append,
  bytes,
  chains,
  create,
  draft,
  e,
  failure,
  fill,
  flip,
  large,
  open,
  place,
  s,
  segmentFiles,
} from '../world.ts'

const only = '00000000000001.segment'

/** Begin and end of every record in the log's only segment. */
const extentsOf = (log: Log): { from: number; headTo: number; to: number }[] =>
  [...log.entries(s(0))].map(({ offset, header }) => ({
    from: offset,
    headTo: offset + header.headBytes,
    to: offset + header.headBytes + header.payloadBytes,
  }))

/** Records with payload, each of which says that the one two before it is committed. */
function committing(log: Log, count: number): void {
  for (let i = 1; i <= count; i++) append(log, `the payload of record ${i}`, 1, Math.max(0, i - 2))
}

t.test('a tail that is torn anywhere in the last record is cut', async (t) => {
  const here = place(t)
  const log = create(here)
  committing(log, 5)
  const expected = chains(log).slice(0, 5)
  const path = join(here.directory, 'log', only)
  const whole = readFileSync(path)
  const { from, to } = extentsOf(log)[4]!
  t.equal(to, whole.length)
  for (let size = from; size < to; size++) {
    for (const tail of [Buffer.alloc(0), Buffer.alloc(to - size)]) {
      writeFileSync(path, Buffer.concat([whole.subarray(0, size), tail]))
      const opened = open(here)
      if (opened.last !== 4) t.fail(`${size - from} bytes are left, and ${tail.length} zeros`)
      opened.close()
    }
  }
  const opened = open(here)
  t.strictSame(chains(opened), expected)
  t.equal(readFileSync(path).length, from, 'nothing is left of it')
  append(opened, 'the payload of record 5', 1, 3)
  t.ok(readFileSync(path).equals(whole), 'the record comes again')
})

t.test('a flipped bit', async (t) => {
  const here = place(t)
  const log = create(here)
  committing(log, 6)
  const path = join(here.directory, 'log', only)
  const whole = readFileSync(path)
  const records = extentsOf(log)
  const openedWith = (at: number, known: Partial<Known> = {}): string => {
    writeFileSync(path, whole)
    flip(path, at)
    let last = 0
    const code = failure(() => {
      const opened = open(here, known)
      last = opened.last
      opened.close()
    })
    return code === 'none' ? `cut to ${last}` : code
  }
  await t.test('in a record that a later one calls committed is damage', async (t) => {
    for (const number of [1, 3]) {
      const { from, to } = records[number - 1]!
      const found = new Set(Array.from({ length: to - from }, (_, i) => openedWith(from + i)))
      t.strictSame([...found], ['CORRUPT'], `record ${number}`)
    }
    t.equal(openedWith(records[3]!.headTo), 'CORRUPT', 'the last that is known to be committed')
  })
  await t.test('in a record that may never have been acknowledged is a torn tail', async (t) => {
    for (const number of [5, 6]) {
      const { from, to } = records[number - 1]!
      const found = new Set(Array.from({ length: to - from }, (_, i) => openedWith(from + i)))
      t.strictSame([...found], [`cut to ${number - 1}`], `record ${number}`)
    }
  })
  await t.test('in a record that something else knows to be committed is damage', async (t) => {
    t.equal(openedWith(records[5]!.from, { committed: s(6) }), 'CORRUPT', 'the state file')
    t.equal(openedWith(records[5]!.from, { committed: s(5) }), 'cut to 5')
  })
  await t.test('in the header of the only segment is damage, if anything in it was committed', async (t) => {
    t.equal(openedWith(20), 'CORRUPT')
  })
})

t.test('what a power cut kept after a hole was not committed, and is cut', async (t) => {
  const here = place(t)
  const log = create(here)
  // As records come between two syncs: nothing of them is committed when the last is appended.
  for (let i = 1; i <= 3; i++) append(log, `record ${i}`)
  for (let i = 4; i <= 9; i++) append(log, `record ${i}`, 1, 3)
  const path = join(here.directory, 'log', only)
  const { from, to } = extentsOf(log)[4]!
  const content = readFileSync(path)
  content.fill(0, from, to)
  writeFileSync(path, content)
  t.equal(open(here).last, 4)
  content.fill(0, extentsOf(open(here))[2]!.from, to)
  writeFileSync(path, content)
  t.equal(
    failure(() => open(here)),
    'CORRUPT',
    'but the third was',
  )
})

t.test('a file within a file is no evidence', async (t) => {
  const here = place(t)
  const inner = create(here, 'inner')
  committing(inner, 9)
  const log = create(here)
  append(log, 'one')
  append(log, 'two')
  append(log, readFileSync(join(here.directory, 'inner', only)))
  append(log, 'four')
  const path = join(here.directory, 'log', only)
  const [, , third, last] = extentsOf(log)
  flip(path, last!.from + 9)
  t.equal(open(here).last, 3, 'not searched: it stands before the damage')
  flip(path, third!.from + 9)
  t.equal(
    failure(() => open(here)),
    'CORRUPT',
    'a needless refusal is safe',
  )
})

t.test('a log of several segments', async (t) => {
  const here = place(t)
  const log = create(here)
  fill(log, 1, 0)
  append(log, large, 1, 12)
  append(log, 'last', 1, 12)
  const expected = chains(log)
  const [first, second] = segmentFiles(join(here.directory, 'log')).map((name) =>
    join(here.directory, 'log', name),
  ) as [string, string]
  const records = extentsOf(log)
  const saved = join(here.directory, 'second')
  copyFileSync(second, saved)

  await t.test('a torn header of the newest file means that nothing in it was durable', async (t) => {
    for (const size of [0, 1, 63]) {
      truncateSync(second, size)
      t.equal(open(here).last, 16, `${size} bytes`)
      t.strictSame(segmentFiles(join(here.directory, 'log')).length, 1)
      copyFileSync(saved, second)
    }
  })
  await t.test('a record that a later file calls committed is damage', async (t) => {
    flip(first, records[11]!.from + 30)
    t.equal(
      failure(() => open(here)),
      'CORRUPT',
      'its head',
    )
    flip(first, records[11]!.from + 30)
    flip(first, records[11]!.headTo + 1_000_000)
    t.equal(
      failure(() => open(here)),
      'CORRUPT',
      'its payload',
    )
    flip(first, records[11]!.headTo + 1_000_000)
    t.strictSame(chains(open(here)), expected)
  })
  await t.test('the end of a file that a power cut took is cut, with the files after it', async (t) => {
    truncateSync(first, records[14]!.from + 100)
    t.equal(
      failure(() => open(here, { committed: s(15) })),
      'CORRUPT',
      'unless it was committed',
    )
    t.strictSame(chains(open(here)), expected.slice(0, 15))
    t.strictSame(segmentFiles(join(here.directory, 'log')).length, 1)
  })
  await t.test('a file that does not continue the one before is a leftover', async (t) => {
    copyFileSync(saved, second)
    const opened = open(here)
    t.equal(opened.last, 14)
    append(opened, large)
    append(opened, large, 2)
    copyFileSync(saved, second)
    t.equal(open(here).last, 16, 'another chain')
  })
  await t.test('a file that is missing', async (t) => {
    copyFileSync(saved, second)
    rmSync(first)
    t.equal(
      failure(() => open(here)),
      'CORRUPT',
      'what follows says that some of it was committed',
    )
  })
})

t.test('a segment whose first record was lost has not begun', async (t) => {
  const here = place(t)
  const directory = join(here.directory, 'log')
  const log = create(here)
  append(log, 'one')
  log.append(draft({ kind: 'sealSegment', result: 1 }), e(1), s(0))
  log.write()
  const [, sealed] = segmentFiles(directory)
  t.equal(sealed, '00000000000002.segment')
  log.close()
  truncateSync(join(directory, sealed!), 64)
  const opened = open(here)
  append(opened, 'two')
  t.strictSame(segmentFiles(directory), [only], 'the next record is where it is on every other replica')
  opened.close()
})

t.test('a log that ends before what was committed is refused', async (t) => {
  const here = place(t)
  const log = create(here)
  committing(log, 4)
  t.equal(open(here, { committed: s(4) }).last, 4)
  t.equal(
    failure(() => open(here, { committed: s(5) })),
    'CORRUPT',
  )
  const end = { sequence: s(6), offset: 5000, chain: 1n }
  t.equal(
    failure(() => open(here, { checkpoint: { segment: s(1), end, starts: [] } })),
    'CORRUPT',
  )
  t.equal(
    failure(() => open(here, { checkpoint: { segment: s(3), end, starts: [] } })),
    'CORRUPT',
    'another segment',
  )
})

t.test('from a checkpoint only what follows is read', async (t) => {
  const here = place(t)
  const log = create(here)
  committing(log, 6)
  const records = extentsOf(log)
  const path = join(here.directory, 'log', only)
  const end = { sequence: s(5), offset: records[3]!.to, chain: log.chainAt(s(4))! }
  const checkpoint = { segment: s(1), end, starts: log.history.starts }
  flip(path, records[1]!.headTo)
  t.equal(open(here, { checkpoint }).last, 6, 'damage before it is found when it is read')
  truncateSync(path, records[5]!.from + 5)
  t.equal(open(here, { checkpoint }).last, 5)
  truncateSync(path, records[4]!.from)
  t.equal(open(here, { checkpoint }).last, 4)
  truncateSync(path, records[4]!.from - 1)
  t.equal(
    failure(() => open(here, { checkpoint })),
    'CORRUPT',
  )
})

t.test('a file of another container, or of another version, is not taken', async (t) => {
  const here = place(t)
  const log = create(here)
  append(log, 'one', 1)
  append(log, 'two', 1, 1)
  const path = join(here.directory, 'log', only)
  cpSync(join(here.directory, 'log'), join(here.directory, 'other'), { recursive: true })
  copyFileSync(path, join(here.directory, 'other', '00000000000002.segment'))
  t.equal(
    failure(() => open(here, { committed: s(2) }, 'other')),
    'none',
    'a stray file is cut',
  )
  t.equal(segmentFiles(join(here.directory, 'other')).length, 1)
  flip(path, 16)
  t.equal(
    failure(() => open(here)),
    'CORRUPT',
  )
})

t.test('an empty log opens empty', async (t) => {
  const here = place(t)
  create(here)
  t.equal(open(here).last, 0)
  const log = open(here)
  log.append(draft({ payload: [bytes('x')] }), e(1), s(0))
  log.close()
  t.equal(open(here).last, 0, 'a file without a record')
  append(open(here), 'one')
  t.equal(open(here).last, 1)
})
