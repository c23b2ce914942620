/**
 * Mends one segment from the other replicas, when a read met damage that it could not mend by itself.
 *
 * Driver.
 */
import { isFailure } from '../../protocol/failures.ts'
import type { ContainerId, Sequence, ServerId } from '../../protocol/ids.ts'
import { replication } from '../../protocol/messages/replication.ts'
import type { Log } from '../log/log.ts'
import type { Environment } from '../replica/environment.ts'
import { checkSegment, type Peer } from './check-segment.ts'

export function peersOf(environment: Environment, container: ContainerId, servers: readonly ServerId[]): Peer[] {
  const timeoutMs = environment.limits.replicaTimeoutMs
  const others = servers.filter((server) => server !== environment.self)
  return others.map((server) => async (first, offset, length) => {
    try {
      const connection = await environment.connect(server, timeoutMs)
      const request = { container, first, offset, length }
      const { payload } = await connection.call(replication.calls.segment, request, { timeoutMs })
      const bytes = Buffer.concat([...payload])
      return bytes.length === length ? bytes : undefined
    } catch (error) {
      if (!isFailure(error)) throw error
      return undefined
    }
  })
}

/** What can't be mended stays. @param demand throws when the log is no longer ours. */
export async function mendSegment(
  environment: Environment,
  log: Log,
  first: Sequence,
  committed: Sequence,
  servers: readonly ServerId[],
  demand: () => void,
): Promise<void> {
  const { counters } = environment
  const segment = log.manifest().find((other) => other.first === first)
  if (segment === undefined) return
  await checkSegment({
    log,
    segment,
    committed,
    peers: peersOf(environment, log.container, servers),
    paced: async () => {},
    demand,
    found: (count) => {
      counters.corruptBlocks += count
    },
    repaired: (count) => {
      counters.repairedBlocks += count
    },
  })
}
