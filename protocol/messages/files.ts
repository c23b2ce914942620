/**
 * Calls of clients to the master of a container: names and attributes in name containers, chunks in data containers.
 *
 * Pure table. One metadata call is one record: atomic, and answered only when it is durable on every in-sync
 * replica. Data writes are answered when they are appended on all of them, or durable when `stable` is set.
 * Every call may also answer NOT_MASTER, NOT_READY, STALE_EPOCH, TOO_FEW_REPLICAS, DISK_FAILED or OVERLOADED;
 * every call that names a `fid` STALE when it is no more; NO_SPACE where bytes are written.
 */
import {
  boolean,
  bytes,
  containerShape,
  fidShape,
  list,
  message,
  nameShape,
  natural,
  nothing,
  oneOf,
  optional,
} from '../check.ts'
import {
  attributesShape,
  beforeShape,
  changesShape,
  chunkShape,
  credentialsShape,
  fileBytesMax,
  kindShape,
  payloadBytesMax,
  sumsShape,
  targetBytesMax,
  ticketShape,
  timeShape,
  tokenShape,
} from './attributes.ts'
import { call } from './service.ts'

const fid = fidShape
const attributes = attributesShape
const credentials = credentialsShape
const ticket = ticketShape
const directoryChange = { directoryBefore: beforeShape, directory: attributes }

/** Bits of `allowed`, as in RFC 1813 §3.3.4. */
export const access = { read: 1, lookup: 2, modify: 4, extend: 8, delete: 16, execute: 32 } as const

export const files = {
  name: 'files',
  calls: {
    getattr: call(0x0101, message({ fid }), message({ attributes })),
    lookup: call(
      0x0102,
      message({ directory: fid, name: nameShape, credentials }),
      message({ attributes, directory: attributes }),
    ),
    access: call(0x0103, message({ fid, credentials }), message({ attributes, allowed: natural(63) })),
    /** `guard`: NOT_SYNC unless it is the object's `changed` time (RFC 1813 §3.3.2). */
    setattr: call(
      0x0104,
      message({ ticket, fid, credentials, changes: changesShape, guard: optional(timeShape) }),
      message({ before: beforeShape, attributes }),
    ),
    /**
     * Makes any kind of object, with at most 64 KiB of a file's bytes as the payload. `how`: `unchecked` returns
     * an existing file (with `changes.sizeBytes` applied), `guarded` answers EXISTS, `exclusive` answers EXISTS
     * unless the existing file was made with the same `verifier` (8 bytes).
     */
    create: call(
      0x0105,
      message({
        ticket,
        directory: fid,
        name: nameShape,
        credentials,
        kind: kindShape,
        how: oneOf('unchecked', 'guarded', 'exclusive'),
        changes: changesShape,
        verifier: optional(bytes(8)),
        target: optional(bytes(targetBytesMax)),
        major: natural(0xffffffff),
        minor: natural(0xffffffff),
        sums: sumsShape,
      }),
      message({ attributes, created: boolean, ...directoryChange }),
    ),
    /** `directory`-kind: rmdir (NOT_EMPTY); any other: unlink (IS_DIRECTORY). */
    remove: call(
      0x0106,
      message({ ticket, directory: fid, name: nameShape, credentials, kind: oneOf('file', 'directory') }),
      message(directoryChange),
    ),
    /** Atomic, over an existing object unless `replace` is false (EXISTS). INVALID for a directory into itself. */
    rename: call(
      0x0107,
      message({
        ticket,
        source: fid,
        sourceName: nameShape,
        target: fid,
        targetName: nameShape,
        credentials,
        replace: boolean,
      }),
      message({ sourceBefore: beforeShape, source: attributes, targetBefore: beforeShape, target: attributes }),
    ),
    link: call(
      0x0108,
      message({ ticket, fid, directory: fid, name: nameShape, credentials }),
      message({ attributes, ...directoryChange }),
    ),
    readlink: call(0x0109, message({ fid, credentials }), message({ attributes, target: bytes(targetBytesMax) })),
    /**
     * Entries with a cookie greater than `cookie`, in order of cookie (a 53-bit hash of the name, never below 16).
     * `.` and `..` are not among them. `parent` is the directory's own parent (itself at the volume's root).
     */
    readdir: call(
      0x010a,
      message({ directory: fid, credentials, cookie: natural(), entriesMax: natural(4096), withAttributes: boolean }),
      message({
        directory: attributes,
        parent: fid,
        end: boolean,
        entries: list(
          message({ name: nameShape, cookie: natural(), fid, kind: kindShape, attributes: optional(attributes) }),
          4096,
        ),
      }),
    ),
    /** File bytes below `inlineBytesMax`; the reply's payload is cut at the file's end. */
    read: call(
      0x010b,
      message({ fid, offset: natural(fileBytesMax), length: natural(payloadBytesMax) }),
      message({ attributes }),
    ),
    write: call(
      0x010c,
      message({ ticket, fid, offset: natural(fileBytesMax), stable: boolean, sums: sumsShape }),
      message({ before: beforeShape, attributes, token: tokenShape }),
    ),
    /**
     * Chunk writes below `sizeBytes` were acknowledged: raises the size to it (never lowers) and sets `modified` and `changed`
     * to now. `trimmed`: the file's, before those writes: NOT_SYNC when it was cut later, as they may be gone then.
     */
    extend: call(
      0x010d,
      message({ ticket, fid, sizeBytes: natural(fileBytesMax), trimmed: natural(), stable: boolean }),
      message({ before: beforeShape, attributes, token: tokenShape }),
    ),
    /** Which data containers hold chunks [first, first + count); with `allocate`, missing ones are given one. */
    map: call(
      0x010e,
      message({ ticket, fid, first: natural(2 ** 32), count: natural(1024), allocate: boolean }),
      message({ attributes, containers: list(optional(containerShape), 1024) }),
    ),
    /**
     * Bytes at `offset` within the chunk; the payload is short where the chunk ends: the caller reads zeros there. `cut`: the
     * latest of the file that took bytes of the chunk; a size that was seen before it says nothing of these bytes.
     */
    readChunk: call(
      0x0110,
      message({ chunk: chunkShape, offset: natural(2 ** 40), length: natural(payloadBytesMax) }),
      message({ cut: natural() }),
    ),
    writeChunk: call(
      0x0111,
      message({ ticket, chunk: chunkShape, offset: natural(2 ** 40), stable: boolean, sums: sumsShape }),
      message({ token: tokenShape }),
    ),
    /**
     * Forgets the chunk's bytes from `keepBytes` on, once for each `cut` of its file, and nothing for a lower one; with `cut` 0
     * the file is gone, and so is all that is known of the chunk.
     */
    trimChunk: call(
      0x0112,
      message({ ticket, chunk: chunkShape, keepBytes: natural(2 ** 40), cut: natural() }),
      nothing,
    ),
    /** Answers when everything up to the token is durable; UNSYNCED_LOST when a crash took what it stands for. */
    sync: call(0x0113, message({ token: tokenShape }), nothing),
  },
} as const
