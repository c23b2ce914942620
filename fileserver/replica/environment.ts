/**
 * What a replica needs of the fileserver around it.
 *
 * Types and limits. Everything that differs between a real server and a simulated one comes through here.
 */
import type { Clock } from '../../protocol/clock.ts'
import type { ContainerId, Epoch, ServerId } from '../../protocol/ids.ts'
import type { Log } from '../../protocol/logging.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import type { Counters } from '../../protocol/messages/control.ts'
import type { Connection } from '../../protocol/transport/transport.ts'
import type { Index } from '../index/store.ts'
import type { BadPlaces } from '../pool/bad-places.ts'
import type { Disk } from '../pool/disk.ts'
import type { Resyncs } from '../resync/resyncs.ts'

export type Environment = {
  readonly self: ServerId
  readonly clock: Clock
  readonly disk: Disk
  readonly index: Index
  /** Directory that holds one directory for each container. */
  readonly directory: string
  readonly log: Log
  readonly counters: Counters
  readonly badPlaces: BadPlaces
  readonly random: () => number
  /** The connection to another fileserver, shared by all containers. @throws Failure UNAVAILABLE */
  readonly connect: (server: ServerId, timeoutMs: number) => Promise<Connection>
  /** Whether this server may still act as a master (DESIGN §4, rule 3). */
  readonly leased: () => boolean
  /** Whether the disk has so little left that only deletions are taken. */
  readonly full: () => boolean
  /** What may still be appended here before nothing is taken any more, deletions neither. */
  readonly roomBytes: () => number
  /**
   * Asks the CLDB for the next configuration; it fails with CONFLICT when there is a newer one already.
   * `lost`: this server, which it removes, has no replica that could lead.
   */
  readonly reconfigure: (
    container: ContainerId,
    epoch: Epoch,
    remove: readonly ServerId[],
    add: readonly ServerId[],
    lost?: boolean,
  ) => Promise<Location>
  readonly limits: Limits
  /** All resyncs of this server. */
  readonly resyncs: Resyncs
  /** Size of a segment where it is not the usual one: the simulator's are small. The same on all servers of a cluster. */
  readonly segmentBytes?: number
}

export type Limits = {
  /** A member that has not answered for this long has failed. */
  readonly replicaTimeoutMs: number
  /** How long a new master waits for an in-sync member that it cannot reach, before it goes on without. */
  readonly memberGraceMs: number
  /** How long an unstable write may stay without a sync. */
  readonly syncWithinMs: number
  /** How many bytes may stay without a sync. */
  readonly unsyncedBytesMax: number
  /** How often a replica that is not in sync is tried again. */
  readonly retryMs: number
}
