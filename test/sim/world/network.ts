/**
 * A simulated network: ordered lanes between processes, that are slow, stand still behind a partition, and break.
 *
 * What a lane carries arrives in order (TCP); different lanes overtake each other. A message to a process that is over is
 * lost. A partition, of one direction or both, holds messages back until it is healed, as TCP would send them again. Calls may
 * also lose their request or their answer, and a request may come once more, later.
 */
import type { Random } from './random.ts'
import type { Process, Timeline } from './timeline.ts'

export class Lane {
  readonly from: Process
  readonly to: Process
  readonly #network: Network
  readonly #queue: (() => void)[] = []
  #lastMs = 0
  #held = 0
  /** What is on its way arrives after this. */
  #lateMs = 0

  constructor(network: Network, from: Process, to: Process) {
    this.#network = network
    this.from = from
    this.to = to
  }

  send(run: () => void, delayMs = this.#network.delayMs()): void {
    if (!this.from.effect()) return
    this.#queue.push(run)
    this.#schedule(delayMs)
  }

  /** The same, but the sender may be over: the last that its kernel sends. */
  end(run: () => void): void {
    this.#queue.push(run)
    this.#schedule(this.#network.delayMs())
  }

  /** Forgets what has not arrived. */
  drop(): void {
    this.#queue.length = 0
  }

  /** What is on its way takes so much longer: others overtake it. */
  delay(delayMs: number): void {
    this.#lateMs = this.#network.timeline.nowMs + delayMs
  }

  /** What was held back goes on its way. */
  resume(): void {
    for (let held = this.#held; held > 0; held--) this.#schedule(this.#network.delayMs())
    this.#held = 0
  }

  #schedule(delayMs: number): void {
    const { timeline } = this.#network
    this.#lastMs = Math.max(this.#lastMs, timeline.nowMs + delayMs)
    timeline.after(this.#lastMs - timeline.nowMs, this.to, () => {
      if (timeline.nowMs < this.#lateMs && this.#queue.length > 0) {
        timeline.tally.add('messages overtaken')
        this.#schedule(this.#lateMs - timeline.nowMs)
      } else if (this.#network.isCut(this.from.name, this.to.name)) {
        this.#held += 1
        this.#network.hold(this)
      } else this.#queue.shift()?.()
    })
  }
}

export class Network {
  readonly timeline: Timeline
  /** Share of messages that take long, and how long at most. */
  slow = { share: 0.01, mostMs: 50 }
  /** Shares of messages that are lost, and of requests that arrive once more. */
  unsure = { lost: 0, repeated: 0 }
  readonly #random: Random
  /** `from>to` */
  readonly #cut = new Set<string>()
  readonly #held = new Set<Lane>()

  constructor(timeline: Timeline, random: Random) {
    this.timeline = timeline
    this.#random = random
  }

  delayMs(): number {
    const { share, mostMs } = this.slow
    return this.#random.chance(share) ? this.#random.between(1, mostMs) : this.#random.between(0.05, 1)
  }

  loses(): boolean {
    return this.#befalls(this.unsure.lost, 'messages lost')
  }

  repeats(): boolean {
    return this.#befalls(this.unsure.repeated, 'messages repeated')
  }

  #befalls(share: number, name: string): boolean {
    if (share === 0 || !this.#random.chance(share)) return false
    this.timeline.tally.add(name)
    return true
  }

  /** When a message that is repeated arrives again: others overtake it. */
  repeatMs(): number {
    return this.#random.between(0, 2000)
  }

  isCut(from: string, to: string): boolean {
    return this.#cut.has(`${from}>${to}`)
  }

  hold(lane: Lane): void {
    const { from, to } = lane
    this.timeline.tally.add(this.isCut(to.name, from.name) ? 'messages held' : 'messages held one way')
    this.#held.add(lane)
  }

  cut(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`)
  }

  heal(from: string, to: string): void {
    this.#cut.delete(`${from}>${to}`)
    for (const lane of this.#held) {
      if (lane.from.name !== from || lane.to.name !== to) continue
      this.#held.delete(lane)
      lane.resume()
    }
  }

  healAll(): void {
    for (const cut of [...this.#cut]) {
      const [from, to] = cut.split('>')
      this.heal(from!, to!)
    }
  }

  get cuts(): readonly string[] {
    return [...this.#cut]
  }

  /** One message on its own way: it overtakes and is overtaken. */
  post(from: Process, to: Process, run: () => void, delayMs = this.delayMs()): void {
    new Lane(this, from, to).send(run, delayMs)
  }
}
