/**
 * Keeps every container at its volume's number of replicas: targets for missing ones, the dead and the surplus dropped.
 *
 * Pure. A container is touched only while its master is alive, so a change can never take away the last live copy; what
 * cannot be repaired now (no server to use) keeps its place in the queue of those that need attention.
 */
import type { ContainerId, ServerId } from '../../protocol/ids.ts'
import type { Volume } from '../../protocol/messages/attributes.ts'
import type { Draft } from '../draft.ts'
import { type Container, members } from '../state.ts'

/** Containers looked at in one step: bounds the step's time and its batch. */
const containersPerStep = 500
/** A server that was told to discard a replica is not made its target again before it surely has. */
const discardSettleMs = 10_000

export function repair(draft: Draft): void {
  let looked = 0
  for (const id of draft.state.attention.keys()) {
    if (looked++ === containersPerStep) return
    repairContainer(draft, id)
  }
}

function repairContainer(draft: Draft, id: ContainerId): void {
  const container = draft.containers.get(id)
  const volume = container && draft.volumes.get(container.volume)
  draft.attention.delete(id)
  if (container === undefined || volume === undefined) return
  if (container.master === undefined || !draft.isAlive(container.master)) {
    draft.attention.set(id, true) // again, behind the others
    return
  }
  const dead = members(container).filter((member) => draft.servers.get(member)?.state === 'dead')
  const lacking = volume.replication - (members(container).length - dead.length)
  if (lacking > 0) {
    draft.attention.set(id, true)
    refill(draft, volume, container, dead, lacking)
  } else if (dead.length > 0) drop(draft, container, dead)
  // While a replica resyncs the master's next `reconfigure` brings the container back here.
  else if (container.resyncing.length === 0) {
    if (lacking < 0) drop(draft, container, [surplus(draft, container)])
    for (const [server, toldMs] of draft.strays.get(id) ?? []) if (toldMs === undefined) draft.stray(id, server, true)
  }
}

/** Adds targets: first servers that already hold a replica from before, then new ones; each takes a dead member's place. */
function refill(draft: Draft, volume: Volume, container: Container, dead: readonly ServerId[], lacking: number): void {
  const holders = [...(draft.strays.get(container.container) ?? [])]
  const settling = holders.filter(([, toldMs]) => toldMs !== undefined && draft.nowMs < toldMs + discardSettleMs)
  const returned = holders
    .filter(([server, toldMs]) => toldMs === undefined && draft.isAlive(server) && !draft.servers.get(server)!.full)
    .map(([server]) => server)
    .slice(0, lacking)
  const near = [...members(container), ...returned]
  const placed = draft.place(
    volume,
    lacking - returned.length,
    near,
    settling.map(([server]) => server),
  )
  const targets = [...returned, ...placed]
  if (targets.length === 0) return
  for (const server of targets) draft.forgetStray(container.container, server)
  const kept = dead.slice(0, lacking - targets.length) // the dead may return, and then each copy counts
  const dropped = dead.filter((member) => !kept.includes(member))
  draft.configure(container, {
    inSync: container.inSync.filter((member) => !dropped.includes(member)),
    resyncing: [...container.resyncing.filter((member) => !dropped.includes(member)), ...targets],
  })
}

function drop(draft: Draft, container: Container, dropped: readonly ServerId[]): void {
  draft.configure(container, {
    inSync: container.inSync.filter((member) => !dropped.includes(member)),
    resyncing: container.resyncing.filter((member) => !dropped.includes(member)),
  })
  for (const server of dropped) if (draft.isAlive(server)) draft.stray(container.container, server, true)
}

/** The member to lose where there is one too many: one that is not heard of, or else one with the least free space. */
function surplus(draft: Draft, container: Container): ServerId {
  const worth = (id: ServerId): number => (draft.isAlive(id) ? draft.servers.get(id)!.freeBytes : -1)
  const others = container.inSync.filter((member) => member !== container.master)
  return others.reduce((least, member) => (worth(member) < worth(least) ? member : least))
}
