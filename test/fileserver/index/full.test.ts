/**
 * Claims about an index whose disk is full: what it took stands, nothing comes after what it could not take, and it opens
 * again when something is given up.
 */
import { existsSync, mkdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openIndex } from '../../../fileserver/index/store.ts'
import { realDisk } from '../../../fileserver/pool/disk.ts'
import { openOnFullDisk, sparesOf } from '../../../fileserver/pool/room.ts'
import { Failure } from '../../../protocol/failures.ts'
import { needs } from '../../harness/needs.ts'
import { fillDisk, makeLoopDisk } from '../../harness/power.ts'
import { makeScratch } from '../../harness/scratch.ts'

const MiB = 2 ** 20
const keyOf = (number: number): Buffer => Buffer.from(String(number).padStart(6, '0'))
/** What does not shrink when it is compressed. */
const contentOf = (number: number): Buffer => {
  const value = Buffer.alloc(8192)
  let last = number + 1
  for (let at = 0; at < value.length; at++) {
    last = (last * 1103515245 + 12345) % 2147483648
    value[at] = last >> 16
  }
  return value
}

t.test('after a write that failed there is no other', needs('root', 'loop'), async (t) => {
  const { directory, remove } = makeScratch('index')
  t.teardown(remove)
  const disk = makeLoopDisk(directory, 'small', 32 * MiB)
  t.teardown(disk.remove)
  const path = join(disk.directory, 'index')
  const filler = join(disk.directory, 'filler')
  const broken: Failure[] = []
  const index = await openIndex(path, { bufferBytes: MiB, broken: (failure) => broken.push(failure) })
  await index.write([{ key: keyOf(0), value: contentOf(0) }], true)
  fillDisk(filler)
  truncateSync(filler, statSync(filler).size - MiB)
  const all = await Promise.allSettled(
    Array.from({ length: 400 }, (_, i) => index.write([{ key: keyOf(i + 1), value: contentOf(i + 1) }], false)),
  )
  const taken = all.findIndex(({ status }) => status === 'rejected')
  t.ok(taken >= 0, `${taken} more were taken`)
  t.ok(
    all.slice(taken).every(({ status }) => status === 'rejected'),
    'and none after one that was not',
  )
  rmSync(filler)
  await t.rejects(index.write([{ key: keyOf(999), value: Buffer.from('late') }], true), /NO_SPACE/)
  t.strictSame(
    broken.map(({ failure }) => failure),
    ['NO_SPACE'],
    'told once',
  )
  await index.close()
  const again = await openIndex(path)
  const keys = (await again.scan(Buffer.from('0'), Buffer.from('a'), 1000)).map(({ key }) => Number(Buffer.from(key)))
  t.strictSame(keys.slice(0, taken + 1), [...Array(taken + 1).keys()], 'what was taken is there')
  t.ok(keys.length <= taken + 2, 'and at most what was on its way')
  await again.close()
})

t.test('what may go is given up until it opens, and no more', async (t) => {
  const { directory, remove } = makeScratch('index')
  t.teardown(remove)
  const copied = join(directory, 'containers', '7')
  const whole = join(directory, 'containers', '8')
  for (const container of [copied, whole]) {
    mkdirSync(container, { recursive: true })
    writeFileSync(join(container, '00000000000001.segment'), 'records')
    writeFileSync(join(container, 'state'), '')
  }
  writeFileSync(join(copied, 'installing'), '')
  const spares = sparesOf(directory, 8 * MiB)
  for (const spare of [spares.start, spares.running]) await spare.make(100 * MiB, 0)
  const here = (): string =>
    ['spare-start', 'spare']
      .map((name) => join(directory, name))
      .concat(join(copied, '00000000000001.segment'), join(whole, '00000000000001.segment'))
      .map((path) => (existsSync(path) ? 'x' : '-'))
      .join('')
  const seen: string[] = []
  const fails = async (): Promise<never> => {
    seen.push(here())
    throw new Failure('NO_SPACE', 'no room')
  }
  await t.rejects(openOnFullDisk(fails, realDisk(directory), directory, spares), /NO_SPACE/)
  t.strictSame(seen, ['xxxx', '-xxx', '--xx', '---x'])
  t.ok(existsSync(join(copied, 'installing')), 'a copy that was not finished still counts as nothing')
})
