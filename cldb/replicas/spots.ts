/**
 * Servers that may get replicas, with what one step has put on them already: the state's indexes do not know that yet.
 *
 * Reads the state; its own figures live as long as the step.
 */
import type { ServerId } from '../../protocol/ids.ts'
import { isUnder, pathOf } from '../placement.ts'
import { type Policy, type Server, type State, takesPart } from '../state.ts'

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

/** After this long a source says itself what it copies. Of what is out of its reach it says nothing, and that stops nothing else. */
const toldMs = 10_000

export class Spots {
  private readonly state: State
  private readonly nowMs: number
  private readonly serverOf: (id: ServerId) => Server
  private known: ReadonlyMap<ServerId, Spot> | undefined
  /** Replicas that each was lately asked to bring to another. */
  private outgoing: Map<ServerId, number> | undefined

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
    if (source !== undefined) addTo(this.leaving(), source)
    const spot = this.known?.get(server)
    if (spot === undefined) return
    spot.replicas++
    if (source !== undefined) spot.incoming++
    spot.incomingBytes += copyBytes
    spot.freeBytes -= copyBytes
  }

  /** Replicas on their way from there. */
  copiesFrom(source: ServerId): number {
    const { resyncs, resyncsWaiting } = this.serverOf(source)
    return Math.max(this.leaving().get(source) ?? 0, resyncs.length + resyncsWaiting)
  }

  private leaving(): Map<ServerId, number> {
    if (this.outgoing !== undefined) return this.outgoing
    const { containers, placements } = this.state
    this.outgoing = new Map()
    for (const [id, placedMs] of placements) {
      const { master } = containers.get(id)!
      if (master !== undefined && this.nowMs - placedMs < toldMs) addTo(this.outgoing, master)
    }
    return this.outgoing
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

function addTo(counts: Map<ServerId, number>, server: ServerId): void {
  counts.set(server, (counts.get(server) ?? 0) + 1)
}
