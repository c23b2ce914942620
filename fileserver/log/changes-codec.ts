/**
 * Key changes as bytes, inside a record's head.
 *
 * Pure. One change after the other: a type byte, then
 *   put     1  key u16, value u32, fresh u8, key, value
 *   delete  2  key u16, key
 *   extent  3  object u8, offset u64, length u32, payloadOffset u32, object
 *   punch   4  object u8, from u64, to u64, object
 *   call    5  client u64, number u64, oldest u64, result u64
 */
import { assert, unreachable } from '../../protocol/assert.ts'
import { read53, write53 } from '../../protocol/bytes.ts'
import { Failure } from '../../protocol/failures.ts'
import type { Change } from '../index/changes.ts'

const fixedBytes = { put: 8, delete: 3, extent: 18, punch: 18, call: 33 } as const

/** @returns bytes that the change takes in a record. */
export function sizeOf(change: Change): number {
  const fixed = fixedBytes[change.type]
  if (change.type === 'put') return fixed + change.key.length + change.value.length
  if (change.type === 'delete') return fixed + change.key.length
  return change.type === 'call' ? fixed : fixed + change.object.length
}

export function encodeChanges(changes: readonly Change[]): Buffer {
  let size = 0
  for (const change of changes) size += sizeOf(change)
  const bytes = Buffer.allocUnsafe(size)
  let at = 0
  for (const change of changes) at = write(bytes, at, change)
  assert(at === size, 'sizes of changes add up')
  return bytes
}

function write(bytes: Buffer, at: number, change: Change): number {
  switch (change.type) {
    case 'put':
      bytes[at] = 1
      bytes.writeUInt16LE(change.key.length, at + 1)
      bytes.writeUInt32LE(change.value.length, at + 3)
      bytes[at + 7] = change.fresh ? 1 : 0
      bytes.set(change.key, at + 8)
      bytes.set(change.value, at + 8 + change.key.length)
      break
    case 'delete':
      bytes[at] = 2
      bytes.writeUInt16LE(change.key.length, at + 1)
      bytes.set(change.key, at + 3)
      break
    case 'extent':
      bytes[at] = 3
      bytes[at + 1] = change.object.length
      write53(bytes, change.offset, at + 2)
      bytes.writeUInt32LE(change.length, at + 10)
      bytes.writeUInt32LE(change.payloadOffset, at + 14)
      bytes.set(change.object, at + 18)
      break
    case 'punch':
      bytes[at] = 4
      bytes[at + 1] = change.object.length
      write53(bytes, change.from, at + 2)
      write53(bytes, change.to, at + 10)
      bytes.set(change.object, at + 18)
      break
    case 'call':
      bytes[at] = 5
      write53(bytes, change.client, at + 1)
      write53(bytes, change.number, at + 9)
      write53(bytes, change.oldest, at + 17)
      write53(bytes, change.result, at + 25)
      break
    default:
      unreachable(change)
  }
  return at + sizeOf(change)
}

/** @throws Failure CORRUPT when the bytes are no list of changes. */
export function decodeChanges(bytes: Uint8Array): Change[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const changes: Change[] = []
  let at = 0
  try {
    while (at < buffer.length) {
      const change = read(buffer, at)
      at += sizeOf(change)
      changes.push(change)
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    at = -1
  }
  if (at !== buffer.length) throw new Failure('CORRUPT', 'changes are cut short')
  return changes
}

function read(bytes: Buffer, at: number): Change {
  switch (bytes[at]) {
    case 1: {
      const key = run(bytes, at + 8, bytes.readUInt16LE(at + 1))
      const value = run(bytes, at + 8 + key.length, bytes.readUInt32LE(at + 3))
      return { type: 'put', key, value, fresh: bytes[at + 7] === 1 }
    }
    case 2:
      return { type: 'delete', key: run(bytes, at + 3, bytes.readUInt16LE(at + 1)) }
    case 3: {
      const offset = read53(bytes, at + 2)
      const length = bytes.readUInt32LE(at + 10)
      const payloadOffset = bytes.readUInt32LE(at + 14)
      return { type: 'extent', object: objectAt(bytes, at), offset, length, payloadOffset }
    }
    case 4:
      return { type: 'punch', object: objectAt(bytes, at), from: read53(bytes, at + 2), to: read53(bytes, at + 10) }
    case 5: {
      const [client, number, oldest, result] = [1, 9, 17, 25].map((field) => read53(bytes, at + field))
      return { type: 'call', client: client!, number: number!, oldest: oldest!, result: result! }
    }
    default:
      throw new Failure('CORRUPT', `no change has type ${bytes[at]}`)
  }
}

const objectAt = (bytes: Buffer, at: number): Uint8Array => run(bytes, at + 18, bytes.readUInt8(at + 1))

function run(bytes: Buffer, from: number, length: number): Buffer {
  if (from + length > bytes.length) throw new RangeError('a run beyond the end')
  return bytes.subarray(from, from + length)
}
