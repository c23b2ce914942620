/**
 * Buffers for large payloads, used again and again.
 *
 * A payload of a megabyte that the garbage collector has to find costs more than everything else that is done with it:
 * V8 marks the whole heap for every 64 MiB of such buffers. So who serves a call takes its payload's buffer from
 * here and gives it back when the call is answered; nothing may look at it afterwards.
 */
const smallestBytes = 2048
const largestBytes = 8 * 1024 * 1024
/** Kept for later, over all sizes: a window's worth. */
const keptBytesMax = 64 * 1024 * 1024

export class Buffers {
  /** By the power of two. */
  private readonly free = new Map<number, ArrayBuffer[]>()
  private keptBytes = 0

  /** Whether a payload of `bytes` is large enough to be worth it. */
  holds(bytes: number): boolean {
    return bytes >= smallestBytes && bytes <= largestBytes
  }

  /** @returns a buffer of `bytes`, which it `holds`, with any content. */
  take(bytes: number): Buffer {
    const size = 2 ** Math.ceil(Math.log2(bytes))
    const known = this.free.get(size)?.pop()
    if (known === undefined) return Buffer.allocUnsafeSlow(size).subarray(0, bytes)
    this.keptBytes -= size
    return Buffer.from(known, 0, bytes)
  }

  /** @param buffer from `take`; it is not looked at again. */
  give(buffer: Buffer): void {
    const whole = buffer.buffer as ArrayBuffer
    const size = whole.byteLength
    if (this.keptBytes + size > keptBytesMax) return
    const known = this.free.get(size)
    if (known === undefined) this.free.set(size, [whole])
    else known.push(whole)
    this.keptBytes += size
  }
}
