/**
 * What each client's latest calls did, so that a repeated call is answered and not done again (DESIGN §4, rule 10).
 *
 * Pure state. Bounded: 256 calls a client (the SDK keeps fewer in flight), 1,024 clients, the least recent forgotten.
 */
import { read53, write53 } from '../../protocol/bytes.ts'
import type { Ticket } from '../../protocol/messages/attributes.ts'

const callsMax = 256
const clientsMax = 1024
const entryBytes = 16

type Done = { readonly result: number; readonly sequence: number; readonly stable: boolean }
type Calls = Map<number, Done>

export class Retries {
  /** In order of use, the latest last. */
  readonly #clients = new Map<number, Calls>()
  readonly #load: (client: number) => Uint8Array | undefined

  /** @param load what `encode` gave for the client when it was last stored. */
  constructor(load: (client: number) => Uint8Array | undefined) {
    this.#load = load
  }

  /** @returns what the call did, when it was done before; `sequence` is 0 when it is surely committed. */
  find(ticket: Ticket): Done | undefined {
    return (this.#clients.get(ticket.client) ?? this.#stored(ticket.client)).get(ticket.number)
  }

  /** @returns a client that is forgotten in exchange, if any. */
  add(ticket: Ticket, done: Done): number | undefined {
    const calls = this.#calls(ticket.client)
    calls.set(ticket.number, done)
    for (const number of calls.keys()) {
      if (number >= ticket.oldest && calls.size <= callsMax) break
      calls.delete(number)
    }
    if (this.#clients.size <= clientsMax) return undefined
    const [forgotten] = this.#clients.keys()
    this.#clients.delete(forgotten!)
    return forgotten
  }

  /** The client's calls up to `committed`, to be stored. */
  encode(client: number, committed: number): Buffer {
    const done = [...(this.#clients.get(client) ?? [])].filter(([, { sequence }]) => sequence <= committed)
    const bytes = Buffer.allocUnsafe(done.length * entryBytes)
    for (const [i, [number, { result }]] of done.entries()) {
      write53(bytes, number, i * entryBytes)
      write53(bytes, result, i * entryBytes + 8)
    }
    return bytes
  }

  clear(): void {
    this.#clients.clear()
  }

  #calls(client: number): Calls {
    const known = this.#clients.get(client)
    if (known !== undefined && this.#clients.size <= clientsMax / 2) return known
    const calls = known ?? this.#stored(client)
    this.#clients.delete(client)
    this.#clients.set(client, calls)
    return calls
  }

  #stored(client: number): Calls {
    const calls: Calls = new Map()
    const stored = this.#load(client) ?? new Uint8Array()
    const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength)
    for (let at = 0; at < bytes.length; at += entryBytes)
      calls.set(read53(bytes, at), { result: read53(bytes, at + 8), sequence: 0, stable: true })
    return calls
  }
}
