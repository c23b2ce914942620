/**
 * The control plane: the `control` table over gRPC, with the same wire arrays as frames (no .proto files).
 *
 * Messages cross gRPC as bytes and are packed and checked here, so that a bad one is BAD_MESSAGE and not gRPC's own
 * error. A failure travels as its row's gRPC status, with its code in the metadata and its detail as the status text.
 */
import {
  type CallOptions,
  type ChannelOptions,
  Client,
  type ClientReadableStream,
  Metadata,
  Server,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import { AssertionError } from '../assert.ts'
import { Failure, isFailureCode } from '../failures.ts'
import type { Log } from '../logging.ts'
import { control } from '../messages/control.ts'
import type { Call, ReplyOf, RequestOf } from '../messages/service.ts'
import { channelCredentials, serverCredentials } from './sockets.ts'
import type { Listener } from './transport.ts'
import { pack, unpack, writeFailure } from './wire.ts'

type ControlCalls = typeof control.calls
type Assignments = ControlCalls['assignments']

/** One subscriber of `assignments`. */
export type ControlStream<R> = {
  /** A subscriber that does not keep up is closed with OVERLOADED; it subscribes again and starts afresh. */
  readonly send: (reply: R) => void
  /** Settles when the subscriber is gone. Never rejects. */
  readonly closed: Promise<void>
  /** Ends the stream, with `failure` where the subscriber should know why. */
  readonly close: (failure?: Failure) => void
}

export type ControlContext = { readonly peer: string }

/** Unary handlers fail by throwing a `Failure`; `assignments` returns at once and sends while its stream is open. */
export type ControlHandlers = {
  readonly [K in Exclude<keyof ControlCalls, 'assignments'>]: (
    request: RequestOf<ControlCalls[K]>,
    context: ControlContext,
  ) => Promise<ReplyOf<ControlCalls[K]>>
} & {
  readonly assignments: (
    request: RequestOf<Assignments>,
    stream: ControlStream<ReplyOf<Assignments>>,
    context: ControlContext,
  ) => void
}

const messageBytesMax = 64 * 1024 * 1024
const unsentMessagesMax = 1024
const failureKey = 'holdfast-failure'

const limits: ChannelOptions = {
  'grpc.max_receive_message_length': messageBytesMax,
  'grpc.max_send_message_length': messageBytesMax,
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
}
const clientOptions: ChannelOptions = {
  ...limits,
  // A restarted CLDB is found again within half a second.
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 500,
  // Retries are the failure table's affair, and the CLDB is reached directly.
  'grpc.enable_retries': 0,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.use_local_subchannel_pool': 1,
}

const asBytes = (bytes: Buffer): Buffer => bytes
const pathOf = (name: string): string => `/${control.name}/${name}`
const names = new Map<number, string>(Object.entries(control.calls).map(([name, call]) => [call.number, name]))

function toStatus(failure: Failure): { code: number; details: string; metadata: Metadata } {
  const [code, details] = writeFailure(failure)
  const metadata = new Metadata()
  metadata.set(failureKey, code)
  return { code: failure.row.grpc, details, metadata }
}

/** gRPC's own errors, which carry no failure, become the nearest row. */
function fromStatus(error: ServiceError): Failure {
  const [code] = error.metadata?.get(failureKey) ?? []
  if (isFailureCode(code)) return new Failure(code, error.details)
  // A failure of the peer itself carries its code: of a newer one perhaps a code that is not known here.
  if (code !== undefined) return new Failure('INTERNAL', `gRPC: ${error.details}`, { cause: error })
  const nearest: { readonly [code: number]: Failure['failure'] } = {
    [status.DEADLINE_EXCEEDED]: 'DEADLINE',
    [status.UNAVAILABLE]: 'UNAVAILABLE',
    [status.CANCELLED]: 'UNAVAILABLE',
    // gRPC reports some broken connections so.
    [status.INTERNAL]: 'UNAVAILABLE',
    [status.UNKNOWN]: 'UNAVAILABLE',
    [status.RESOURCE_EXHAUSTED]: 'TOO_LARGE',
    [status.UNIMPLEMENTED]: 'NOT_SUPPORTED',
  }
  return new Failure(nearest[error.code] ?? 'INTERNAL', `gRPC: ${error.details}`, { cause: error })
}

export type ControlServerOptions = { readonly log?: Log; readonly onFatal?: (error: unknown) => void }

/** Serves the CLDB's calls on `host:port`; port 0 picks a free one. @throws Failure UNAVAILABLE when it cannot be bound. */
export async function serveControl(
  address: string,
  handlers: ControlHandlers,
  options: ControlServerOptions = {},
): Promise<Listener> {
  const toFailure = (error: unknown, name: string): Failure => {
    if (error instanceof Failure) return error
    if (error instanceof AssertionError) {
      const fatal = options.onFatal ?? rethrow
      fatal(error)
    } else options.log?.error({ error, call: name }, 'a control call failed unexpectedly')
    return new Failure('INTERNAL', `${name} failed unexpectedly`)
  }

  const unary =
    (name: Exclude<keyof ControlCalls, 'assignments'>) =>
    (incoming: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void => {
      const call = control.calls[name] as unknown as Call<unknown, unknown>
      const handler = handlers[name] as unknown as (request: unknown, context: ControlContext) => Promise<unknown>
      const run = async (): Promise<Buffer> => {
        const request = call.request.read(unpack(incoming.request), name)
        return pack(call.reply.write(await handler(request, { peer: incoming.getPeer() })))
      }
      run().then(
        (reply) => callback(null, reply),
        (error: unknown) => callback(toStatus(toFailure(error, name))),
      )
    }

  const assignments = (outgoing: ServerWritableStream<Buffer, Buffer>): void => {
    const call = control.calls.assignments
    const close = (failure?: Failure): void => {
      if (failure === undefined) outgoing.end()
      else outgoing.emit('error', toStatus(failure))
    }
    const closed = new Promise<void>((resolve) => {
      outgoing.on('cancelled', resolve)
      outgoing.on('close', resolve)
      outgoing.on('finish', resolve)
      outgoing.on('error', () => resolve())
    })
    const send = (reply: ReplyOf<Assignments>): void => {
      if (outgoing.cancelled || outgoing.writableEnded || outgoing.destroyed) return
      if (outgoing.writableLength >= unsentMessagesMax) close(new Failure('OVERLOADED', 'the subscriber is too slow'))
      else outgoing.write(pack(call.reply.write(reply)))
    }
    try {
      const request = call.request.read(unpack(outgoing.request), 'assignments') as RequestOf<Assignments>
      handlers.assignments(request, { send, closed, close }, { peer: outgoing.getPeer() })
    } catch (error) {
      close(toFailure(error, 'assignments'))
    }
  }

  const server = new Server(limits)
  const codec = {
    requestSerialize: asBytes,
    requestDeserialize: asBytes,
    responseSerialize: asBytes,
    responseDeserialize: asBytes,
    requestStream: false,
  }
  for (const name of Object.keys(control.calls) as (keyof ControlCalls)[]) {
    const responseStream = name === 'assignments'
    server.addService(
      { [name]: { ...codec, path: pathOf(name), responseStream } },
      { [name]: name === 'assignments' ? assignments : unary(name) },
    )
  }
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, serverCredentials(), (error, bound) =>
      error === null
        ? resolve(bound)
        : reject(new Failure('UNAVAILABLE', `cannot listen on ${address}: ${error.message}`, { cause: error })),
    )
  })
  return {
    address: `${address.slice(0, address.lastIndexOf(':'))}:${port}`,
    close: async () => server.forceShutdown(),
  }
}

function rethrow(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}

/** One CLDB, without retries: `Cldb` in protocol/cluster/ is what others use. */
export type ControlClient = {
  readonly call: <C extends Call<never, unknown>>(
    call: C,
    request: RequestOf<C>,
    timeoutMs: number,
  ) => Promise<ReplyOf<C>>
  readonly assignments: (
    request: RequestOf<Assignments>,
    onUpdate: (update: ReplyOf<Assignments>) => void,
    onClosed: (failure: Failure) => void,
  ) => { readonly close: () => void }
  readonly close: () => void
}

/** Connects when first called. */
export function controlClient(address: string): ControlClient {
  const client = new Client(address, channelCredentials(), clientOptions)
  return {
    call: (call, request, timeoutMs) =>
      new Promise((resolve, reject) => {
        const name = names.get(call.number) ?? ''
        const deadline: CallOptions = { deadline: Date.now() + timeoutMs }
        const bytes = pack(call.request.write(request as never))
        client.makeUnaryRequest(pathOf(name), asBytes, asBytes, bytes, new Metadata(), deadline, (error, reply) => {
          try {
            if (error !== null) reject(fromStatus(error))
            else resolve(call.reply.read(unpack(reply ?? noBytes), name) as never)
          } catch (failure) {
            reject(failure)
          }
        })
      }),
    assignments: (request, onUpdate, onClosed) => {
      const call = control.calls.assignments
      const bytes = pack(call.request.write(request))
      const stream: ClientReadableStream<Buffer> = client.makeServerStreamRequest(
        pathOf('assignments'),
        asBytes,
        asBytes,
        bytes,
      )
      stream.on('data', (reply: Buffer) => {
        try {
          onUpdate(call.reply.read(unpack(reply), 'assignments'))
        } catch (error) {
          if (!(error instanceof Failure)) throw error
          onClosed(error)
          stream.cancel()
        }
      })
      stream.on('error', (error: ServiceError) => onClosed(fromStatus(error)))
      stream.on('end', () => onClosed(new Failure('UNAVAILABLE', `${address} ended the stream`)))
      return { close: () => stream.cancel() }
    },
    close: () => client.close(),
  }
}

const noBytes = Buffer.alloc(0)
