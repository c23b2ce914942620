/**
 * Calls to the container in a fid: plain ones, and ones that change something and so carry a ticket.
 *
 * Retries are below, in `Containers`.
 */
import type { Containers } from '../../protocol/cluster/containers.ts'
import type { ContainerId } from '../../protocol/ids.ts'
import type { Ticket } from '../../protocol/messages/attributes.ts'
import type { Call, ReplyOf, RequestOf } from '../../protocol/messages/service.ts'
import type { Answer, CallOptions, Payload } from '../../protocol/transport/transport.ts'
import type { Tickets } from './tickets.ts'

/**
 * Waits for all parts of a call, then throws the first failure, if any: a part that is still under way would write over what
 * its caller does next.
 */
export async function together<T extends readonly unknown[]>(
  parts: T,
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(parts)
  return Promise.all(parts)
}

export class Remote {
  readonly timeoutMs: number
  readonly #containers: Containers
  readonly #tickets: Tickets
  readonly #options: CallOptions

  constructor(containers: Containers, tickets: Tickets, timeoutMs: number) {
    this.timeoutMs = timeoutMs
    this.#containers = containers
    this.#tickets = tickets
    this.#options = { timeoutMs }
  }

  /** `into`: see `CallOptions`. */
  call<C extends Call<never, unknown>>(
    container: ContainerId,
    call: C,
    request: RequestOf<C>,
    into?: Uint8Array,
  ): Promise<Answer<ReplyOf<C>>> {
    const options = into === undefined ? this.#options : { timeoutMs: this.timeoutMs, into }
    return this.#containers.call(container, call, () => request, options)
  }

  /** `request` is made with the ticket under which it goes; its retries go under the same number. */
  change<C extends Call<never, unknown>>(
    container: ContainerId,
    call: C,
    request: (ticket: Ticket) => RequestOf<C>,
    payload?: Payload,
  ): Promise<Answer<ReplyOf<C>>> {
    const options = payload === undefined ? this.#options : { timeoutMs: this.timeoutMs, payload }
    return this.#tickets.run(container, (number) =>
      this.#containers.call(container, call, (epoch) => request({ ...number, epoch }), options),
    )
  }
}
