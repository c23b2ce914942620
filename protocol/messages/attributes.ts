/**
 * Shapes that several services share: times, attributes, credentials, configurations, limits.
 *
 * Pure. Attributes follow RFC 1813 §2.6 (fattr3) with nanosecond times.
 */
import {
  addressShape,
  boolean,
  bytes,
  clientShape,
  containerShape,
  epochShape,
  fidShape,
  integer,
  list,
  message,
  natural,
  type Of,
  oneOf,
  optional,
  sequenceShape,
  serverShape,
  text,
} from '../check.ts'

/** File bytes below this offset live in the name container; the rest in chunks. */
export const inlineBytesMax = 64 * 1024
/** Largest payload of one read or write. */
export const payloadBytesMax = 4 * 1024 * 1024
/** Each run of this many payload bytes has its own xxh64 sum: small enough that a 4 KiB read checks little more than it reads. */
export const sumBlockBytes = 16 * 1024
/** Fits every index and offset below 2^53. */
export const fileBytesMax = 2 ** 50
export const nameBytesMax = 255
export const targetBytesMax = 4096
export const replicationMax = 6

export const timeShape = message({ seconds: integer, nanoseconds: natural(999_999_999) })
export type Time = Of<typeof timeShape>

export const kindShape = oneOf('file', 'directory', 'symlink', 'fifo', 'socket', 'character', 'block')
export type Kind = Of<typeof kindShape>

export const attributesShape = message({
  fid: fidShape,
  kind: kindShape,
  /** Permission bits, setuid, setgid, sticky: 0 to 0o7777. */
  mode: natural(0o7777),
  links: natural(),
  uid: natural(0xffffffff),
  gid: natural(0xffffffff),
  sizeBytes: natural(fileBytesMax),
  usedBytes: natural(),
  major: natural(0xffffffff),
  minor: natural(0xffffffff),
  accessed: timeShape,
  modified: timeShape,
  changed: timeShape,
  /** The volume's chunk size at the file's creation. */
  chunkBytes: natural(),
  /** How often the file became shorter: a size that was seen before says nothing of chunks that were cut since. */
  cut: natural(),
  /** The same, as of when all that was cut was gone from the chunks: what is written there before `cut` may go with it. */
  trimmed: natural(),
})
export type Attributes = Of<typeof attributesShape>

/** What an object was just before an operation, taken atomically with it (RFC 1813 wcc_attr). */
export const beforeShape = message({ sizeBytes: natural(), modified: timeShape, changed: timeShape })
export type Before = Of<typeof beforeShape>

export const credentialsShape = message({
  uid: natural(0xffffffff),
  gid: natural(0xffffffff),
  groups: list(natural(0xffffffff), 64),
})
export type Credentials = Of<typeof credentialsShape>

/** A time to set: `now` is the master's clock. */
export const newTimeShape = message({ now: boolean, time: timeShape })
export type NewTime = Of<typeof newTimeShape>

/** Attributes to set; what is absent stays. */
export const changesShape = message({
  mode: optional(natural(0o7777)),
  uid: optional(natural(0xffffffff)),
  gid: optional(natural(0xffffffff)),
  sizeBytes: optional(natural(fileBytesMax)),
  accessed: optional(newTimeShape),
  modified: optional(newTimeShape),
})
export type Changes = Of<typeof changesShape>

/**
 * Makes a retry exactly-once: the client's number of this call, the oldest that it may still repeat, and the epoch of
 * the master that it is sent to: one of another epoch answers STALE_EPOCH, so that what is late is never done.
 */
export const ticketShape = message({ client: clientShape, number: natural(), oldest: natural(), epoch: epochShape })
export type Ticket = Of<typeof ticketShape>
/** Of each client's calls a container remembers so many: a client sends no call that is further from its oldest unanswered one. */
export const callsKeptMax = 1024
/** What of a ticket stays the same however often the call is repeated. */
export type CallNumber = Omit<Ticket, 'epoch'>

/** Where an unsynced write stands in a log: `sync` takes it back and says whether it is durable. */
export const tokenShape = message({ container: containerShape, epoch: epochShape, sequence: sequenceShape })
export type Token = Of<typeof tokenShape>

/** xxh64 of each `sumBlockBytes` of a payload, 8 bytes little-endian each. */
export const sumsShape = bytes((payloadBytesMax / sumBlockBytes) * 8)

/** One chunk of a file: bytes [index * chunkBytes, (index + 1) * chunkBytes). `container` is the data container. */
export const chunkShape = message({ container: containerShape, owner: fidShape, index: natural(2 ** 32) })
export type Chunk = Of<typeof chunkShape>

export const volumeShape = message({
  name: text(255),
  mountPath: text(4096),
  root: fidShape,
  replication: natural(replicationMax),
  minimum: natural(replicationMax),
  topology: text(1024),
  chunkBytes: natural(2 ** 40),
})
export type Volume = Of<typeof volumeShape>

/** A container's configuration (DESIGN §4) with where its servers listen. */
export const locationShape = message({
  container: containerShape,
  volume: text(255),
  kind: oneOf('name', 'data'),
  epoch: epochShape,
  /** Absent while no member of the in-sync set is alive. */
  master: optional(serverShape),
  inSync: list(serverShape, replicationMax * 2),
  resyncing: list(serverShape, replicationMax * 2),
  minimum: natural(replicationMax),
  chunkBytes: natural(2 ** 40),
  servers: list(message({ server: serverShape, address: addressShape, alive: boolean }), replicationMax * 4),
})
export type Location = Of<typeof locationShape>
