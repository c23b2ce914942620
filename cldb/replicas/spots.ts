/**
 * Servers that may get replicas, with what one step has put on them already: the state's indexes do not know that yet.
 *
 * Reads the state; its own figures live as long as the step.
 */
import type { ServerId } from '../../protocol/ids.ts'
import { isUnder, pathOf } from '../placement.ts'
import { addTo, type Policy, type Server, type State, takesPart } from '../state.ts'

type Spot = {
  readonly server: ServerId
  readonly topology: string
  readonly path: readonly string[]
  /** Free, less what is on its way there. */
  freeBytes: number
  /** Replicas on their way there. */
  incoming: number
  incomingBytes: number
  replicas: number
}

/** After this long a source says itself what it copies. Of what is out of its reach it says nothing, and can begin other copies. */
const toldMs = 10_000

export class Spots {
  private readonly state: State
  private readonly nowMs: number
  private readonly serverOf: (id: ServerId) => Server
  private known: ReadonlyMap<ServerId, Spot> | undefined
  /** Replicas on their way from each server that was asked for, with those of this step. */
  private readonly outgoing = new Map<ServerId, number>()
  private recent: ReadonlyMap<ServerId, number> | undefined

  constructor(state: State, nowMs: number, serverOf: (id: ServerId) => Server) {
    this.state = state
    this.nowMs = nowMs
    this.serverOf = serverOf
  }

  /** Those that the volume may use and that are none of `except`. */
  of(policy: Policy, except: readonly ServerId[]): readonly Spot[] {
    this.known ??= this.look()
    return [...this.known.values()].filter(
      ({ server, topology }) => !except.includes(server) && isUnder(topology, policy.topology),
    )
  }

  /** A replica is put there, which has to be brought from `source`, if one is named. */
  take(server: ServerId, copyBytes: number, source: ServerId | undefined): void {
    if (source !== undefined) this.outgoing.set(source, this.copiesFrom(source) + 1)
    const spot = this.known?.get(server)
    if (spot === undefined) return
    spot.replicas++
    if (source !== undefined) spot.incoming++
    spot.incomingBytes += copyBytes
    spot.freeBytes -= copyBytes
  }

  /** Replicas on their way from there: those that were lately put on their way, or what the server says, if that is more. */
  copiesFrom(source: ServerId): number {
    const known = this.outgoing.get(source)
    if (known !== undefined) return known
    this.recent ??= this.lookBack()
    const { resyncs, resyncsWaiting } = this.serverOf(source)
    const { containers } = this.state
    const running = resyncs.filter(({ container, target }) => containers.get(container)?.resyncing.includes(target))
    const copies = Math.max(this.recent.get(source) ?? 0, running.length + resyncsWaiting)
    this.outgoing.set(source, copies)
    return copies
  }

  private lookBack(): ReadonlyMap<ServerId, number> {
    const { containers, placements } = this.state
    const recent = new Map<ServerId, number>()
    for (const [id, placedMs] of placements) {
      const { master } = containers.get(id)!
      if (master !== undefined && this.nowMs - placedMs < toldMs) addTo(recent, master, 1)
    }
    return recent
  }

  private look(): ReadonlyMap<ServerId, Spot> {
    const { state } = this
    const spots = new Map<ServerId, Spot>()
    for (const id of state.servers.keys()) {
      const server = this.serverOf(id)
      if (!takesPart(server) || server.full) continue
      const incoming = state.resyncingOn.get(id) ?? new Set()
      let incomingBytes = 0
      for (const container of incoming) incomingBytes += state.sizes.get(container) ?? 0
      const { topology } = server.record
      const replicas = state.containersOf.get(id)?.size ?? 0
      const path = pathOf(topology)
      spots.set(id, {
        server: id,
        topology,
        path,
        freeBytes: Math.max(0, server.freeBytes - incomingBytes),
        incoming: incoming.size,
        incomingBytes,
        replicas,
      })
    }
    return spots
  }
}
