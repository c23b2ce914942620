/**
 * Every decision of the CLDB: an event in, the changes of the state and what must be told out.
 *
 * Pure: time and randomness come with the event, and the state is only read. A refused event throws a `Failure` and
 * changes nothing. Invariants are checked after every step, in production too:
 * - an epoch never falls, and master and sets change only with a higher one (a lost master may become absent);
 * - the in-sync set is never empty, and a master is one of it;
 * - a master gives way only when its process is over, its lease must have ended, or it asks for that itself.
 */
import { assert, unreachable } from '../protocol/assert.ts'
import { Failure } from '../protocol/failures.ts'
import type { ContainerId, Epoch, ServerId } from '../protocol/ids.ts'
import type { control } from '../protocol/messages/control.ts'
import type { RequestOf } from '../protocol/messages/service.ts'
import { Draft, type Effect } from './draft.ts'
import { elect, openElection, resign, vacate } from './elections.ts'
import { repair } from './repair.ts'
import {
  type Changes,
  type Container,
  mayHoldLease,
  members,
  type RecordChanges,
  type Registration,
  type Server,
  type State,
  unheard,
} from './state.ts'
import { allocate, checkTopology, createVolume, removeVolume } from './volumes.ts'

type Request<K extends keyof typeof control.calls> = RequestOf<(typeof control.calls)[K]>
type Called<K extends keyof typeof control.calls> = { readonly type: K; readonly request: Request<K> }

/** `nowMs` is monotonic, `random` in [0, 1). `tick` looks at leases and elections, `repair` at numbers of replicas. */
export type Event = { readonly nowMs: number; readonly random: number } & (
  | Called<'register'>
  | Called<'heartbeat'>
  | Called<'assignments'>
  | Called<'reconfigure'>
  | Called<'createVolume'>
  | Called<'removeVolume'>
  | Called<'allocate'>
  | { readonly type: 'tick' }
  | { readonly type: 'repair' }
)

/** `records` must be durable before any of the effects, and before the caller is answered. */
export type Step = {
  readonly changes: Changes
  readonly records: RecordChanges
  readonly effects: readonly Effect[]
}

const serversMax = 10_000
const retiredMax = 16

/** @throws Failure when the event is refused; nothing changes then. */
export function step(state: State, event: Event): Step {
  const draft = new Draft(state, event.nowMs, event.random)
  transition(draft, event)
  check(draft, event)
  const changes = draft.changes()
  return { changes, records: recordsOf(state, changes), effects: draft.effects }
}

function transition(draft: Draft, event: Event): void {
  switch (event.type) {
    case 'register':
      register(draft, event.request)
      break
    case 'heartbeat':
      heartbeat(draft, event.request)
      break
    case 'assignments':
      assignments(draft, event.request)
      break
    case 'reconfigure':
      reconfigure(draft, event.request)
      break
    case 'createVolume':
      createVolume(draft, event.request)
      break
    case 'removeVolume':
      removeVolume(draft, event.request)
      break
    case 'allocate':
      allocate(draft, event.request)
      break
    case 'tick':
      expire(draft)
      elect(draft)
      break
    case 'repair':
      repair(draft)
      break
    default:
      unreachable(event)
  }
}

function check(draft: Draft, event: Event): void {
  const resigned = event.type === 'reconfigure' && event.request.remove.includes(event.request.server)
  for (const [id, after] of draft.containers.changes) {
    if (after === undefined) continue
    const before = draft.state.containers.get(id)
    const all = members(after)
    assert(after.inSync.length > 0, `container ${id} has an empty in-sync set`)
    assert(new Set(all).size === all.length, `container ${id} names a server twice`)
    assert(after.master === undefined || after.inSync.includes(after.master), `container ${id}: master not in sync`)
    if (before === undefined) continue
    assert(after.epoch >= before.epoch, `container ${id}: epoch fell`)
    if (after.epoch === before.epoch)
      assert(
        after.inSync === before.inSync &&
          after.resyncing === before.resyncing &&
          (after.master === before.master || after.master === undefined),
        `container ${id}: configuration changed within epoch ${after.epoch}`,
      )
    if (before.master === undefined || before.master === after.master) continue
    const was = draft.state.servers.get(before.master)
    const now = draft.servers.get(before.master)
    const over = !mayHoldLease(now) || was?.record.incarnation !== now?.record.incarnation
    const agreed = resigned && event.request.container === id && event.request.server === before.master
    assert(over || agreed, `container ${id}: master replaced while its lease may run`)
  }
}

/** Of the changes, those that are durable. */
function recordsOf(state: State, changes: Changes): RecordChanges {
  const servers = new Map()
  for (const [id, server] of changes.servers)
    if (server !== undefined && server.record !== state.servers.get(id)?.record) servers.set(id, server.record)
  return { meta: changes.meta, servers, volumes: changes.volumes, containers: changes.containers }
}

function register(draft: Draft, request: Registration): void {
  const { server, incarnation } = request
  if (request.cluster !== '' && request.cluster !== draft.state.meta.cluster)
    throw new Failure('WRONG_CLUSTER', `storage pool ${server} belongs to cluster ${request.cluster}`)
  checkTopology(request.topology)
  const known = draft.servers.get(server)
  if (known === undefined && draft.state.servers.size >= serversMax)
    throw new Failure('OVERLOADED', `there are ${serversMax} servers already`)
  if (known?.retired.includes(incarnation))
    throw new Failure('CONFLICT', `a later process of server ${server} has registered`)
  if (known === undefined || known.record.incarnation === incarnation) welcome(draft, request, known)
  else draft.servers.set(server, { ...known, pending: request })
}

/**
 * A process that is heard after its registration is the one that lives: it takes the place of the process before it.
 * (A registration alone proves nothing: it may have been under way for longer than its process lived.)
 */
function confirm(draft: Draft, id: ServerId, incarnation: number): void {
  const known = draft.servers.get(id)
  if (known?.pending?.incarnation === incarnation) welcome(draft, known.pending, known)
}

/** The server is alive, as the process that registers and with what it holds. */
function welcome(draft: Draft, request: Registration, known: Server | undefined): void {
  const { server: id, incarnation, topology, address, capacityBytes, freeBytes } = request
  const sameProcess = known?.record.incarnation === incarnation
  const over = known === undefined || sameProcess ? [] : [known.record.incarnation]
  const held = new Set(request.replicas.map((replica) => replica.container))
  const record = { server: id, incarnation, topology, address, capacityBytes }
  const unchanged =
    known !== undefined && Object.entries(record).every(([key, value]) => known.record[key as never] === value)
  draft.servers.set(id, {
    ...(known ?? unheard(record, draft.nowMs)),
    record: unchanged ? known.record : record,
    state: 'alive',
    sinceMs: known?.state === 'alive' ? known.sinceMs : draft.nowMs,
    heardMs: draft.nowMs,
    freeBytes,
    full: sameProcess && known.full,
    missing: missingReplicas(draft, id, held),
    behind: sameProcess ? outdated(draft, request) : [],
    pending: undefined,
    retired: [...(known?.retired ?? []), ...over].slice(-retiredMax),
  })
  noteStrays(draft, id, held)
  for (const container of draft.state.containersOf.get(id) ?? []) {
    draft.attention.set(container, true)
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

/** Replicas listed by the server that no configuration names. Ids that we never gave out are not ours to discard. */
function noteStrays(draft: Draft, id: ServerId, held: ReadonlySet<ContainerId>): void {
  for (const container of draft.state.strays.keys()) draft.forgetStray(container, id)
  for (const container of held) {
    const named = draft.containers.get(container)
    if (named === undefined) {
      if (container < draft.state.meta.nextContainer) draft.stray(container, id, true)
    } else if (!members(named).includes(id)) {
      draft.stray(container, id, false)
      draft.attention.set(container, true)
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
  const lost = !sameProcess && !held && container.inSync.includes(id)
  if (lost && container.inSync.length > 1)
    container = draft.configure(container, {
      inSync: container.inSync.filter((member) => member !== id),
      resyncing: [...container.resyncing, id],
    })
  if (
    container.master === undefined ||
    (container.master !== id && draft.elections.get(container.container) !== undefined)
  )
    openElection(draft, container)
  else if (container.master === id) draft.elections.delete(container.container)
  // The master's process must see the member's address and that it is back.
  else draft.assign(container.master, container.container)
}

/** The master serves: every member of the in-sync set has stored its beginning. */
function created(draft: Draft, container: Container): void {
  if (container.created) return
  draft.containers.set(container.container, { ...container, created: true })
  for (const member of container.inSync) holds(draft, member, container.container)
}

function holds(draft: Draft, id: ServerId, container: ContainerId): void {
  const server = draft.servers.get(id)
  if (!server?.missing.has(container)) return
  const missing = new Set(server.missing)
  missing.delete(container)
  draft.servers.set(id, { ...server, missing })
}

function heartbeat(draft: Draft, request: Request<'heartbeat'>): void {
  const { capacityBytes, freeBytes, full, counters, resyncs, resyncsWaiting } = request
  const heardMs = draft.nowMs
  confirm(draft, request.server, request.incarnation)
  const server = draft.session(request.server, request.incarnation)
  const record = server.record.capacityBytes === capacityBytes ? server.record : { ...server.record, capacityBytes }
  const told = { freeBytes, full, counters, resyncs, resyncsWaiting }
  draft.servers.set(request.server, { ...server, ...told, record, heardMs })
  for (const { container: id, sizeBytes } of request.sizes) {
    const container = draft.containers.get(id)
    if (container?.master !== request.server) continue
    draft.sizes.set(id, sizeBytes)
    created(draft, container)
  }
}

/** The stream of a server opens: everything that concerns it is told again. */
function assignments(draft: Draft, request: Request<'assignments'>): void {
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
function expire(draft: Draft): void {
  const { rereplicateAfterMs } = draft.state.config
  for (const [id, server] of draft.state.servers) {
    if (mayHoldLease(server)) {
      if (draft.leaseMayRun(server)) continue
      draft.servers.set(id, { ...server, state: 'silent', sinceMs: draft.nowMs })
      for (const container of draft.state.strays.keys()) draft.forgetStray(container, id)
      for (const container of draft.state.containersOf.get(id) ?? []) lose(draft, draft.containers.get(container)!, id)
    } else if (server.state === 'silent' && draft.nowMs - server.sinceMs >= rereplicateAfterMs) {
      draft.servers.set(id, { ...server, state: 'dead', sinceMs: draft.nowMs })
      for (const container of draft.state.containersOf.get(id) ?? []) draft.attention.set(container, true)
    }
  }
}

function lose(draft: Draft, container: Container, server: ServerId): void {
  draft.attention.set(container.container, true)
  if (container.master === undefined) return
  draft.assign(container.master, container.container)
  if (container.master === server) openElection(draft, container)
}

function reconfigure(draft: Draft, request: Request<'reconfigure'>): void {
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
    resign(draft, container, server)
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
  for (const member of added) holds(draft, member, container.container)
}
