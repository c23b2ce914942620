/**
 * Evens out the use of disks and the numbers of masters, little by little, while nothing else is going on.
 *
 * Pure. A replica is moved by adding a target; repair drops the source when the target is in sync. Every move takes the
 * two disks, or the two servers' numbers of masters, closer to each other and not past each other, and begins only
 * beyond a spread: so moves come to an end. Figures of disks are old for a moment after a move; until then the move counts.
 */
import type { ContainerId, ServerId } from '../../protocol/ids.ts'
import type { Draft } from '../draft.ts'
import { closeness, isUnder, pathOf } from '../placement.ts'
import { type Container, members, takesPart } from '../state.ts'
import { askToGiveWay, successors } from './elections.ts'

/** From when a move is done until its servers' heartbeats surely tell of it. */
const moveSettleMs = 10_000
/** Containers looked at in one step for one to move: bounds its time. */
const looksPerStep = 20_000
/** Fewer masters more than another server has are never worth a change. */
const mastersSpreadMin = 2

/** `usedBytes` as it will be after the moves under way. */
type Disk = {
  readonly server: ServerId
  readonly topology: string
  readonly capacityBytes: number
  readonly full: boolean
  usedBytes: number
}

export function balance(draft: Draft): void {
  followMoves(draft)
  if (isCalm(draft) && !moveReplica(draft)) moveMaster(draft)
}

function followMoves(draft: Draft): void {
  for (const [id, move] of draft.state.moves) {
    const container = draft.containers.get(id)
    const all = container === undefined ? [] : members(container)
    if (move.doneMs !== undefined) {
      if (draft.nowMs - move.doneMs >= moveSettleMs) draft.moves.delete(id)
    } else if (!all.includes(move.target) || !draft.isAlive(move.target)) {
      draft.moves.delete(id)
      draft.attend(id)
    } else if (!all.includes(move.source)) draft.moves.set(id, { ...move, doneMs: draft.nowMs })
  }
}

/** Whether all servers are there and nothing is brought up but what is being moved. */
function isCalm(draft: Draft): boolean {
  const { state } = draft
  if (draft.containers.changes.size > 0 || state.elections.size > 0) return false
  let resyncing = 0
  for (const [id, server] of state.servers) {
    const absent = server.state === 'silent' || server.state === 'unknown'
    if (absent && (state.containersOf.get(id)?.size ?? 0) > 0) return false
    resyncing += state.resyncingOn.get(id)?.size ?? 0
  }
  const isMoved = ([id, { target }]: readonly [ContainerId, { readonly target: ServerId }]): boolean =>
    state.containers.get(id)?.resyncing.includes(target) === true
  return resyncing === [...state.moves].filter(isMoved).length
}

const fullness = (disk: Disk, moreBytes = 0): number => (disk.usedBytes + moreBytes) / disk.capacityBytes

/** Begins to move a replica from a full disk to an empty one. @returns whether disks are being evened out. */
function moveReplica(draft: Draft): boolean {
  const { movesMax, fullnessSpreadPercent } = draft.state.config
  const underWay = [...draft.state.moves.keys()].filter((id) => draft.moves.get(id)?.doneMs === undefined).length
  if (underWay >= movesMax) return underWay > 0
  const disks = disksOf(draft).sort((a, b) => fullness(b) - fullness(a))
  let looks = looksPerStep
  for (const source of disks)
    for (const target of disks.toReversed()) {
      if ((fullness(source) - fullness(target)) * 100 <= fullnessSpreadPercent || looks <= 0) break
      looks -= draft.state.containersOf.get(source.server)?.size ?? 0
      const container = bestToMove(draft, source, target)
      if (container === undefined) continue
      draft.configure(container, { resyncing: [target.server] })
      const { server } = target
      draft.moves.set(container.container, { source: source.server, target: server, doneMs: undefined })
      return true
    }
  return underWay > 0
}

function disksOf(draft: Draft): Disk[] {
  const disks = new Map<ServerId, Disk>()
  for (const [id, { record, freeBytes, full }] of draft.state.servers) {
    const { topology, capacityBytes } = record
    if (!takesPart(draft.servers.get(id)) || capacityBytes === 0) continue
    disks.set(id, { server: id, topology, capacityBytes, full, usedBytes: Math.max(0, capacityBytes - freeBytes) })
  }
  for (const id of draft.state.moves.keys()) {
    const move = draft.moves.get(id)
    const sizeBytes = draft.sizes.get(id) ?? 0
    const source = move && disks.get(move.source)
    const target = move && disks.get(move.target)
    if (source !== undefined) source.usedBytes -= sizeBytes
    if (target !== undefined) target.usedBytes += sizeBytes
  }
  return [...disks.values()]
}

/** The largest replica that can go, rather one that is no master. */
function bestToMove(draft: Draft, source: Disk, target: Disk): Container | undefined {
  let best: Container | undefined
  let bestBytes = 0
  for (const id of draft.state.containersOf.get(source.server) ?? []) {
    const container = draft.containers.get(id)!
    const sizeBytes = draft.sizes.get(id) ?? 0
    const leads = container.master === source.server
    const isBetter = best === undefined || (leads === (best.master === source.server) ? sizeBytes > bestBytes : !leads)
    if (!isBetter || !canMove(draft, container, sizeBytes, source, target)) continue
    best = container
    bestBytes = sizeBytes
  }
  return best
}

function canMove(draft: Draft, container: Container, sizeBytes: number, source: Disk, target: Disk): boolean {
  const { container: id, inSync, resyncing, volume: name } = container
  const volume = draft.volumes.get(name)!
  if (sizeBytes === 0 || target.full || fullness(source, -sizeBytes) < fullness(target, sizeBytes)) return false
  if (resyncing.length > 0 || inSync.length !== volume.replication || draft.moves.get(id) !== undefined) return false
  if (draft.settling(id).includes(target.server)) return false
  if (inSync.includes(target.server) || !isUnder(target.topology, volume.topology)) return false
  if (container.master === undefined || !inSync.every((member) => takesPart(draft.servers.get(member)))) return false
  const others = inSync.filter((member) => member !== source.server)
  const paths = others.map((member) => pathOf(draft.servers.get(member)!.record.topology))
  return closeness(pathOf(target.topology), paths) <= closeness(pathOf(source.topology), paths)
}

/** Asks the master of a container to give way whose server has many more masters than that of another member. */
function moveMaster(draft: Draft): void {
  const { state } = draft
  const { mastersSpreadPercent } = state.config
  if (mastersSpreadPercent === 0 || state.handOvers.size > 0) return
  const servers = [...state.servers.keys()].filter((id) => takesPart(draft.servers.get(id)))
  servers.sort((a, b) => draft.masters(b) - draft.masters(a))
  const fewest = draft.masters(servers.at(-1) ?? ('' as ServerId))
  for (const server of servers) {
    const most =
      draft.masters(server) - Math.max(mastersSpreadMin, (draft.masters(server) * mastersSpreadPercent) / 100)
    if (fewest >= most) return
    const container = bestToLead(draft, server, most)
    if (container === undefined) continue
    askToGiveWay(draft, container)
    return
  }
}

/** Of the containers that the server leads one whose next master has the fewest, and fewer than `most`. */
function bestToLead(draft: Draft, server: ServerId, most: number): Container | undefined {
  let best: Container | undefined
  let fewest = most
  for (const id of draft.state.containersOf.get(server) ?? []) {
    const container = draft.containers.get(id)!
    if (container.master !== server || draft.moves.get(id) !== undefined) continue
    const [next] = successors(draft, container)
    if (next === undefined || draft.masters(next) >= fewest) continue
    best = container
    fewest = draft.masters(next)
  }
  return best
}
