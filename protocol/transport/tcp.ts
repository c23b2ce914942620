/**
 * The data plane over TCP: `Transport` as its users see it.
 *
 * A connection that is dialled reads large payloads straight into their own buffers; one that is accepted takes
 * the buffers as the socket delivers them.
 */
import type { Socket } from 'node:net'
import { Failure } from '../failures.ts'
import { silentLog } from '../logging.ts'
import { Caller } from './caller.ts'
import { type Ends, FramedConnection } from './connection.ts'
import { Dispatcher, routes } from './dispatcher.ts'
import { acceptSockets, openSocket } from './sockets.ts'
import type { Connection, Transport } from './transport.ts'

/** An accepted connection that says nothing is dropped after this. */
const helloTimeoutMs = 5000
/** Read by one socket at a time, and emptied before the next reads. */
const scratch = Buffer.allocUnsafeSlow(256 * 1024)
/** Below this a payload's rest is cheaper to copy than to read by a system call of its own. */
const directBytesMin = 32 * 1024

export function tcpTransport(options: Pick<Ends, 'role' | 'cluster' | 'clock'> & Partial<Ends>): Transport {
  const ends: Ends = {
    log: silentLog,
    onFatal: (error) =>
      queueMicrotask(() => {
        throw error
      }),
    ...options,
  }
  return {
    connect: (address, timeoutMs) => dial(address, timeoutMs, ends),
    listen: async (address, services) => {
      const table = routes(services)
      const open = new Set<FramedConnection<Dispatcher>>()
      const accept = (socket: Socket): void => {
        const connection = new FramedConnection({
          socket,
          peer: `${socket.remoteAddress}:${socket.remotePort}`,
          ends,
          dialled: false,
          pieces: 'keep',
          helloTimeoutMs,
          half: (line) => new Dispatcher(line, table, ends),
        })
        open.add(connection)
        void connection.closed.then(() => open.delete(connection))
        socket.on('data', (bytes) => connection.read(bytes as Buffer))
      }
      const accepting = await acceptSockets(address, accept)
      return {
        address: accepting.address,
        close: () =>
          new Promise((resolve) => {
            accepting.server.close(() => resolve())
            for (const connection of open) connection.close()
          }),
      }
    },
  }
}

async function dial(address: string, timeoutMs: number, ends: Ends): Promise<Connection> {
  const deadlineMs = ends.clock.monotonicMs() + timeoutMs
  let connection: FramedConnection<Caller> | undefined
  const space = (): Buffer => {
    const own = connection?.space
    return own !== undefined && own.length >= directBytesMin ? own : scratch
  }
  const socket = await openSocket(address, timeoutMs, {
    buffer: space,
    callback: (count, buffer) => {
      const bytes = (buffer as Buffer).subarray(0, count)
      connection?.read(bytes, buffer !== scratch)
      return true
    },
  })
  const remainingMs = deadlineMs - ends.clock.monotonicMs()
  if (remainingMs <= 0) {
    socket.destroy()
    throw new Failure('UNAVAILABLE', `${address}: no hello within ${timeoutMs} ms`)
  }
  connection = new FramedConnection({
    socket,
    peer: address,
    ends,
    dialled: true,
    pieces: 'copy',
    helloTimeoutMs: remainingMs,
    half: (line, hello) => new Caller(line, hello, ends.clock),
  })
  const caller = await connection.opened
  const { closed } = connection
  return {
    address,
    call: (call, request, callOptions) => caller.call(call, request, callOptions),
    closed,
    close: () => connection.close(),
  }
}
