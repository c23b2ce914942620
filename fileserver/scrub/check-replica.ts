/**
 * Scrubs one replica: each of its segments (check-segment.ts), then, as a master, its log against those of the others.
 *
 * Driver. What is mended is mended from the others that the CLDB names, and durable before it counts as read.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import type { Sequence, ServerId } from '../../protocol/ids.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import { replication } from '../../protocol/messages/replication.ts'
import type { SegmentInfo } from '../log/log.ts'
import type { Environment } from '../replica/environment.ts'
import type { ContainerReplica } from '../replica/replica.ts'
import { checkSegment, type Findings } from './check-segment.ts'
import { peersOf } from './mend.ts'
import { samples, type Told, type Verdict, verdict } from './verdict.ts'

export type ReplicaCheck = {
  readonly environment: Environment
  readonly replica: ContainerReplica
  /** Names this server as in sync. */
  readonly location: Location
  /** The first segment that is read. */
  readonly from: Sequence
  readonly paced: (bytes: number) => Promise<void>
  /** Told after each segment. */
  readonly checked: (segment: SegmentInfo, findings: Findings) => Promise<void>
}

export type Outcome = {
  readonly found: number
  readonly repaired: number
  readonly remaining: number
  /** This replica has to be made anew. */
  readonly refused: boolean
  readonly logs: Verdict
}

/** @throws Failure when the check cannot go on: the replica was stopped, or its log cut. */
export async function checkReplica(check: ReplicaCheck): Promise<Outcome> {
  const { environment, replica, location, from, paced, checked } = check
  const { counters, badPlaces } = environment
  const { log } = replica.storage
  const sum = { found: 0, repaired: 0, remaining: 0, refused: false }
  const demand = (): void => {
    if (replica.stopped !== undefined)
      throw new Failure('NOT_READY', `container ${replica.container} is being reopened`)
  }
  const others = location.inSync.filter((server) => server !== environment.self)
  // Nobody's word is trusted: one that is not in sync may still have what is damaged here.
  const peers = peersOf(environment, replica.container, [...others, ...location.resyncing])
  for (const { first } of log.manifest()) {
    demand()
    // As it is now: it may have grown, or have been dropped.
    const segment = log.manifest().find((other) => other.first === first)
    if (segment === undefined || first < from) continue
    let isCounted = false
    try {
      const findings = await checkSegment({
        log,
        segment,
        committed: replica.core.committed,
        peers,
        paced,
        demand,
        found: (count, record) => {
          counters.corruptBlocks += count
          if (!badPlaces.addRecord(replica.container, first, record) || isCounted) return
          // Bad places come in runs: those of a segment that are new are one error of the disk.
          counters.diskErrors += 1
          isCounted = true
        },
        repaired: (count) => {
          counters.repairedBlocks += count
        },
      })
      if (findings.repaired > 0) await replica.synced()
      counters.scrubbedBytes += findings.checkedBytes
      sum.found += findings.found
      sum.repaired += findings.repaired
      sum.remaining += findings.remaining
      sum.refused ||= findings.refused
      await checked(segment, findings)
    } catch (error) {
      if (!isFailure(error, 'NOT_FOUND')) throw error
    }
  }
  demand()
  return { ...sum, logs: await compare(environment, replica, others) }
}

/** A master asks those that follow it; one that cannot be asked now is left out. */
async function compare(
  environment: Environment,
  replica: ContainerReplica,
  others: readonly ServerId[],
): Promise<Verdict> {
  const { container, core, storage } = replica
  if (core.role !== 'master') return { type: 'agree' }
  const { epoch } = core
  const timeoutMs = environment.limits.replicaTimeoutMs
  const sequences = samples(storage.log.manifest(), core.committed)
  if (sequences.length === 0) return { type: 'agree' }
  const own = { server: environment.self, chains: sequences.map((at) => storage.log.chainAt(at)) }
  const told: Told[] = [own]
  for (const server of others) {
    try {
      const connection = await environment.connect(server, timeoutMs)
      const { reply } = await connection.call(replication.calls.chains, { container, epoch, sequences }, { timeoutMs })
      told.push({ server, chains: sequences.map((_, i) => chainIn(reply.chains[i])) })
    } catch (error) {
      if (!isFailure(error)) throw error
    }
  }
  return verdict(sequences, told)
}

const chainIn = (bytes: Uint8Array | undefined): bigint | undefined =>
  bytes?.length === 8 ? Buffer.from(bytes).readBigUInt64LE() : undefined
