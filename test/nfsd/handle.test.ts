/**
 * Claims about file handles and attributes on the wire: golden bytes, which no later version may change.
 */
import t from 'tap'
import { readChanges, writeAttributes } from '../../nfsd/nfs3/attributes.ts'
import { readHandle, writeHandle } from '../../nfsd/nfs3/handle.ts'
import { type ProcedureName, StatusFailure, status, statuses, statusOf } from '../../nfsd/nfs3/status.ts'
import { XdrReader } from '../../nfsd/xdr/reader.ts'
import { XdrWriter } from '../../nfsd/xdr/writer.ts'
import { Failure, type FailureCode, failures } from '../../protocol/failures.ts'
import { containerId, inode } from '../../protocol/ids.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
const plain = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

const handle = {
  exportId: 0x0123456789abc,
  volume: containerId(7),
  fid: { container: containerId(2 ** 33 + 1), inode: inode(0x1fffffffffffff), generation: 3 },
}
const golden = '01000000 0000123456789abc 0000000000000007 0000000200000001 001fffffffffffff 0000000000000003'

t.test('handles', async (t) => {
  t.equal(plain(writeHandle(handle)), plain(hex(golden)), 'golden bytes')
  t.strictSame(readHandle(hex(golden)), handle)
  const odd = Buffer.concat([Buffer.alloc(3), hex(golden)]).subarray(3)
  t.strictSame(readHandle(odd), handle, 'at any place in a buffer')
  for (const [bytes, why] of [
    ['', 'empty'],
    [golden.slice(0, -2), 'a byte short'],
    [`${golden}00`, 'a byte long'],
    [golden.replace('01', '02'), 'another version'],
    [golden.replace('01000000', '01000001'), 'a reserved byte'],
    [golden.replace('001fffff', '002fffff'), 'a number above 2^53'],
  ] as const)
    t.throws(() => readHandle(hex(bytes)), /^BAD_HANDLE/, why)
})

t.test('attributes', async (t) => {
  const time = (seconds: number) => ({ seconds, nanoseconds: 999_999_999 })
  const xdr = new XdrWriter()
  const fid = { container: containerId(7), inode: inode(2 ** 32 + 5), generation: 3 }
  writeAttributes(
    xdr,
    {
      ...{ fid, kind: 'directory', mode: 0o1755, links: 3, uid: 1000, gid: 100, sizeBytes: 2 ** 40, usedBytes: 4096 },
      ...{
        major: 8,
        minor: 1,
        accessed: time(-1),
        modified: time(1),
        changed: time(2 ** 33),
        chunkBytes: 2 ** 28,
        cut: 0,
        trimmed: 0,
      },
    },
    { exportId: 1, volume: containerId(7) },
  )
  const expected = `00000002 000003ed 00000003 000003e8 00000064 0000010000000000 0000000000001000 00000008 00000001
    2c0feb1abd9bb73c 0000000100000005 00000000 3b9ac9ff 00000001 3b9ac9ff ffffffff 3b9ac9ff`
  t.equal(plain(Buffer.concat(xdr.finish())), plain(hex(expected)), 'golden bytes')
})

t.test('sattr3', async (t) => {
  const bytes =
    '00000001 000041ed 00000000 00000001 00000064 00000001 0000000000000400 00000001 00000002 00000007 00000009'
  t.strictSame(readChanges(new XdrReader([hex(bytes)])), {
    ...{ mode: 0o755, uid: undefined, gid: 100, sizeBytes: 1024 },
    accessed: { now: true, time: { seconds: 0, nanoseconds: 0 } },
    modified: { now: false, time: { seconds: 7, nanoseconds: 9 } },
  })
})

t.test('no procedure answers with a code that RFC 1813 does not give it', async (t) => {
  const always = [status.stale, status.badhandle, status.serverfault, status.jukebox]
  for (const procedure of Object.keys(statuses) as ProcedureName[]) {
    const listed: readonly number[] = [...statuses[procedure], ...always]
    for (const code of Object.keys(failures) as FailureCode[]) {
      const answer = statusOf(procedure, new Failure(code, ''))
      if (!listed.includes(answer)) t.fail(`${procedure} answers ${answer} to ${code}`)
    }
  }
  const answer = (procedure: ProcedureName, code: FailureCode) => statusOf(procedure, new Failure(code, ''))
  t.equal(answer('GETATTR', 'NOT_FOUND'), status.stale, 'a dead handle is STALE, never NOENT')
  t.equal(answer('COMMIT', 'NOT_FOUND'), status.stale)
  t.equal(answer('READDIRPLUS', 'NOT_FOUND'), status.stale)
  t.equal(answer('LOOKUP', 'NOT_FOUND'), status.noent)
  t.equal(answer('READ', 'IS_DIRECTORY'), status.inval)
  t.equal(answer('COMMIT', 'UNSYNCED_LOST'), status.io)
  t.equal(answer('PATHCONF', 'CORRUPT'), status.serverfault)
  t.equal(answer('WRITE', 'UNAVAILABLE'), status.jukebox, 'a cluster that recovers makes clients wait')
  t.equal(statusOf('READDIR', new StatusFailure(status.toosmall, '')), status.toosmall)
})
