/**
 * Answers the calls of protocol/messages/maintenance.ts.
 *
 * Driver.
 */
import { Failure } from '../../protocol/failures.ts'
import type { maintenance } from '../../protocol/messages/maintenance.ts'
import type { Handlers } from '../../protocol/transport/transport.ts'
import type { Replicas } from '../replicas.ts'
import type { Scrubber } from './scrubber.ts'

export function maintenanceHandlers(replicas: Replicas, scrubber: Scrubber): Handlers<typeof maintenance.calls> {
  return {
    scrub: ({ containers }) => ({ reply: scrubber.request(containers) }),
    scrubbed: ({ run }) => ({ reply: { report: scrubber.report(run) } }),
    scrubs: () => ({ reply: { runs: scrubber.runs } }),
    damaged: ({ container, epoch, server }) => {
      const replica = replicas.get(container)
      if (!replica.leads || replica.core.epoch !== epoch)
        throw new Failure('CONFLICT', `not the master of container ${container} in epoch ${epoch}`)
      replica.dispatch({ type: 'failed', epoch, server })
      return { reply: {} }
    },
  }
}
