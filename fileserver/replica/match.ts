/**
 * A master brings another replica's log to agree with its own: divergence point, rollback, or a copy of all segments
 * (DESIGN §4, rule 5).
 *
 * Driver around pure decisions (log/history.ts). Histories give the divergence point; the chain there proves it. Where
 * it does not (only damage does that), the last sequence with an equal chain is found by search over the chains.
 */
import type { Clock } from '../../protocol/clock.ts'
import { Failure } from '../../protocol/failures.ts'
import { type ContainerId, type Epoch, type Sequence, type ServerId, sequence } from '../../protocol/ids.ts'
import { replication } from '../../protocol/messages/replication.ts'
import type { Connection } from '../../protocol/transport/transport.ts'
import { divergencePoint, shortened } from '../log/history.ts'
import type { Log } from '../log/log.ts'
import type { Progress } from '../resync/progress.ts'

const { follow, chains, rollback, install, installed } = replication.calls

export type Matching = {
  readonly connection: Connection
  readonly container: ContainerId
  readonly epoch: Epoch
  readonly master: ServerId
  readonly log: Log
  readonly committed: () => Sequence
  readonly timeoutMs: number
  /** An in-sync replica may be rolled back but never made anew: it would be trusted with nothing in hand. */
  readonly inSync: boolean
  /** A replica has to be copied: waits for the turn. @throws Failure when the epoch is over before. */
  readonly turn: () => Promise<Progress>
  readonly clock: Clock
}

/** Our own log is damaged: the other replica is not to blame. */
export class OwnDamage extends Error {
  override readonly name = 'OwnDamage'
  readonly failure: Failure

  constructor(failure: Failure) {
    super(failure.message, { cause: failure })
    this.failure = failure
  }
}

/** @returns nothing where the log does not hold `at`. @throws OwnDamage where it should and cannot be read. */
function ownChain(log: Log, at: Sequence): bigint | undefined {
  const chain = log.chainAt(at)
  if (chain === undefined && log.segmentOf(at) !== undefined)
    throw new OwnDamage(new Failure('CORRUPT', `our own log is damaged before sequence ${at}`))
  return chain
}

/**
 * @returns the end of the replica's log, which is now a beginning of ours.
 * @throws Failure when it cannot be made so. OwnDamage when our log cannot tell.
 */
export async function match(matching: Matching): Promise<Sequence> {
  const { connection, container, epoch, log, timeoutMs } = matching
  const { reply: theirs } = await connection.call(follow, { container, epoch }, { timeoutMs })
  const { history, committed, attempt, whole: isWhole } = theirs
  const parting = divergencePoint(log.history, history)
  let point = parting
  if (matching.inSync && point < committed)
    throw new OwnDamage(new Failure('CORRUPT', `our own log lacks sequence ${committed}, which was committed`))
  if (point > 0 && !(await agrees(matching, point))) point = await search(matching, point)
  // What is committed is in our log: a replica that lacks some of it has lost or damaged what it claims to have.
  // Nor can one in sync be cut where damage, or a read that failed, hides that it agrees: all of that may be committed.
  const counts = !matching.inSync || (point === parting && point >= matching.committed())
  const whole = isWhole && point >= committed && counts
  if (whole && point >= log.contiguousFrom - 1) {
    if (point === history.last) return point
    const chain = chainBytes(ownChain(log, point)!)
    await connection.call(rollback, { container, epoch, attempt, after: point, chain }, { timeoutMs })
    return point
  }
  if (matching.inSync)
    throw new Failure('CORRUPT', `replica is known to agree up to ${point} only, and not up to ${parting}`)
  return copied(matching, attempt)
}

/** Has the replica made anew from our segments. @returns the end of its log. */
async function copied(matching: Matching, attempt: number): Promise<Sequence> {
  const { connection, container, epoch, master, log, clock, timeoutMs } = matching
  const progress = await matching.turn()
  const segments = log.manifest().map((segment) => ({ ...segment, chain: chainBytes(segment.chain) }))
  const committed = matching.committed()
  const { starts } = shortened(log.history, committed)
  await connection.call(install, { container, epoch, attempt, master, committed, segments, starts }, { timeoutMs })
  for (;;) {
    const { reply } = await connection.call(installed, { container, epoch }, { timeoutMs })
    if (reply.done) return reply.last
    progress.note(reply.doneBytes, reply.totalBytes, clock.monotonicMs())
  }
}

const chainBytes = (chain: bigint): Uint8Array => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(chain)
  return bytes
}

async function chainsAt(matching: Matching, sequences: readonly Sequence[]): Promise<boolean[]> {
  const { connection, container, epoch, log, timeoutMs } = matching
  const { reply } = await connection.call(chains, { container, epoch, sequences }, { timeoutMs })
  return sequences.map((at, i) => {
    const ours = ownChain(log, at)
    const theirs = reply.chains[i]
    return ours !== undefined && theirs !== undefined && Buffer.compare(chainBytes(ours), theirs) === 0
  })
}

const agrees = async (matching: Matching, at: Sequence): Promise<boolean> => (await chainsAt(matching, [at]))[0]!

/** @returns the last sequence below `bad` with equal chains: equal there means equal before. */
async function search(matching: Matching, bad: Sequence): Promise<Sequence> {
  let low = 0
  let high: number = bad
  while (high - low > 1) {
    const count = Math.min(16, high - low - 1)
    const tried = Array.from({ length: count }, (_, i) =>
      sequence(low + Math.ceil(((high - low) * (i + 1)) / (count + 1))),
    )
    const equal = await chainsAt(matching, tried)
    // Chains that differ never meet again; where damage or a dropped segment hides one, what follows proves nothing.
    const first = equal.indexOf(false)
    if (first !== 0) low = tried[(first < 0 ? count : first) - 1]!
    if (first >= 0) high = tried[first]!
  }
  return sequence(low)
}
