/**
 * Answers that wait for a watermark, and syncs that are shared by all who asked for one.
 *
 * Driver. Bounded by the callers: each one holds a place in a connection's window.
 */
import type { Failure } from '../../protocol/failures.ts'
import type { Sequence } from '../../protocol/ids.ts'
import type { Seen } from '../index/container-index.ts'

type Waiter = { readonly sequence: Sequence; readonly resolve: () => void; readonly reject: (failure: Failure) => void }

export class Waiters {
  #list: Waiter[] = []

  wait(sequence: Sequence): Promise<void> {
    return new Promise((resolve, reject) => this.#list.push({ sequence, resolve, reject }))
  }

  /** Answers in the order of asking; who asked for less than the one before waits with it. */
  advance(to: Sequence): void {
    let count = 0
    while (count < this.#list.length && this.#list[count]!.sequence <= to) count++
    for (const { resolve } of this.#list.splice(0, count)) resolve()
  }

  fail(failure: Failure): void {
    for (const { reject } of this.#list.splice(0)) reject(failure)
  }
}

type Watermarks = { readonly committed: Sequence; readonly received: Sequence }

/**
 * A stable record is settled when it is committed, an unstable one when every member of the quorum received it (step.ts
 * says what both mean).
 */
export class Answers {
  readonly #committed = new Waiters()
  readonly #received = new Waiters()

  /** Settles when the record at `at` may be acknowledged. */
  wait(at: Sequence, stable: boolean): Promise<void> {
    return (stable ? this.#committed : this.#received).wait(at)
  }

  /** @returns nothing when what was seen is settled already. */
  settled({ stable, unstable }: Seen, { committed, received }: Watermarks): Promise<void> | undefined {
    if (stable <= committed && unstable <= received) return undefined
    return Promise.all([
      stable > committed ? this.#committed.wait(stable) : undefined,
      unstable > received ? this.#received.wait(unstable) : undefined,
    ]).then(() => {})
  }

  advance({ committed, received }: Watermarks): void {
    this.#committed.advance(committed)
    this.#received.advance(received)
  }

  fail(failure: Failure): void {
    this.#committed.fail(failure)
    this.#received.fail(failure)
  }
}

type Deferred = { promise: Promise<void>; resolve: () => void; reject: (error: unknown) => void }

function deferred(): Deferred {
  let settle: Omit<Deferred, 'promise'> | undefined
  const promise = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject }
  })
  return { promise, ...settle! }
}

/** Runs one sync at a time; whoever asks while it runs shares the next one. */
export class SharedSync {
  readonly #run: () => Promise<void> | undefined
  readonly #soon: (run: () => void) => void
  #next: Deferred | undefined
  #running = false

  /** @param run syncs everything that was appended before it; undefined when that is done already. */
  constructor(run: () => Promise<void> | undefined, soon: (run: () => void) => void) {
    this.#run = run
    this.#soon = soon
  }

  /** Settles when everything appended so far is durable. */
  request(): Promise<void> {
    if (this.#next === undefined) {
      this.#next = deferred()
      if (!this.#running) this.#start()
    }
    return this.#next.promise
  }

  /** Settles when no sync runs. */
  async idle(): Promise<void> {
    while (this.#running || this.#next !== undefined) await this.request()
  }

  #start(): void {
    this.#running = true
    this.#soon(() => {
      const { resolve, reject } = this.#next!
      this.#next = undefined
      const finished = (settle: () => void): void => {
        this.#running = false
        if (this.#next !== undefined) this.#start()
        settle()
      }
      try {
        const pending = this.#run()
        if (pending === undefined) finished(resolve)
        else
          pending.then(
            () => finished(resolve),
            (error) => finished(() => reject(error)),
          )
      } catch (error) {
        finished(() => reject(error))
      }
    })
  }
}
