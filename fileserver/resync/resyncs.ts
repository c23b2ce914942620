/**
 * All resyncs of a server, as source and as target: who may begin, how fast they go, how far they are.
 *
 * Driver of throttle.ts, queue.ts and progress.ts; one for each fileserver, shared by all containers. Only what brings
 * a resyncing replica up counts here: in-sync replicas that are matched after a failover neither wait nor are slowed.
 * A resync that waits holds nothing but its place: neither records nor segments are kept for it.
 */
import type { Clock } from '../../protocol/clock.ts'
import { Failure } from '../../protocol/failures.ts'
import type { ContainerId, ServerId } from '../../protocol/ids.ts'
import { stuckMax } from '../../protocol/messages/control.ts'
import { Progress } from './progress.ts'
import { nextTurn, Places } from './queue.ts'
import { type Bucket, emptyBucket, Foreground, resyncRate, take } from './throttle.ts'

export type ResyncLimits = {
  /** 0: no fixed limit. */
  readonly resyncInBytesPerSecond: number
  readonly resyncOutBytesPerSecond: number
  /** From here at a time. */
  readonly resyncsMax: number
  /** A replica that has not followed for so long is told of. */
  readonly stuckAfterMs: number
}

/** To here at a time, for each from here: several sources have their turns, and share what comes in. */
const admittedEach = 2
/** A target that has heard nothing of a resync for this long lets another one in. */
const forgottenMs = 10_000
/** As many as a heartbeat carries. */
const toldMax = 256

/** A resync that waits for its turn, or has it. */
type Entry = {
  readonly container: ContainerId
  readonly target: ServerId
  readonly copies: () => number
  readonly sinceMs: number
  readonly progress: Progress
  readonly start: (granted: boolean) => void
}

/** The right to bring up one replica. */
export type Turn = {
  /** Settles when it is this one's turn; with false when it ended before. */
  readonly granted: Promise<boolean>
  readonly progress: Progress
  /** Done, or given up. May be called again. */
  readonly end: () => void
}

export class Resyncs {
  readonly #clock: Clock
  readonly #limits: ResyncLimits
  readonly #foreground = new Foreground()
  readonly #places: Places
  readonly #waiting = new Set<Entry>()
  readonly #running = new Set<Entry>()
  /** Since when replicas that should be brought up do not follow. */
  readonly #failingMs = new Map<ContainerId, Map<ServerId, number>>()
  #in: Bucket = emptyBucket
  #out: Bucket = emptyBucket

  constructor(clock: Clock, limits: ResyncLimits) {
    this.#clock = clock
    this.#limits = limits
    this.#places = new Places(limits.resyncsMax * admittedEach, forgottenMs)
  }

  /** An operation for a client, or for another in-sync replica: resync gives way to those. */
  foreground(bytes: number): void {
    this.#foreground.note(bytes, this.#clock.monotonicMs())
  }

  /** @returns how long, in ms, what is sent to resyncing replicas has to wait. */
  sends(bytes: number): number {
    const { resyncOutBytesPerSecond: limit } = this.#limits
    const { bucket, waitMs } = this.#take(this.#out, bytes, limit)
    this.#out = bucket
    return waitMs
  }

  /** @returns how long, in ms, to wait before more is taken. */
  receives(bytes: number): number {
    const { resyncInBytesPerSecond: limit } = this.#limits
    const { bucket, waitMs } = this.#take(this.#in, bytes, limit)
    this.#in = bucket
    return waitMs
  }

  /** Lets a container be resynced to this server. @throws Failure OVERLOADED when as many as may be are under way. */
  admit(container: ContainerId): void {
    if (!this.#places.take(container, this.#clock.monotonicMs()))
      throw new Failure('OVERLOADED', 'as many replicas as may be are being brought up here already')
  }

  /** The container's replica here is not being brought up any more. */
  left(container: ContainerId): void {
    this.#places.leave(container)
  }

  /**
   * Asks for the turn to bring up the container's replica on `target`.
   * @param copies how many whole replicas there are: those with few go first.
   */
  turn(container: ContainerId, target: ServerId, copies: () => number): Turn {
    const nowMs = this.#clock.monotonicMs()
    const progress = new Progress(nowMs)
    let start: (granted: boolean) => void = () => {}
    const granted = new Promise<boolean>((resolve) => {
      start = resolve
    })
    const entry: Entry = { container, target, copies, sinceMs: nowMs, progress, start }
    this.#waiting.add(entry)
    this.#begin()
    const end = (): void => {
      if (this.#waiting.delete(entry)) entry.start(false)
      else if (this.#running.delete(entry)) this.#begin()
    }
    return { granted, progress, end }
  }

  /** The container's replica on `target` does not follow, and not for want of room or of a place there. */
  fails(container: ContainerId, target: ServerId): void {
    const failing = this.#failingMs.get(container) ?? new Map<ServerId, number>()
    this.#failingMs.set(container, failing)
    if (!failing.has(target)) failing.set(target, this.#clock.monotonicMs())
  }

  /** It follows. */
  follows(container: ContainerId, target: ServerId): void {
    this.#failingMs.get(container)?.delete(target)
  }

  /** This server does not lead the container any more, or in another epoch. */
  ends(container: ContainerId): void {
    this.#failingMs.delete(container)
  }

  /** As the heartbeat tells it. */
  status() {
    const nowMs = this.#clock.monotonicMs()
    const resyncs = [...this.#running].slice(0, toldMax).map(({ container, target, progress }) => {
      const { doneBytes, totalBytes } = progress
      return { container, target, doneBytes, totalBytes, bytesPerSecond: progress.bytesPerSecond(nowMs) }
    })
    return { resyncs, resyncsWaiting: this.#waiting.size, stuck: this.#stuck(nowMs) }
  }

  #stuck(nowMs: number) {
    const isLate = ([, sinceMs]: [ServerId, number]): boolean => nowMs - sinceMs >= this.#limits.stuckAfterMs
    const late = [...this.#failingMs].flatMap(([container, failing]) =>
      [...failing].filter(isLate).map(([target]) => ({ container, target })),
    )
    if (late.length === 0) return late
    // What has its turn, or waits for it, may be all right now.
    const key = ({ container, target }: { container: ContainerId; target: ServerId }): string =>
      `${container} ${target}`
    const tried = new Set([...this.#waiting, ...this.#running].map(key))
    return late.filter((replica) => !tried.has(key(replica))).slice(0, stuckMax)
  }

  #take(bucket: Bucket, bytes: number, limit: number) {
    const nowMs = this.#clock.monotonicMs()
    return take(bucket, bytes, resyncRate(limit, this.#foreground.bytesPerSecond(nowMs)), nowMs)
  }

  #begin(): void {
    while (this.#running.size < this.#limits.resyncsMax) {
      const entry = nextTurn([...this.#waiting], [...this.#running])
      if (entry === undefined) return
      this.#waiting.delete(entry)
      this.#running.add(entry)
      entry.start(true)
    }
  }
}
