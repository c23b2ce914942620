/**
 * Servers as they come, are heard, fall silent and die: registrations, heartbeats, streams, the end of leases.
 *
 * Pure: reads and changes a draft.
 */
import { Failure } from '../../protocol/failures.ts'
import type { ContainerId, Epoch, ServerId } from '../../protocol/ids.ts'
import type { control } from '../../protocol/messages/control.ts'
import type { RequestOf } from '../../protocol/messages/service.ts'
import type { Draft } from '../draft.ts'
import { openElection, vacate } from '../replicas/elections.ts'
import { type Container, mayHoldLease, members, type Registration, type Server, unheard } from '../state.ts'
import { checkTopology } from '../volumes.ts'
import { errorsOf, mayBeSilent } from './modes.ts'

type Request<K extends keyof typeof control.calls> = RequestOf<(typeof control.calls)[K]>

const serversMax = 10_000
const retiredMax = 16

export function register(draft: Draft, request: Registration): void {
  const { server, incarnation, attempt } = request
  if (request.cluster !== '' && request.cluster !== draft.state.meta.cluster)
    throw new Failure('WRONG_CLUSTER', `storage pool ${server} belongs to cluster ${request.cluster}`)
  demandKnown(draft, request)
  checkTopology(request.topology)
  const known = draft.servers.get(server)
  if (known === undefined && draft.state.servers.size >= serversMax)
    throw new Failure('OVERLOADED', `there are ${serversMax} servers already`)
  if (known?.retired.includes(incarnation))
    throw new Failure('CONFLICT', `a later process of server ${server} has registered`)
  // A registration that is repeated, or comes late, lists less than we know.
  if (known !== undefined && attempt <= latestAttempt(known, incarnation)) return
  if (known === undefined || known.record.incarnation === incarnation) welcome(draft, request, known)
  else draft.servers.set(server, { ...known, pending: request })
}

/** The number of the process's latest registration, in force or pending; 0: there is none. */
function latestAttempt({ record, attempt, pending }: Server, incarnation: number): number {
  if (pending?.incarnation === incarnation) return pending.attempt
  return record.incarnation === incarnation ? attempt : 0
}

/**
 * All that a server was ever told is in our records: one that knows more was told by a CLDB whose records we lost, and what we
 * take for in sync may be stale. Nothing may be decided then.
 */
function demandKnown(draft: Draft, { server, replicas, damaged }: Registration): void {
  const { nextContainer } = draft.state.meta
  const later = replicas.find(({ container, epoch }) => epoch > (draft.containers.get(container)?.epoch ?? epoch))
  const unknown = [...replicas.map(({ container }) => container), ...damaged].find((id) => id >= nextContainer)
  if (later === undefined && unknown === undefined) return
  const what =
    later === undefined
      ? `container ${unknown} was never made here`
      : `container ${later.container} was in epoch ${later.epoch} already`
  throw new Failure('WRONG_CLUSTER', `this CLDB's database is older than what server ${server} holds: ${what}`)
}

/**
 * A process that is heard after its registration is the one that lives: it takes the place of the process before it.
 * (A registration alone proves nothing: it may have been under way for longer than its process lived.)
 */
export function confirm(draft: Draft, id: ServerId, incarnation: number): void {
  const known = draft.servers.get(id)
  if (known?.pending?.incarnation === incarnation) welcome(draft, known.pending, known)
}

/** The server is alive, as the process that registers and with what it holds. */
function welcome(draft: Draft, request: Registration, known: Server | undefined): void {
  const { server: id, incarnation, attempt, topology, address, capacityBytes, freeBytes } = request
  const sameProcess = known?.record.incarnation === incarnation
  const over = known === undefined || sameProcess ? [] : [known.record.incarnation]
  const held = new Set(request.replicas.map((replica) => replica.container))
  const record = { server: id, incarnation, topology, address, capacityBytes, mode: known?.record.mode }
  const unchanged =
    known !== undefined && Object.entries(record).every(([key, value]) => known.record[key as never] === value)
  draft.servers.set(id, {
    ...(known ?? unheard(record, draft.nowMs)),
    record: unchanged ? known.record : record,
    attempt,
    state: 'alive',
    sinceMs: known?.state === 'alive' ? known.sinceMs : draft.nowMs,
    heardMs: draft.nowMs,
    bornMs: sameProcess ? known.bornMs : known && draft.nowMs,
    freeBytes,
    full: sameProcess && known.full,
    missing: missingReplicas(draft, id, held),
    behind: sameProcess ? outdated(draft, request) : [],
    pending: undefined,
    retired: [...(known?.retired ?? []), ...over].slice(-retiredMax),
  })
  noteStrays(draft, id, new Set([...held, ...request.damaged]))
  for (const container of draft.state.containersOf.get(id) ?? []) {
    draft.attend(container)
    returned(draft, draft.containers.get(container)!, id, held.has(container), sameProcess)
  }
}

function outdated(draft: Draft, { server, replicas }: Registration): readonly ContainerId[] {
  const isOutdated = (container: Container | undefined, known: Epoch): boolean =>
    container !== undefined && container.epoch > known && container.master !== server
  return replicas
    .filter((replica) => isOutdated(draft.containers.get(replica.container), replica.epoch))
    .map((replica) => replica.container)
}

/** Containers that count on the server but whose replica it does not list: it lost them, or never made them. */
function missingReplicas(draft: Draft, id: ServerId, held: ReadonlySet<ContainerId>): Set<ContainerId> {
  const missing = new Set<ContainerId>()
  for (const container of draft.state.containersOf.get(id) ?? []) {
    const { inSync } = draft.containers.get(container)!
    if (inSync.includes(id) && !held.has(container)) missing.add(container)
  }
  return missing
}

/** Replicas, and what is left of some, that no configuration names. Ids that we never gave out are not ours to discard. */
function noteStrays(draft: Draft, id: ServerId, held: ReadonlySet<ContainerId>): void {
  for (const container of draft.state.strays.keys()) draft.forgetStray(container, id)
  for (const container of held) {
    const named = draft.containers.get(container)
    if (named === undefined) {
      if (container < draft.state.meta.nextContainer) draft.stray(container, id, true)
    } else if (!members(named).includes(id)) {
      draft.stray(container, id, false)
      draft.attend(container)
    }
  }
}

/** What a server's registration means to one container that names it. */
function returned(draft: Draft, named: Container, id: ServerId, held: boolean, sameProcess: boolean): void {
  let container = named
  if (!sameProcess && container.master === id) {
    vacate(draft, container)
    container = draft.containers.get(container.container)!
  }
  const lost = !sameProcess && !held
  if (lost && container.inSync.length > 1 && container.inSync.includes(id)) container = writeOff(draft, container, id)
  // What its master has yet to say of the process before, in the old epoch, is not true of this one.
  else if (lost && container.resyncing.includes(id)) container = draft.configure(container, {})
  if (
    container.master === undefined ||
    (container.master !== id && draft.elections.get(container.container) !== undefined)
  )
    openElection(draft, container)
  else if (container.master === id) draft.elections.delete(container.container)
  // The master's process must see the member's address and that it is back.
  else draft.assign(container.master, container.container)
}

/** A member of the in-sync set has lost its replica. */
const writeOff = (draft: Draft, container: Container, member: ServerId): Container =>
  draft.configure(container, {
    inSync: container.inSync.filter((other) => other !== member),
    resyncing: [...container.resyncing, member],
  })

/** Where no other member is there it stays in the set: its disk may be read again before they are back. */
function spoiled(draft: Draft, container: Container, member: ServerId): void {
  const { container: id, inSync } = container
  const holds = (other: ServerId): boolean =>
    other !== member && draft.isAlive(other) && !draft.servers.get(other)!.missing.has(id)
  if (inSync.some(holds)) writeOff(draft, container, member)
  else if (!draft.servers.get(member)!.missing.has(id)) draft.lacks(member, id)
}

export function heartbeat(draft: Draft, request: Request<'heartbeat'>): void {
  const { capacityBytes, freeBytes, full, counters, resyncs, resyncsWaiting, stuck } = request
  const heardMs = draft.nowMs
  confirm(draft, request.server, request.incarnation)
  const server = draft.session(request.server, request.incarnation)
  const record = server.record.capacityBytes === capacityBytes ? server.record : { ...server.record, capacityBytes }
  const told = {
    freeBytes,
    full,
    counters,
    resyncs,
    resyncsWaiting,
    stuck,
    errors: errorsOf(server, counters, heardMs),
  }
  draft.servers.set(request.server, { ...server, ...told, record, heardMs })
  if (full && !server.full) for (const id of draft.state.resyncingOn.get(request.server) ?? []) draft.attend(id)
  // What is to be looked at already keeps its place.
  for (const { container } of stuck)
    if (draft.containers.get(container)?.master === request.server && !draft.state.attention.has(container))
      draft.attend(container)
  for (const { container: id, epoch } of request.damaged) {
    const container = draft.containers.get(id)
    // A master tells of its own. In another epoch the replica may have been made anew, or its master has found out.
    if (container?.epoch !== epoch || container.master === request.server) continue
    if (container.inSync.includes(request.server)) spoiled(draft, container, request.server)
  }
  for (const { container: id, sizeBytes } of request.sizes) {
    const container = draft.containers.get(id)
    if (container?.master !== request.server) continue
    draft.sizes.set(id, sizeBytes)
    draft.created(container)
  }
}

/** The stream of a server opens: everything that concerns it is told again. */
export function assignments(draft: Draft, request: Request<'assignments'>): void {
  const { server } = request
  confirm(draft, request.server, request.incarnation)
  const { behind } = draft.session(server, request.incarnation)
  draft.effects.push({ type: 'greet', server })
  for (const id of behind) draft.assign(server, id)
  for (const id of draft.state.containersOf.get(server) ?? [])
    if (draft.containers.get(id)?.master === server) draft.assign(server, id)
  for (const [id, holders] of draft.state.strays) if (holders.get(server) !== undefined) draft.stray(id, server, true)
}

/** Servers that have been silent for too long lose their leases, and in the end their replicas. */
export function expire(draft: Draft): void {
  const { rereplicateAfterMs } = draft.state.config
  for (const id of draft.state.servers.keys()) {
    const server = draft.servers.get(id)!
    if (mayHoldLease(server)) {
      if (draft.leaseMayRun(server)) continue
      draft.servers.set(id, { ...server, state: 'silent', sinceMs: draft.nowMs })
      for (const container of draft.state.strays.keys()) draft.forgetStray(container, id)
      for (const container of draft.state.containersOf.get(id) ?? []) lose(draft, draft.containers.get(container)!, id)
    } else if (
      server.state === 'silent' &&
      draft.nowMs - server.sinceMs >= rereplicateAfterMs &&
      !mayBeSilent(server)
    ) {
      draft.servers.set(id, { ...server, state: 'dead', sinceMs: draft.nowMs })
      for (const container of draft.state.containersOf.get(id) ?? []) draft.attend(container)
    }
  }
}

function lose(draft: Draft, container: Container, server: ServerId): void {
  draft.attend(container.container)
  if (container.master === undefined) return
  draft.assign(container.master, container.container)
  if (container.master === server) openElection(draft, container)
}
