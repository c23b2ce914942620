/**
 * Calls between fileservers: a master to the other replicas of a container (DESIGN §4).
 *
 * Pure table. A replica stores an `epoch` higher than its own before it acts, and answers STALE_EPOCH to a lower one.
 * Order of a new configuration: `follow` (exchange of histories), `chains` (only if histories alone do not decide),
 * `rollback`, then `append`, pipelined. A replica that the log no longer reaches back to is told to `install` segments:
 * it compares them with its own by `sums`, and pulls what it lacks by `piece`.
 */
import {
  boolean,
  bytes,
  containerShape,
  epochShape,
  list,
  message,
  natural,
  nothing,
  sequenceShape,
  serverShape,
} from '../check.ts'
import { payloadBytesMax } from './attributes.ts'
import { call } from './service.ts'

const container = containerShape
const epoch = epochShape
const chain = bytes(8)

/** Most bytes of log in one `append` or `segment`. */
export const appendBytesMax = 2 * payloadBytesMax

const startsShape = list(message({ epoch, first: sequenceShape }), 100_000)

export const historyShape = message({ starts: startsShape, last: sequenceShape })

export const replication = {
  name: 'replication',
  calls: {
    follow: call(
      0x0201,
      message({ container, epoch }),
      message({
        history: historyShape,
        committed: sequenceShape,
        /** What follows from this answer names it: a later `follow`, in the same epoch too, makes it void (CONFLICT). */
        attempt: natural(),
        /** Unset: what is there is damaged, or a copy that is not finished, and has to be copied. */
        whole: boolean,
      }),
    ),
    /** `chain` at each sequence, of those that the log still holds; empty where it does not. */
    chains: call(
      0x0202,
      message({ container, epoch, sequences: list(sequenceShape, 64) }),
      message({ chains: list(chain, 64) }),
    ),
    /** Cuts the log after `after`, where `chain` must be the replica's own. BAD_MESSAGE below its committed sequence. */
    rollback: call(0x0203, message({ container, epoch, attempt: natural(), after: sequenceShape, chain }), nothing),
    /**
     * Payload: whole records, byte for byte, the first of which is `first`. No payload: only news of `committed`, or
     * a request to sync. Answered when appended, or, with `durable`, when everything so far is durable. `resync`: old
     * records for a replica that is not in sync, which the receiver slows down as it likes; OVERLOADED when it brings up
     * enough others. NO_SPACE where the disk has no room for them. The answer says whether there is room for more than
     * deletions (`full`), and for how much before nothing is taken any more (`roomBytes`).
     */
    append: call(
      0x0204,
      message({ container, epoch, first: sequenceShape, committed: sequenceShape, durable: boolean, resync: boolean }),
      message({ appended: sequenceShape, durable: sequenceShape, full: boolean, roomBytes: natural() }),
    ),
    /**
     * Make the replica anew from these segments of the master, as they were at `committed`; `starts` tells of the epochs
     * up to there, of which segments may be gone. Answered when it has begun, in place of any that was under way.
     * OVERLOADED when enough others are; NO_SPACE, with nothing changed, where the disk is full.
     */
    install: call(
      0x0205,
      message({
        container,
        epoch,
        attempt: natural(),
        master: serverShape,
        committed: sequenceShape,
        segments: list(message({ first: sequenceShape, sizeBytes: natural(), chain }), 100_000),
        starts: startsShape,
      }),
      nothing,
    ),
    /** How far `install` is: answered when it is done, or soon. Fails as it failed. */
    installed: call(
      0x0207,
      message({ container, epoch }),
      message({ done: boolean, last: sequenceShape, doneBytes: natural(), totalBytes: natural() }),
    ),
    /** Payload: as `segment`, for a copy: slowed down as the server's other work asks for. */
    piece: call(
      0x0208,
      message({ container, first: sequenceShape, offset: natural(), length: natural(appendBytesMax) }),
      nothing,
    ),
    /** Payload: the xxh64 of each 64 KiB of the first `sizeBytes` of a segment file. */
    sums: call(0x0209, message({ container, first: sequenceShape, sizeBytes: natural() }), nothing),
    /** By the target of a copy: the segment is damaged at its source. Answered when what can be mended there is mended. */
    mend: call(0x020a, message({ container, first: sequenceShape }), nothing),
    /** Payload: the bytes [offset, offset + length) of a segment file, short at its end. For read repair. */
    segment: call(
      0x0206,
      message({ container, first: sequenceShape, offset: natural(), length: natural(appendBytesMax) }),
      nothing,
    ),
  },
} as const
