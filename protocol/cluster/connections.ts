/**
 * One connection for each address, shared by all who call it and made anew when it is gone. Entries stay: there are
 * no more of them than addresses that fileservers ever had.
 */
import { Failure } from '../failures.ts'
import type { Connection, Transport } from '../transport/transport.ts'

/** `live` is there while the connection is open: whoever holds the pooled object sees it come and go. */
export type Pooled = { readonly address: string; live: Connection | undefined }

type Entry = Pooled & { opening: Promise<Connection> | undefined }

export class Connections {
  private readonly transport: Transport
  private readonly entries = new Map<string, Entry>()
  private closed = false

  constructor(transport: Transport) {
    this.transport = transport
  }

  at(address: string): Pooled {
    return this.entry(address)
  }

  /** The live connection, or the one that is being opened for whoever asked first. @throws Failure as `Transport.connect`. */
  open(address: string, timeoutMs: number): Promise<Connection> {
    const entry = this.entry(address)
    if (entry.live !== undefined) return Promise.resolve(entry.live)
    entry.opening ??= this.dial(entry, timeoutMs).finally(() => {
      entry.opening = undefined
    })
    return entry.opening
  }

  close(): void {
    this.closed = true
    for (const { live } of this.entries.values()) live?.close()
  }

  private entry(address: string): Entry {
    let entry = this.entries.get(address)
    if (entry === undefined) {
      entry = { address, live: undefined, opening: undefined }
      this.entries.set(address, entry)
    }
    return entry
  }

  private async dial(entry: Entry, timeoutMs: number): Promise<Connection> {
    const connection = await this.transport.connect(entry.address, timeoutMs)
    if (this.closed) {
      connection.close()
      throw new Failure('UNAVAILABLE', 'the connections were closed')
    }
    entry.live = connection
    void connection.closed.then(() => {
      entry.live = undefined
    })
    return connection
  }
}
