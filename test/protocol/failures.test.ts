/**
 * The failure table: every row has a form at every edge, and the forms are ones that those edges know.
 */
import { constants } from 'node:os'
import t from 'tap'
import {
  Failure,
  type FailureCode,
  type FailureRow,
  failures,
  isFailure,
  isFailureCode,
} from '../../protocol/failures.ts'
import { readFailure, writeFailure } from '../../protocol/transport/wire.ts'

const rows = Object.entries(failures) as [FailureCode, FailureRow][]
/** nfsstat3 of RFC 1813 §2.6, without NFS3_OK. */
const nfsStatuses = [
  1, 2, 5, 6, 13, 17, 18, 19, 20, 21, 22, 27, 28, 30, 31, 63, 66, 69, 70, 71, 10_001, 10_002, 10_003, 10_004, 10_005,
  10_006, 10_007, 10_008,
]

t.test('every row is whole', async (t) => {
  for (const [code, row] of rows) {
    t.match(code, /^[A-Z]+(_[A-Z]+)*$/)
    t.ok(['never', 'same', 'locate'].includes(row.retry), `${code}: retry`)
    t.ok(Number.isInteger(row.grpc) && row.grpc >= 1 && row.grpc <= 16, `${code}: a gRPC code that is not OK`)
    t.ok(nfsStatuses.includes(row.nfs), `${code}: an nfsstat3`)
    t.ok(row.errno in constants.errno || row.errno === 'ENOTSUP', `${code}: ${row.errno} is a POSIX name`)
    t.match(row.hadoop, /^(java|org\.apache\.hadoop)\.[a-zA-Z.]+Exception$/)
  }
})

t.test('what is retried tells an NFS client to come back, unless its data is at stake', async (t) => {
  const jukebox = 10_008
  for (const [code, row] of rows)
    if (row.retry !== 'never' && !['CORRUPT', 'DISK_FAILED'].includes(code)) t.equal(row.nfs, jukebox, code)
})

t.test('a failure survives the wire, and shows POSIX its errno', async (t) => {
  for (const [code] of rows) {
    const failure = new Failure(code, `what happened: ${code}`)
    const back = readFailure(writeFailure(failure))
    t.equal(back.failure, code)
    t.equal(back.message, failure.message)
    t.equal(back.code, failures[code].errno)
    t.ok(isFailure(back, code))
  }
})

t.test('what is no failure code is not taken for one', async (t) => {
  for (const text of ['', 'NO_SUCH', 'toString', '__proto__', 'constructor', 5, null])
    t.equal(isFailureCode(text), false, `${text}`)
  t.equal(isFailure(new Error('x')), false)
  t.equal(isFailure(new Failure('STALE', 'x'), 'NOT_FOUND'), false)
})
