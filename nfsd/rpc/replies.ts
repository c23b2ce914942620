/**
 * Duplicate request cache: a call that comes twice runs once.
 *
 * Not pure (it holds promises), but without I/O and clock. A client whose connection broke sends its unanswered
 * calls again with the same xid. While the first one still runs, the repetition waits for its answer; afterwards a
 * remembered answer is sent again. Bounded: the oldest answers go first, calls that run are bounded by the server.
 *
 * Source: C. Juszczak, "Improving the Performance and Correctness of an NFS Server", USENIX Winter 1989.
 */
import type { Payload } from '../../protocol/transport/transport.ts'

export type Answered = { readonly reply: Payload; readonly transient: boolean }

export class ReplyCache {
  readonly #answersMax: number
  readonly #running = new Map<string, Promise<Payload>>()
  readonly #answers = new Map<string, Payload>()

  constructor(answersMax: number) {
    this.#answersMax = answersMax
  }

  /**
   * @param key all that tells this call from others: client, xid, procedure, a sum of the arguments.
   * @param remember keep the answer after the call has ended; not kept when it is transient or the run throws.
   */
  answer(key: string, remember: boolean, run: () => Promise<Answered>): Promise<Payload> {
    const known = this.#answers.get(key)
    if (known !== undefined) return Promise.resolve(known)
    const running = this.#running.get(key)
    if (running !== undefined) return running
    const first = this.#run(key, remember, run)
    this.#running.set(key, first)
    return first
  }

  async #run(key: string, remember: boolean, run: () => Promise<Answered>): Promise<Payload> {
    try {
      const { reply, transient } = await run()
      if (remember && !transient) this.#keep(key, reply)
      return reply
    } finally {
      this.#running.delete(key)
    }
  }

  #keep(key: string, reply: Payload): void {
    if (this.#answers.size >= this.#answersMax) {
      const oldest = this.#answers.keys().next()
      if (!oldest.done) this.#answers.delete(oldest.value)
    }
    this.#answers.set(key, reply)
  }
}
