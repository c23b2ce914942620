/**
 * Claims about copying trees: everything arrives, and the totals that are told are those of what arrived.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { copy, localSide } from '../../cli/transfer.ts'

t.test('bytes of files that travel at the same time are all counted', async (t) => {
  const directory = t.testdir()
  const source = join(directory, 'source')
  mkdirSync(join(source, 'below'), { recursive: true })
  const sizes = { one: 1000, 'below/two': 300_000, three: 0 }
  for (const [name, size] of Object.entries(sizes)) writeFileSync(join(source, name), Buffer.alloc(size, name))
  const target = join(directory, 'target')
  t.strictSame(await copy(localSide, localSide, source, target, true), { files: 3, directories: 2, bytes: 301_000 })
  for (const [name, size] of Object.entries(sizes))
    t.ok(readFileSync(join(target, name)).equals(Buffer.alloc(size, name)), `${name} is what it was`)
})
