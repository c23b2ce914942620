/**
 * Claims about the spare room of a pool: it is there, it goes when the disk is full, and it comes back.
 */
import { existsSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Spare } from '../../../fileserver/cleaning/spare.ts'
import { realDisk } from '../../../fileserver/pool/disk.ts'
import { failure, place } from '../world.ts'

const mib = 2 ** 20
const space = (freeBytes: number, capacityBytes = 10_000 * mib) => ({ capacityBytes, freeBytes })

t.test('it takes room while there is enough', async (t) => {
  const { directory } = place(t)
  const path = join(directory, 'spare')
  const spare = new Spare(directory)
  spare.adjust(space(100 * mib))
  t.notOk(existsSync(path), 'so little is left to others')
  spare.adjust(space(200 * mib))
  t.equal(statSync(path).size, 16 * mib)
  t.ok(statSync(path).blocks * 512 >= 16 * mib, 'not as a hole')
  spare.adjust(space(9 * mib))
  t.ok(existsSync(path))
  spare.adjust(space(7 * mib))
  t.notOk(existsSync(path), 'given up before the disk is full')
  t.notOk(spare.release())
  spare.adjust(space(200 * mib))
  t.ok(existsSync(path), 'back again')
  t.ok(new Spare(directory).release(), 'also in the next process')
  t.notOk(existsSync(path))
  new Spare(directory).adjust(space(50 * mib, 100 * mib))
  t.equal(statSync(path).size, 2 * mib, 'less on a small disk')
})

t.test('a write that finds the disk full is tried again once the spare room is given up', async (t) => {
  const { directory } = place(t)
  const spare = new Spare(directory)
  spare.adjust(space(200 * mib))
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
