/**
 * Claims about removed files: gone at once, and what large ones held is free soon.
 */
import { existsSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Removal } from '../../../fileserver/pool/removal.ts'
import { until } from '../nodes.ts'
import { place } from '../world.ts'

/** Files below the directory that this process holds although they have no name. */
const held = (directory: string): number =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`)
      return target.startsWith(directory) && target.endsWith('(deleted)')
    } catch {
      return false
    }
  }).length

t.test('large files are gone at once, and freed one after the other', async (t) => {
  const { directory } = place(t)
  const removal = new Removal()
  const paths = [1, 2, 3].map((number) => join(directory, `${number}`))
  for (const path of paths) writeFileSync(path, Buffer.alloc(2 ** 20))
  for (const path of paths) removal.remove(path)
  t.notOk(paths.some((path) => existsSync(path)))
  t.equal(held(directory), 3)
  await until(() => held(directory) === 0, 'all are free')
  writeFileSync(paths[0]!, Buffer.alloc(2 ** 20))
  removal.remove(paths[0]!)
  await until(() => held(directory) === 0, 'and what is removed later')
})

t.test('small files are freed on the spot, and what is not there is no error', async (t) => {
  const { directory } = place(t)
  const path = join(directory, 'small')
  writeFileSync(path, 'small')
  const removal = new Removal()
  removal.remove(path)
  t.notOk(existsSync(path))
  t.equal(held(directory), 0)
  removal.remove(path)
  t.throws(() => removal.remove(directory), 'a directory is no file')
})
