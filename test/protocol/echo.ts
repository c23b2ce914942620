/**
 * A small service and its server over real sockets, for the tests of the transport.
 */
import { assert, unreachable } from '../../protocol/assert.ts'
import { message, natural, real } from '../../protocol/check.ts'
import { type Clock, systemClock } from '../../protocol/clock.ts'
import { Failure } from '../../protocol/failures.ts'
import { type Log, silentLog } from '../../protocol/logging.ts'
import { call } from '../../protocol/messages/service.ts'
import { tcpTransport } from '../../protocol/transport/tcp.ts'
import { type Connection, type Listener, served, type Transport } from '../../protocol/transport/transport.ts'

const number = message({ n: natural() })

export const service = {
  name: 'echo',
  calls: {
    echo: call(0x0f01, number, number),
    /** As `echo`, with a promise. */
    later: call(0x0f02, number, number),
    /** Answers after `n` milliseconds. */
    wait: call(0x0f03, number, number),
    /** Fails in the way that `n` says. */
    fail: call(0x0f04, number, number),
    /** Answers with `n` bytes. */
    size: call(0x0f05, number, number),
    sizeLater: call(0x0f06, number, number),
    /** Answers when the test lets go. */
    hold: call(0x0f09, number, number),
    deadline: call(0x0f07, number, message({ n: real })),
  },
} as const
/** In no server's table. */
export const missing = call(0x0f08, number, number)

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export type EchoOptions = {
  readonly clock?: Clock
  readonly cluster?: string
  readonly log?: Log
  readonly onFatal?: (error: unknown) => void
}

export const transportOf = ({ cluster = '', log = silentLog, clock = systemClock, onFatal }: EchoOptions): Transport =>
  tcpTransport({ role: 'test', cluster: () => cluster, clock, log, ...(onFatal && { onFatal }) })

export type EchoServer = {
  readonly clock: Clock
  readonly listener: Listener
  readonly connect: () => Promise<Connection>
  /** `n` of each answer of `size` and `sizeLater` whose `release` ran. */
  readonly released: number[]
  /** Calls of `hold` that are not answered, and the most that there ever were. */
  readonly held: { now: number; most: number }
  /** Answers them, and those that come later at once. */
  readonly letGo: () => void
}

/** Serves `service` until the test ends. */
export async function serve(
  t: { readonly teardown: (run: () => void) => void },
  options: EchoOptions = {},
): Promise<EchoServer> {
  const transport = transportOf(options)
  const released: number[] = []
  const held = { now: 0, most: 0 }
  let letGo = (): void => undefined
  const free = new Promise<void>((resolve) => {
    letGo = resolve
  })
  const sized = (n: number) => ({
    reply: { n },
    payload: [Buffer.alloc(n, 's')],
    release: () => {
      released.push(n)
    },
  })
  const listener = await transport.listen('127.0.0.1:0', [
    served(service, {
      echo: (request, payload) => ({ reply: request, payload }),
      later: async (request, payload) => ({ reply: request, payload }),
      wait: async (request) => {
        await sleep(request.n)
        return { reply: request }
      },
      hold: async (request) => {
        held.now++
        held.most = Math.max(held.most, held.now)
        await free
        held.now--
        return { reply: request }
      },
      fail: ({ n }) => {
        if (n === 1) throw new Failure('NOT_EMPTY', 'at once')
        if (n === 2) return Promise.reject(new Failure('CONFLICT', 'later'))
        if (n === 3) throw new TypeError('a bug')
        assert(n !== 4, 'an assertion, at once')
        return Promise.resolve().then(() => unreachable(n as never))
      },
      size: ({ n }) => sized(n),
      sizeLater: async ({ n }) => {
        await sleep(50)
        return sized(n)
      },
      deadline: (_request, _payload, { deadlineMs }) => ({ reply: { n: deadlineMs } }),
    }),
  ])
  const connections: Connection[] = []
  t.teardown(() => {
    for (const connection of connections) connection.close()
    return listener.close()
  })
  const connect = async (): Promise<Connection> => {
    const connection = await transport.connect(listener.address, 1000)
    connections.push(connection)
    return connection
  }
  return { clock: systemClock, listener, connect, released, held, letGo }
}
