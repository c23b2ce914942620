/**
 * Claims about the spare room of a pool: it is there, it goes when the disk is full, and it comes back.
 */
import { existsSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { realDisk } from '../../../fileserver/pool/disk.ts'
import { Spare } from '../../../fileserver/pool/spare.ts'
import { failure, place } from '../world.ts'

const mib = 2 ** 20

t.test('it takes room while there is enough', async (t) => {
  const { directory } = place(t)
  const path = join(directory, 'spare')
  const spare = new Spare(directory, 'spare', 16.5 * mib)
  await spare.make(100 * mib, 90 * mib)
  t.notOk(existsSync(path), 'so little is left to others')
  await spare.make(107 * mib, 90 * mib)
  t.equal(statSync(path).size, 16.5 * mib)
  t.ok(statSync(path).blocks * 512 >= 16.5 * mib, 'not as a hole')
  t.equal(spare.heldBytes, 16.5 * mib)
  t.ok(spare.release())
  t.notOk(existsSync(path), 'given up')
  t.equal(spare.heldBytes, 0)
  t.notOk(spare.release())
  await spare.make(200 * mib, 90 * mib)
  t.ok(existsSync(path), 'back again')
  t.ok(new Spare(directory, 'spare', 16.5 * mib).release(), 'also in the next process')
  t.notOk(existsSync(path))
})

t.test('it is given up also while it is being made', async (t) => {
  const { directory } = place(t)
  const spare = new Spare(directory, 'spare', 16 * mib)
  const made = spare.make(200 * mib, 0)
  while (spare.heldBytes === 0) await new Promise((resolve) => setImmediate(resolve))
  t.ok(spare.release())
  await made
  t.notOk(existsSync(join(directory, 'spare')))
  await spare.make(200 * mib, 0)
  t.equal(spare.heldBytes, 16 * mib, 'and made again')
})

t.test('a write that finds the disk full is tried again once the spare room is given up', async (t) => {
  const { directory } = place(t)
  const spare = new Spare(directory, 'spare', mib)
  await spare.make(200 * mib, 0)
  const path = join(directory, 'file')
  // Every write to /dev/full fails with ENOSPC.
  symlinkSync('/dev/full', path)
  const full = realDisk(directory, undefined, () => spare.release())
  t.equal(
    failure(() => full.open(path, false).write([Buffer.alloc(10)], 0)),
    'NO_SPACE',
    'it did not help',
  )
  t.notOk(existsSync(join(directory, 'spare')))
  const other = join(directory, 'other')
  symlinkSync('/dev/full', `${other}.new`)
  const helped = realDisk(directory, undefined, () => {
    rmSync(`${other}.new`)
    return true
  })
  helped.save(other, Buffer.from('content'))
  t.equal(String(helped.load(other)), 'content')
})
