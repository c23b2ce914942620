/**
 * Claims about errors of the disk: which are told, and which of them are known already.
 */
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BadPlaces } from '../../../fileserver/pool/bad-places.ts'
import { realDisk } from '../../../fileserver/pool/disk.ts'
import { container, failure, place, s } from '../world.ts'

t.test('a bad place is new once', async (t) => {
  const places = new BadPlaces()
  t.ok(places.addRecord(container, s(1), 136))
  t.notOk(places.addRecord(container, s(1), 136))
  t.ok(places.addRecord(container, s(1), 137))
  t.ok(places.addRecord(container, s(2), 136))
  t.ok(places.addFile('/pool/a'))
  t.notOk(places.addFile('/pool/a'))
})

t.test('of very many the oldest are forgotten', async (t) => {
  const places = new BadPlaces()
  for (let at = 0; at < 100_000; at++) places.addRecord(container, s(1), at)
  t.notOk(places.addRecord(container, s(1), 99_999))
  t.ok(places.addRecord(container, s(1), 0))
})

t.test('a file that the disk does not read is told by its name', async (t) => {
  const { directory } = place(t)
  const told: (string | undefined)[] = []
  const disk = realDisk(directory, (unread) => told.push(unread))
  const path = join(directory, 'file')
  // Nothing is mapped at address 0: the kernel says EIO.
  symlinkSync('/proc/self/mem', path)
  const file = disk.open(path, false)
  t.equal(
    failure(() => file.read(Buffer.alloc(10), 0)),
    'DISK_FAILED',
  )
  await t.rejects(file.readLater(Buffer.alloc(10), 0), /EIO/)
  t.strictSame(told, [path, path])
  t.equal(
    failure(() => disk.open(join(directory, 'none'), false).read(Buffer.alloc(10), 0)),
    'DISK_FAILED',
  )
  t.equal(told.length, 2, 'what its user does wrong is no error of the disk')
  file.close()
})
