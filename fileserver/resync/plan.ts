/**
 * Which bytes of a segment have to be fetched to make it like another.
 *
 * Pure. Segments are compared by the xxh64 of each 64 KiB: that one block is damaged is found by 8 KiB of sums and mended
 * with 64 KiB, and a copy that was interrupted goes on where it was.
 */

export const blockBytes = 64 * 1024
const sumBytes = 8

/** Bytes [offset, offset + length) of a segment. */
export type Run = { readonly offset: number; readonly length: number }

export const sumsBytes = (sizeBytes: number): number => Math.ceil(sizeBytes / blockBytes) * sumBytes

/**
 * @param ours, theirs sums of each block of the segment; `ours` may be shorter. A last block that is shorter here counts as another.
 * @returns what differs, ascending, in runs of at most `runBytesMax`.
 */
export function missingRuns(ours: Uint8Array, theirs: Uint8Array, sizeBytes: number, runBytesMax: number): Run[] {
  const runs: { offset: number; length: number }[] = []
  for (let offset = 0, at = 0; offset < sizeBytes; offset += blockBytes, at += sumBytes) {
    const length = Math.min(blockBytes, sizeBytes - offset)
    const mine = ours.subarray(at, at + sumBytes)
    if (mine.length === sumBytes && Buffer.compare(mine, theirs.subarray(at, at + sumBytes)) === 0) continue
    const run = runs.at(-1)
    if (run !== undefined && run.offset + run.length === offset && run.length + length <= runBytesMax)
      run.length += length
    else runs.push({ offset, length })
  }
  return runs
}

/** All of a segment, in runs of at most `runBytesMax`. */
export function wholeRuns(sizeBytes: number, runBytesMax: number): Run[] {
  const runs: Run[] = []
  for (let offset = 0; offset < sizeBytes; offset += runBytesMax)
    runs.push({ offset, length: Math.min(runBytesMax, sizeBytes - offset) })
  return runs
}
