/**
 * The data plane over TCP: `Transport` as its users see it.
 *
 * Large payloads are read straight into buffers of their own, which on the serving side are used again and again.
 */
import type { OnReadOpts, Socket } from 'node:net'
import { Failure } from '../failures.ts'
import { silentLog } from '../logging.ts'
import { Buffers } from './buffers.ts'
import { Caller } from './caller.ts'
import { type Ends, FramedConnection, type Half } from './connection.ts'
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
      const buffers = new Buffers()
      const accept = (attach: (onread: OnReadOpts) => Socket): void => {
        const into = reader()
        const socket = attach(into.onread)
        const connection = new FramedConnection({
          socket,
          peer: `${socket.remoteAddress}:${socket.remotePort}`,
          ends,
          dialled: false,
          pieces: 'copy',
          buffers,
          helloTimeoutMs,
          half: (line) => new Dispatcher(line, table, ends),
        })
        into.connection = connection
        open.add(connection)
        void connection.closed.then(() => open.delete(connection))
        socket.resume()
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

type Into = { readonly onread: OnReadOpts; connection: Pick<FramedConnection<Half>, 'space' | 'read'> | undefined }

/** Reads large payloads straight into their own buffers, everything else through `scratch`. */
function reader(): Into {
  const space = (): Buffer => {
    const own = into.connection?.space
    return own !== undefined && own.length >= directBytesMin ? own : scratch
  }
  const callback = (count: number, buffer: Uint8Array): boolean => {
    into.connection?.read((buffer as Buffer).subarray(0, count), buffer !== scratch)
    return true
  }
  const into: Into = { onread: { buffer: space, callback }, connection: undefined }
  return into
}

async function dial(address: string, timeoutMs: number, ends: Ends): Promise<Connection> {
  const deadlineMs = ends.clock.monotonicMs() + timeoutMs
  const into = reader()
  const socket = await openSocket(address, timeoutMs, into.onread)
  const remainingMs = deadlineMs - ends.clock.monotonicMs()
  if (remainingMs <= 0) {
    socket.destroy()
    throw new Failure('UNAVAILABLE', `${address}: no hello within ${timeoutMs} ms`)
  }
  const connection = new FramedConnection({
    socket,
    peer: address,
    ends,
    dialled: true,
    pieces: 'copy',
    helloTimeoutMs: remainingMs,
    half: (line, hello) => new Caller(line, hello, ends.clock),
  })
  into.connection = connection
  const caller = await connection.opened
  const { closed } = connection
  return {
    address,
    call: (call, request, callOptions) => caller.call(call, request, callOptions),
    closed,
    close: () => connection.close(),
  }
}
