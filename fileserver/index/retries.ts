/**
 * What each client's latest calls did, so that a repeated call is answered and not done again (DESIGN §4, rule 10).
 *
 * Pure state. Bounded: `callsKeptMax` calls a client, 1,024 clients (after a start or a rollback 1,536), the least recent forgotten.
 * A client's calls follow from what was added, in whatever order: those from the highest `oldest` on, and of them the
 * `callsKeptMax` highest. So they are the same when some were moved in the log (cleaning/).
 */
import { read53, write53 } from '../../protocol/bytes.ts'
import { type CallNumber, callsKeptMax } from '../../protocol/messages/attributes.ts'

const clientsMax = 1024
/** Clients that have called since the start, or a rollback, before one that has not is forgotten. */
const silentMin = 512
const entryBytes = 16

type Done = { readonly result: number; readonly sequence: number; readonly stable: boolean }
/** `done` may hold calls below `oldest`, which count as forgotten, until there are too many. */
type Calls = { oldest: number; readonly done: Map<number, Done> }

export class Retries {
  /** In order of use, the latest last. */
  readonly #clients = new Map<number, Calls>()
  /** Clients that are stored and have not called since, those to be forgotten first at the end. */
  readonly #silent: number[]
  readonly #load: (client: number) => Uint8Array | undefined

  /**
   * @param load what `encode` gave for the client when it was last stored.
   * @param stored clients of which something is stored.
   */
  constructor(load: (client: number) => Uint8Array | undefined, stored: readonly number[] = []) {
    this.#load = load
    this.#silent = [...stored]
  }

  /** @returns what the call did, when it was done before; `sequence` is 0 when it is surely committed. */
  find({ client, number }: Pick<CallNumber, 'client' | 'number'>): Done | undefined {
    const { oldest, done } = this.#clients.get(client) ?? this.#stored(client)
    return number >= oldest ? done.get(number) : undefined
  }

  /** Whether the client no longer waits for the call: it must not be done, as nobody knows whether it was. */
  isOver({ client, number }: Pick<CallNumber, 'client' | 'number'>): boolean {
    return number < (this.#clients.get(client) ?? this.#stored(client)).oldest
  }

  /** @returns a client that is forgotten in exchange, if any. */
  add(ticket: CallNumber, what: Done): number | undefined {
    const calls = this.#calls(ticket.client)
    const { done } = calls
    if (ticket.oldest > calls.oldest) calls.oldest = ticket.oldest
    if (ticket.number >= calls.oldest && !done.has(ticket.number)) done.set(ticket.number, what)
    for (const number of done.keys()) {
      if (number >= calls.oldest) break
      done.delete(number)
    }
    if (done.size > callsKeptMax) prune(calls)
    const { size } = this.#clients
    // Who is silent may only be slow: it stays until as many others have called.
    if (size + this.#silent.length <= clientsMax || (this.#silent.length > 0 && size <= silentMin)) return undefined
    const silent = this.#silent.pop()
    if (silent !== undefined) return silent
    const [forgotten] = this.#clients.keys()
    this.#clients.delete(forgotten!)
    return forgotten
  }

  /** The calls up to `committed` of a client that has called, to be stored; nothing when it was forgotten. */
  encode(client: number, committed: number): Buffer | undefined {
    const calls = this.#clients.get(client)
    if (calls === undefined) return undefined
    const { oldest, done } = calls
    const known = [...done]
      .filter(([number, { sequence }]) => number >= oldest && sequence <= committed)
      .sort(([a], [b]) => a - b)
    const bytes = Buffer.allocUnsafe(8 + known.length * entryBytes)
    write53(bytes, oldest, 0)
    for (const [i, [number, { result }]] of known.entries()) {
      write53(bytes, number, 8 + i * entryBytes)
      write53(bytes, result, 16 + i * entryBytes)
    }
    return bytes
  }

  /** From now on only what is stored counts. */
  clear(): void {
    this.#silent.unshift(...[...this.#clients.keys()].reverse())
    this.#clients.clear()
  }

  #calls(client: number): Calls {
    const known = this.#clients.get(client)
    if (known !== undefined && this.#clients.size <= clientsMax / 2) return known
    const calls = known ?? this.#stored(client)
    this.#clients.delete(client)
    this.#clients.set(client, calls)
    const silent = known === undefined ? this.#silent.indexOf(client) : -1
    if (silent >= 0) this.#silent.splice(silent, 1)
    return calls
  }

  #stored(client: number): Calls {
    const done = new Map<number, Done>()
    const stored = this.#load(client)
    if (stored === undefined) return { oldest: 0, done }
    const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength)
    for (let at = 8; at < bytes.length; at += entryBytes)
      done.set(read53(bytes, at), { result: read53(bytes, at + 8), sequence: 0, stable: true })
    return { oldest: read53(bytes, 0), done }
  }
}

/** @returns the client of a stored key's last 8 bytes. */
export const clientOfKey = (key: Uint8Array): number => read53(Buffer.from(key), key.length - 8)

/** Leaves the highest calls, as many as are kept. */
function prune({ oldest, done }: Calls): void {
  const numbers = [...done.keys()].sort((a, b) => b - a)
  for (const [i, number] of numbers.entries()) if (i >= callsKeptMax || number < oldest) done.delete(number)
}
