/**
 * What calls were answered that left no record: those that failed, and those that had nothing to change.
 *
 * The network may bring such a call once more after its answer; done then, it could take effect. Pure state of a master
 * in one epoch: a repeat that was sent in another epoch is refused for that. Bounded as the retry table is.
 */
import { type CallNumber, callsKeptMax } from '../../protocol/messages/attributes.ts'

const clientsMax = 1024

export class Unrecorded {
  /** By client, in order of use, the latest last; of each, answers by number. */
  readonly #clients = new Map<number, Map<number, Promise<unknown>>>()

  find({ client, number }: CallNumber): Promise<unknown> | undefined {
    return this.#clients.get(client)?.get(number)
  }

  add<T>({ client, number, oldest }: CallNumber, answer: Promise<T>): Promise<T> {
    const answers = this.#clients.get(client) ?? new Map<number, Promise<unknown>>()
    this.#clients.delete(client)
    this.#clients.set(client, answers)
    answers.set(number, answer)
    for (const known of answers.keys()) {
      if (known >= oldest && answers.size <= callsKeptMax) break
      answers.delete(known)
    }
    const [leastRecent] = this.#clients.keys()
    if (this.#clients.size > clientsMax) this.#clients.delete(leastRecent!)
    return answer
  }

  clear(): void {
    this.#clients.clear()
  }
}
