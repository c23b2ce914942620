/**
 * What one replica of a container decides: who it is in which epoch, what is committed, who joins and who must go.
 *
 * Pure: `step(state, event)` gives the next state and what the driver must do, in order. Records themselves are the
 * driver's; here they are sequences. Rules are those of DESIGN §4.
 *
 * Two watermarks of a master: `received` is appended on every member of the quorum (enough for an answer to an
 * unstable write), `committed` is durable on every one. The quorum is the in-sync set and, so that nothing
 * acknowledged can be missing when they enter it, the resyncing replicas that have caught up (`joining`). One that the
 * CLDB was asked to take (`offered`) may be in the next in-sync set already, whatever becomes of it here: it counts
 * until the epoch is over.
 */
import { assert, unreachable } from '../../protocol/assert.ts'
import { type Epoch, epoch, type Sequence, type ServerId, sequence } from '../../protocol/ids.ts'

/** What a master knows of another replica. */
export type Member = {
  readonly server: ServerId
  /** `matching`: being asked and cut to our log; `live`: takes the stream; `lost`: not reached. */
  readonly phase: 'matching' | 'live' | 'lost'
  readonly appended: Sequence
  readonly durable: Sequence
  readonly inSync: boolean
  /** Caught up, and counted in the quorum until the CLDB has put it in the in-sync set. */
  readonly joining: boolean
  /** The CLDB was asked in this epoch to put it in the in-sync set: only a new epoch says whether it did. */
  readonly offered: boolean
}

export type Replica = {
  readonly self: ServerId
  /** The highest epoch seen; stored before anything is done in it. */
  readonly epoch: Epoch
  readonly role: 'idle' | 'follower' | 'recovering' | 'master'
  readonly members: readonly Member[]
  readonly minimum: number
  readonly appended: Sequence
  readonly durable: Sequence
  readonly received: Sequence
  readonly committed: Sequence
  /** Sequence of this master's epoch-start record; 0 while there is none. */
  readonly epochStart: Sequence
  /** The CLDB is being asked for another configuration. */
  readonly reconfiguring: boolean
}

export type Configuration = {
  readonly epoch: Epoch
  readonly master: ServerId | undefined
  readonly inSync: readonly ServerId[]
  readonly resyncing: readonly ServerId[]
  /** Those of them that the CLDB does not hear. */
  readonly silent: readonly ServerId[]
  readonly minimum: number
}

export type Event =
  | { readonly type: 'assigned'; readonly configuration: Configuration }
  | { readonly type: 'followed'; readonly epoch: Epoch }
  | { readonly type: 'epochStarted'; readonly sequence: Sequence }
  | { readonly type: 'appended'; readonly last: Sequence }
  | { readonly type: 'synced'; readonly durable: Sequence }
  /** A follower's log was cut; or a follower heard from its master what is committed. */
  | { readonly type: 'rolledBack'; readonly last: Sequence }
  | { readonly type: 'heard'; readonly committed: Sequence }
  /** The member's log was brought to agree with ours and ends at `last`. */
  | { readonly type: 'matched'; readonly epoch: Epoch; readonly server: ServerId; readonly last: Sequence }
  | {
      readonly type: 'acknowledged'
      readonly epoch: Epoch
      readonly server: ServerId
      readonly appended: Sequence
      readonly durable: Sequence
    }
  /** Everything that our log holds is on its way to the member. */
  | { readonly type: 'caughtUp'; readonly epoch: Epoch; readonly server: ServerId }
  | { readonly type: 'failed'; readonly epoch: Epoch; readonly server: ServerId }
  /** Try lost members again. */
  | { readonly type: 'retry' }
  | { readonly type: 'reconfigureFailed'; readonly epoch: Epoch }
  /** Another is to lead: nothing is done as a master any more in this epoch. */
  | { readonly type: 'giveWay'; readonly epoch: Epoch }

/** What the driver must do, in order; an effect starts once the one before it is durable. */
export type Effect =
  | { readonly type: 'saveEpoch'; readonly epoch: Epoch }
  /** Stop answering as a master: fail what waits. */
  | { readonly type: 'stepDown' }
  | { readonly type: 'startEpoch' }
  | { readonly type: 'match'; readonly server: ServerId }
  | { readonly type: 'reconfigure'; readonly remove: readonly ServerId[]; readonly add: readonly ServerId[] }
  /** A watermark rose: answer what waited for it. */
  | { readonly type: 'advance' }
  | { readonly type: 'serve' }

export type Step = { readonly next: Replica; readonly effects: readonly Effect[] }

/** @param committed what the index had applied: surely committed. */
export function initial(self: ServerId, stored: Epoch, last: Sequence, committed: Sequence): Replica {
  return {
    self,
    epoch: stored,
    role: 'idle',
    members: [],
    minimum: 1,
    appended: last,
    durable: sequence(0),
    received: committed,
    committed,
    epochStart: sequence(0),
    reconfiguring: false,
  }
}

/** @returns whether a client's write may be acknowledged: enough replicas are in sync. */
export const acknowledges = (replica: Replica): boolean =>
  replica.role === 'master' && 1 + replica.members.filter((member) => member.inSync).length >= replica.minimum

export function step(replica: Replica, event: Event): Step {
  const result = transition(replica, event)
  check(replica, result.next)
  return result
}

function transition(replica: Replica, event: Event): Step {
  switch (event.type) {
    case 'assigned':
      return assigned(replica, event.configuration)
    case 'followed': {
      assert(event.epoch >= replica.epoch, 'an old epoch is refused before it gets here')
      const leads = replica.role === 'master' || replica.role === 'recovering'
      assert(!(leads && event.epoch === replica.epoch), 'one epoch, one master')
      const next = {
        ...replica,
        role: 'follower' as const,
        epoch: event.epoch,
        members: [],
        epochStart: sequence(0),
        received: replica.committed,
      }
      const effects: Effect[] = leads ? [{ type: 'stepDown' }] : []
      if (event.epoch > replica.epoch) effects.push({ type: 'saveEpoch', epoch: event.epoch })
      return { next, effects }
    }
    case 'epochStarted':
      return only({ ...replica, epochStart: event.sequence, appended: event.sequence })
    case 'appended':
      return advanced({ ...replica, appended: event.last })
    case 'synced':
      return advanced({ ...replica, durable: event.durable })
    case 'rolledBack':
      assert(event.last >= replica.committed, 'rollback below the committed sequence')
      return only({ ...replica, appended: event.last, durable: least(replica.durable, event.last) })
    case 'heard': {
      // The master may be ahead of us: what we lack is not ours to apply.
      const committed = most(replica.committed, least(event.committed, replica.appended))
      return {
        next: { ...replica, committed, received: most(replica.received, committed) },
        effects: [{ type: 'advance' }],
      }
    }
    case 'matched':
      return member(replica, event, (old) => ({ ...old, phase: 'live', appended: event.last, durable: sequence(0) }))
    case 'acknowledged':
      return member(replica, event, (old) => ({
        ...old,
        appended: most(old.appended, event.appended),
        durable: most(old.durable, event.durable),
      }))
    case 'caughtUp':
      return member(replica, event, (old) => ({ ...old, joining: !old.inSync && old.phase === 'live' }))
    case 'failed':
      return member(replica, event, (old) => ({ ...old, phase: 'lost', joining: false }))
    case 'retry': {
      const lost = replica.members.filter((other) => other.phase === 'lost' && !other.inSync)
      const members = replica.members.map((other) =>
        lost.includes(other) ? { ...other, phase: 'matching' as const } : other,
      )
      return { next: { ...replica, members }, effects: lost.map(({ server }) => ({ type: 'match', server })) }
    }
    case 'reconfigureFailed':
      if (event.epoch !== replica.epoch) return only(replica)
      return advanced({ ...replica, reconfiguring: false })
    case 'giveWay':
      if (event.epoch !== replica.epoch || replica.role !== 'master') return only(replica)
      return { next: idle(replica), effects: [{ type: 'stepDown' }] }
    default:
      return unreachable(event)
  }
}

const only = (next: Replica): Step => ({ next, effects: [] })

const idle = (replica: Replica): Replica => ({
  ...replica,
  role: 'idle',
  members: [],
  epochStart: sequence(0),
  received: replica.committed,
  reconfiguring: false,
})

function assigned(replica: Replica, configuration: Configuration): Step {
  if (configuration.epoch <= replica.epoch) return only(replica)
  const leads = replica.role === 'master' || replica.role === 'recovering'
  const effects: Effect[] = [{ type: 'saveEpoch', epoch: configuration.epoch }]
  if (configuration.master !== replica.self) {
    if (leads) effects.unshift({ type: 'stepDown' })
    return { next: { ...idle(replica), epoch: configuration.epoch }, effects }
  }
  assert(configuration.inSync.includes(replica.self), 'a master is in the in-sync set')
  const servers = [...configuration.inSync, ...configuration.resyncing].filter((server) => server !== replica.self)
  // The master before us is still in the set, and mostly silent: writes need not wait for him. Where too few would be left for
  // them, those who are just coming back are waited for; one that led already finds out itself.
  const heard = configuration.inSync.filter((server) => !configuration.silent.includes(server))
  const isLost = (server: ServerId): boolean =>
    !leads &&
    heard.length >= configuration.minimum &&
    configuration.inSync.includes(server) &&
    configuration.silent.includes(server)
  const members = servers.map((server) => ({
    server,
    phase: isLost(server) ? ('lost' as const) : ('matching' as const),
    appended: sequence(0),
    durable: sequence(0),
    inSync: configuration.inSync.includes(server),
    joining: false,
    offered: false,
  }))
  const next: Replica = {
    ...replica,
    epoch: configuration.epoch,
    role: 'recovering',
    members,
    minimum: configuration.minimum,
    received: replica.committed,
    epochStart: sequence(0),
    reconfiguring: false,
  }
  if (servers.some(isLost)) {
    // The epoch without them is the one that begins.
    const asked = advanced(next)
    return { next: asked.next, effects: [...effects, ...asked.effects] }
  }
  effects.push({ type: 'startEpoch' }, ...servers.map((server) => ({ type: 'match' as const, server })))
  return { next, effects }
}

function member(
  replica: Replica,
  event: { readonly epoch: Epoch; readonly server: ServerId },
  change: (old: Member) => Member,
): Step {
  // News of an earlier configuration says nothing about this one.
  if (event.epoch !== replica.epoch) return only(replica)
  const members = replica.members.map((old) => (old.server === event.server ? change(old) : old))
  return advanced({ ...replica, members })
}

/** Raises the watermarks as far as the quorum has come, and says what follows from it. */
function advanced(replica: Replica): Step {
  if (replica.role !== 'master' && replica.role !== 'recovering') return only(replica)
  const effects: Effect[] = []
  const quorum = replica.members.filter((other) => other.inSync || other.joining || other.offered)
  const received = most(replica.received, least(replica.appended, ...quorum.map((other) => other.appended)))
  // A sync may cover records that are only being gathered yet.
  const ours = least(replica.durable, replica.appended)
  const committed = most(replica.committed, least(ours, ...quorum.map((other) => other.durable)))
  let next: Replica = { ...replica, received: most(received, committed), committed }
  if (next.received > replica.received || committed > replica.committed) effects.push({ type: 'advance' })
  if (next.role === 'recovering' && next.epochStart > 0 && committed >= next.epochStart) {
    next = { ...next, role: 'master' }
    effects.push({ type: 'serve' })
  }
  const remove = next.members.filter((other) => other.inSync && other.phase === 'lost').map((other) => other.server)
  const holdsAll = (other: Member): boolean =>
    other.joining && other.phase === 'live' && other.durable >= next.committed && other.appended >= next.received
  const add = next.role === 'master' ? next.members.filter(holdsAll).map((other) => other.server) : []
  // A new epoch, even one that changes nothing, settles whether a member that was offered and lost since is in. It counts until
  // then: waited for, where it is back but has much to catch up with, nothing would be committed meanwhile.
  const unsettled = next.members.some((other) => other.offered && !other.joining)
  if (!next.reconfiguring && (remove.length + add.length > 0 || unsettled)) {
    const members = next.members.map((other) => (add.includes(other.server) ? { ...other, offered: true } : other))
    next = { ...next, members, reconfiguring: true }
    effects.push({ type: 'reconfigure', remove, add })
  }
  return { next, effects }
}

const most = (a: Sequence, b: Sequence): Sequence => (a > b ? a : b)
const least = (...all: readonly Sequence[]): Sequence => sequence(Math.min(...all))

function check(before: Replica, after: Replica): void {
  assert(after.epoch >= before.epoch, 'epoch fell')
  assert(after.committed >= before.committed, 'committed fell')
  assert(after.received >= after.committed, 'committed beyond what all received')
  assert(after.committed <= after.appended, 'committed beyond the log')
  assert(after.role !== 'master' || after.epochStart > epoch(0), 'a master has started its epoch')
}
