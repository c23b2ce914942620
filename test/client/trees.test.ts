/**
 * Claims about what the removal of a tree takes when others are at work in it.
 */
import t from 'tap'
import type { Session } from '../../client/filesystem/session.ts'
import { removeTree } from '../../client/filesystem/trees.ts'
import { Failure } from '../../protocol/failures.ts'
import { containerId, type Fid, type Inode } from '../../protocol/ids.ts'

const fid = (inode: number): Fid => ({ container: containerId(1), inode: inode as Inode, generation: 1 })
const rootFid = fid(1)
const nameOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString()

/** Directories by inode, with what is in them; `listed` runs after each listing, as others do. */
function tree(directories: Map<number, Map<string, number>>, listed: (inode: number) => void): Session {
  const at = (directory: Fid): Map<string, number> => {
    const entries = directories.get(directory.inode)
    if (entries === undefined) throw new Failure('STALE', 'it is no more')
    return entries
  }
  const found = (directory: Fid, name: Uint8Array): number => {
    const inode = at(directory).get(nameOf(name))
    if (inode === undefined) throw new Failure('NOT_FOUND', nameOf(name))
    return inode
  }
  const operations = {
    readdir: async (_caller: object, directory: Fid) => {
      const entries = [...at(directory)].map(([name, inode], index) => ({
        name: Buffer.from(name),
        fid: fid(inode),
        kind: directories.has(inode) ? 'directory' : 'file',
        cookie: index + 1,
      }))
      listed(directory.inode)
      return { entries, end: true }
    },
    lookup: async (_caller: object, directory: Fid, name: Uint8Array) => ({
      attributes: { fid: fid(found(directory, name)) },
    }),
    remove: async (_caller: object, directory: Fid, name: Uint8Array) => {
      const inode = found(directory, name)
      if ((directories.get(inode)?.size ?? 0) > 0) throw new Failure('NOT_EMPTY', nameOf(name))
      at(directory).delete(nameOf(name))
      directories.delete(inode)
    },
  }
  return { operations, caller: {}, walk: { forget: () => {} } } as unknown as Session
}

t.test('a directory that is moved out of a tree while that is removed keeps what is in it', async (t) => {
  const kept = new Map([['file', 9]])
  const directories = new Map([
    [1, new Map([['tree', 2]])],
    [2, new Map([['sub', 3]])],
    [3, kept],
    [4, new Map<string, number>()],
  ])
  const session = tree(directories, (inode) => {
    if (inode !== 2 || !directories.get(2)!.delete('sub')) return
    directories.get(4)!.set('sub', 3)
  })
  await removeTree(session, rootFid, Buffer.from('tree'), fid(2))
  t.notOk(directories.has(2))
  t.strictSame([...kept.keys()], ['file'])
})

t.test('a tree that two remove at once is removed, for both', async (t) => {
  const directories = new Map([
    [1, new Map([['tree', 2]])],
    [2, new Map([['sub', 3]])],
    [3, new Map([['file', 9]])],
  ])
  const session = tree(directories, (inode) => {
    if (inode !== 2) return
    directories.get(2)?.delete('sub')
    directories.delete(3)
  })
  await Promise.all([1, 2].map(() => removeTree(session, rootFid, Buffer.from('tree'), fid(2))))
  t.strictSame([...directories.keys()], [1])
})
