/**
 * Settings of a fileserver: every default with its unit and its reason.
 *
 * Pure. `fileserverConfig` parses a configuration file's JSON.
 */
import { address, addresses, type ConfigOf, natural, parseConfig, text } from '../protocol/config.ts'

export const fileserverSettings = {
  cldb: addresses('where the CLDB answers'),
  directory: text('the storage pool: one directory on one disk'),
  listen: address('where clients and other fileservers connect; port 0 takes a free one', { default: '127.0.0.1:0' }),
  advertise: text('host:port that others connect to, where it is not that of `listen`', { default: '' }),
  topology: text('where this server stands, as /rack/node: replicas of a container go to different ones', {
    default: '/default',
  }),
  reserveBytes: natural(
    'with less than this free on the disk only deletions are taken: they need room in the log too',
    {
      default: 1024 * 1024 * 1024,
      min: 1024 * 1024,
    },
  ),
  replicaTimeoutMs: natural('a replica that does not answer for this long has failed: well above a slow sync', {
    default: 5000,
    min: 100,
  }),
  memberGraceMs: natural('how long a new master waits for an unreachable in-sync replica before it goes on without', {
    default: 1500,
  }),
  syncWithinMs: natural(
    'how long an unstable write may stay unsynced: what a power cut may take where all replicas end at once',
    {
      default: 500,
      min: 10,
    },
  ),
  unsyncedBytesMax: natural('as many bytes of a container as may stay unsynced: more makes a sync slow', {
    default: 64 * 1024 * 1024,
    min: 1024 * 1024,
  }),
  retryMs: natural('how often a replica that is not in sync is tried again', { default: 1000, min: 10 }),
  resyncInBytesPerSecond: natural(
    'what resync may write here, 0: no limit; it gives way to load, but ends even where writes are faster',
    {
      default: 0,
    },
  ),
  resyncOutBytesPerSecond: natural(
    'what resync may read here, 0: no limit; it gives way to load, but ends even where writes are faster',
    {
      default: 0,
    },
  ),
  resyncsMax: natural(
    'replicas that are brought up from here at a time, and twice as many to here: each keeps some MiB on its way',
    {
      default: 8,
      min: 1,
    },
  ),
  stuckAfterMs: natural(
    'a replica that its master has not reached for this long is made on another server too: longer than a restart takes',
    { default: 30_000, min: 100 },
  ),
  scrubBytesPerSecond: natural(
    'how fast replicas are read to find rot: 24 TB in three weeks, a quarter of that under load; 0: only on request',
    { default: 12 * 1024 * 1024 },
  ),
  scrubAgainAfterMs: natural('a replica that was read as a whole is not read again before', {
    default: 7 * 24 * 3600 * 1000,
    min: 100,
  }),
  abandonedEveryMs: natural('how often chunks are looked through for those whose files are gone', {
    default: 24 * 3600 * 1000,
    min: 100,
    max: 2 ** 30,
  }),
} as const

export type FileserverConfig = ConfigOf<typeof fileserverSettings>

/** @param json a parsed configuration file. @throws Failure INVALID naming the setting that does not fit. */
export const fileserverConfig = (json: unknown): FileserverConfig => parseConfig(fileserverSettings, json)
