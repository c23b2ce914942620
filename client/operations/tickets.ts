/**
 * Tickets: what makes a retried call take effect exactly once.
 *
 * Pure but for its own counters. A call's number is higher than that of every earlier one; `oldest` is the lowest
 * number still unanswered by the same container, below which its retry table may forget. That table holds 256
 * answers for each client, so at most `inFlightMax` calls to one container are under way; more wait in turn.
 */
import type { ClientId, ContainerId } from '../../protocol/ids.ts'
import type { Ticket } from '../../protocol/messages/attributes.ts'

/** Below the 256 answers that a container keeps for each client, with room for calls that were given up. */
export const inFlightMax = 200

/** `unanswered` in ascending order (a Set keeps the order of insertion). */
type Lane = { readonly unanswered: Set<number>; readonly waiting: (() => void)[] }

export class Tickets {
  readonly #client: ClientId
  readonly #lanes = new Map<ContainerId, Lane>()
  #last = 0

  constructor(client: ClientId) {
    this.#client = client
  }

  /** Calls `send` with a new ticket for `container` once one is free, and holds the ticket until `send` settles. */
  async run<T>(container: ContainerId, send: (ticket: Ticket) => Promise<T>): Promise<T> {
    let lane = this.#lanes.get(container)
    if (lane === undefined) {
      lane = { unanswered: new Set(), waiting: [] }
      this.#lanes.set(container, lane)
    }
    const { unanswered, waiting } = lane
    const number = unanswered.size < inFlightMax ? this.#open(unanswered) : await this.#turn(lane)
    try {
      return await send({ client: this.#client, number, oldest: unanswered.values().next().value ?? number })
    } finally {
      unanswered.delete(number)
      waiting.shift()?.()
      if (unanswered.size === 0) this.#lanes.delete(container)
    }
  }

  #open(unanswered: Set<number>): number {
    const number = ++this.#last
    unanswered.add(number)
    return number
  }

  /** The number is taken when a place becomes free, not later, so that no newcomer can take the place. */
  #turn({ unanswered, waiting }: Lane): Promise<number> {
    return new Promise((resolve) => waiting.push(() => resolve(this.#open(unanswered))))
  }
}
