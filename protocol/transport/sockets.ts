/**
 * The one place where connections are opened and accepted, for the data plane and for gRPC: TLS and
 * authentication will change this file and no other.
 */
import {
  type AddressInfo,
  connect,
  createServer,
  type OnReadOpts,
  type Server,
  Socket,
  type SocketConstructorOpts,
} from 'node:net'
import { ChannelCredentials, ServerCredentials } from '@grpc/grpc-js'
import { Failure } from '../failures.ts'

/** A silent peer is noticed by deadlines; this only cleans up after peers that went without a word. */
const keepAliveMs = 15_000
const acceptedSocketsMax = 4096

/** @throws Failure INVALID unless `address` is `host:port`; an IPv6 host may stand in brackets. */
function parseAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':')
  const port = Number(address.slice(colon + 1))
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
  if (colon < 1 || host === '' || !Number.isInteger(port) || port < 0 || port > 65_535)
    throw new Failure('INVALID', `an address is host:port, not ${address}`)
  return { host, port }
}

export function formatAddress(bound: AddressInfo): string {
  return bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`
}

function tune(socket: Socket): void {
  socket.setNoDelay(true)
  socket.setKeepAlive(true, keepAliveMs)
}

/** `onread`: where the socket puts what it reads. @throws Failure UNAVAILABLE, or INVALID for what is no address. */
export function openSocket(address: string, timeoutMs: number, onread: OnReadOpts): Promise<Socket> {
  const { host, port } = parseAddress(address)
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, onread })
    const fail = (reason: string): void => {
      socket.destroy()
      reject(new Failure('UNAVAILABLE', `${address}: ${reason}`))
    }
    const onError = (error: Error): void => fail(error.message)
    const onTimeout = (): void => fail(`no connection within ${timeoutMs} ms`)
    socket.setTimeout(timeoutMs, onTimeout)
    socket.once('error', onError)
    socket.once('connect', () => {
      socket.setTimeout(0)
      socket.off('timeout', onTimeout)
      socket.off('error', onError)
      tune(socket)
      resolve(socket)
    })
  })
}

/**
 * The same connection with `onread`, which `net.Server` does not offer: reading into our own buffers saves a major
 * garbage collection for every 20 MB that come (measured), most of what receiving costs.
 */
function reading(accepted: Socket, onread: OnReadOpts): Socket {
  const holder = accepted as unknown as { _handle: unknown }
  const handle = holder._handle
  holder._handle = null
  accepted.destroy()
  return new Socket({ handle, onread } as SocketConstructorOpts)
}

/**
 * @param onSocket told of each connection; it returns where what is read goes. Nothing is read before.
 * @returns the bound server and its address. @throws Failure UNAVAILABLE when the address cannot be bound.
 */
export function acceptSockets(
  address: string,
  onSocket: (attach: (onread: OnReadOpts) => Socket) => void,
): Promise<{ server: Server; address: string }> {
  const { host, port } = parseAddress(address)
  return new Promise((resolve, reject) => {
    const server = createServer({ pauseOnConnect: true }, (accepted) => {
      onSocket((onread) => {
        const socket = reading(accepted, onread)
        tune(socket)
        return socket
      })
    })
    server.maxConnections = acceptedSocketsMax
    server.on('error', (error) => reject(new Failure('UNAVAILABLE', `cannot listen on ${address}: ${error.message}`)))
    server.listen({ host, port, backlog: 511 }, () =>
      resolve({ server, address: formatAddress(server.address() as AddressInfo) }),
    )
  })
}

export const channelCredentials = (): ChannelCredentials => ChannelCredentials.createInsecure()
export const serverCredentials = (): ServerCredentials => ServerCredentials.createInsecure()
