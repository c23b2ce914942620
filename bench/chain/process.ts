/**
 * One process of the bare chain (see chain.ts): a stage, or the client that feeds the first one.
 *
 * Not pure. Who receives is the one that connects, because Node.js lets only a connecting socket say where its bytes
 * are to be read to (`onread`): straight into the buffers of whole messages, which are used again. Messages have one
 * fixed size, so the stream needs no framing. A message's acknowledgement is one byte; the client keeps at most
 * `window` messages unacknowledged, which bounds what any stage holds. The client ends its side after the last
 * message, and a stage ends its own once everything behind it is written: that is the final acknowledgement. An error
 * ends the process, and with it the measurement.
 */
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { constants, type FileHandle, open } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { payloadSums } from '../../protocol/hash.ts'
import { serve } from '../worker.ts'

const messageBytes = 1024 * 1024
const window = 16
const acknowledgement = Buffer.alloc(1)

/** `source`: port of the process before this one. `sync`: fdatasync at the end. */
export type Stage = { readonly source: number; readonly file: string; readonly sync: boolean }

/** The process behind this one, once it has connected. */
let accepted: Promise<Socket> | undefined
/** Buffers of acknowledged messages: memory that was touched before is faster. */
const free: Buffer[] = []

const tasks = {
  /** Listens for the one process behind this one; returns the port. */
  listen: async (_: object): Promise<number> => {
    const server = createServer({ noDelay: true, allowHalfOpen: true })
    accepted = once(server, 'connection').then(([socket]) => {
      server.close()
      return socket as Socket
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as { port: number }).port
  },

  /** Relays from the source until it ends; returns once connected. A stage that was not told to listen is the last. */
  start: async ({ source, file, sync }: Stage): Promise<void> => {
    const target = await accepted
    const handle = await open(file, constants.O_RDWR | constants.O_CREAT)
    await relay(source, handle, target, sync)
  },

  /** Sends `messages` and waits for the final acknowledgement. */
  send: async ({ messages }: { readonly messages: number }) => {
    const target = await accepted!
    const message = randomFillSync(Buffer.allocUnsafe(messageBytes))
    const begin = performance.now()
    let sent = 0
    let acknowledged = 0
    const fill = (): void => {
      for (; sent < Math.min(acknowledged + window, messages); sent++) target.write(message)
      if (sent === messages && !target.writableEnded) target.end()
    }
    target.on('data', (piece) => {
      acknowledged += piece.length
      fill()
    })
    fill()
    await once(target, 'end')
    if (acknowledged !== messages) throw new Error(`${acknowledged} of ${messages} messages came through`)
    return { bytes: sent * messageBytes, seconds: (performance.now() - begin) / 1000 }
  },
}

export type StageTasks = typeof tasks

/** Hashes, writes, forwards and acknowledges messages. */
async function relay(port: number, handle: FileHandle, target: Socket | undefined, sync: boolean): Promise<void> {
  const writes: Promise<void>[] = []
  const busy: Buffer[] = []
  /** Of messages that were written before one that came earlier. */
  const stored = new Set<number>()
  let written = 0
  let forwarded = target === undefined ? Number.POSITIVE_INFINITY : 0
  let acknowledged = 0
  const acknowledge = (): void => {
    for (; acknowledged < Math.min(written, forwarded); acknowledged++) {
      source.write(acknowledgement)
      free.push(busy.shift()!)
    }
  }
  target?.on('data', (piece) => {
    forwarded += piece.length
    acknowledge()
  })
  const finished = target === undefined ? undefined : once(target, 'close')

  const store = async (message: Buffer, index: number): Promise<void> => {
    const { bytesWritten } = await handle.write(message, 0, messageBytes, index * messageBytes)
    if (bytesWritten !== messageBytes) throw new Error(`${bytesWritten} bytes of a message were written`)
    stored.add(index)
    while (stored.delete(written)) written++
    acknowledge()
  }

  let message = free.pop() ?? Buffer.allocUnsafeSlow(messageBytes)
  let held = 0
  const receive = (bytes: number): boolean => {
    const part = message.subarray(held, held + bytes)
    held += bytes
    target?.write(part)
    if (held === messageBytes) {
      busy.push(message)
      writes.push(store(message, writes.length))
      payloadSums([message], messageBytes)
      message = free.pop() ?? Buffer.allocUnsafeSlow(messageBytes)
      held = 0
    }
    return true
  }
  const source = connect({
    port,
    host: '127.0.0.1',
    noDelay: true,
    allowHalfOpen: true,
    onread: { buffer: () => message.subarray(held), callback: receive },
  })
  await once(source, 'connect')
  source.on('end', async () => {
    target?.end()
    await Promise.all([...writes, finished])
    if (sync) await handle.datasync()
    source.end()
    await handle.close()
  })
}

serve(tasks)
