/**
 * Claims about a log at work on the real disk: append, receive, read, cut, drop.
 */
import { join } from 'node:path'
import t from 'tap'
import { Log } from '../../../fileserver/log/log.ts'
import type { Disk, File } from '../../../fileserver/pool/disk.ts'
import { Failure } from '../../../protocol/failures.ts'
import {
  append,
  bytes,
  chains,
  container,
  contents,
  create,
  draft,
  e,
  failure,
  fill,
  open,
  place,
  s,
  segmentFiles,
  stream,
} from '../world.ts'

t.test('a log holds what was appended, and holds it still when it is opened again', async (t) => {
  const here = place(t)
  const log = create(here)
  t.match(
    { last: log.last, chain: log.chain, durable: log.durable, from: log.contiguousFrom },
    { last: 0, chain: 0n, durable: 0, from: 1 },
  )
  append(log, 'one')
  append(log, '', 1)
  append(log, 'three', 4, 2)
  const history = {
    starts: [
      { epoch: e(1), first: s(1) },
      { epoch: e(4), first: s(3) },
    ],
    last: s(3),
  }
  t.strictSame(log.history, history)
  const again = open(here)
  t.strictSame(again.history, history)
  t.strictSame(chains(again), chains(log))
  t.strictSame(stream(again), stream(log))
  t.strictSame(
    [...again.entries(s(1))].map(({ header }) => [header.sequence, header.committed, header.epoch]),
    [
      [2, 0, 1],
      [3, 2, 4],
    ],
  )
  append(again, 'four', 4)
  t.equal(open(here).last, 4)
})

t.test('what is not written yet is read all the same', async (t) => {
  const log = create(place(t))
  log.append(draft({ payload: [bytes('gathered')] }), e(1), s(0))
  t.match(Buffer.concat([...stream(log)]).toString('latin1'), /gathered$/)
})

t.test('replicas that receive the same bytes in other pieces have the same files', async (t) => {
  const here = place(t)
  const log = create(here)
  append(log, 'small')
  fill(log)
  for (let i = 0; i < 30; i++) append(log, `record ${i}`, 2)
  t.equal(segmentFiles(join(here.directory, 'log')).length, 2)
  const expected = contents(join(here.directory, 'log'))
  for (const [name, batch] of [
    ['small', 1],
    ['large', 8_000_000],
  ] as const) {
    const replica = create(here, name)
    for (let next = s(1); next <= log.last; ) {
      const { payload, last } = log.read(next, batch)!
      // As a socket delivers it: cut anywhere.
      const [whole] = payload as [Buffer]
      const middle = Math.floor(whole.length / 3)
      t.equal(replica.receive([whole.subarray(0, middle), whole.subarray(middle)]).length, last - next + 1)
      next = s(last + 1)
    }
    const actual = contents(join(here.directory, name))
    t.strictSame(Object.keys(actual), Object.keys(expected), name)
    t.ok(
      Object.entries(expected).every(([file, content]) => content.equals(actual[file]!)),
      `${name} batches`,
    )
    t.strictSame(replica.history, log.history)
  }
  t.strictSame(
    log.manifest().map(({ first }) => first),
    [1, 18],
  )

  await t.test('a read begins anywhere and ends with its segment', async (t) => {
    for (const from of [1, 2, 17, 18, 19, log.last]) {
      const { payload, last } = log.read(s(from), 5_000_000)!
      t.ok(last >= from, `from ${from}`)
      const replica = create(here, 'part')
      t.equal(
        failure(() => replica.receive(payload)),
        from === 1 ? 'none' : 'BAD_MESSAGE',
        'and is of whole records',
      )
    }
    t.equal(log.read(s(14), 100_000_000)!.last, 17)
    t.equal(log.read(s(14), 1)!.last, 14, 'at least one record')
    t.equal(log.read(s(log.last + 1), 1), undefined)
  })

  await t.test('the chain is known at every record, opened with a checkpoint or without', async (t) => {
    const expected = chains(log)
    t.equal(new Set(expected).size, log.last + 1, 'no two are equal')
    t.strictSame(chains(open(here)), expected)
    const [entry] = [...log.entries(s(log.last - 2))]
    const end = {
      sequence: s(entry!.header.sequence + 1),
      offset: entry!.offset + entry!.header.headBytes + entry!.header.payloadBytes,
      chain: entry!.header.chain,
    }
    const checkpoint = { segment: entry!.segment, end, starts: log.history.starts }
    const opened = open(here, { checkpoint })
    t.strictSame(chains(opened), expected)
    t.strictSame(opened.manifest(), log.manifest())
    t.equal(opened.contiguousFrom, 1)
    t.equal(open(here).chainAt(s(log.last + 1)), undefined)
  })
})

t.test('what is not the next record is refused, and nothing of it is kept', async (t) => {
  const here = place(t)
  const log = create(here)
  for (const text of ['one', 'two', 'three']) append(log, text)
  const whole = Buffer.concat([...stream(log)])
  const replica = create(here, 'replica')
  t.equal(
    failure(() => replica.receive([whole.subarray(0, whole.length - 1)])),
    'BAD_MESSAGE',
    'the third is cut short',
  )
  t.equal(replica.last, 0, 'not even the first is taken')
  replica.receive([whole])
  t.equal(
    failure(() => replica.receive([whole])),
    'BAD_MESSAGE',
    'the same again',
  )
  const other = create(here, 'other')
  for (const text of ['one', 'TWO', 'three', 'four']) append(other, text)
  t.equal(
    failure(() => replica.receive(stream(other, 4))),
    'CORRUPT',
    'of a log that parted earlier',
  )
  t.equal(replica.last, 3)
  t.ok(
    contents(join(here.directory, 'replica'))['00000000000001.segment']!.equals(
      contents(join(here.directory, 'log'))['00000000000001.segment']!,
    ),
  )
})

t.test('a cut log goes on as if nothing had ever followed', async (t) => {
  const here = place(t)
  const log = create(here)
  for (let i = 1; i <= 20; i++) append(log, `record ${i}`, i < 8 ? 1 : 3)
  await log.sync()
  const whole = stream(log)
  for (const after of [19, 8, 7, 3, 0]) {
    const replica = create(here, `to-${after}`)
    replica.receive(whole)
    await replica.sync()
    const expected = chains(log).slice(0, after + 1)
    replica.rollback(s(after))
    t.equal(replica.last, after)
    t.equal(replica.durable, after, 'what is cut is not durable')
    t.strictSame(chains(replica), expected)
    t.strictSame(chains(open(here, {}, `to-${after}`)), expected, 'on the disk too')
    append(replica, 'another way', 5)
    t.strictSame(open(here, {}, `to-${after}`).history, replica.history)
    t.strictSame(replica.history.starts.at(-1), { epoch: 5, first: after + 1 })
    replica.rollback(s(after))
    if (after > 0) replica.receive(stream(log, after + 1))
    else replica.receive(whole)
    t.strictSame(chains(replica), chains(log), 'and forward again')
  }
})

t.test('a cut takes whole segments with it', async (t) => {
  const here = place(t)
  const log = create(here)
  for (let i = 0; i < 3; i++) append(log, `record ${i}`)
  fill(log)
  append(log, 'in the second')
  const directory = join(here.directory, 'log')
  t.equal(segmentFiles(directory).length, 2)
  const replica = create(here, 'replica')
  replica.receive(stream(log, 1, 5_000_000))
  replica.rollback(s(2))
  t.equal(segmentFiles(join(here.directory, 'replica')).length, 1)
  replica.receive(stream(log, 3, 5_000_000))
  const expected = contents(directory)
  const actual = contents(join(here.directory, 'replica'))
  t.ok(
    Object.keys(expected).every((file) => expected[file]!.equals(actual[file]!)),
    'forward again, byte for byte',
  )
})

t.test('only what a sync covers is durable', async (t) => {
  const here = place(t)
  const syncs: (() => void)[] = []
  const disk: Disk = {
    ...here.disk,
    open: (path, create) => {
      const file = here.disk.open(path, create)
      return new Proxy(file, {
        get: (target, name: keyof File) =>
          name === 'sync'
            ? () => new Promise<void>((resolve) => syncs.push(resolve))
            : typeof target[name] === 'function'
              ? (target[name] as () => unknown).bind(target)
              : target[name],
      })
    },
  }
  const log = Log.create(disk, join(here.directory, 'log'), container)
  for (const text of ['one', 'two']) append(log, text)
  const first = log.sync()
  append(log, 'three')
  t.equal(log.durable, 0, 'nothing before it is done')
  syncs.shift()!()
  await first
  t.equal(log.durable, 2, 'what was appended before it began')
  const second = log.sync()
  log.rollback(s(2))
  append(log, 'another three')
  syncs.shift()!()
  await second
  t.equal(log.durable, 2, 'a sync from before a cut says nothing about what was appended after it')
  const third = log.sync()
  syncs.shift()!()
  await third
  t.equal(log.durable, 3)
})

t.test('what the disk does not read is like what is damaged', async (t) => {
  const here = place(t)
  const whole = Log.create(here.disk, join(here.directory, 'log'), container)
  for (const content of ['one', 'two', 'three']) append(whole, content)
  const known = whole.chainAt(s(2))
  whole.write()
  t.ok(known)
  const unread = {
    ...here.disk,
    open: (path: string, create: boolean): File =>
      new Proxy(here.disk.open(path, create), {
        get: (file, name: keyof File) => {
          if (name !== 'read') return (file[name] as () => unknown).bind?.(file) ?? file[name]
          return (target: Uint8Array, offset: number) => {
            if (failing) throw new Failure('DISK_FAILED', 'EIO')
            return file.read(target, offset)
          }
        },
      }),
  }
  let failing = false
  const unknown = { checkpoint: undefined, starts: [], committed: s(0) }
  const log = Log.open(unread, join(here.directory, 'log'), container, unknown)
  t.equal(log.chainAt(s(2)), known)
  failing = true
  t.equal(log.chainAt(s(2)), undefined)
  t.equal(log.chainAt(s(3)), whole.chain, 'this one is known')
})

t.test('after a failed sync or write the log does nothing more', async (t) => {
  const here = place(t)
  let failing = false
  const disk: Disk = {
    ...here.disk,
    open: (path, create) => {
      const file = here.disk.open(path, create)
      return new Proxy(file, {
        get: (target, name: keyof File) => {
          if (name === 'sync' && failing) return () => Promise.reject(new Failure('DISK_FAILED', 'no'))
          return typeof target[name] === 'function' ? (target[name] as () => unknown).bind(target) : target[name]
        },
      })
    },
  }
  const log = Log.create(disk, join(here.directory, 'log'), container)
  append(log, 'one')
  failing = true
  await t.rejects(log.sync()!, /DISK_FAILED/)
  failing = false
  t.equal(
    failure(() => log.sync()),
    'DISK_FAILED',
    'the kernel may have forgotten the error: we do not',
  )
  t.equal(
    failure(() => append(log, 'two')),
    'DISK_FAILED',
  )
  t.equal(log.durable, 0)
})

t.test('a closed log writes nothing: its files may be others by now', async (t) => {
  const here = place(t)
  const log = create(here)
  append(log, 'written')
  log.append(draft({ payload: [bytes('gathered')] }), e(1), s(0))
  log.close()
  t.equal(
    failure(() => log.sync()),
    'NOT_READY',
  )
  t.equal(open(here).last, 1)
})

t.test('a dropped segment leaves a gap', async (t) => {
  const here = place(t)
  const log = create(here)
  for (let epoch = 1; epoch <= 3; epoch++) fill(log, epoch)
  append(log, 'last', 3, 48)
  const whole = chains(log)
  t.strictSame(
    log.manifest().map(({ first }) => first),
    [1, 17, 33, 49],
  )
  t.throws(() => log.drop(s(49)), /never dropped/, 'the last one takes the next record')
  log.drop(s(17))
  log.drop(s(17))
  const known = { starts: log.history.starts, committed: s(49) }
  const [entry] = [...log.entries(s(48))]
  const end = { sequence: s(50), offset: log.manifest().at(-1)!.sizeBytes, chain: entry!.header.chain }
  const checkpoint = { segment: s(49), end, starts: log.history.starts }
  for (const [name, opened] of [
    ['as it is', log],
    ['opened from nothing', open(here, known)],
    ['opened from a checkpoint', open(here, { ...known, checkpoint })],
  ] as const) {
    t.equal(opened.contiguousFrom, 33, name)
    t.equal(opened.read(s(17), 1), undefined)
    t.equal(opened.segmentOf(s(32)), undefined)
    t.equal(opened.segmentOf(s(33)), 33)
    t.equal(opened.chainAt(s(20)), undefined)
    t.equal(opened.chainAt(s(16)), whole[16], 'before the gap')
    t.equal(opened.chainAt(s(32)), whole[32], 'what comes after the gap knows what it follows')
    t.strictSame(opened.history, log.history, 'the epoch that began in the gap is known still')
    t.equal(
      failure(() => opened.readSegment(s(17), Buffer.alloc(1), 0)),
      'NOT_FOUND',
    )
    t.strictSame(opened.manifest(), log.manifest())
    t.equal([...opened.entries(s(0))].length, 33)
  }
})

t.test('a mended record is the one that was', async (t) => {
  const here = place(t)
  const log = create(here)
  append(log, 'one')
  append(log, 'two')
  const [, entry] = [...log.entries(s(0))]
  const content = contents(join(here.directory, 'log'))['00000000000001.segment']!
  const head = content.subarray(entry!.offset, entry!.offset + entry!.header.headBytes)
  t.ok(log.isHead(s(1), entry!.offset, head))
  const other = Buffer.from(head)
  other[60]! ^= 1
  t.notOk(log.isHead(s(1), entry!.offset, other), 'a head with another byte')
  t.notOk(log.isHead(s(1), entry!.offset + 1, head), 'at another place')
  log.repair(s(1), entry!.offset, other)
  t.ok(log.isHead(s(1), entry!.offset, head), 'it is known even while it is damaged')
  t.equal(
    failure(() => log.read(s(2), 1)),
    'CORRUPT',
  )
  log.repair(s(1), entry!.offset, head)
  t.equal(log.read(s(2), 1)!.last, 2)
  t.throws(() => log.repair(s(1), content.length - 1, Buffer.alloc(2)), /CORRUPT.*shorter/)
})
