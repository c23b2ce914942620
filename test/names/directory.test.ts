/**
 * Names that share a hash: nothing is lost, nothing found twice, and listings resume where they were.
 *
 * Eight homes for all names, so that nearly every step meets a collision. The seed is printed.
 */
import t from 'tap'
import { cookieMin, find, nameCookie } from '../../fileserver/names/directory.ts'
import { queries } from '../../fileserver/names/operations.ts'
import { randomFrom } from './random.ts'
import { bytesOf, codeOf, root, rootFid, World } from './world.ts'

const eightHomes = (name: Uint8Array): number => cookieMin + (nameCookie(name) % 8)
const seed = Number(process.env.SEED ?? 7)

const crowded = (): World => World.formatted({ hash: eightHomes })
const entryKeys = (world: World): number => [...world.values.keys()].filter((key) => key.startsWith('d')).length
const remove = (world: World, name: string) =>
  world.do('remove', { directory: rootFid, name: bytesOf(name), credentials: root, kind: 'file' })

t.test('cookies leave 0 to 15 to NFS, and are safe integers', async (t) => {
  for (let i = 0; i < 1000; i++) {
    const cookie = nameCookie(bytesOf(`name ${i}`))
    t.ok(cookie >= cookieMin && Number.isSafeInteger(cookie + 256))
  }
  t.equal(nameCookie(bytesOf('a name')), 5_144_711_088_103_754, 'and never change')
})

t.test(`any order of creates, removes and renames (seed ${seed})`, async (t) => {
  const random = randomFrom(seed)
  const world = crowded()
  const model = new Map<string, number>()
  for (let step = 0; step < 4000; step++) {
    const name = `n${random(40)}`
    const other = `n${random(40)}`
    const had = model.get(name)
    if (random(3) === 0) {
      const ends = { source: rootFid, sourceName: bytesOf(name), target: rootFid, targetName: bytesOf(other) }
      const failed = world.fails('rename', { ...ends, credentials: root, replace: true })
      t.equal(failed, had === undefined ? 'NOT_FOUND' : undefined)
      if (had !== undefined) {
        model.delete(name)
        model.set(other, had)
      }
    } else if (had === undefined) {
      model.set(name, world.create(rootFid, name).fid.inode)
    } else {
      remove(world, name)
      model.delete(name)
    }
    for (let i = 0; i < 40; i++) {
      const place = find(world, rootFid.inode, bytesOf(`n${i}`), world.context)
      if (place.entry?.inode !== model.get(`n${i}`)) t.fail(`step ${step}: n${i}`)
    }
    if (step % 100 === 0) {
      world.check()
      t.strictSame((await world.list(rootFid, 1 + random(7))).sort(), [...model.keys()].sort())
    }
  }
  for (const name of model.keys()) remove(world, name)
  t.equal(entryKeys(world), 0, 'an empty directory has no keys, markers neither')
})

t.test('an entry keeps its cookie while others come and go, and a listing goes on after one that went', async (t) => {
  const world = World.formatted({ hash: () => cookieMin })
  for (const name of ['a', 'b', 'c', 'd']) world.create(rootFid, name)
  const asked = { directory: rootFid, credentials: root, entriesMax: 2, withAttributes: false }
  const names = async (cookie: number) => {
    const page = await queries.readdir(world, { ...asked, cookie }, world.context)
    return {
      names: page.entries.map(({ name }) => String.fromCharCode(name[0]!)).join(''),
      last: page.entries.at(-1)?.cookie,
      end: page.end,
    }
  }
  t.strictSame(await names(0), { names: 'ab', last: cookieMin + 1, end: false })
  remove(world, 'a')
  remove(world, 'b')
  t.strictSame(await names(cookieMin + 1), { names: 'cd', last: cookieMin + 3, end: true })
  world.create(rootFid, 'e')
  t.strictSame(await names(0), { names: 'ec', last: cookieMin + 2, end: false }, 'a free place is taken again')
})

t.test('names made to collide are refused in the end, not ever slower', async (t) => {
  const world = World.formatted({ hash: () => cookieMin })
  for (let i = 0; i < 256; i++) world.create(rootFid, `n${i}`)
  t.equal(
    codeOf(() => world.create(rootFid, 'one more')),
    'NO_SPACE',
  )
  t.equal(
    codeOf(() => world.lookup(rootFid, 'one more')),
    'NOT_FOUND',
  )
  remove(world, 'n7')
  world.create(rootFid, 'one more')
  t.equal((await world.list(rootFid)).length, 256)
})
