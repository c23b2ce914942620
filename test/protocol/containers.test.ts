/**
 * Calls to a container's master while masters move, die and come back; real gRPC and real sockets.
 */
import t from 'tap'
import { systemClock } from '../../protocol/clock.ts'
import { type Cldb, connectCldb } from '../../protocol/cluster/cldb.ts'
import { type Containers, openContainers } from '../../protocol/cluster/containers.ts'
import { Failure, type FailureCode } from '../../protocol/failures.ts'
import { type ContainerId, containerId } from '../../protocol/ids.ts'
import { type Listener, served } from '../../protocol/transport/transport.ts'
import { locationOf, serveSome } from './control.ts'
import { service, sleep, transportOf } from './echo.ts'
import { failureIn } from './outcome.ts'

type Test = { readonly teardown: (run: () => unknown) => void }

const { calls } = service
const one = containerId(1)
/** What is due at once may take this long on a machine that is busy with other tests. */
const slowMs = 3000

/** A fileserver of the one call `echo`, which answers what `behave` says. */
async function fileserver(t: Test, behave: (n: number) => FailureCode | undefined, address = '127.0.0.1:0') {
  const echo = ({ n }: { readonly n: number }, payload: readonly Uint8Array[]) => {
    const code = behave(n)
    if (code !== undefined) throw new Failure(code, 'as the test says')
    return { reply: { n }, payload }
  }
  const table = { name: 'echo', calls: { echo: calls.echo } }
  const listener = await transportOf({}).listen(address, [served(table, { echo })])
  t.teardown(() => listener.close())
  return listener
}

type Cluster = { readonly containers: Containers; readonly cldb: Cldb; readonly locates: ContainerId[][] }

/** `where` is the address of a container's master now: undefined for none alive, `none` where there is no such container. */
async function cluster(t: Test, where: (container: ContainerId) => string | undefined): Promise<Cluster> {
  const locates: ContainerId[][] = []
  const control = await serveSome(t, {
    locate: async ({ containers }) => {
      locates.push([...containers])
      const known = containers.filter((container) => where(container) !== 'none')
      return { locations: known.map((container) => locationOf(container, where(container))) }
    },
  })
  const cldb = connectCldb({ addresses: [control.address], clock: systemClock })
  const containers = openContainers({ cldb, transport: transportOf({}), clock: systemClock })
  t.teardown(() => {
    containers.close()
    cldb.close()
  })
  return { containers, cldb, locates }
}

const echo = (containers: Containers, n: number, container = one, timeoutMs = 20_000) =>
  containers.call(container, calls.echo, () => ({ n }), { timeoutMs, payload: [Buffer.from(`payload ${n}`)] })

t.test('look-ups of one tick are one call to the CLDB, and are remembered', async (t) => {
  const { address } = await fileserver(t, () => undefined)
  const { containers, locates } = await cluster(t, () => address)
  const ids = Array.from({ length: 100 }, (_, i) => containerId(i + 1))
  const all = () => Promise.all(ids.flatMap((id) => [echo(containers, id, id), echo(containers, id, id)]))
  const answers = await all()
  t.equal(Buffer.concat(answers[7]!.payload).toString(), 'payload 4')
  t.strictSame(
    locates.map(({ length }) => length),
    [64, 36],
  )
  await all()
  t.equal(locates.length, 2)
  t.equal((await containers.location(one, 20_000)).container, one)
  containers.forget(one)
  await echo(containers, 1)
  t.strictSame(locates[2], [one])
})

t.test('a master that moved is found, once for all who ask', async (t) => {
  const old = await fileserver(t, () => 'NOT_MASTER')
  const next = await fileserver(t, () => undefined)
  let asked = 0
  const { containers, locates } = await cluster(t, () => (asked++ === 0 ? old.address : next.address))
  await containers.location(one, 20_000)
  const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => echo(containers, n)))
  t.strictSame(
    answers.map(({ reply }) => reply.n),
    answers.map((_, n) => n),
  )
  t.ok(locates.length <= 4, `${locates.length} look-ups`)
})

t.test('the failure table decides: same server later, or never again', async (t) => {
  let calledTimes = 0
  const { address } = await fileserver(t, (n) => {
    calledTimes++
    if (n === 1) return calledTimes < 3 ? 'OVERLOADED' : undefined
    return n === 2 ? 'NOT_EMPTY' : undefined
  })
  const { containers, locates } = await cluster(t, () => address)
  t.equal((await echo(containers, 1)).reply.n, 1)
  t.equal(calledTimes, 3)
  t.equal(locates.length, 1, 'nobody asked the CLDB')
  t.equal(await failureIn(echo(containers, 2)), 'NOT_EMPTY')
  t.equal(calledTimes, 4)
})

t.test('a container that is nowhere is STALE at once', async (t) => {
  const { containers } = await cluster(t, () => 'none')
  t.equal(await failureIn(echo(containers, 1)), 'STALE')
  t.equal(await failureIn(containers.location(one, 20_000)), 'STALE')
})

t.test('the last failure is thrown when the time is over', async (t) => {
  const { address } = await fileserver(t, () => 'TOO_FEW_REPLICAS')
  const { containers } = await cluster(t, (container) => (container === one ? undefined : address))
  for (const [container, code] of [
    [one, 'NOT_READY'],
    [containerId(2), 'TOO_FEW_REPLICAS'],
  ] as const) {
    const start = performance.now()
    t.equal(await failureIn(echo(containers, 1, container, 300)), code)
    const tookMs = performance.now() - start
    t.ok(tookMs > 50 && tookMs < slowMs, `${Math.round(tookMs)} ms`)
  }
})

t.test('calls survive a master that dies and returns', async (t) => {
  const first = await fileserver(t, () => undefined)
  const { containers } = await cluster(t, () => first.address)
  await echo(containers, 0)
  await first.close()
  const waiting = Promise.all(Array.from({ length: 20 }, (_, n) => echo(containers, n)))
  await sleep(300)
  const again: Listener = await fileserver(t, () => undefined, first.address)
  t.equal(again.address, first.address)
  const start = performance.now()
  const answers = await waiting
  t.ok(performance.now() - start < slowMs, 'soon after its return')
  t.strictSame(
    answers.map(({ reply }) => reply.n),
    answers.map((_, n) => n),
  )
})

t.test('closed containers fail instead of retrying', async (t) => {
  const { containers } = await cluster(t, () => undefined)
  const waiting = failureIn(echo(containers, 1))
  await sleep(30)
  containers.close()
  t.match(await waiting, /^(NOT_READY|UNAVAILABLE)$/)
  t.equal(await failureIn(echo(containers, 1)), 'UNAVAILABLE')
})
