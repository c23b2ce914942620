/**
 * Claims about the byte counts of READDIR and READDIRPLUS, in XDR bytes counted by hand from RFC 1813 §3.3.16 and §3.3.17.
 */
import t from 'tap'
import { fit, type Item } from '../../nfsd/nfs3/listing.ts'
import { containerId, inode } from '../../protocol/ids.ts'
import type { Attributes } from '../../protocol/messages/attributes.ts'

const fid = { container: containerId(1), inode: inode(1), generation: 1 }
const time = { seconds: 0, nanoseconds: 0 }
const attributes: Attributes = {
  ...{ fid, kind: 'file', mode: 0o644, links: 1, uid: 0, gid: 0, sizeBytes: 0, usedBytes: 0, major: 0, minor: 0 },
  ...{ accessed: time, modified: time, changed: time, chunkBytes: 2 ** 28, cut: 0, trimmed: 0 },
}
const item = (name: string, plus = false): Item => ({
  name: Buffer.from(name),
  cookie: 16,
  fid,
  attributes: plus ? attributes : undefined,
})

/** post_op_attr with fattr3, cookieverf3, end of list, eof */
const head = 4 + 84 + 8 + 4 + 4
/** another follows, fileid, length of the name, cookie */
const fixed = 4 + 8 + 4 + 8
const all = Number.MAX_SAFE_INTEGER

t.test('READDIR', async (t) => {
  const items = [item('abcd'), item('abcde'), item('a')] // padded to 4, 8 and 4
  const sizes = [head + fixed + 4, head + 2 * fixed + 12, head + 3 * fixed + 16]
  for (const [index, size] of sizes.entries()) {
    t.equal(fit(items, false, size, all), index + 1, `${size} bytes hold ${index + 1}`)
    if (index > 0) t.equal(fit(items, false, size - 1, all), index, 'one byte less holds one entry less')
  }
  t.throws(() => fit(items, false, sizes[0]! - 1, all), /no entry fits/, 'TOOSMALL when the first has no room')
  t.equal(fit([], false, head, all), 0, 'an empty rest needs its frame only')
  t.throws(() => fit([], false, head - 1, all), /no entry fits/)
})

t.test('READDIRPLUS', async (t) => {
  const entry = fixed + 4 + (4 + 84) + (4 + 4 + 44)
  const bare = fixed + 4 + 4 + (4 + 4 + 44)
  const items = [item('abcd'), item('abcd', true), item('abcd', true)]
  const size = head + bare + 2 * entry
  t.equal(fit(items, true, size, all), 3)
  t.equal(fit(items, true, size - 1, all), 2)
})

t.test('dircount bounds names, fileids and cookies, but lets one entry through', async (t) => {
  const items = [item('abcd', true), item('abcd', true), item('abcd', true)]
  const information = 8 + 4 + 4 + 8
  t.equal(fit(items, true, all, 3 * information), 3)
  t.equal(fit(items, true, all, 3 * information - 1), 2)
  t.equal(fit(items, true, all, information), 1)
  t.equal(fit(items, true, all, 0), 1)
})
