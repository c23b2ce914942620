/**
 * Settings of the CLDB: every default with its unit and its reason.
 *
 * Pure. `cldbConfig` parses a configuration file's JSON; the relations between settings are asserted there.
 */

import { address, type ConfigOf, natural, parseConfig, text } from '../protocol/config.ts'
import { Failure } from '../protocol/failures.ts'

export const cldbSettings = {
  listen: address('where the CLDB answers gRPC', { default: '127.0.0.1:7400' }),
  directory: text('where the database is kept'),
  leaseMs: natural('a fileserver may act as a master for this long after it sent a heartbeat; failover waits for it', {
    default: 1500,
    min: 100,
    max: 60_000,
  }),
  heartbeatMs: natural('time between heartbeats; three must fit in a lease, so that one lost costs nothing', {
    default: 300,
    min: 10,
    max: 20_000,
  }),
  electionDelayMs: natural(
    'from the loss of a master to the choice of the next: servers that crashed together all return as candidates',
    { default: 200, max: 60_000 },
  ),
  rereplicateAfterMs: natural('a server silent for this long is dead: a reboot is over by then', { default: 600_000 }),
  containerBytesMax: natural('a data container of this size takes no new chunks: small enough to copy in minutes', {
    default: 32 * 2 ** 30,
    min: 2 ** 20,
  }),
  openContainersMin: natural('a volume has at least so many data containers open to new chunks', {
    default: 4,
    min: 1,
    max: 1024,
  }),
  openContainersMax: natural('a volume has at most so many data containers open to new chunks', {
    default: 64,
    min: 1,
    max: 1024,
  }),
  electsAny: natural(
    '1 for any member in sync after a lost master, which is as right: by default one in service with few copies to make',
    { default: 0, max: 1 },
  ),
  tickMs: natural('how late the end of a lease may be noticed: a part of every failover', {
    default: 50,
    min: 5,
    max: 1000,
  }),
  repairMs: natural('time between looks for containers with too few or too many replicas', {
    default: 250,
    min: 5,
    max: 60_000,
  }),
  copiesPerServer: natural(
    'replicas on their way to one server, and from one: more than it sends at a time, so that it has no time to be idle',
    { default: 16, min: 1, max: 10_000 },
  ),
  movesMax: natural('replicas that are moved at a time to even out disks, and 0 for none: users come first', {
    default: 2,
    max: 1000,
  }),
  fullnessSpreadPercent: natural('disks whose use differs by more of their size are evened out: less is not worth it', {
    default: 10,
    min: 1,
    max: 100,
  }),
  mastersSpreadPercent: natural(
    'servers whose numbers of masters differ by more are evened out, and 0 for none: each change takes a moment',
    { default: 20, max: 100 },
  ),
  diskErrorsMax: natural(
    'a disk with as many errors in a day is drained by itself, and 0 for none: single ones are repaired, a dying disk has more',
    { default: 10 },
  ),
} as const

export type CldbConfig = ConfigOf<typeof cldbSettings>

/** @param json a parsed configuration file. @throws Failure INVALID naming the setting that does not fit. */
export function cldbConfig(json: unknown): CldbConfig {
  const config = parseConfig(cldbSettings, json)
  relation(config.heartbeatMs * 3 < config.leaseMs, 'three times heartbeatMs must be less than leaseMs')
  relation(config.tickMs * 2 <= config.leaseMs, 'twice tickMs must be at most leaseMs')
  relation(config.openContainersMin <= config.openContainersMax, 'openContainersMin must be at most openContainersMax')
  return config
}

function relation(holds: boolean, claim: string): void {
  if (!holds) throw new Failure('INVALID', claim)
}
