/**
 * Bytes that say which write they come from, all of them: a mixture of two is found at once.
 *
 * Pure.
 */

/** As many bytes as every write of this file has: mostly few, sometimes several blocks. */
export const lengthOf = (id: number): number => (id % 7 === 0 ? 20_000 + (id % 11) * 3000 : 8 + ((id * 7919) % 3000))

export function contentOf(value: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(Math.ceil(length / 8) * 8)
  for (let at = 0; at < bytes.length; at += 8) {
    bytes.writeUInt32LE(value, at)
    bytes.writeUInt32LE(at, at + 4)
  }
  return bytes.subarray(0, length)
}

/** @returns the write that the bytes come from, 0 for zeros or none; nothing when they are of no one write. */
export function writerOf(payload: readonly Uint8Array[], length: number): number | undefined {
  const bytes = Buffer.concat(payload)
  if (bytes.every((byte) => byte === 0)) return 0
  const value = bytes.readUInt32LE(0)
  return bytes.length === length && bytes.equals(contentOf(value, length)) ? value : undefined
}
