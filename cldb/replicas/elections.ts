/**
 * Masters that are lost and masters that are chosen.
 *
 * Pure. An election waits until a candidate is alive and then `electionDelayMs`, so that servers that crashed
 * together all become candidates. Only a member of the in-sync set is ever chosen, and never while the process that
 * was master before may still hold its lease.
 */

import type { ContainerId, ServerId } from '../../protocol/ids.ts'
import type { Draft } from '../draft.ts'
import { pick } from '../placement.ts'
import type { Container } from '../state.ts'

/** Members that hold a replica; where none does and the container was never served, any can begin it. */
function candidates(draft: Draft, container: Container): readonly ServerId[] {
  const alive = container.inSync.filter((id) => draft.isAlive(id))
  const holders = alive.filter((id) => !draft.servers.get(id)!.missing.has(container.container))
  return holders.length > 0 || container.created ? holders : alive
}

/** The master's process is gone, and never acts for this epoch again: durable, because its server may return as another process. */
export function vacate(draft: Draft, container: Container): void {
  const vacant = { ...container, master: undefined }
  draft.containers.set(container.container, vacant)
  openElection(draft, vacant)
}

/** A master whose replica failed gives way to another member, or, where no other can lead, begins anew itself. */
export function resign(draft: Draft, container: Container, server: ServerId): void {
  const others = candidates(draft, container).filter((member) => member !== server)
  const master = pick(draft.random, others)
  if (master === undefined) {
    draft.configure(container, { master: server })
    return
  }
  draft.configure(container, {
    master,
    inSync: container.inSync.filter((member) => member !== server),
    resyncing: [...container.resyncing, server],
  })
}

/** Lets the election run from now, unless it runs already or nobody can be chosen. */
export function openElection(draft: Draft, container: Container): void {
  const dueMs = draft.elections.get(container.container)
  if (dueMs !== undefined && dueMs !== Number.POSITIVE_INFINITY) return
  const due = candidates(draft, container).length > 0 ? draft.nowMs + draft.state.config.electionDelayMs : undefined
  draft.elections.set(container.container, due ?? Number.POSITIVE_INFINITY)
}

/** Holds every election that is due. */
export function elect(draft: Draft): void {
  for (const [id, dueMs] of draft.state.elections) if (dueMs <= draft.nowMs) choose(draft, id)
}

function choose(draft: Draft, id: ContainerId): void {
  const container = draft.containers.get(id)
  draft.elections.delete(id)
  if (container === undefined) return
  const former = container.master
  if (former !== undefined && draft.isAlive(former)) return
  const master = pick(draft.random, candidates(draft, container))
  if (master === undefined) {
    draft.elections.set(id, Number.POSITIVE_INFINITY)
    return
  }
  draft.configure(container, {
    master,
    inSync: container.inSync.filter((member) => member !== former),
    resyncing: former === undefined ? container.resyncing : [...container.resyncing, former],
  })
}
