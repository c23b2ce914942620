/**
 * Every failure that crosses an edge: one class, one table, and in its row each edge's form of it.
 *
 * Pure. `retry` says what a caller may do: `never` (the answer is final), `same` (the same server, later) or
 * `locate` (ask the CLDB where the container is, then try again). `grpc` is a google.rpc.Code, `nfs` an nfsstat3
 * (RFC 1813 §2.6), `errno` the POSIX name, `hadoop` the exception that a Hadoop client expects.
 */
export type FailureRow = {
  readonly retry: 'never' | 'same' | 'locate'
  readonly grpc: number
  readonly nfs: number
  readonly errno: string
  readonly hadoop: string
}

const io = 'java.io.IOException'
const missing = 'java.io.FileNotFoundException'
const denied = 'org.apache.hadoop.security.AccessControlException'
const notDirectory = 'org.apache.hadoop.fs.ParentNotDirectoryException'
const exists = 'org.apache.hadoop.fs.FileAlreadyExistsException'
const notEmpty = 'org.apache.hadoop.fs.PathIsNotEmptyDirectoryException'
const checksum = 'org.apache.hadoop.fs.ChecksumException'
const unsupported = 'java.lang.UnsupportedOperationException'
const retriable = 'org.apache.hadoop.ipc.RetriableException'

export const failures = {
  // What the filesystem answers to a caller.
  NOT_FOUND: { retry: 'never', grpc: 5, nfs: 2, errno: 'ENOENT', hadoop: missing },
  EXISTS: { retry: 'never', grpc: 6, nfs: 17, errno: 'EEXIST', hadoop: exists },
  NOT_DIRECTORY: { retry: 'never', grpc: 9, nfs: 20, errno: 'ENOTDIR', hadoop: notDirectory },
  IS_DIRECTORY: { retry: 'never', grpc: 9, nfs: 21, errno: 'EISDIR', hadoop: missing },
  NOT_EMPTY: { retry: 'never', grpc: 9, nfs: 66, errno: 'ENOTEMPTY', hadoop: notEmpty },
  NAME_TOO_LONG: { retry: 'never', grpc: 3, nfs: 63, errno: 'ENAMETOOLONG', hadoop: io },
  INVALID: { retry: 'never', grpc: 3, nfs: 22, errno: 'EINVAL', hadoop: 'java.lang.IllegalArgumentException' },
  NOT_OWNER: { retry: 'never', grpc: 7, nfs: 1, errno: 'EPERM', hadoop: denied },
  ACCESS: { retry: 'never', grpc: 7, nfs: 13, errno: 'EACCES', hadoop: denied },
  STALE: { retry: 'never', grpc: 5, nfs: 70, errno: 'ESTALE', hadoop: missing },
  BAD_HANDLE: { retry: 'never', grpc: 3, nfs: 10001, errno: 'EBADF', hadoop: io },
  CROSS_VOLUME: { retry: 'never', grpc: 9, nfs: 18, errno: 'EXDEV', hadoop: io },
  TOO_MANY_LINKS: { retry: 'never', grpc: 9, nfs: 31, errno: 'EMLINK', hadoop: io },
  LOOP: { retry: 'never', grpc: 9, nfs: 22, errno: 'ELOOP', hadoop: io },
  READ_ONLY: { retry: 'never', grpc: 7, nfs: 30, errno: 'EROFS', hadoop: denied },
  NO_SPACE: { retry: 'never', grpc: 8, nfs: 28, errno: 'ENOSPC', hadoop: io },
  FILE_TOO_LARGE: { retry: 'never', grpc: 11, nfs: 27, errno: 'EFBIG', hadoop: io },
  NOT_SUPPORTED: { retry: 'never', grpc: 12, nfs: 10004, errno: 'ENOTSUP', hadoop: unsupported },
  NOT_SYNC: { retry: 'never', grpc: 10, nfs: 10002, errno: 'EAGAIN', hadoop: io },
  BAD_COOKIE: { retry: 'never', grpc: 3, nfs: 10003, errno: 'EINVAL', hadoop: io },
  /** Bytes that were written but never synced are gone (a crash of all replicas): write them again. */
  UNSYNCED_LOST: { retry: 'never', grpc: 15, nfs: 5, errno: 'EIO', hadoop: io },
  // What a cluster that changes answers: the SDK's retries hide these.
  STALE_EPOCH: { retry: 'locate', grpc: 9, nfs: 10008, errno: 'EAGAIN', hadoop: io },
  NOT_MASTER: { retry: 'locate', grpc: 9, nfs: 10008, errno: 'EAGAIN', hadoop: io },
  NOT_READY: { retry: 'locate', grpc: 14, nfs: 10008, errno: 'EAGAIN', hadoop: retriable },
  TOO_FEW_REPLICAS: { retry: 'locate', grpc: 14, nfs: 10008, errno: 'EIO', hadoop: retriable },
  UNAVAILABLE: { retry: 'locate', grpc: 14, nfs: 10008, errno: 'EIO', hadoop: retriable },
  DEADLINE: { retry: 'locate', grpc: 4, nfs: 10008, errno: 'ETIMEDOUT', hadoop: 'java.net.SocketTimeoutException' },
  OVERLOADED: { retry: 'same', grpc: 8, nfs: 10008, errno: 'EAGAIN', hadoop: retriable },
  CONFLICT: { retry: 'locate', grpc: 10, nfs: 10008, errno: 'EAGAIN', hadoop: io },
  CORRUPT: { retry: 'locate', grpc: 15, nfs: 5, errno: 'EIO', hadoop: checksum },
  DISK_FAILED: { retry: 'locate', grpc: 15, nfs: 5, errno: 'EIO', hadoop: io },
  NO_SERVERS: { retry: 'same', grpc: 14, nfs: 10008, errno: 'EAGAIN', hadoop: retriable },
  // What a peer did wrong.
  BAD_FRAME: { retry: 'never', grpc: 3, nfs: 5, errno: 'EPROTO', hadoop: io },
  BAD_MESSAGE: { retry: 'never', grpc: 3, nfs: 5, errno: 'EBADMSG', hadoop: io },
  TOO_LARGE: { retry: 'never', grpc: 11, nfs: 5, errno: 'EMSGSIZE', hadoop: io },
  VERSION_MISMATCH: { retry: 'never', grpc: 9, nfs: 5, errno: 'EPROTO', hadoop: io },
  WRONG_CLUSTER: { retry: 'never', grpc: 9, nfs: 5, errno: 'EPROTO', hadoop: io },
  INTERNAL: { retry: 'never', grpc: 13, nfs: 10006, errno: 'EIO', hadoop: io },
} as const satisfies Record<string, FailureRow>

export type FailureCode = keyof typeof failures

export class Failure extends Error {
  override readonly name = 'Failure'
  readonly failure: FailureCode

  constructor(failure: FailureCode, detail: string, options?: ErrorOptions) {
    super(`${failure}: ${detail}`, options)
    this.failure = failure
  }

  get row(): FailureRow {
    return failures[this.failure]
  }

  /** POSIX name, as Node.js's own filesystem errors carry it. */
  get code(): string {
    return this.row.errno
  }
}

export const isFailureCode = (text: unknown): text is FailureCode =>
  typeof text === 'string' && Object.hasOwn(failures, text)

/** @returns whether `error` is a `Failure`, with one of `codes` where any are given. */
export function isFailure(error: unknown, ...codes: FailureCode[]): error is Failure {
  return error instanceof Failure && (codes.length === 0 || codes.includes(error.failure))
}
