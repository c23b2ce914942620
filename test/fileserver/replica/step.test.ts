/**
 * Claims about what a replica decides (DESIGN §4), rule by rule, and under events in any order.
 */
import t from 'tap'
import {
  acknowledges,
  type Configuration,
  type Effect,
  type Event,
  initial,
  type Replica,
  step,
} from '../../../fileserver/replica/step.ts'
import { type ServerId, serverId } from '../../../protocol/ids.ts'
import { randomFrom } from '../../names/random.ts'
import { e, s } from '../world.ts'

const server = (digit: number): ServerId => serverId(`${digit}`.repeat(16))
const [a, b, c, d] = [server(1), server(2), server(3), server(4)]

const configuration = (
  epoch: number,
  inSync: readonly ServerId[],
  resyncing: readonly ServerId[] = [],
): Configuration => ({
  epoch: e(epoch),
  master: inSync[0],
  inSync,
  resyncing,
  silent: [],
  minimum: 2,
})

/** Replica `a`, and what its decisions have told the driver to do since the last look. */
class Driven {
  core: Replica = initial(a, e(0), s(0), s(0))
  #effects: Effect[] = []

  do(...events: Event[]): this {
    for (const event of events) {
      const { next, effects } = step(this.core, event)
      this.core = next
      this.#effects.push(...effects)
    }
    return this
  }

  effects(): Effect[] {
    return this.#effects.splice(0)
  }

  types(): string[] {
    return this.effects().map(({ type }) => type)
  }

  /** Has every given member appended and synced all up to `last`, in the epoch that runs. */
  acknowledged(last: number, ...servers: ServerId[]): this {
    for (const server of servers)
      this.do({ type: 'acknowledged', epoch: this.core.epoch, server, appended: s(last), durable: s(last) })
    return this
  }

  appended(last: number): this {
    return this.do({ type: 'appended', last: s(last) }, { type: 'synced', durable: s(last) })
  }

  matched(server: ServerId, last: number): this {
    return this.do({ type: 'matched', epoch: this.core.epoch, server, last: s(last) })
  }

  caughtUp(server: ServerId): this {
    return this.do({ type: 'caughtUp', epoch: this.core.epoch, server })
  }

  failed(server: ServerId): this {
    return this.do({ type: 'failed', epoch: this.core.epoch, server })
  }
}

/** Master of `configuration`, with the epoch-start record at 1 committed, and every member live. */
function master(inSync: readonly ServerId[] = [a, b, c], resyncing: readonly ServerId[] = []): Driven {
  const driven = new Driven().do(
    { type: 'assigned', configuration: configuration(5, inSync, resyncing) },
    { type: 'epochStarted', sequence: s(1) },
  )
  const others = inSync.slice(1)
  for (const other of others) driven.matched(other, 0)
  driven.appended(1).acknowledged(1, ...others)
  t.equal(driven.core.role, 'master')
  driven.effects()
  return driven
}

t.test('rule 1: a write is acknowledged only when every in-sync replica holds it durably', async (t) => {
  const driven = master()
  driven.appended(10).acknowledged(10, b)
  t.equal(driven.core.committed, 1, 'one of three is missing')
  driven.do({ type: 'acknowledged', epoch: e(5), server: c, appended: s(10), durable: s(7) })
  t.match(driven.core, { committed: 7, received: 10 }, 'what all have durably; what all have')
  driven.acknowledged(10, c)
  t.equal(driven.core.committed, 10)
  t.strictSame(driven.types(), ['advance', 'advance'])
  driven.do({ type: 'acknowledged', epoch: e(5), server: c, appended: s(4), durable: s(4) })
  t.equal(driven.core.committed, 10, 'an answer that comes late takes nothing back')
  driven.do({ type: 'appended', last: s(12) }).acknowledged(12, b, c)
  t.match(driven.core, { committed: 10, received: 12 }, 'our own disk counts as well')
})

t.test('rule 2: only the CLDB changes a configuration', async (t) => {
  const driven = master()
  driven.failed(c).appended(5).acknowledged(5, b)
  t.equal(driven.core.committed, 1, 'a lost member still counts')
  t.strictSame(driven.effects(), [{ type: 'reconfigure', remove: [c], add: [] }], 'the CLDB is asked, once')
  driven.do({ type: 'reconfigureFailed', epoch: e(4) })
  t.strictSame(driven.effects(), [], 'an answer of an earlier epoch')
  driven.do({ type: 'reconfigureFailed', epoch: e(5) })
  t.strictSame(driven.effects(), [{ type: 'reconfigure', remove: [c], add: [] }], 'asked again')
})

t.test('rule 3: the epoch is stored before anything is done in it, and an old one is over', async (t) => {
  const driven = new Driven().do({ type: 'assigned', configuration: configuration(5, [a, b]) })
  t.strictSame(driven.types(), ['saveEpoch', 'startEpoch', 'match'])
  driven.do({ type: 'assigned', configuration: configuration(5, [b, a]) })
  driven.do({ type: 'assigned', configuration: configuration(4, [b, a]) })
  t.strictSame(driven.types(), [], 'no other word on this epoch, nor on one before')
  t.equal(driven.core.role, 'recovering')
  driven.do({ type: 'followed', epoch: e(6) })
  t.strictSame(driven.types(), ['stepDown', 'saveEpoch'])
  t.throws(() => driven.do({ type: 'followed', epoch: e(5) }), /an old epoch/)
  driven.do({ type: 'followed', epoch: e(6) })
  t.strictSame(driven.types(), [], 'its master asks again')
  const leading = master()
  t.throws(() => leading.do({ type: 'followed', epoch: e(5) }), /one epoch, one master/)
  leading.do({ type: 'assigned', configuration: configuration(7, [b, a]) })
  t.strictSame(leading.types(), ['stepDown', 'saveEpoch'])
  t.match(leading.core, { role: 'idle', members: [], epochStart: 0 })
})

t.test('rule 3: news of an earlier epoch says nothing about this one', async (t) => {
  const driven = master()
  driven.do({ type: 'assigned', configuration: configuration(6, [a, b, c]) }, { type: 'epochStarted', sequence: s(2) })
  for (const event of [
    { type: 'acknowledged', epoch: e(5), server: b, appended: s(99), durable: s(99) },
    { type: 'matched', epoch: e(5), server: b, last: s(99) },
    { type: 'caughtUp', epoch: e(5), server: b },
    { type: 'failed', epoch: e(5), server: b },
  ] as const) {
    const before = driven.core
    driven.do(event)
    t.strictSame(driven.core, before, event.type)
  }
})

t.test('rule 4: a master is a member of the in-sync set', async (t) => {
  const led = { ...configuration(5, [b]), master: a }
  t.throws(() => new Driven().do({ type: 'assigned', configuration: led }), /in the in-sync set/)
})

t.test('rule 5: nothing is served before the epoch-start record is committed', async (t) => {
  const driven = new Driven().do({ type: 'assigned', configuration: configuration(5, [a, b, c]) })
  driven.do({ type: 'epochStarted', sequence: s(1) }).appended(1)
  driven.matched(b, 0).acknowledged(1, b)
  t.match(driven.core, { role: 'recovering', committed: 0 })
  t.notOk(acknowledges(driven.core))
  driven.matched(c, 0)
  driven.effects()
  driven.acknowledged(1, c)
  t.strictSame(driven.types(), ['advance', 'serve'])
  t.match(driven.core, { role: 'master', committed: 1 })
  driven.do({ type: 'assigned', configuration: configuration(6, [a, b, c]) })
  t.equal(driven.core.role, 'recovering', 'in each epoch anew')
})

t.test('rule 5: a member counts with what it holds when it agrees with us, not with what it held before', async (t) => {
  const driven = master()
  driven.appended(10).acknowledged(10, b).failed(c).matched(c, 3)
  driven.acknowledged(10, b)
  t.equal(driven.core.committed, 1, 'of what it was left with we know nothing durable yet')
  driven.do({ type: 'acknowledged', epoch: e(5), server: c, appended: s(10), durable: s(3) })
  t.equal(driven.core.committed, 3)
})

t.test('rule 6: rollback never reaches below the committed sequence', async (t) => {
  const driven = new Driven().do({ type: 'followed', epoch: e(3) }).appended(10)
  driven.do({ type: 'heard', committed: s(7) })
  t.equal(driven.core.committed, 7)
  t.throws(() => driven.do({ type: 'rolledBack', last: s(6) }), /below the committed/)
  driven.do({ type: 'rolledBack', last: s(8) })
  t.match(driven.core, { appended: 8, durable: 8, committed: 7 })
  const reopened = initial(a, e(3), s(10), s(7))
  t.throws(() => step(reopened, { type: 'rolledBack', last: s(6) }), /below the committed/, 'after a crash too')
})

t.test('a follower commits nothing that it lacks', async (t) => {
  const driven = new Driven().do({ type: 'followed', epoch: e(3) }).appended(4)
  driven.do({ type: 'heard', committed: s(100) })
  t.equal(driven.core.committed, 4)
  driven.do({ type: 'heard', committed: s(2) })
  t.equal(driven.core.committed, 4, 'old news')
})

t.test('rule 7: waiting writes go on when the epoch that left a member out has begun', async (t) => {
  const driven = master()
  driven.appended(5).acknowledged(5, b).failed(c)
  t.equal(driven.core.committed, 1)
  driven.do(
    { type: 'assigned', configuration: configuration(6, [a, b], [c]) },
    { type: 'epochStarted', sequence: s(6) },
  )
  driven.matched(b, 5).appended(6).acknowledged(6, b)
  t.match(driven.core, { role: 'master', committed: 6, received: 6 })
  t.ok(acknowledges(driven.core), 'two of two')
})

t.test('rule 7: a new master has those removed whom the CLDB does not hear, before it begins', async (t) => {
  const silent = (...given: Parameters<typeof configuration>): Event => ({
    type: 'assigned',
    configuration: { ...configuration(...given), silent: [c] },
  })
  const driven = new Driven().do(silent(5, [a, b, c]))
  const reconfigure = { type: 'reconfigure', remove: [c], add: [] } as const
  t.strictSame(driven.effects(), [{ type: 'saveEpoch', epoch: 5 }, reconfigure])
  driven.do({ type: 'reconfigureFailed', epoch: e(5) })
  t.strictSame(driven.effects(), [reconfigure], 'until it is heard')
  driven.do({ type: 'appended', last: s(3) }, { type: 'synced', durable: s(3) })
  t.match(driven.core, { role: 'recovering', committed: 0 })
  driven.do(silent(6, [a, b], [c]))
  t.strictSame(driven.types(), ['saveEpoch', 'startEpoch', 'match', 'match'], 'a resyncing one may be silent')
  const leading = master().do(silent(6, [a, b, c]))
  t.strictSame(leading.types(), ['saveEpoch', 'startEpoch', 'match', 'match'], 'one that led asks its members itself')
  const alone = new Driven().do(silent(5, [a, c]))
  t.strictSame(alone.types(), ['saveEpoch', 'startEpoch', 'match'], 'with too few left for writes it is waited for')
})

t.test('rule 7: with fewer members than the minimum nothing is acknowledged', async (t) => {
  t.ok(acknowledges(master([a, b]).core))
  t.notOk(acknowledges(master([a]).core))
  t.notOk(acknowledges(new Driven().core))
})

t.test('rule 8: a caught-up replica counts before it enters the in-sync set', async (t) => {
  const driven = master([a, b], [d])
  driven.matched(d, 0).appended(5).acknowledged(5, b)
  t.match(driven.core, { committed: 5 }, 'while it catches up nobody waits for it')
  driven.caughtUp(d).appended(8).acknowledged(8, b)
  t.equal(driven.core.committed, 5, 'from then on it counts')
  driven.effects()
  driven.acknowledged(4, d)
  t.strictSame(driven.types(), [], 'it lacks a committed record still')
  driven.acknowledged(8, d)
  t.strictSame(driven.effects(), [{ type: 'advance' }, { type: 'reconfigure', remove: [], add: [d] }])
  t.equal(driven.core.committed, 8)
})

t.test('rule 8: a replica that may be in the next in-sync set counts until the epoch is over', async (t) => {
  const driven = master([a, b], [d])
  driven.matched(d, 1).caughtUp(d).acknowledged(1, d)
  t.strictSame(driven.effects(), [{ type: 'reconfigure', remove: [], add: [d] }])
  driven.failed(d).appended(9).acknowledged(9, b)
  t.equal(driven.core.committed, 1, 'the CLDB may have taken it, and may make it master')
  t.strictSame(driven.effects(), [])
  driven.do({ type: 'reconfigureFailed', epoch: e(5) })
  t.equal(driven.core.committed, 1, 'no answer is not a no')
  t.strictSame(driven.effects(), [{ type: 'reconfigure', remove: [], add: [] }], 'a new epoch settles it')
  driven.do(
    { type: 'assigned', configuration: configuration(6, [a, b], [d]) },
    { type: 'epochStarted', sequence: s(10) },
  )
  driven.matched(b, 9).appended(10).acknowledged(10, b)
  t.match(driven.core, { role: 'master', committed: 10 }, 'it was left out')
})

t.test(
  'rule 8: one that was offered, is lost and comes back is not waited for: a new epoch is asked for',
  async (t) => {
    const driven = master([a, b], [d])
    driven.matched(d, 1).caughtUp(d).acknowledged(1, d).failed(d)
    driven.do({ type: 'retry' })
    driven.matched(d, 1).appended(9).acknowledged(9, b)
    t.equal(driven.core.committed, 1, 'it counts, and has yet to catch up')
    driven.effects()
    driven.do({ type: 'reconfigureFailed', epoch: e(5) })
    t.strictSame(driven.effects(), [{ type: 'reconfigure', remove: [], add: [] }])
  },
)

t.test('rule 8: one that failed before anybody was asked is not waited for', async (t) => {
  const driven = master([a, b], [d])
  driven.matched(d, 1).appended(5).caughtUp(d).failed(d).acknowledged(5, b)
  t.equal(driven.core.committed, 5)
  t.strictSame(driven.types(), ['advance'])
})

t.test('rule 8: lost replicas are tried again, in-sync ones only in a new epoch', async (t) => {
  const driven = master([a, b], [c, d])
  driven.failed(b).failed(d)
  driven.effects()
  driven.do({ type: 'retry' })
  t.strictSame(driven.effects(), [{ type: 'match', server: d }])
  driven.do({ type: 'retry' })
  t.strictSame(driven.effects(), [], 'not twice at a time')
})

t.test('rule 9: with all of the in-sync set lost, its first members to return are enough', async (t) => {
  const driven = new Driven()
  driven.core = initial(a, e(8), s(20), s(12))
  driven.do({ type: 'assigned', configuration: { ...configuration(9, [a, b, c]), minimum: 1 } })
  driven
    .do({ type: 'epochStarted', sequence: s(21) })
    .appended(21)
    .matched(b, 20)
    .acknowledged(21, b)
  t.equal(driven.core.role, 'recovering', 'the third is waited for')
  driven.failed(c)
  t.strictSame(driven.effects().at(-1), { type: 'reconfigure', remove: [c], add: [] })
  driven.do(
    { type: 'assigned', configuration: configuration(10, [a, b], [c]) },
    { type: 'epochStarted', sequence: s(22) },
  )
  driven.appended(22).matched(b, 21).acknowledged(22, b)
  t.match(driven.core, { role: 'master', committed: 22 })
})

t.test('a replica alone commits by itself', async (t) => {
  const driven = new Driven().do({ type: 'assigned', configuration: { ...configuration(1, [a]), minimum: 1 } })
  driven.do({ type: 'epochStarted', sequence: s(1) })
  t.equal(driven.core.role, 'recovering')
  driven.appended(1)
  t.match(driven.core, { role: 'master', committed: 1 })
})

t.test('a master that gives way', async (t) => {
  const driven = master()
  driven.do({ type: 'giveWay', epoch: e(4) })
  t.equal(driven.core.role, 'master', 'not because of an earlier epoch')
  driven.appended(9).acknowledged(7, b, c).effects()
  driven.do({ type: 'giveWay', epoch: e(5) })
  t.match(driven.core, { role: 'idle', epoch: 5, appended: 9, committed: 7 }, 'keeps what it holds')
  t.strictSame(driven.types(), ['stepDown'])
  driven.acknowledged(9, b, c).do({ type: 'retry' })
  t.match(driven.core, { role: 'idle', committed: 7 }, 'does nothing more in this epoch')
  driven.do({ type: 'assigned', configuration: configuration(5, [a, b, c]) })
  t.strictSame(driven.types(), [], 'nor if told again')
  driven.do({ type: 'assigned', configuration: configuration(6, [a, b, c]) })
  t.equal(driven.core.role, 'recovering', 'but may lead in the next')
})

/** The world of one replica, as far as its driver can bring it about: any order, nothing that cannot be. */
function randomEvent(core: Replica, random: (below: number) => number): Event | undefined {
  const pick = <T>(list: readonly T[]): T | undefined => list[random(Math.max(1, list.length))]
  const leads = core.role === 'master' || core.role === 'recovering'
  const epoch = random(6) === 0 ? e(Math.max(0, core.epoch - 1)) : core.epoch
  const other = pick(core.members.map((member) => member.server))
  switch (random(leads ? 16 : 10)) {
    case 0: {
      const all = [a, b, c, d].sort(() => random(3) - 1)
      const inSync = all.slice(0, 1 + random(3))
      const chosen = configuration(core.epoch + random(3), inSync, all.slice(inSync.length))
      const silent = all.filter((server) => server !== a && random(4) === 0)
      return { type: 'assigned', configuration: { ...chosen, silent } }
    }
    case 1:
      return random(3) > 0 ? undefined : { type: 'followed', epoch: e(core.epoch + (leads ? 1 : random(2))) }
    case 2:
    case 3:
    case 4:
      if (core.role === 'idle' || (leads && core.epochStart === 0)) return undefined
      return { type: 'appended', last: s(core.appended + random(5)) }
    case 5:
    case 6:
      return { type: 'synced', durable: s(core.durable + random(core.appended - core.durable + 1)) }
    case 7:
      return core.role === 'follower' ? { type: 'heard', committed: s(random(core.appended + 5)) } : undefined
    case 8:
      if (core.role !== 'follower') return undefined
      return { type: 'rolledBack', last: s(core.committed + random(core.appended - core.committed + 1)) }
    case 9:
      if (random(20) === 0) return { type: 'giveWay', epoch }
      return random(2) === 0 ? { type: 'retry' } : { type: 'reconfigureFailed', epoch }
    case 10:
      return other && { type: 'matched', epoch, server: other, last: s(random(core.appended + 1)) }
    case 11:
      return other && { type: 'caughtUp', epoch, server: other }
    case 12:
      return other && random(4) === 0 ? { type: 'failed', epoch, server: other } : undefined
    default: {
      const appended = random(core.appended + 1)
      return (
        other && { type: 'acknowledged', epoch, server: other, appended: s(appended), durable: s(random(appended + 1)) }
      )
    }
  }
}

t.test('under events in any order no rule is broken', async (t) => {
  const seen = new Set<string>()
  for (let seed = 1; seed <= 150; seed++) {
    const random = randomFrom(seed)
    let core = initial(a, e(0), s(0), s(0))
    for (let i = 0; i < 400; i++) {
      const event = randomEvent(core, random)
      if (event === undefined) continue
      const before = core
      const { next, effects } = step(before, event)
      core = next
      for (const effect of effects) seen.add(effect.type)
      seen.add(next.role)
      const quorum = next.members.filter((member) => member.inSync || member.joining || member.offered)
      const broken = {
        'a watermark fell in its epoch':
          next.epoch === before.epoch &&
          next.role === before.role &&
          (next.received < before.received || next.committed < before.committed),
        'committed without all who count':
          next.committed > before.committed &&
          event.type !== 'heard' &&
          (next.durable < next.committed || quorum.some((member) => member.durable < next.committed)),
        'an effect in an epoch that is not stored':
          next.epoch > before.epoch && !effects.some((effect) => effect.type === 'saveEpoch'),
        'served before its epoch began':
          next.role === 'master' && before.role !== 'master' && next.committed < next.epochStart,
        'led on in another epoch without stepping down':
          before.role === 'master' &&
          (next.role === 'idle' || next.role === 'follower') &&
          !effects.some((effect) => effect.type === 'stepDown'),
        'asked for two configurations at once':
          before.reconfiguring &&
          next.epoch === before.epoch &&
          effects.some(({ type }) => type === 'reconfigure') &&
          event.type !== 'reconfigureFailed',
      }
      for (const [claim, found] of Object.entries(broken))
        if (found) t.fail(`seed ${seed}, event ${i}: ${claim}`, { before, event, next })
      // The driver appends the epoch's first record at once.
      if (effects.some(({ type }) => type === 'startEpoch'))
        core = step(core, { type: 'epochStarted', sequence: s(core.appended + 1) }).next
    }
  }
  t.strictSame(
    [...seen].sort().join(' '),
    'advance follower idle master match reconfigure recovering saveEpoch serve startEpoch stepDown',
    'everything was reached',
  )
})
