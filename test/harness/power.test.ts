/**
 * The power cut is what it says: it takes what was not synced and leaves what was.
 */
import { closeSync, fdatasyncSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { needs } from './needs.ts'
import { makeLoopDisk } from './power.ts'
import { makeScratch } from './scratch.ts'

t.test('a power cut takes what was not synced and leaves what was', needs('root', 'loop'), async (t) => {
  const { directory, remove } = makeScratch('cut')
  t.teardown(remove)
  const disk = makeLoopDisk(directory, 'disk', 64 * 1024 * 1024)
  t.teardown(disk.remove)
  const path = join(disk.directory, 'file')
  const file = openSync(path, 'w')
  writeSync(file, 'synced')
  fdatasyncSync(file)
  writeSync(file, ' and not')
  t.equal(readFileSync(path, 'utf8'), 'synced and not')
  disk.cut()
  t.throws(() => {
    writeSync(file, '!')
    fdatasyncSync(file)
  }, 'nothing can be synced any more')
  closeSync(file)
  disk.restore()
  t.equal(readFileSync(path, 'utf8'), 'synced')
  t.equal(statSync(path).size, 6)
})
