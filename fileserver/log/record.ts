/**
 * One record of a container's log as bytes.
 *
 * Pure. Layout, little-endian, the same on every replica:
 *
 *     0  chain          u64  xxh64 over the rest of the head, seeded with the previous record's chain
 *     8  magic          u32
 *    12  headBytes      u32  header + sums + changes
 *    16  payloadBytes   u32
 *    20  kind           u8
 *    21  flags          u8   bit 0: stable
 *    22  behind         u16  so many records before this one was one committed when this was appended; 0: not known
 *    24  epoch          u64
 *    32  sequence       u64
 *    40  client         u64  \
 *    48  number         u64   | the client's ticket, and the result from which a repeated call is answered
 *    56  oldest         u64   |
 *    64  result         u64  /
 *    72  sums           8 bytes for each 16 KiB of payload
 *        changes        see changes-codec.ts
 *        payload
 *
 * `chain` is both the head's checksum and the proof that everything before agrees: two logs with the same chain at a
 * sequence hold the same records up to it. `behind` lets a log that is opened tell a torn tail, which was never committed,
 * from damage to what was (open.ts).
 */
import { assert } from '../../protocol/assert.ts'
import { Cursor, read53, write53 } from '../../protocol/bytes.ts'
import { Failure } from '../../protocol/failures.ts'
import { hash64, sumCount, verifyPayload } from '../../protocol/hash.ts'
import { type Epoch, epoch, type Sequence, sequence } from '../../protocol/ids.ts'
import { type CallNumber, payloadBytesMax } from '../../protocol/messages/attributes.ts'
import type { Payload } from '../../protocol/transport/transport.ts'

export const headerBytes = 72
export const headBytesMax = 4 * 1024 * 1024
const magic = 0x31524648
/** Where in a record its magic number stands, and how it looks there: for finding records after damage. */
export const magicOffset = 8
export const magicBytes = Buffer.from([0x48, 0x46, 0x52, 0x31])
const behindMax = 65_535

/** `sealSegment`: nothing, but the last segment, which `result` names, takes no more. */
export type RecordKind = 'epochStart' | 'operation' | 'dropSegment' | 'sealSegment'
const kinds: readonly (RecordKind | undefined)[] = [undefined, 'epochStart', 'operation', 'dropSegment', 'sealSegment']

/** The fixed part of a record's head. */
export type Header = {
  readonly chain: bigint
  readonly headBytes: number
  readonly payloadBytes: number
  readonly kind: RecordKind
  /** Acknowledged only when durable, and hidden from readers until then. */
  readonly stable: boolean
  readonly epoch: Epoch
  readonly sequence: Sequence
  /** What was surely committed when the record was appended. */
  readonly committed: Sequence
  readonly client: number
  readonly number: number
  readonly oldest: number
  readonly result: number
}

export const recordBytes = (header: Header): number => header.headBytes + header.payloadBytes

/** What the master decides about a record; place and chain are the log's. */
export type Draft = {
  readonly kind: RecordKind
  readonly stable: boolean
  readonly ticket: CallNumber
  readonly result: number
  readonly sums: Uint8Array
  /** Encoded changes. */
  readonly changes: Uint8Array
  readonly payload: readonly Uint8Array[]
  readonly payloadBytes: number
}

export type Place = {
  readonly epoch: Epoch
  readonly sequence: Sequence
  readonly committed: Sequence
  readonly chainBefore: bigint
}

/** @returns the head's bytes; the payload follows it in the log as it is. */
export function encodeHead(draft: Draft, place: Place): Buffer {
  const behind = place.sequence - place.committed
  assert(behind > 0, 'a record is not committed before it is appended')
  assert(draft.sums.length === sumCount(draft.payloadBytes) * 8, 'one sum for each block of the payload')
  const headBytes = headerBytes + draft.sums.length + draft.changes.length
  assert(headBytes <= headBytesMax && draft.payloadBytes <= payloadBytesMax, 'record too large')
  const head = Buffer.allocUnsafe(headBytes)
  head.writeUInt32LE(magic, 8)
  head.writeUInt32LE(headBytes, 12)
  head.writeUInt32LE(draft.payloadBytes, 16)
  head[20] = kinds.indexOf(draft.kind)
  head[21] = draft.stable ? 1 : 0
  head.writeUInt16LE(behind > behindMax ? 0 : behind, 22)
  write53(head, place.epoch, 24)
  write53(head, place.sequence, 32)
  write53(head, draft.ticket.client, 40)
  write53(head, draft.ticket.number, 48)
  write53(head, draft.ticket.oldest, 56)
  write53(head, draft.result, 64)
  head.set(draft.sums, headerBytes)
  head.set(draft.changes, headerBytes + draft.sums.length)
  head.writeBigUInt64LE(chainOf(head, place.chainBefore), 0)
  return head
}

/** @param head a whole head: header, sums and changes. */
export const chainOf = (head: Uint8Array, chainBefore: bigint): bigint => hash64(head.subarray(8), chainBefore)

/**
 * @param bytes at least `headerBytes` of them.
 * @throws Failure CORRUPT when they cannot be a record's header. The chain is not checked here.
 */
export function decodeHeader(bytes: Buffer): Header {
  const kind = kinds[bytes[20]!]
  const headBytes = bytes.readUInt32LE(12)
  const payloadBytes = bytes.readUInt32LE(16)
  const whole =
    bytes.readUInt32LE(8) === magic &&
    kind !== undefined &&
    headBytes <= headBytesMax &&
    payloadBytes <= payloadBytesMax &&
    headBytes >= headerBytes + sumCount(payloadBytes) * 8
  if (!whole) throw new Failure('CORRUPT', 'no record here')
  const at = read53(bytes, 32)
  const behind = bytes.readUInt16LE(22)
  if (!Number.isSafeInteger(at) || !Number.isSafeInteger(read53(bytes, 24)) || behind > at)
    throw new Failure('CORRUPT', 'no place of a record here')
  return {
    chain: bytes.readBigUInt64LE(0),
    headBytes,
    payloadBytes,
    kind,
    stable: (bytes[21]! & 1) === 1,
    epoch: epoch(read53(bytes, 24)),
    sequence: sequence(at),
    committed: sequence(behind === 0 ? 0 : at - behind),
    client: read53(bytes, 40),
    number: read53(bytes, 48),
    oldest: read53(bytes, 56),
    result: read53(bytes, 64),
  }
}

export const sumsOf = (head: Uint8Array, header: Header): Uint8Array =>
  head.subarray(headerBytes, headerBytes + sumCount(header.payloadBytes) * 8)

export const changesOf = (head: Uint8Array, header: Header): Uint8Array =>
  head.subarray(headerBytes + sumCount(header.payloadBytes) * 8, header.headBytes)

export type Parsed = { readonly header: Header; readonly head: Buffer; readonly payload: Payload }

/**
 * Takes records apart that came from elsewhere, checking every one of them.
 *
 * @param after the end of the log that they are to follow.
 * @throws Failure BAD_MESSAGE or CORRUPT unless they are whole and the next ones.
 */
export function parseRecords(
  payload: Payload,
  after: { readonly next: Sequence; readonly chain: bigint; readonly epoch: Epoch },
): Parsed[] {
  const cursor = new Cursor(payload)
  const parsed: Parsed[] = []
  let { next, chain, epoch: latest } = after
  while (cursor.left > 0) {
    if (cursor.left < headerBytes) throw new Failure('BAD_MESSAGE', 'a record is cut short')
    const header = decodeHeader(cursor.peek(headerBytes))
    if (cursor.left < recordBytes(header)) throw new Failure('BAD_MESSAGE', 'a record is cut short')
    const head = cursor.peek(header.headBytes)
    if (header.sequence !== next) throw new Failure('BAD_MESSAGE', `record ${header.sequence}, not ${next}`)
    if (header.epoch < latest) throw new Failure('BAD_MESSAGE', `record ${next} is of epoch ${header.epoch} again`)
    if (chainOf(head, chain) !== header.chain) throw new Failure('CORRUPT', `record ${next} breaks the chain`)
    cursor.take(header.headBytes)
    const bytes = cursor.take(header.payloadBytes)
    verifyPayload(bytes, header.payloadBytes, sumsOf(head, header))
    parsed.push({ header, head, payload: bytes })
    chain = header.chain
    latest = header.epoch
    next = sequence(next + 1)
  }
  return parsed
}
