/**
 * The way to the CLDB over real gRPC: failures keep their meaning, addresses are tried, restarts are survived.
 */
import { Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js'
import t from 'tap'
import { systemClock } from '../../protocol/clock.ts'
import { connectCldb } from '../../protocol/cluster/cldb.ts'
import { Failure, type FailureCode, failures } from '../../protocol/failures.ts'
import { containerId, serverId } from '../../protocol/ids.ts'
import { control } from '../../protocol/messages/control.ts'
import { type ControlStream, controlClient } from '../../protocol/transport/grpc.ts'
import { locationOf, serveSome } from './control.ts'
import { sleep } from './echo.ts'
import { failureIn } from './outcome.ts'
import { controlSamples } from './samples.ts'

const { calls } = control
const server = serverId('0123456789abcdef')
/** What is due at once may take this long on a machine that is busy with other tests. */
const slowMs = 3000
const subscriber = { server, incarnation: 1 }

function connect(t: { readonly teardown: (run: () => void) => void }, ...addresses: string[]) {
  const cldb = connectCldb({ addresses, clock: systemClock })
  t.teardown(() => cldb.close())
  return cldb
}

t.test('every failure comes back as itself, detail and all', async (t) => {
  const { address } = await serveSome(t, {
    removeVolume: async ({ name }) => {
      throw new Failure(name as FailureCode, `détail: ${name}`)
    },
  })
  const client = controlClient(address)
  t.teardown(() => client.close())
  for (const code of Object.keys(failures) as FailureCode[]) {
    const failure = await client.call(calls.removeVolume, { name: code }, 20_000).catch((error: unknown) => error)
    t.ok(failure instanceof Failure && failure.failure === code, code)
    t.equal((failure as Failure).message, `${code}: détail: ${code}`)
  }
})

t.test('gRPC failures of a connection pass; a code of a newer peer does not', async (t) => {
  const newer = new Metadata()
  newer.set('holdfast-failure', 'NOT_KNOWN_YET')
  const errors = [
    { code: status.INTERNAL, details: 'the session ended' },
    { code: status.UNKNOWN, details: 'no status' },
    { code: status.INTERNAL, details: 'of a newer peer', metadata: newer },
  ]
  const grpc = new Server()
  const asBytes = (bytes: Buffer): Buffer => bytes
  const call = {
    path: `/${control.name}/removeVolume`,
    requestStream: false,
    responseStream: false,
    requestSerialize: asBytes,
    requestDeserialize: asBytes,
    responseSerialize: asBytes,
    responseDeserialize: asBytes,
  }
  grpc.addService(
    { removeVolume: call },
    { removeVolume: (_incoming: unknown, callback: (error: object) => void) => callback(errors.shift()!) },
  )
  const port = await new Promise<number>((resolve) =>
    grpc.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_error, bound) => resolve(bound)),
  )
  const client = controlClient(`127.0.0.1:${port}`)
  t.teardown(() => {
    client.close()
    grpc.forceShutdown()
  })
  for (const code of ['UNAVAILABLE', 'UNAVAILABLE', 'INTERNAL'])
    t.equal(await failureIn(client.call(calls.removeVolume, { name: 'a' }, 20_000)), code)
})

t.test('what is final is thrown at once; what passes is tried again', async (t) => {
  const asked = new Map<string, number>()
  const { address } = await serveSome(t, {
    removeVolume: async ({ name }) => {
      const count = (asked.get(name) ?? 0) + 1
      asked.set(name, count)
      if (count <= 2) throw new Failure(name as FailureCode, 'not yet')
      return {}
    },
  })
  const cldb = connect(t, address)
  const outcome = (name: FailureCode) => failureIn(cldb.call(calls.removeVolume, { name }, 20_000))
  for (const code of ['NOT_FOUND', 'NOT_EMPTY', 'CONFLICT', 'WRONG_CLUSTER', 'STALE_EPOCH'] as const) {
    t.equal(await outcome(code), code)
    t.equal(asked.get(code), 1)
  }
  for (const code of ['NO_SERVERS', 'OVERLOADED', 'UNAVAILABLE', 'NOT_READY'] as const) {
    t.equal(await outcome(code), 'none', code)
    t.equal(asked.get(code), 3)
  }
})

t.test('the last failure is thrown when the time is over', async (t) => {
  const { address } = await serveSome(t, {
    createVolume: async () => {
      throw new Failure('NO_SERVERS', 'never')
    },
    space: () => new Promise(() => undefined),
  })
  const cldb = connect(t, address)
  const start = performance.now()
  t.equal(await failureIn(cldb.call(calls.createVolume, controlSamples.createVolume.request, 300)), 'NO_SERVERS')
  t.equal(await failureIn(cldb.call(calls.space, { volume: 'v' }, 300)), 'DEADLINE', 'a call that is never answered')
  t.ok(performance.now() - start < slowMs)
})

t.test('a message that does not fit is BAD_MESSAGE', async (t) => {
  const { address } = await serveSome(t, { removeVolume: async () => ({}) })
  const cldb = connect(t, address)
  t.equal(await failureIn(cldb.call(calls.removeVolume, { name: 5 as never }, 20_000)), 'BAD_MESSAGE')
  t.equal(await failureIn(cldb.call(calls.removeVolume, { name: 'x'.repeat(256) }, 20_000)), 'TOO_LARGE')
  t.equal(await failureIn(cldb.call(calls.volumes, {}, 20_000)), 'NOT_SUPPORTED')
})

t.test('addresses are tried in turn, and the one that answered first next time', async (t) => {
  let asked = 0
  const { address } = await serveSome(t, {
    volumes: async () => {
      asked++
      return { volumes: [] }
    },
  })
  const cldb = connect(t, '127.0.0.1:1', '127.0.0.1:2', address)
  t.strictSame(await cldb.call(calls.volumes, {}, 20_000), { volumes: [] })
  const start = performance.now()
  for (let i = 0; i < 5; i++) await cldb.call(calls.volumes, {}, 20_000)
  t.ok(performance.now() - start < slowMs)
  t.equal(asked, 6)
})

t.test('a restarted CLDB is found again', async (t) => {
  const handlers = { volumes: async () => ({ volumes: [] }) }
  const first = await serveSome(t, handlers)
  const cldb = connect(t, first.address)
  await cldb.call(calls.volumes, {}, 20_000)
  await first.close()
  t.equal(await failureIn(cldb.call(calls.volumes, {}, 200)), 'UNAVAILABLE')
  const waiting = cldb.call(calls.volumes, {}, 10_000)
  await sleep(1500)
  await serveSome(t, handlers, first.address)
  const start = performance.now()
  await waiting
  const tookMs = performance.now() - start
  t.ok(tookMs < slowMs, `${Math.round(tookMs)} ms after its return`)
})

t.test('assignments stream: updates in order, ends with a reason', async (t) => {
  const streams: ControlStream<typeof controlSamples.assignments.reply>[] = []
  const { address } = await serveSome(t, {
    assignments: (request, stream) => {
      t.strictSame(request, subscriber)
      streams.push(stream)
      for (let i = 0; i < 100; i++) stream.send({ locations: [], discard: [containerId(i)] })
    },
  })
  const cldb = connect(t, address)
  const seen: number[] = []
  const subscription = cldb.assignments(subscriber, ({ discard }) => seen.push(...discard))
  while (seen.length < 100) await sleep(5)
  t.strictSame(
    seen,
    seen.map((_, i) => i),
  )
  streams[0]!.send(controlSamples.assignments.reply)
  while (seen.length < 101) await sleep(5)
  streams[0]!.close(new Failure('CONFLICT', 'register again'))
  t.equal((await subscription.closed).failure, 'CONFLICT')
  await streams[0]!.closed

  const second = cldb.assignments(subscriber, () => undefined)
  while (streams.length < 2) await sleep(5)
  second.close()
  t.equal((await second.closed).failure, 'UNAVAILABLE')
  await streams[1]!.closed
  streams[1]!.send(controlSamples.assignments.reply)
  t.pass('the server sees that the subscriber went, and may send in vain')

  const third = cldb.assignments(subscriber, () => undefined)
  while (streams.length < 3) await sleep(5)
  streams[2]!.close()
  t.equal((await third.closed).failure, 'UNAVAILABLE', 'an end without a reason')
})

t.test('assignments of many containers fit one message', async (t) => {
  const locations = Array.from({ length: 30_000 }, (_, i) => locationOf(containerId(i + 1), '10.0.0.1:7001'))
  const { address } = await serveSome(t, { assignments: (_request, stream) => stream.send({ locations, discard: [] }) })
  const cldb = connect(t, address)
  const count = await new Promise<number>((resolve) => {
    const subscription = cldb.assignments(subscriber, (update) => {
      resolve(update.locations.length)
      subscription.close()
    })
  })
  t.equal(count, 30_000)
})

t.test('a closed client says so', async (t) => {
  const { address } = await serveSome(t, {})
  const cldb = connectCldb({ addresses: [address], clock: systemClock })
  cldb.close()
  t.equal(await failureIn(cldb.call(calls.volumes, {}, 20_000)), 'INVALID')
})
