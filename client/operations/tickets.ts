/**
 * Tickets: what makes a retried call take effect exactly once.
 *
 * Pure but for its own counters. A call's number is higher than that of every earlier one; `oldest` is the lowest
 * number still unanswered by the same container, below which it may forget. It remembers `callsKeptMax` calls of each
 * client, so no call is sent that is further from the oldest: it waits, as do those beyond `inFlightMax`, in turn.
 */
import type { ClientId, ContainerId } from '../../protocol/ids.ts'
import { type CallNumber, callsKeptMax } from '../../protocol/messages/attributes.ts'

/** Calls to one container under way at once. */
export const inFlightMax = 200

type Lane = {
  /** The numbers from the oldest unanswered one on, ascending. */
  readonly opened: number[]
  readonly unanswered: Set<number>
  readonly waiting: ((number: number) => void)[]
}

export class Tickets {
  readonly #client: ClientId
  readonly #lanes = new Map<ContainerId, Lane>()
  #last = 0

  constructor(client: ClientId) {
    this.#client = client
  }

  /** Calls `send` with a new number for `container` once one is free, and holds it until `send` settles. */
  async run<T>(container: ContainerId, send: (number: CallNumber) => Promise<T>): Promise<T> {
    let lane = this.#lanes.get(container)
    if (lane === undefined) {
      lane = { opened: [], unanswered: new Set(), waiting: [] }
      this.#lanes.set(container, lane)
    }
    const number = hasRoom(lane) ? this.#open(lane) : await this.#turn(lane)
    try {
      return await send({ client: this.#client, number, oldest: lane.opened[0]! })
    } finally {
      this.#close(container, lane, number)
    }
  }

  #open({ opened, unanswered }: Lane): number {
    const number = ++this.#last
    opened.push(number)
    unanswered.add(number)
    return number
  }

  #turn({ waiting }: Lane): Promise<number> {
    return new Promise((resolve) => waiting.push(resolve))
  }

  /** Who waits takes a number as soon as there is room, so that no newcomer can take the place. */
  #close(container: ContainerId, lane: Lane, number: number): void {
    const { opened, unanswered, waiting } = lane
    unanswered.delete(number)
    while (opened.length > 0 && !unanswered.has(opened[0]!)) opened.shift()
    while (waiting.length > 0 && hasRoom(lane)) waiting.shift()!(this.#open(lane))
    if (unanswered.size === 0) this.#lanes.delete(container)
  }
}

const hasRoom = ({ opened, unanswered }: Lane): boolean => unanswered.size < inFlightMax && opened.length < callsKeptMax
