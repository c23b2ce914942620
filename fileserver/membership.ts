/**
 * The fileserver's place in the cluster: registers with the CLDB, keeps its lease, takes assignments.
 *
 * Driver. The lease ends, by our own monotonic clock, `leaseMs` after a heartbeat was sent; the CLDB counts from when it
 * arrived, and longer (DESIGN §4, rule 3).
 */

import { pause } from '../protocol/cluster/backoff.ts'
import type { Cldb, Subscription } from '../protocol/cluster/cldb.ts'
import { Failure, isFailure } from '../protocol/failures.ts'
import type { ContainerId, ServerId } from '../protocol/ids.ts'
import type { Location } from '../protocol/messages/attributes.ts'
import { control, damagedMax } from '../protocol/messages/control.ts'
import type { Environment } from './replica/environment.ts'
import type { Replicas } from './replicas.ts'

const { register, heartbeat } = control.calls
const sizesMax = 1000
const registerTimeoutMs = 3_000
const locateTimeoutMs = 2_000
const againMs = 200

export type Presence = {
  readonly address: string
  readonly topology: string
  readonly incarnation: number
  readonly cluster: string
}

export class Membership {
  readonly #environment: Environment
  readonly #cldb: Cldb
  readonly #replicas: Replicas
  readonly #presence: Presence
  readonly #onLocation: (location: Location) => void
  readonly #sizes = new Map<ContainerId, number>()
  #leasedUntilMs = Number.NEGATIVE_INFINITY
  #leaseMs = 0
  #heartbeatMs = 0
  #attempt = 0
  #subscription: Subscription | undefined
  /** The first assignments of the subscription are carried out. */
  #heard = false
  /** What is being carried out of the assignments. */
  readonly #assigning = new Set<Promise<void>>()
  #closed = false

  constructor(
    environment: Environment,
    cldb: Cldb,
    replicas: Replicas,
    presence: Presence,
    onLocation: (location: Location) => void,
  ) {
    this.#environment = environment
    this.#cldb = cldb
    this.#replicas = replicas
    this.#presence = presence
    this.#onLocation = onLocation
  }

  get leased(): boolean {
    return this.#environment.clock.monotonicMs() < this.#leasedUntilMs
  }

  /**
   * Registers, waiting for the CLDB as long as it takes, and stays registered from then on.
   * @returns the cluster's id. @throws Failure WRONG_CLUSTER, or any other that waiting does not cure.
   */
  async join(): Promise<string> {
    const cluster = await this.#register()
    void this.#keep()
    return cluster
  }

  /**
   * What the CLDB says of a container; from then on its servers can be reached. @throws Failure NOT_READY before the CLDB has
   * taken up our registration: it may then name us without knowing what we have made since, and nobody would ever remove that.
   */
  async locate(container: ContainerId): Promise<Location | undefined> {
    if (!this.#heard) throw new Failure('NOT_READY', 'the CLDB has not heard of this process yet')
    const { locations } = await this.#cldb.call(control.calls.locate, { containers: [container] }, locateTimeoutMs)
    for (const location of locations) this.#onLocation(location)
    return locations[0]
  }

  /** Whether a container's configuration names this server. @throws Failure as `locate` does. */
  async isNamed(container: ContainerId): Promise<boolean> {
    const location = await this.locate(container)
    return [...(location?.inSync ?? []), ...(location?.resyncing ?? [])].includes(this.#environment.self)
  }

  close(): void {
    this.#closed = true
    this.#subscription?.close()
  }

  async #register(): Promise<string> {
    const { clock, self, disk, log } = this.#environment
    // What we were told until now is done before we say what we hold: of a replica that is made later nobody would know.
    this.#unsubscribe()
    await Promise.all(this.#assigning)
    if (this.#closed) throw new Failure('NOT_READY', 'shutting down')
    for (;;) {
      const sentMs = clock.monotonicMs()
      try {
        const request = {
          ...this.#presence,
          ...disk.space(),
          server: self,
          attempt: ++this.#attempt,
          ...this.#replicas.registered(),
        }
        const reply = await this.#cldb.call(register, request, registerTimeoutMs)
        this.#heartbeatMs = reply.heartbeatMs
        this.#leaseMs = reply.leaseMs
        // A CLDB that was started anew may have been told to give shorter ones.
        this.#leasedUntilMs = Math.min(this.#leasedUntilMs, sentMs + reply.leaseMs)
        this.#sizes.clear()
        this.#subscribe(sentMs)
        return reply.cluster
      } catch (error) {
        if (!isFailure(error) || error.row.retry === 'never' || this.#closed) throw error
        log.info({ error }, 'waiting for the CLDB')
        await pause(clock, againMs)
      }
    }
  }

  async #keep(): Promise<void> {
    const { clock, self, log } = this.#environment
    while (!this.#closed) {
      await pause(clock, this.#heartbeatMs)
      const sentMs = clock.monotonicMs()
      try {
        const { handOver } = await this.#cldb.call(heartbeat, this.#heartbeat(self), Math.max(this.#heartbeatMs, 100))
        if (this.#subscription === undefined) this.#subscribe(sentMs)
        else if (this.#heard) this.#leasedUntilMs = sentMs + this.#leaseMs
        for (const { container, epoch } of handOver) void this.#replicas.giveWay(container, epoch)
      } catch (error) {
        if (this.#closed) return
        if (!isFailure(error)) throw error
        if (error.failure === 'CONFLICT') await this.#registerAgain()
        else log.debug({ error }, 'a heartbeat got no answer')
      }
    }
  }

  async #registerAgain(): Promise<void> {
    try {
      await this.#register()
    } catch (error) {
      if (!this.#closed) throw error
    }
  }

  #heartbeat(server: ServerId) {
    const { environment, presence } = { environment: this.#environment, presence: this.#presence }
    const sizes: { container: ContainerId; sizeBytes: number }[] = []
    for (const { container, core, storage } of this.#replicas.all()) {
      const { sizeBytes } = storage.log
      if (core.role !== 'master' || this.#sizes.get(container) === sizeBytes || sizes.length === sizesMax) continue
      this.#sizes.set(container, sizeBytes)
      sizes.push({ container, sizeBytes })
    }
    const { incarnation } = presence
    return {
      server,
      incarnation,
      ...environment.disk.space(),
      full: environment.full(),
      counters: { ...environment.counters },
      sizes,
      ...environment.resyncs.status(),
      damaged: this.#replicas.damaged().slice(-damagedMax),
    }
  }

  /**
   * Asks for assignments. The lease counts only from when the first of them are carried out: while we were away
   * others may have become masters of what we led.
   */
  #subscribe(sentMs: number): void {
    this.#unsubscribe()
    const request = { server: this.#environment.self, incarnation: this.#presence.incarnation }
    const subscription = this.#cldb.assignments(request, ({ locations, discard }) => {
      if (this.#subscription !== subscription) return
      for (const location of locations) this.#onLocation(location)
      const assigned = locations.map((location) => this.#assign(location))
      for (const container of discard) void this.#carryOut(this.#replicas.discard(container), container)
      if (this.#heard) return
      void Promise.all(assigned).then(() => {
        if (this.#subscription !== subscription) return
        this.#heard = true
        this.#leasedUntilMs = sentMs + this.#leaseMs
      })
    })
    this.#subscription = subscription
    void subscription.closed.then(() => {
      if (this.#subscription === subscription) this.#subscription = undefined
    })
  }

  #unsubscribe(): void {
    this.#subscription?.close()
    this.#subscription = undefined
    this.#heard = false
  }

  /** Settles when it is carried out. */
  #assign(location: Location): Promise<void> {
    const done = this.#carryOut(this.#replicas.assign(location), location.container).finally(() =>
      this.#assigning.delete(done),
    )
    this.#assigning.add(done)
    return done
  }

  #carryOut(work: Promise<void>, container: ContainerId): Promise<void> {
    return work.catch((error) => {
      if (!(error instanceof Failure)) throw error
      this.#environment.log.error({ container, error }, 'an assignment could not be carried out')
    })
  }
}
