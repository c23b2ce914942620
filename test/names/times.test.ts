/**
 * Which call moves which time, and what a dead fid answers.
 *
 * The clock stands still in most of it: only the rule that times rise tells the changes apart.
 */
import t from 'tap'
import { decodeInode, fidOf, stamp } from '../../fileserver/names/inode.ts'
import { inodeKey } from '../../fileserver/names/keys.ts'
import { atTime, bytesOf, codeOf, type container, noChanges, rightNow, root, rootFid, World } from './world.ts'

t.test('times of changes always rise', async (t) => {
  const some = decodeInode(World.formatted().get(inodeKey(rootFid.inode))!)
  const at = (seconds: number, nanoseconds: number) => ({ seconds, nanoseconds })
  for (const [changed, now, expected, why] of [
    [at(5, 5), at(6, 0), at(6, 0), 'the clock went on'],
    [at(5, 5), at(5, 6), at(5, 6), 'by a nanosecond'],
    [at(5, 5), at(5, 5), at(5, 6), 'the clock stood still'],
    [at(5, 5), at(4, 9), at(5, 6), 'the clock went back'],
    [at(5, 999_999_999), at(5, 0), at(6, 0), 'into the next second'],
  ] as const)
    t.strictSame(stamp({ ...some, changed }, now), expected, why)
})

t.test('which call moves which time', async (t) => {
  const world = World.formatted()
  const { fid } = world.create(rootFid, 'f')
  const calls: readonly (readonly [string, string, () => unknown])[] = [
    [
      'link',
      'changed of the file; modified and changed of the directory',
      () => world.do('link', { fid, directory: rootFid, name: bytesOf('g'), credentials: root }),
    ],
    [
      'remove',
      'changed of the file; modified and changed of the directory',
      () => world.do('remove', { directory: rootFid, name: bytesOf('g'), credentials: root, kind: 'file' }),
    ],
    [
      'rename',
      'changed of the file; modified and changed of the directory',
      () =>
        world.do('rename', {
          source: rootFid,
          sourceName: bytesOf('f'),
          target: rootFid,
          targetName: bytesOf('h'),
          credentials: root,
          replace: true,
        }),
    ],
    [
      'chmod',
      'changed of the file; nothing of the directory',
      () => world.do('setattr', { fid, credentials: root, changes: { ...noChanges, mode: 0o600 }, guard: undefined }),
    ],
    [
      'truncate',
      'modified and changed of the file; nothing of the directory',
      () => world.do('setattr', { fid, credentials: root, changes: { ...noChanges, sizeBytes: 0 }, guard: undefined }),
    ],
    [
      'write',
      'modified and changed of the file; nothing of the directory',
      () => world.do('write', { fid, offset: 0, stable: true }, bytesOf('x')),
    ],
    [
      'extend',
      'modified and changed of the file; nothing of the directory',
      () => world.do('extend', { fid, sizeBytes: 0, trimmed: 0, stable: true }),
    ],
    [
      'utimes now',
      'accessed and modified and changed of the file; nothing of the directory',
      () =>
        world.do('setattr', {
          fid,
          credentials: root,
          changes: { ...noChanges, accessed: rightNow, modified: rightNow },
          guard: undefined,
        }),
    ],
    [
      'no change',
      'nothing of the file; nothing of the directory',
      () => world.do('setattr', { fid, credentials: root, changes: noChanges, guard: undefined }),
    ],
    [
      'an empty write',
      'nothing of the file; nothing of the directory',
      () => world.do('write', { fid, offset: 0, stable: true }),
    ],
  ]
  const moved = (before: ReturnType<World['attributes']>, after: ReturnType<World['attributes']>): string => {
    const names = (['accessed', 'modified', 'changed'] as const).filter((name) => {
      t.notOk(after[name].seconds < before[name].seconds, 'no time falls')
      return before[name].seconds !== after[name].seconds || before[name].nanoseconds !== after[name].nanoseconds
    })
    return names.join(' and ') || 'nothing'
  }
  for (const [call, expected, run] of calls) {
    const before = [world.attributes(fid), world.attributes(rootFid)] as const
    run()
    const file = moved(before[0], world.attributes(fid))
    t.equal(`${file} of the file; ${moved(before[1], world.attributes(rootFid))} of the directory`, expected, call)
  }
})

t.test('utimes sets what it is told, and a guard stops a change that comes too late', async (t) => {
  const world = World.formatted()
  const { fid, changed } = world.create(rootFid, 'f')
  const changes = { ...noChanges, accessed: atTime(-5, 5), modified: atTime(2 ** 33, 999_999_999) }
  world.tick()
  const set = () => world.do('setattr', { fid, credentials: root, changes, guard: changed })
  const { before, attributes } = set()
  t.strictSame(before.changed, changed, 'before is before')
  t.strictSame(attributes.accessed, changes.accessed.time)
  t.strictSame(attributes.modified, changes.modified.time)
  t.strictSame(attributes.changed, world.context.now)
  t.equal(codeOf(set), 'NOT_SYNC')
})

t.test('a fid that names nothing is stale, whatever is asked', async (t) => {
  const world = World.formatted()
  const { fid } = world.create(rootFid, 'f')
  world.do('remove', { directory: rootFid, name: bytesOf('f'), credentials: root, kind: 'file' })
  const again = world.create(rootFid, 'f')
  t.not(again.fid.inode, fid.inode, 'numbers are never given twice')
  for (const dead of [fid, { ...again.fid, generation: 2 }, fidOf(6 as typeof container, again.fid.inode)]) {
    t.equal(
      codeOf(() => world.attributes(dead)),
      'STALE',
    )
    t.equal(
      codeOf(() => world.read(dead, 0, 1)),
      'STALE',
    )
    t.equal(world.fails('write', { fid: dead, offset: 0, stable: true }, bytesOf('x')), 'STALE')
    t.equal(world.fails('extend', { fid: dead, sizeBytes: 1, trimmed: 0, stable: true }), 'STALE')
    t.equal(world.fails('map', { fid: dead, first: 0, count: 1, allocate: true }), 'STALE')
    t.equal(world.fails('setattr', { fid: dead, credentials: root, changes: noChanges, guard: undefined }), 'STALE')
  }
  const elsewhere = fidOf(6 as typeof container, again.fid.inode)
  t.equal(
    world.fails('link', { fid: elsewhere, directory: rootFid, name: bytesOf('l'), credentials: root }),
    'CROSS_VOLUME',
  )
})
