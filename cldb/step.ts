/**
 * Every decision of the CLDB: an event in, the changes of the state and what must be told out.
 *
 * Pure: time and randomness come with the event, and the state is only read. A refused event throws a `Failure` and
 * changes nothing. Invariants are checked after every step, in production too:
 * - an epoch never falls, and master and sets change only with a higher one (a lost master may become absent);
 * - the in-sync set is never empty, and a master is one of it;
 * - a server is never told to discard the replica of a member;
 * - a master gives way only when its process is over, its lease must have ended, or it asks for that itself.
 */
import { assert, unreachable } from '../protocol/assert.ts'
import type { control } from '../protocol/messages/control.ts'
import type { RequestOf } from '../protocol/messages/service.ts'
import { Draft, type Effect } from './draft.ts'
import { elect } from './replicas/elections.ts'
import { reconfigure } from './replicas/reconfigure.ts'
import { repair } from './replicas/repair.ts'
import { assignments, expire, heartbeat, register } from './servers/liveness.ts'
import { endMaintenance, setMode } from './servers/modes.ts'
import { type Changes, mayHoldLease, members, type RecordChanges, type State } from './state.ts'
import { allocate, createVolume, removeVolume } from './volumes.ts'

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
  | Called<'setMode'>
  | { readonly type: 'tick' }
  | { readonly type: 'repair' }
)

/** `records` must be durable before any of the effects, and before the caller is answered. */
export type Step = {
  readonly changes: Changes
  readonly records: RecordChanges
  readonly effects: readonly Effect[]
}

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
    case 'setMode':
      setMode(draft, event.request)
      break
    case 'tick':
      expire(draft)
      endMaintenance(draft)
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
  for (const effect of draft.effects) {
    if (effect.type !== 'discard') continue
    const named = draft.containers.get(effect.container)
    assert(
      named === undefined || !members(named).includes(effect.server),
      `container ${effect.container} loses a member`,
    )
  }
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
