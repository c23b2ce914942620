/**
 * Claims about who may read and write bytes over NFS, and for how long an answer holds.
 */
import t from 'tap'
import type { Operations } from '../../client/operations.ts'
import { Permissions } from '../../nfsd/nfs3/permissions.ts'
import { containerId, inode } from '../../protocol/ids.ts'
import type { Attributes } from '../../protocol/messages/attributes.ts'
import { access } from '../../protocol/messages/files.ts'

const fid = { container: containerId(1), inode: inode(2), generation: 1 }
const time = { seconds: 0, nanoseconds: 0 }
const attributes: Attributes = {
  ...{ fid, kind: 'file', mode: 0, links: 1, uid: 1000, gid: 100, sizeBytes: 0, usedBytes: 0, major: 0, minor: 0 },
  ...{ accessed: time, modified: time, changed: time, chunkBytes: 2 ** 28, cut: 0, trimmed: 0 },
}
const caller = (uid: number) => ({ uid, gid: 100, groups: [] })

/** A file of uid 1000 that gives everyone `allowed`; `asked` counts the questions. */
function file(allowed: number) {
  const state = { nowMs: 0, allowed, asked: 0, broken: false }
  const ask: Operations['access'] = async () => {
    state.asked++
    if (state.broken) throw new Error('no master')
    return { attributes, allowed: state.allowed }
  }
  return {
    state,
    permissions: new Permissions(ask, { monotonicMs: () => state.nowMs }, { lifetimeMs: 2000, filesMax: 2 }),
  }
}

for (const [uid, allowed, wanted, expected, why] of [
  [1001, access.read, 'read', true, 'who may read reads'],
  [1001, access.execute, 'read', true, 'who may execute reads'],
  [1001, access.modify | access.extend, 'read', false, 'who may write does not read'],
  [1001, access.modify, 'write', true, 'who may write writes'],
  [1001, access.read | access.execute, 'write', false, 'who may read does not write'],
  [1000, 0, 'read', true, 'the owner reads, whatever the mode'],
  [1000, 0, 'write', true, 'the owner writes, whatever the mode'],
] as const) {
  const check = file(allowed).permissions.check(caller(uid), fid, wanted)
  await (expected ? t.resolves(check, why) : t.rejects(check, /^ACCESS/, why))
}

t.test('an answer holds for its time, and until the mode changes here', async (t) => {
  const { state, permissions } = file(access.read)
  await Promise.all([permissions.check(caller(1), fid, 'read'), permissions.check(caller(1), fid, 'read')])
  t.equal(state.asked, 1, 'two that ask together ask once')
  state.allowed = 0
  state.nowMs = 1999
  await permissions.check(caller(1), fid, 'read')
  t.equal(state.asked, 1)
  state.nowMs = 2000
  await t.rejects(permissions.check(caller(1), fid, 'read'), /^ACCESS/)
  state.allowed = access.read
  permissions.forget(fid)
  await permissions.check(caller(1), fid, 'read')
  await permissions.check(caller(2), fid, 'read')
  t.equal(state.asked, 4, 'and each caller is asked for')
})

t.test('a failure is not kept', async (t) => {
  const { state, permissions } = file(access.read)
  state.broken = true
  await t.rejects(permissions.check(caller(1), fid, 'read'), /no master/)
  state.broken = false
  await permissions.check(caller(1), fid, 'read')
})
