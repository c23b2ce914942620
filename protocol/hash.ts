/**
 * xxh64 for records, payloads, chains and names.
 *
 * Pure once loaded: importing this module waits for the WebAssembly. `payloadSums` reads a payload as the list of
 * buffers that a socket delivered, without putting it together: only a block that spans two buffers is copied.
 */
import xxhash from 'xxhash-wasm'
import { Failure } from './failures.ts'
import { sumBlockBytes } from './messages/attributes.ts'

const { h64Raw } = await xxhash()

export const hash64 = (bytes: Uint8Array, seed?: bigint): bigint => h64Raw(bytes, seed)

const spanning = Buffer.allocUnsafeSlow(sumBlockBytes)

/** Calls `visit` with each `sumBlockBytes` of the payload in turn (the last may be short); the bytes are valid only during the call. */
function forEachBlock(payload: readonly Uint8Array[], visit: (block: Uint8Array, index: number) => void): void {
  let index = 0
  let held = 0
  for (const piece of payload) {
    let at = 0
    if (held > 0) {
      at = Math.min(sumBlockBytes - held, piece.length)
      spanning.set(piece.subarray(0, at), held)
      held += at
      if (held < sumBlockBytes) continue
      visit(spanning, index++)
      held = 0
    }
    while (piece.length - at >= sumBlockBytes) {
      visit(piece.subarray(at, at + sumBlockBytes), index++)
      at += sumBlockBytes
    }
    if (at < piece.length) {
      spanning.set(piece.subarray(at), 0)
      held = piece.length - at
    }
  }
  if (held > 0) visit(spanning.subarray(0, held), index)
}

export const sumCount = (payloadBytes: number): number => Math.ceil(payloadBytes / sumBlockBytes)

/** @returns 8 bytes little-endian for each `sumBlockBytes` of the payload. */
export function payloadSums(payload: readonly Uint8Array[], payloadBytes: number): Buffer {
  const sums = Buffer.allocUnsafe(sumCount(payloadBytes) * 8)
  forEachBlock(payload, (block, index) => sums.writeBigUInt64LE(hash64(block), index * 8))
  return sums
}

/** @throws Failure CORRUPT when the payload does not have these sums. */
export function verifyPayload(payload: readonly Uint8Array[], payloadBytes: number, sums: Uint8Array): void {
  if (sums.length !== sumCount(payloadBytes) * 8)
    throw new Failure('BAD_MESSAGE', `${sums.length} bytes of sums for a payload of ${payloadBytes} bytes`)
  const view = new DataView(sums.buffer, sums.byteOffset, sums.byteLength)
  forEachBlock(payload, (block, index) => {
    if (hash64(block) !== view.getBigUint64(index * 8, true))
      throw new Failure('CORRUPT', `payload block ${index} does not match its checksum`)
  })
}
