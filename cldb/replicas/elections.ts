/**
 * Masters that are lost, masters that are chosen, and masters that give way by plan.
 *
 * Pure. An election waits until a candidate is alive and then `electionDelayMs`, so that servers that crashed
 * together all become candidates. Only a member of the in-sync set is ever chosen, and never while the process that
 * was master before may still hold its lease. Who is in sync stays so: it is the new master that has those removed whom it
 * does not reach, once it acts. One that is chosen while it dies, or can't read its replica, takes nobody's place away.
 */

import type { ContainerId, ServerId } from '../../protocol/ids.ts'
import { handOversMax } from '../../protocol/messages/control.ts'
import type { Draft } from '../draft.ts'
import { pick } from '../placement.ts'
import { addTo, type Container, takesPart } from '../state.ts'

/** A master that was asked to give way and still leads after this long is asked anew, if that is still wanted. */
const handOverMs = 10_000
/** A server that started so many leases ago is in sync with its masters, or not in their in-sync sets any more. */
const matchedLeases = 4
/** What a copy costs beside its bytes. */
const copyCostBytes = 64 * 1024

/** Members that hold a replica; where none does and the container was never served, any can begin it. */
function candidates(draft: Draft, container: Container): readonly ServerId[] {
  const alive = container.inSync.filter((id) => draft.isAlive(id))
  const holders = alive.filter((id) => !draft.servers.get(id)!.missing.has(container.container))
  return holders.length > 0 || container.created ? holders : alive
}

/**
 * Those that have kept running, if there are any: who has just started anew may have lost with its power what was answered
 * unsynced, and the others still hold it. After a while its masters, if they act, have given it that again, or put it out of
 * their sets.
 */
function unbroken(draft: Draft, members: readonly ServerId[]): readonly ServerId[] {
  const kept = members.filter((member) => isUnbroken(draft, member))
  return kept.length > 0 ? kept : members
}

function isUnbroken(draft: Draft, member: ServerId): boolean {
  const matchedMs = draft.state.config.leaseMs * matchedLeases
  return draft.nowMs - (draft.servers.get(member)!.bornMs ?? -matchedMs) >= matchedMs
}

/** The master's process is gone, and never acts for this epoch again: durable, because its server may return as another process. */
export function vacate(draft: Draft, container: Container): void {
  const vacant = { ...container, master: undefined }
  draft.containers.set(container.container, vacant)
  openElection(draft, vacant)
}

/** A master whose replica failed gives way to another member; where no other can lead, it begins anew, unless it `lost` its replica. */
export function resign(draft: Draft, container: Container, server: ServerId, lost: boolean): void {
  if (lost) draft.lacks(server, container.container)
  const others = candidates(draft, container).filter((member) => member !== server)
  const master = pick(draft.random, unbroken(draft, others))
  if (master === undefined) {
    if (lost) vacate(draft, container)
    else draft.configure(container, { master: server })
    return
  }
  draft.configure(container, {
    master,
    inSync: container.inSync.filter((member) => member !== server),
    resyncing: [...container.resyncing, server],
  })
}

/** Members that may take over by plan, those with the fewest masters. */
export function successors(draft: Draft, container: Container): readonly ServerId[] {
  const { container: id, master } = container
  const others = candidates(draft, container).filter(
    (member) => member !== master && takesPart(draft.servers.get(member)) && !draft.leaves(member, id),
  )
  const fewest = Math.min(...others.map((member) => draft.masters(member)))
  return others.filter((member) => draft.masters(member) === fewest)
}

/** Has the master asked, with its heartbeats, to give way. @returns false when too many are asked already. */
export function askToGiveWay(draft: Draft, container: Container): boolean {
  const asked = [...draft.handOvers.changes.values()].filter((handOver) => handOver !== undefined).length
  if (draft.state.handOvers.size + asked >= handOversMax) return false
  draft.handOvers.set(container.container, { server: container.master!, sinceMs: draft.nowMs })
  return true
}

export function forgetOldHandOvers(draft: Draft): void {
  for (const [id, { sinceMs }] of draft.state.handOvers) {
    if (draft.nowMs - sinceMs < handOverMs) continue
    draft.handOvers.delete(id)
    draft.attend(id)
  }
}

/** A master gives way and stays in sync: it holds everything that was acknowledged and acts no more in this epoch. */
export function giveWay(draft: Draft, container: Container): void {
  draft.configure(container, { master: pick(draft.random, successors(draft, container)) ?? container.master })
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
  let sources: Map<ServerId, number> | undefined
  for (const [id, dueMs] of draft.state.elections) {
    if (dueMs > draft.nowMs) continue
    sources ??= sourcesOf(draft)
    choose(draft, id, sources)
  }
}

/** What each server is to copy as the master of containers that lack copies, or whose copies are on servers that are lost. */
function sourcesOf(draft: Draft): Map<ServerId, number> {
  const { servers, containersOf, resyncingOn } = draft.state
  const sources = new Map<ServerId, number>()
  for (const server of servers.keys())
    for (const id of (draft.isAlive(server) ? resyncingOn : containersOf).get(server) ?? []) {
      const { master } = draft.containers.get(id)!
      if (master !== undefined) addTo(sources, master, copyBytes(draft, id))
    }
  return sources
}

const copyBytes = (draft: Draft, id: ContainerId): number => copyCostBytes + (draft.sizes.get(id) ?? 0)

/** Any who can lead would be right. */
function choose(draft: Draft, id: ContainerId, sources: Map<ServerId, number>): void {
  const container = draft.containers.get(id)
  draft.elections.delete(id)
  if (container === undefined) return
  const former = container.master
  if (former !== undefined && draft.isAlive(former)) return
  const all = unbroken(draft, candidates(draft, container))
  // After a restart of the CLDB one that has kept running may be heard a moment later than one that has not.
  const unheard = container.inSync.some((member) => draft.servers.get(member)?.state === 'unknown')
  if (unheard && !all.some((member) => isUnbroken(draft, member))) {
    draft.elections.set(id, draft.nowMs + draft.state.config.electionDelayMs)
    return
  }
  const copies = (member: ServerId): number => sources.get(member) ?? 0
  const master = pick(draft.random, draft.state.config.electsAny === 1 ? all : preferable(draft, all, copies))
  if (master === undefined) {
    draft.elections.set(id, Number.POSITIVE_INFINITY)
    return
  }
  addTo(sources, master, copyBytes(draft, id))
  draft.configure(container, { master })
}

/** Those in service, if there are any, and of those with the least to copy: so a lost server's are made by all. */
function preferable(draft: Draft, all: readonly ServerId[], copies: (member: ServerId) => number): readonly ServerId[] {
  const inService = all.filter((member) => takesPart(draft.servers.get(member)))
  const electable = inService.length > 0 ? inService : all
  const fewest = Math.min(...electable.map(copies))
  return electable.filter((member) => copies(member) === fewest)
}
