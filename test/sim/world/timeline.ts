/**
 * Simulated time: a queue of events, and what each process takes for a clock.
 *
 * Every turn runs one event and then all promises that follow from it, so a run depends on the seed alone. An event
 * belongs to a process: it is dropped when the process is over, and waits while the process stands still.
 */
import type { Clock, Timer } from '../../../protocol/clock.ts'
import { Failure, isFailure } from '../../../protocol/failures.ts'
import { hash64 } from '../../../protocol/hash.ts'
import { Tally } from './tally.ts'

/** One life of a server or client: from its start to its end. */
export class Process {
  readonly name: string
  alive = true
  /** Until then it stands still (SIGSTOP, a long collection of garbage). */
  resumesMs = 0
  /** Effects (on its disk, its database, the network) until it ends; Infinity for never. */
  fuse = Number.POSITIVE_INFINITY
  /** Ends it, when the fuse is burnt. */
  onBurnt: () => void = () => {}

  constructor(name: string) {
    this.name = name
  }

  /** To be called before each effect. @returns whether the process lives on to have it. */
  effect(): boolean {
    if (this.alive && --this.fuse < 0) this.onBurnt()
    return this.alive
  }
}

/** What a process that is over runs into when it goes on: nobody sees it. */
export const processOver = (): Failure => new Failure('DISK_FAILED', overText)
export const isProcessOver = (error: unknown): boolean =>
  isFailure(error, 'DISK_FAILED') && error.message.includes(overText)

const overText = 'this process is over'

type Event = {
  readonly timeMs: number
  readonly order: number
  readonly process: Process | undefined
  readonly run: () => void
  cancelled: boolean
}

const before = (a: Event, b: Event): boolean => a.timeMs < b.timeMs || (a.timeMs === b.timeMs && a.order < b.order)

const nextTurn = setImmediate

export class Timeline {
  nowMs = 0
  /** Events that ran. */
  count = 0
  hash = 0n
  readonly tally = new Tally()
  /** Set to print every line of the trace. */
  print: ((line: string) => void) | undefined
  readonly #heap: Event[] = []
  #order = 0

  after(delayMs: number, process: Process | undefined, run: () => void): Timer {
    const timeMs = this.nowMs + Math.max(0, delayMs)
    const event: Event = { timeMs, order: this.#order++, process, run, cancelled: false }
    this.#push(event)
    return {
      cancel: () => {
        event.cancelled = true
      },
    }
  }

  /** Notes what happens: the trace of a run is the hash of its notes. */
  note(line: string): void {
    const whole = `${this.nowMs.toFixed(3)} ${line}`
    this.hash = hash64(Buffer.from(whole), this.hash)
    this.print?.(whole)
  }

  /** Runs events until `untilMs`, or until `done` (asked after every event) says so. @throws what `done` throws. */
  run(untilMs: number, done: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        try {
          if (done()) {
            resolve()
            return
          }
          const event = this.#pop(untilMs)
          if (event === undefined) {
            this.nowMs = untilMs
            resolve()
            return
          }
          this.count += 1
          event.run()
        } catch (error) {
          reject(error)
          return
        }
        nextTurn(turn)
      }
      nextTurn(turn)
    })
  }

  #pop(untilMs: number): Event | undefined {
    for (;;) {
      const top = this.#heap[0]
      if (top === undefined || top.timeMs > untilMs) return undefined
      const last = this.#heap.pop()!
      if (this.#heap.length > 0) this.#sink(last)
      if (top.cancelled || top.process?.alive === false) continue
      if (top.process !== undefined && top.process.resumesMs > top.timeMs) {
        this.#push({ ...top, timeMs: top.process.resumesMs, order: this.#order++ })
        continue
      }
      this.nowMs = top.timeMs
      return top
    }
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.length
    while (at > 0) {
      const parent = (at - 1) >>> 1
      if (!before(event, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = event
  }

  #sink(event: Event): void {
    const heap = this.#heap
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1
      if (!before(heap[child]!, event)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = event
  }
}

/** A machine's idea of time: its oscillator is off, by more or less as it drifts, and its wall clock jumps. */
export class Oscillator {
  wallOffsetMs = 0
  readonly #timeline: Timeline
  #rate: number
  #sinceMs: number
  #readMs = 0

  constructor(timeline: Timeline, rate: number) {
    this.#timeline = timeline
    this.#rate = rate
    this.#sinceMs = timeline.nowMs
  }

  get rate(): number {
    return this.#rate
  }

  drift(rate: number): void {
    this.#readMs = this.readMs
    this.#sinceMs = this.#timeline.nowMs
    this.#rate = rate
  }

  /** Since the machine was switched on. */
  get readMs(): number {
    return this.#readMs + (this.#timeline.nowMs - this.#sinceMs) * this.#rate
  }
}

const epochMs = 1_700_000_000_000

export function clockOf(timeline: Timeline, process: Process, oscillator: Oscillator): Clock {
  return {
    monotonicMs: () => oscillator.readMs + 1000,
    now: () => {
      const ms = epochMs + timeline.nowMs + oscillator.wallOffsetMs
      const seconds = Math.floor(ms / 1000)
      return { seconds, nanoseconds: Math.floor((ms - seconds * 1000) * 1e6) }
    },
    soon: (run) => void timeline.after(0, process, run),
    after: (delayMs, run) => timeline.after(delayMs / oscillator.rate, process, run),
  }
}
