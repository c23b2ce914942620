/**
 * Listens for RPC over TCP. Connections are accepted here and nowhere else.
 *
 * Not pure. Any number of programs share a port.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { Failure } from '../../protocol/failures.ts'
import type { Log } from '../../protocol/logging.ts'
import type { Budget } from './budget.ts'
import { Connection, type ConnectionLimits } from './connection.ts'
import type { Dispatch } from './dispatch.ts'

export type RpcListener = {
  /** `host:port` with the port that was really bound. */
  readonly address: string
  /** Stops listening and cuts all connections. */
  readonly close: () => Promise<void>
}

/** IPv4-mapped IPv6 addresses as IPv4; scopes of link-local addresses left out. */
export function normalAddress(address: string): string {
  const plain = address.replace(/%.*$/, '')
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain)?.[1] ?? plain
}

function split(address: string): { host: string; port: number } {
  const at = address.lastIndexOf(':')
  const host = address.slice(0, at).replace(/^\[(.*)\]$/, '$1')
  const port = Number(address.slice(at + 1))
  if (at < 1 || !Number.isInteger(port) || port < 0 || port > 65535)
    throw new Failure('INVALID', `an address is host:port, not ${address}`)
  return { host, port }
}

/**
 * @param address `host:port`; port 0 picks a free one.
 * @throws Failure INVALID when the address cannot be bound.
 */
export async function listenRpc(
  address: string,
  dispatch: Dispatch,
  limits: ConnectionLimits & { readonly connectionsMax: number },
  budget: Budget,
  log: Log,
): Promise<RpcListener> {
  const { host, port } = split(address)
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    const peer = socket.remoteAddress
    if (peer === undefined) {
      socket.destroy()
      return
    }
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    new Connection(socket, normalAddress(peer), dispatch, limits, budget, log)
  })
  server.maxConnections = limits.connectionsMax
  await bind(server, host, port)
  server.on('error', (error) => log.error({ error }, 'the listening socket failed'))
  const bound = server.address()
  const boundPort = typeof bound === 'object' && bound !== null ? bound.port : port
  return {
    address: `${host.includes(':') ? `[${host}]` : host}:${boundPort}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

function bind(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => reject(new Failure('INVALID', `cannot listen on ${host}:${port}: ${error.message}`))
    server.once('error', fail)
    server.listen(port, host, () => {
      server.off('error', fail)
      resolve()
    })
  })
}
