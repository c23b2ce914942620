/**
 * Bytes of inode values and entries on disk: what version 2 wrote must stay readable.
 *
 * Changing a golden value here means that old containers no longer open: raise the version instead.
 */
import t from 'tap'
import { decodeEntry, enter } from '../../fileserver/names/directory.ts'
import { blank, decodeInode, encodeInode, type InodeValue } from '../../fileserver/names/inode.ts'
import {
  chunkKey,
  chunkObject,
  entryKey,
  get64,
  inodeKey,
  lengthKey,
  number64,
  trimKey,
} from '../../fileserver/names/keys.ts'
import { Draft } from '../../fileserver/names/mutation.ts'
import type { Inode } from '../../protocol/ids.ts'
import { bytesOf, codeOf, container } from './world.ts'

const none: InodeValue = {
  ...blank({ seconds: 0, nanoseconds: 0 }),
  kind: 'file',
  mode: 0o6754,
  links: 2,
  uid: 0xfffffffe,
  gid: 1000,
  generation: 1,
  accessed: { seconds: -1, nanoseconds: 999_999_999 },
  modified: { seconds: 1_700_000_000, nanoseconds: 1 },
  changed: { seconds: 2 ** 40, nanoseconds: 0 },
}
const file: InodeValue = { ...none, sizeBytes: 2 ** 50, chunkBytes: 2 ** 28, chunkBound: 2 ** 22, cut: 5, trimmed: 4 }
const head = (kind: string): string =>
  `02${kind}0dec00000002fffffffe000003e800000001` +
  'ffffffffffffffff3b9ac9ff000000006553f10000000001000001000000000000000000'

for (const [claim, inode, tail] of [
  [
    'a file',
    file,
    '00' + '0004000000000000' + '0000000010000000' + '0000000000400000' + '0000000000000005' + '0000000000000004',
  ],
  [
    'an exclusive one',
    { ...file, verifier: bytesOf('verifier') },
    '00' +
      '0004000000000000' +
      '0000000010000000' +
      '0000000000400000' +
      '0000000000000005' +
      '0000000000000004' +
      '7665726966696572',
  ],
  [
    'a directory',
    { ...none, kind: 'directory', sizeBytes: 4096, parent: 7 as Inode, entries: 3 },
    '01' + '0000000000000007' + '0000000000000003',
  ],
  ['a symlink', { ...none, kind: 'symlink', sizeBytes: 4, target: bytesOf('a/\xff\0') }, '02' + '612fff00'],
  ['a pipe', { ...none, kind: 'fifo' }, '03'],
  ['a socket', { ...none, kind: 'socket' }, '04'],
  ['a character device', { ...none, kind: 'character', major: 1, minor: 0xffffffff }, '05' + '00000001ffffffff'],
  ['a block device', { ...none, kind: 'block', major: 8, minor: 2 }, '06' + '0000000800000002'],
] as const) {
  t.test(`${claim} keeps its bytes`, async (t) => {
    const golden = head(tail.slice(0, 2)) + tail.slice(2)
    t.equal(Buffer.from(encodeInode(inode)).toString('hex'), golden)
    const read = decodeInode(Buffer.from(golden, 'hex'))
    t.strictSame(
      { ...read, verifier: [...read.verifier], target: [...read.target] },
      { ...inode, verifier: [...inode.verifier], target: [...inode.target] },
    )
  })
}

t.test('a value of a later version is refused', async (t) => {
  const bytes = Uint8Array.from(encodeInode(file))
  bytes[0] = 3
  t.equal(
    codeOf(() => decodeInode(bytes)),
    'VERSION_MISMATCH',
  )
})

t.test('an entry keeps its bytes', async (t) => {
  const draft = new Draft({ get: () => undefined })
  const place = { cookie: 16, entry: undefined, fresh: true }
  enter(draft, 1 as Inode, place, bytesOf('name'), { inode: 0x0102 as Inode, generation: 1, kind: 'symlink' })
  const [change] = draft.changes
  t.ok(change?.type === 'put' && change.fresh)
  if (change?.type !== 'put') return
  t.equal(Buffer.from(change.value).toString('hex'), `03${'00000001'}${'0000000000000102'}${'6e616d65'}`)
  t.match(decodeEntry(change.value), { inode: 0x0102, generation: 1, kind: 'symlink' })
  t.equal(decodeEntry(Buffer.from([0])), undefined, 'a marker is no entry')
})

t.test('keys keep their bytes, and sort as their numbers', async (t) => {
  const inode = (2 ** 53 - 1) as Inode
  for (const [key, golden] of [
    [inodeKey(inode), '69001fffffffffffff'],
    [entryKey(inode, 2 ** 53), '64001fffffffffffff0020000000000000'],
    [chunkKey(inode, 258), '63001fffffffffffff0000000000000102'],
    [trimKey(inode), '6f001fffffffffffff'],
    [lengthKey(chunkObject(container, inode, 1)), '6c0000000000000005001fffffffffffff0000000000000001'],
  ] as const)
    t.equal(Buffer.from(key).toString('hex'), golden)
  for (const number of [0, 1, 255, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 50, 2 ** 53 - 1, -1, -(2 ** 40)])
    t.equal(get64(number64(number), 0), number)
})
