/**
 * Amounts by which resync works, in proportion to a segment: the simulator's are small.
 *
 * Pure.
 */
export type Sizes = {
  /** Records that are read and sent at a time: several of a MiB each. */
  readonly pieceBytes: number
  /** Bytes of a segment that are fetched at a time. */
  readonly fetchBytes: number
  /** On their way to a replica, and to one that is throttled: what waits there for its answer must not wait too long. */
  readonly windowBytes: number
  readonly slowWindowBytes: number
  /** A replica that lacks no more than this may join: answers wait until so much has been streamed, some 50 ms. */
  readonly joinBytes: number
  /** A replica on a full disk may take so much all the same. */
  readonly slightBytes: number
  /** What was sent to a resyncing replica is made durable each time it got so much. */
  readonly syncBytes: number
}

export const segmentBytesUsual = 64 * 1024 * 1024

export const sizesOf = (segmentBytes = segmentBytesUsual): Sizes => ({
  pieceBytes: segmentBytes / 16,
  fetchBytes: segmentBytes / 64,
  windowBytes: segmentBytes / 4,
  slowWindowBytes: segmentBytes / 8,
  joinBytes: segmentBytes / 8,
  slightBytes: segmentBytes / 64,
  syncBytes: segmentBytes / 2,
})
