/**
 * Keeps every container at its volume's number of replicas: targets for missing ones, the dead and the surplus dropped.
 *
 * Pure. Containers with the fewest live copies come first. One is touched only while its master is alive, so a change
 * can never take away the last live copy. A replica that leaves by plan (its server drains, or it is moved) does not
 * count as one that is there, but is dropped only once as many live in-sync copies are elsewhere as are wanted. A copy
 * whose server has become full, or does not follow its master, is begun elsewhere too. What cannot be done now (no server
 * has room, or each is busy with other copies) stays in the queue.
 */
import type { ContainerId, ServerId } from '../../protocol/ids.ts'
import type { Volume } from '../../protocol/messages/attributes.ts'
import type { Draft } from '../draft.ts'
import { closeness, pathOf } from '../placement.ts'
import { drainFailing } from '../servers/modes.ts'
import { type Container, copiesMax, members, takesPart } from '../state.ts'
import { balance } from './balance.ts'
import { askToGiveWay, forgetOldHandOvers, successors } from './elections.ts'

/** Containers looked at in one step, of each number of copies, and containers changed: bounds the step's time and its batch. */
const looksPerQueue = 500
const changesPerStep = 500
/** A server that is alive for so long was tried again by its masters. */
const backMs = 10_000

export function repair(draft: Draft): void {
  drainFailing(draft)
  forgetOldHandOvers(draft)
  for (const queue of draft.state.queues) {
    let looks = 0
    for (const id of queue) {
      if (looks++ === looksPerQueue || draft.containers.changes.size >= changesPerStep) break
      repairContainer(draft, id)
    }
  }
  balance(draft)
}

function repairContainer(draft: Draft, id: ContainerId): void {
  const container = draft.containers.get(id)
  const volume = container && draft.volumes.get(container.volume)
  draft.rest(id)
  if (container === undefined || volume === undefined) return
  if (container.master === undefined || !draft.isAlive(container.master)) {
    draft.attend(id) // again, behind the others
    return
  }
  const dead = members(container).filter((member) => draft.servers.get(member)?.state === 'dead')
  // Somebody else is to have a copy that a disk or the network stops, unless this one is done first.
  const stuck = container.resyncing.filter(
    (member) => draft.servers.get(member)?.full || isOutOfReach(draft, container, member),
  )
  const gone = [...dead, ...stuck]
  const staying = members(container).filter((member) => !gone.includes(member) && !draft.leaves(member, id))
  const live = staying.filter((member) => container.inSync.includes(member) && draft.isAlive(member))
  const enough = live.length >= volume.replication
  if (staying.length < volume.replication) {
    draft.attend(id)
    if (!draft.isBusySource(container.master, live.length < 2)) refill(draft, volume, container, dead, staying)
  } else if (dead.length > 0) drop(draft, container, dead)
  else if (!enough) takeBack(draft, container, volume.replication - live.length)
  else settle(draft, container, live, volume.replication)
  relieve(draft, draft.containers.get(id)!, enough)
}

/**
 * Its master says so, and not for its absence: who is away is waited for, and who has just come back needs a moment. The target
 * of a move is not needed: another one would leave the disk that it was to fill as empty, for the next move.
 */
function isOutOfReach(draft: Draft, { container, master }: Container, member: ServerId): boolean {
  if (draft.moves.get(container)?.target === member) return false
  const { state, sinceMs } = draft.servers.get(member)!
  const { stuck } = draft.servers.get(master!)!
  const isStuck = stuck.some((replica) => replica.container === container && replica.target === member)
  return isStuck && state === 'alive' && draft.nowMs - sinceMs >= backMs
}

/** Servers that hold a replica from before, which is brought up sooner than a new one. */
const holdersOf = (draft: Draft, id: ContainerId): readonly ServerId[] =>
  [...(draft.strays.get(id) ?? [])]
    .filter(([server, toldMs]) => toldMs === undefined && takesPart(draft.servers.get(server)))
    .map(([server]) => server)
    .filter((server) => !draft.servers.get(server)!.full)

/** Adds targets: first servers that already hold a replica from before, then new ones; each takes a dead member's place. */
function refill(
  draft: Draft,
  volume: Volume,
  container: Container,
  dead: readonly ServerId[],
  staying: readonly ServerId[],
): void {
  const { container: id } = container
  const all = members(container)
  const lacking = Math.min(volume.replication - staying.length, copiesMax - all.length)
  const returned = holdersOf(draft, id).slice(0, lacking)
  const near = [...staying, ...returned]
  const placed = draft.targets(container, lacking - returned.length, near, [...all, ...draft.settling(id)])
  const targets = [...returned, ...placed]
  if (targets.length === 0) return
  const kept = dead.slice(0, lacking - targets.length) // the dead may return, and then each copy counts
  const dropped = dead.filter((member) => !kept.includes(member))
  draft.configure(container, {
    inSync: container.inSync.filter((member) => !dropped.includes(member)),
    resyncing: [...container.resyncing.filter((member) => !dropped.includes(member)), ...targets],
  })
}

/** While targets are being brought up, servers that return with a replica may be sooner: the last to be in sync is surplus. */
function takeBack(draft: Draft, container: Container, lacking: number): void {
  const room = copiesMax - members(container).length
  const returned = holdersOf(draft, container.container).slice(0, Math.min(lacking, room))
  if (returned.length === 0) return
  draft.configure(container, { resyncing: [...container.resyncing, ...returned] })
}

/** Enough live in-sync copies stay: all others are dropped, and replicas that nobody names discarded. */
function settle(draft: Draft, container: Container, live: readonly ServerId[], wanted: number): void {
  const kept = [...live]
  while (kept.length > wanted) kept.splice(kept.indexOf(surplus(draft, container, kept)), 1)
  const dropped = members(container).filter((member) => member !== container.master && !kept.includes(member))
  if (dropped.length > 0) drop(draft, container, dropped)
  else
    for (const [server, toldMs] of draft.strays.get(container.container) ?? [])
      if (toldMs === undefined) draft.stray(container.container, server, true)
}

function drop(draft: Draft, container: Container, dropped: readonly ServerId[]): void {
  draft.configure(container, {
    inSync: container.inSync.filter((member) => !dropped.includes(member)),
    resyncing: container.resyncing.filter((member) => !dropped.includes(member)),
  })
  for (const server of dropped) if (draft.isAlive(server)) draft.stray(container.container, server, true)
}

/** Of more copies than are wanted the one to lose: the closest to another, and of such the one with the least free space. */
function surplus(draft: Draft, container: Container, copies: readonly ServerId[]): ServerId {
  const paths = new Map(copies.map((id) => [id, pathOf(draft.servers.get(id)!.record.topology)]))
  const close = (id: ServerId): number =>
    closeness(
      paths.get(id)!,
      copies.filter((other) => other !== id).map((other) => paths.get(other)!),
    )
  const free = (id: ServerId): number => draft.servers.get(id)!.freeBytes
  const isWorse = (a: ServerId, b: ServerId): boolean =>
    close(a) === close(b) ? free(a) < free(b) : close(a) > close(b)
  const others = copies.filter((member) => member !== container.master)
  return others.reduce((worst, member) => (isWorse(member, worst) ? member : worst))
}

/** A master on a server that takes no part, or whose replica leaves and is not needed any more, gives way. */
function relieve(draft: Draft, container: Container, enough: boolean): void {
  const { container: id } = container
  const master = container.master!
  const wanted = !takesPart(draft.servers.get(master)) || (enough && draft.leaves(master, id))
  if (!wanted || draft.handOvers.get(id) !== undefined || successors(draft, container).length === 0) return
  if (!askToGiveWay(draft, container)) draft.attend(id)
}
