/**
 * Claims about scrub: whatever of a segment has changed is put right, from whoever has it, and equal afterwards.
 */
import { statSync, truncateSync } from 'node:fs'
import t from 'tap'
import { recall } from '../../../fileserver/scrub/remembered.ts'
import { Failure } from '../../../protocol/failures.ts'
import type { ScrubReport } from '../../../protocol/messages/maintenance.ts'
import { randomFrom } from '../../names/random.ts'
import { bytesOf } from '../../names/world.ts'
import { serves, until, write } from '../nodes.ts'
import { put } from '../stored.ts'
import { container, contents, failure } from '../world.ts'
import { isSame, recordsIn, Scrubbed, segmentsOf, spoil } from './world.ts'

t.setTimeout(120_000)

const repairedAll = ({ found, repaired, remaining, unchecked }: ScrubReport): boolean =>
  found > 0 && repaired === found && remaining === 0 && unchecked === 0

t.test('a sound replica is read as a whole, and nothing is found', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const reports = await scrubbed.scrub()
  for (const report of reports) {
    t.match(report, { containers: 1, containersChecked: 1, found: 0, repaired: 0, remaining: 0, unchecked: 0 })
    t.equal(report.checkedBytes >= report.totalBytes, true, `${report.checkedBytes} of ${report.totalBytes}`)
  }
  const { counters } = scrubbed.nodes.all[0]!.environment
  t.match(counters, { corruptBlocks: 0, repairedBlocks: 0, diskErrors: 0 })
  t.ok(counters.scrubbedBytes >= reports[0]!.totalBytes)
})

t.test('anything that changed on one replica of three is mended in place', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const [, victim] = scrubbed.nodes.all
  const before = contents(victim!.directory)
  for (const [what, spoils] of [
    ['a byte of a payload', ([path], [, record]) => spoil(path!, record!.offset + record!.headBytes + 5)],
    ['a chain', ([path], [, record]) => spoil(path!, record!.offset)],
    ['the size of a head', ([path], [, record]) => spoil(path!, record!.offset + 12, 4)],
    ['a sum', ([path], [, record]) => spoil(path!, record!.offset + 72)],
    ['the header of a segment', ([path]) => spoil(path!, 3)],
    ['two heads in a row', ([path], [, one, two]) => [one, two].map((record) => spoil(path!, record!.offset + 9))],
    ['the last record of a sealed segment', ([path], records) => spoil(path!, records.at(-1)!.offset, 200)],
    ['the very last record', (paths) => spoil(paths.at(-1)!, recordsIn(paths.at(-1)!).at(-1)!.offset + 8)],
    ['10,000 bytes in a row', ([path]) => spoil(path!, 100_000, 10_000)],
    ['a whole segment', ([, path]) => spoil(path!, 0, 2 ** 20)],
    ['every segment', (paths) => paths.map((path) => spoil(path, 50, 2 ** 20))],
  ] as readonly (readonly [string, (paths: string[], records: ReturnType<typeof recordsIn>) => unknown])[]) {
    const paths = segmentsOf(victim!)
    t.ok(paths.length > 3, 'there are several segments')
    spoils(paths, recordsIn(paths[0]!))
    t.notOk(isSame(contents(victim!.directory), before), what)
    const [report] = await scrubbed.scrub(victim!)
    t.ok(repairedAll(report!), `${what}: ${JSON.stringify(report)}`)
    await scrubbed.equal(t, what)
  }
  const { corruptBlocks, repairedBlocks, diskErrors } = victim!.environment.counters
  t.ok(
    corruptBlocks > 0 && corruptBlocks === repairedBlocks && diskErrors > 0 && diskErrors < corruptBlocks,
    'all of it is counted',
  )
})

t.test('a segment that became shorter is whole again', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const [, victim] = scrubbed.nodes.all
  const [, path] = segmentsOf(victim!)
  truncateSync(path!, Math.floor(statSync(path!).size / 2))
  const [report] = await scrubbed.scrub(victim!)
  t.ok(repairedAll(report!), JSON.stringify(report))
  await scrubbed.equal(t, 'byte for byte')
})

t.test('a segment that became shorter while nobody had it open is found, and made anew', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const { nodes } = scrubbed
  const [master, victim] = nodes.all
  const { log, index } = victim!.replica.storage
  await until(() => index.applied === log.last, 'nothing of it is read again')
  await victim!.replicas.close()
  const [path] = segmentsOf(victim!)
  truncateSync(path!, statSync(path!).size - 100)
  const again = await victim!.reopened(nodes)
  const shorter = again.replica
  scrubbed.scrubs(again)
  await write(master!, { changes: [put('after', 'all', true)] })
  await until(() => scrubbed.location.epoch >= 3 && scrubbed.location.inSync.length === 3, 'it is back', 20_000)
  const { epoch } = scrubbed.location
  const [report] = await scrubbed.scrub(again)
  t.match(report, { found: 1, repaired: 0, problems: [{ problem: /made anew/ }] })
  await until(() => scrubbed.location.epoch > epoch && scrubbed.location.inSync.length === 3, 'made anew', 20_000)
  t.not(again.replica, shorter)
  await scrubbed.equal(t, 'byte for byte')
})

t.test('replicas that are spoiled in different places mend each other', async (t) => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
  t.comment(`SEED=${seed}`)
  const random = randomFrom(seed)
  const scrubbed = await Scrubbed.make(t)
  const { all } = scrubbed.nodes
  for (let round = 0; round < 5; round++) {
    // Each place of the log belongs to one replica, which alone may be wrong there.
    const places = segmentsOf(all[0]!).flatMap((path, segment) =>
      recordsIn(path).map(({ offset, headBytes, payloadBytes }) => ({
        segment,
        offset,
        bytes: headBytes + payloadBytes,
      })),
    )
    let spoiled = 0
    for (const { segment, offset, bytes } of places) {
      if (random(3) > 0) continue
      const from = random(bytes)
      spoil(segmentsOf(all[random(3)]!)[segment]!, offset + from, 1 + random(bytes - from) * random(2))
      spoiled += 1
    }
    t.ok(spoiled > 0)
    const reports = await scrubbed.scrub()
    t.ok(
      reports.every(({ remaining }) => remaining === 0),
      JSON.stringify(reports),
    )
    await scrubbed.equal(t, `round ${round}, ${spoiled} places`)
  }
})

t.test('a read whose record stands behind other damage has the segment mended, and is answered', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const [master] = scrubbed.nodes.all
  const [path] = segmentsOf(master!)
  const records = recordsIn(path!)
  // File 5 is in the seventh record: before it two heads are wrong, and its own sums are.
  for (const [record, at] of [
    [3, 20],
    [4, 9],
    [6, 72],
  ] as const)
    spoil(path!, records[record]!.offset + at)
  const { payload } = await master!.replica.read(bytesOf('file 5'), 0, 20_000)
  t.ok(Buffer.concat([...payload]).equals(Buffer.alloc(20_000, '5 ')), 'what is read is what was written')
  await scrubbed.equal(t, 'and the segment is whole again')
})

t.test('what is nowhere whole stays as it is, and is told', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const { all } = scrubbed.nodes
  for (const node of all) {
    const [path] = segmentsOf(node)
    const record = recordsIn(path!).find(({ payloadBytes }) => payloadBytes > 1000)!
    spoil(path!, record.offset + record.headBytes + 3)
  }
  for (const report of await scrubbed.scrub()) {
    t.match(report, { found: 1, repaired: 0, remaining: 1, unchecked: 0 })
    t.match(report.problems, [{ container, problem: /no replica .* whole/ }])
  }
  t.equal(scrubbed.location.epoch, 1, 'nobody is given up for it')
})

t.test('a place that nobody can mend is one error of the disk, however often it is met', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const [master] = scrubbed.nodes.all
  const spoilAll = (number: number): void => {
    for (const node of scrubbed.nodes.all) {
      const [path] = segmentsOf(node)
      const { offset, headBytes } = recordsIn(path!)[number]!
      spoil(path!, offset + headBytes + 3)
    }
  }
  const { counters } = master!.environment
  // File 1 is in the third record, file 5 in the seventh.
  spoilAll(2)
  const read = async () => master!.replica.read(bytesOf('file 1'), 0, 20_000)
  for (let i = 0; i < 3; i++) await t.rejects(read(), /CORRUPT/)
  t.equal(counters.diskErrors, 1, 'read by clients')
  for (let i = 0; i < 2; i++) t.match(await scrubbed.scrub(master!), [{ found: 1, remaining: 1 }])
  t.equal(counters.diskErrors, 1, 'and scrubbed')
  spoilAll(6)
  for (let i = 0; i < 2; i++) t.match(await scrubbed.scrub(master!), [{ found: 2, remaining: 2 }])
  t.equal(counters.diskErrors, 2, 'what is spoiled later is another one')
})

t.test('without others in reach damage stays, and is mended when they are back', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const [, victim] = scrubbed.nodes.all
  const [path] = segmentsOf(victim!)
  spoil(path!, recordsIn(path!)[3]!.offset + 20)
  const { connect } = victim!.environment
  Object.assign(victim!.environment, { connect: async () => Promise.reject(new Failure('UNAVAILABLE', 'cut')) })
  t.match(await scrubbed.scrub(victim!), [{ found: 1, repaired: 0, remaining: 1 }])
  Object.assign(victim!.environment, { connect })
  t.match(await scrubbed.scrub(victim!), [{ found: 1, repaired: 1, remaining: 0 }])
  await scrubbed.equal(t, 'byte for byte')
})

t.test('a replica whose disk refuses the right bytes is given up, and made anew by its master', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const [master, victim] = scrubbed.nodes.all
  const [path] = segmentsOf(victim!)
  const { replica } = victim!
  scrubbed.refused.add(path!)
  const [report] = await scrubbed.scrub(victim!)
  t.ok(report!.remaining > 0, JSON.stringify(report))
  t.match(report!.problems, [{ problem: /made anew/ }])
  scrubbed.refused.clear()
  await until(
    () => scrubbed.location.epoch >= 3 && scrubbed.location.inSync.length === 3,
    'it is in sync again',
    20_000,
  )
  t.not(victim!.replica, replica, 'with another replica')
  t.ok(master!.replica.leads)
  await until(() => victim!.replica.storage.log.last === master!.replica.storage.log.last, 'it has everything')
  await scrubbed.equal(t, 'byte for byte')
  for (const after of await scrubbed.scrub()) t.match(after, { found: 0, remaining: 0, unchecked: 0 })
})

t.test('a master whose disk refuses gives way to another, which makes it anew', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const [master] = scrubbed.nodes.all
  scrubbed.refused.add(segmentsOf(master!)[1]!)
  await scrubbed.scrub(master!)
  scrubbed.refused.clear()
  await until(() => scrubbed.location.epoch > 1, 'another epoch has begun')
  await scrubbed.nodes.configure(
    scrubbed.location.epoch,
    scrubbed.nodes.all.filter(({ server }) => scrubbed.location.inSync.includes(server)),
    [master!],
  )
  await until(() => scrubbed.location.inSync.length === 3, 'it is in sync again', 20_000)
  await scrubbed.equal(t, 'byte for byte')
})

t.test('where every disk refuses, what is counted on stays', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const { nodes } = scrubbed
  for (const node of nodes.all) scrubbed.refused.add(segmentsOf(node)[1]!)
  const lacking: string[] = []
  const look = (): void => {
    const { epoch, inSync } = scrubbed.location
    for (const { server, replicas } of nodes.all)
      if (inSync.includes(server) && !replicas.holds(container)) lacking.push(`${server} in epoch ${epoch}`)
  }
  const looking = setInterval(look, 1)
  t.teardown(() => clearInterval(looking))
  const reports = await scrubbed.scrub()
  look()
  t.ok(reports.every(({ remaining }) => remaining > 0))
  t.ok(scrubbed.location.inSync.length > 0, 'somebody is in sync')
  t.strictSame(lacking, [])
})

t.test('a follower that most others contradict below what is committed is made anew', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const [master, liar] = scrubbed.nodes.all
  const { log } = liar!.replica.storage
  const { chainAt } = log
  const { replica } = liar!
  Object.assign(log, { chainAt: (at: number) => (chainAt.call(log, at as never) ?? 0n) ^ 1n })
  const [report] = await scrubbed.scrub(master!)
  t.match(report, { found: 1, remaining: 1, problems: [{ problem: /logs differ/ }] })
  await until(() => scrubbed.location.inSync.length === 3 && scrubbed.location.epoch >= 3, 'it is back', 20_000)
  t.not(liar!.replica, replica, 'with another replica')
  await serves(master!)
  await write(master!, { changes: [put('after', 'all', true)] })
  t.match(await scrubbed.scrub(master!), [{ found: 0, remaining: 0 }])
})

t.test('a scrub that goes by itself finds rot, and goes on where a restart interrupted it', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const [, victim] = scrubbed.nodes.all
  const [path] = segmentsOf(victim!)
  spoil(path!, recordsIn(path!)[2]!.offset + 30)
  const slow = scrubbed.scrubs(victim!, { bytesPerSecond: 1024 * 1024, againAfterMs: 60_000 })
  slow.start()
  await until(() => recall(victim!.index, container).next > 0, 'where it is is remembered')
  slow.close()
  t.equal(victim!.environment.counters.repairedBlocks, 1, 'what it found is mended')
  await scrubbed.equal(t, 'byte for byte')
  const { next, completedMs } = recall(victim!.index, container)
  t.equal(completedMs, 0, 'it was not done')
  const again = await victim!.reopened(scrubbed.nodes)
  t.match(recall(again.index, container), { next, completedMs }, 'the same is known after a restart')
  const fast = scrubbed.scrubs(again, { bytesPerSecond: 2 ** 30, againAfterMs: 60_000 })
  fast.start()
  await until(() => recall(again.index, container).completedMs > 0, 'it is done')
  fast.close()
  const { sizeBytes } = again.replica.storage.log
  const { scrubbedBytes } = again.environment.counters
  t.ok(scrubbedBytes > 0 && scrubbedBytes < sizeBytes, `${scrubbedBytes} of ${sizeBytes} bytes were left to read`)
  t.equal(recall(again.index, container).next, 0, 'the next time it begins anew')
})

t.test('a scrub of what is not here says so', async (t) => {
  const scrubbed = await Scrubbed.make(t)
  const [node] = scrubbed.nodes.all
  const scrubber = scrubbed.scrubbers.get(node!.server)!
  const { run } = scrubber.request([99 as never])
  await until(() => scrubber.report(run).done, 'it is done')
  t.match(scrubber.report(run), { containers: 1, unchecked: 1, problems: [{ container: 99 }] })
  t.equal(
    failure(() => scrubber.report(run + 1)),
    'NOT_FOUND',
  )
})
