/**
 * What calls were answered that left no record: those that failed, and those that had nothing to change.
 *
 * The network may bring such a call once more after its answer; done then, it could take effect. Pure state of a master
 * in one epoch: a repeat that was sent in another epoch is refused for that. Bounded as the retry table is.
 */
import { type CallNumber, callsKeptMax } from '../../protocol/messages/attributes.ts'

const clientsMax = 1024

type Calls = { oldest: number; readonly answers: Map<number, Promise<unknown>> }

export class Unrecorded {
  /** By client, in order of use, the latest last; of each, answers by number. */
  readonly #clients = new Map<number, Calls>()

  find({ client, number }: CallNumber): Promise<unknown> | undefined {
    return this.#clients.get(client)?.answers.get(number)
  }

  /** Whether the client no longer waits for the call: its answer may be forgotten. */
  isOver({ client, number }: CallNumber): boolean {
    return number < (this.#clients.get(client)?.oldest ?? 0)
  }

  add<T>({ client, number, oldest }: CallNumber, answer: Promise<T>): Promise<T> {
    const calls: Calls = this.#clients.get(client) ?? { oldest: 0, answers: new Map() }
    this.#clients.delete(client)
    this.#clients.set(client, calls)
    calls.oldest = Math.max(calls.oldest, oldest)
    calls.answers.set(number, answer)
    for (const known of calls.answers.keys()) {
      if (known >= calls.oldest) break
      calls.answers.delete(known)
    }
    if (calls.answers.size > callsKeptMax) prune(calls)
    const [leastRecent] = this.#clients.keys()
    if (this.#clients.size > clientsMax) this.#clients.delete(leastRecent!)
    return answer
  }

  clear(): void {
    this.#clients.clear()
  }
}

/** Calls come in any order: those that are over first, then, of a client that waits for too many, the longest known. */
function prune({ oldest, answers }: Calls): void {
  for (const number of answers.keys()) if (number < oldest) answers.delete(number)
  for (const number of answers.keys()) {
    if (answers.size <= callsKeptMax) break
    answers.delete(number)
  }
}
