/**
 * Gives up a replica whose disk does not keep what it should, so that its master makes it anew.
 *
 * Driver. First the CLDB takes the replica out of the in-sync set, in a later epoch, which it does not follow; only then it
 * is disowned. Until then it stays as it is: it may be the best that there is, and of several that would be given up at
 * once the last one stays.
 */
import { pause } from '../../protocol/cluster/backoff.ts'
import { Failure, isFailure } from '../../protocol/failures.ts'
import type { ContainerId } from '../../protocol/ids.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import { maintenance } from '../../protocol/messages/maintenance.ts'
import type { Environment } from '../replica/environment.ts'
import type { ContainerReplica } from '../replica/replica.ts'
import type { Replicas } from '../replicas.ts'

/** Looks for the new configuration, and the time between two: longer than a master has patience with a member. */
const looksMax = 30
const everyMs = 200

/** @param locate the configuration as the CLDB has it now. @returns whether the replica was given up: tried again otherwise. */
export async function giveUp(
  environment: Environment,
  replicas: Replicas,
  replica: ContainerReplica,
  locate: (container: ContainerId) => Promise<Location | undefined>,
): Promise<boolean> {
  const { container } = replica
  const { self, clock } = environment
  const ours = (): boolean => replicas.find(container) === replica && replica.stopped === undefined
  const before = await located(container, locate)
  if (!ours() || before === undefined || before.inSync.length < 2 || !before.inSync.includes(self)) return false
  const of = replica.core.epoch
  replicas.condemn(container, of)
  try {
    for (let looks = 0; looks < looksMax; looks++) {
      const now = await located(container, locate)
      if (!ours()) return false
      // Another run may have pardoned it meanwhile: then a later master counts on it.
      if (replica.core.role !== 'idle' && replica.core.epoch > of) return false
      if (now?.epoch === of) await leave(environment, replica, now)
      else if (now !== undefined && !now.inSync.includes(self)) {
        const why = new Failure('CORRUPT', `container ${container} is damaged and can't be mended here`)
        await replicas.giveUp(container, why)
        return true
      }
      await pause(clock, everyMs)
    }
    return false
  } finally {
    replicas.pardon(container)
  }
}

/** Has the CLDB asked for a configuration without this server, by the master. */
async function leave(environment: Environment, replica: ContainerReplica, { master, epoch }: Location): Promise<void> {
  const { self, limits, reconfigure } = environment
  const { container } = replica
  try {
    if (master === self) {
      replica.dispatch({ type: 'giveWay', epoch })
      if (!replica.leads) await reconfigure(container, epoch, [self], [])
    } else if (master !== undefined) {
      const timeoutMs = limits.replicaTimeoutMs
      const connection = await environment.connect(master, timeoutMs)
      await connection.call(maintenance.calls.damaged, { container, epoch, server: self }, { timeoutMs })
    }
  } catch (error) {
    // It is asked again.
    if (!isFailure(error)) throw error
  }
}

async function located(
  container: ContainerId,
  locate: (container: ContainerId) => Promise<Location | undefined>,
): Promise<Location | undefined> {
  try {
    return await locate(container)
  } catch (error) {
    if (!isFailure(error)) throw error
    return undefined
  }
}
