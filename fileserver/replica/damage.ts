/**
 * What a replica does about damage that a read meets: it is counted, and mended from the other replicas.
 *
 * Driver.
 */
import { isFailure } from '../../protocol/failures.ts'
import type { ContainerId, Sequence } from '../../protocol/ids.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import { replication } from '../../protocol/messages/replication.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import type { Log } from '../log/log.ts'
import { mendSegment } from '../scrub/mend.ts'
import type { Environment } from './environment.ts'
import type { Damage } from './reader.ts'

/** The replica whose log it is, as it is then. `demand` throws when the log is no longer ours. */
type Owner = {
  readonly location: () => Location | undefined
  readonly committed: () => Sequence
  readonly demand: () => void
}

export function damageOf(environment: Environment, log: Log, { location, committed, demand }: Owner): Damage {
  const { counters, badPlaces } = environment
  const { container } = log
  return {
    copies: (segment, offset, length) => copies(environment, container, location(), segment, offset, length),
    found: (segment, record) => {
      counters.corruptBlocks += 1
      if (badPlaces.addRecord(container, segment, record)) counters.diskErrors += 1
      environment.log.warn({ container }, 'a damaged block was found')
    },
    repaired: () => {
      counters.repairedBlocks += 1
    },
    mend: (first) => {
      const { inSync = [], resyncing = [] } = location() ?? {}
      return mendSegment(environment, log, first, committed(), [...inSync, ...resyncing], demand)
    },
  }
}

/** The bytes [offset, offset + length) of a segment, from each other in-sync replica in turn; they are not checked. */
async function* copies(
  environment: Environment,
  container: ContainerId,
  location: Location | undefined,
  first: Sequence,
  offset: number,
  length: number,
): AsyncGenerator<Payload> {
  const { connect, limits, self } = environment
  for (const server of location?.inSync ?? []) {
    if (server === self) continue
    try {
      const connection = await connect(server, limits.replicaTimeoutMs)
      const request = { container, first, offset, length }
      const answer = await connection.call(replication.calls.segment, request, { timeoutMs: limits.replicaTimeoutMs })
      yield answer.payload
    } catch (error) {
      if (!isFailure(error)) throw error
    }
  }
}
