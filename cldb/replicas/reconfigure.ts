/**
 * What a container's master tells of its replicas: who failed, who holds everything, that it gives way.
 *
 * Pure: reads and changes a draft.
 */
import { Failure } from '../../protocol/failures.ts'
import type { control } from '../../protocol/messages/control.ts'
import type { RequestOf } from '../../protocol/messages/service.ts'
import type { Draft } from '../draft.ts'
import { confirm } from '../servers/liveness.ts'
import { giveWay, resign } from './elections.ts'

export function reconfigure(draft: Draft, request: RequestOf<typeof control.calls.reconfigure>): void {
  const { server, remove, add } = request
  confirm(draft, request.server, request.incarnation)
  draft.session(server, request.incarnation)
  const container = draft.containers.get(request.container)
  if (container === undefined) throw new Failure('NOT_FOUND', `there is no container ${request.container}`)
  if (container.epoch !== request.epoch || container.master !== server)
    throw new Failure('CONFLICT', `container ${request.container} is in epoch ${container.epoch}, not ${request.epoch}`)
  if (!remove.every((member) => container.inSync.includes(member)))
    throw new Failure('INVALID', `container ${request.container}: only members of the in-sync set can be removed`)
  if (remove.includes(server)) {
    if (add.includes(server)) giveWay(draft, container)
    else resign(draft, container, server, request.lost)
    return
  }
  if (!add.every((member) => container.resyncing.includes(member)))
    throw new Failure('INVALID', `container ${request.container}: only a resyncing replica can be added`)
  const added = [...new Set(add)]
  const removed = [...new Set(remove)]
  draft.configure(container, {
    inSync: [...container.inSync.filter((member) => !removed.includes(member)), ...added],
    resyncing: [...container.resyncing.filter((member) => !added.includes(member)), ...removed],
  })
  for (const member of added) draft.holds(member, container.container)
}
