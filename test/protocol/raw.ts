/**
 * Frames made by hand, and a socket that sends and shows them: what a peer that breaks the rules is played with.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Decoder, type Frame, type FrameKind, frameBytes, kinds, writeHead } from '../../protocol/transport/frame.ts'
import { pack } from '../../protocol/transport/wire.ts'

export function frameOf(frame: {
  readonly kind: FrameKind
  readonly number?: number
  readonly id?: number
  readonly timeoutMs?: number
  readonly wire: unknown
  readonly payload?: Buffer
}): Buffer {
  const { kind, number = 0, id = 0, timeoutMs = 0, wire, payload = Buffer.alloc(0) } = frame
  const message = pack(wire)
  const head = Buffer.alloc(frameBytes)
  writeHead(head, 0, { kind, number, id, messageBytes: message.length, payloadBytes: payload.length, timeoutMs })
  return Buffer.concat([head, message, payload])
}

export const helloFrame = (cluster = ''): Buffer =>
  frameOf({ kind: kinds.hello, wire: [cluster, 'raw', 16, 1_000_000] })

export type RawPeer = {
  readonly socket: Socket
  readonly frames: Frame[]
  /** Waits until the peer has closed; @returns the failure code of the last frame, if it was a failure of the connection. */
  readonly ended: () => Promise<string | undefined>
}

/** A plain TCP client that decodes what it gets. */
export async function rawPeer(address: string): Promise<RawPeer> {
  const [host, port] = address.split(':')
  const socket = connect(Number(port), host)
  const frames: Frame[] = []
  const decoder = new Decoder('keep', (frame) => frames.push(frame))
  socket.on('data', (bytes) => decoder.push(bytes as Buffer))
  socket.on('error', () => undefined)
  const closed = once(socket, 'close')
  await once(socket, 'connect')
  return {
    socket,
    frames,
    ended: async () => {
      await closed
      const last = frames.at(-1)
      return last?.kind === kinds.failure && last.id === 0 ? (last.wire as string[])[0] : undefined
    },
  }
}
