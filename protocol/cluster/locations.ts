/**
 * Where containers are: a bounded cache of the CLDB's answers.
 *
 * Look-ups of one tick go to the CLDB together, and a container that is being looked up is not asked for again.
 */
import { Failure } from '../failures.ts'
import type { ContainerId } from '../ids.ts'
import type { Location } from '../messages/attributes.ts'
import { control } from '../messages/control.ts'
import type { Cldb } from './cldb.ts'
import type { Connections, Pooled } from './connections.ts'

/** A location with its master's pooled connection, so that a call needs one look-up. */
export type Place = { readonly location: Location; readonly master: Pooled | undefined }

/** About 50 MB at most; the oldest go first. */
const placesMax = 100_000
/** The maximum of `control.locate`. */
const idsMax = 64
/** One look-up, which many may wait for; those who can wait longer ask again. */
const locateTimeoutMs = 3000

type Search = {
  readonly promise: Promise<Place>
  readonly resolve: (place: Place) => void
  readonly reject: (error: unknown) => void
}

export class Locations {
  private readonly cldb: Cldb
  private readonly connections: Connections
  private readonly places = new Map<ContainerId, Place>()
  private readonly searches = new Map<ContainerId, Search>()
  private unsent: ContainerId[] = []

  constructor(cldb: Cldb, connections: Connections) {
    this.cldb = cldb
    this.connections = connections
  }

  cached(container: ContainerId): Place | undefined {
    return this.places.get(container)
  }

  /** @throws Failure STALE when there is no such container (any more), or as the CLDB fails. */
  find(container: ContainerId): Promise<Place> {
    const cached = this.places.get(container)
    if (cached !== undefined) return Promise.resolve(cached)
    const running = this.searches.get(container)
    if (running !== undefined) return running.promise
    const search = newSearch()
    this.searches.set(container, search)
    this.unsent.push(container)
    if (this.unsent.length === 1) setImmediate(() => this.send())
    return search.promise
  }

  /** With `used`: only if it is still what the cache holds. */
  forget(container: ContainerId, used?: Place): void {
    if (used === undefined || this.places.get(container) === used) this.places.delete(container)
  }

  private send(): void {
    const containers = this.unsent
    this.unsent = []
    for (let i = 0; i < containers.length; i += idsMax) void this.locate(containers.slice(i, i + idsMax))
  }

  private async locate(containers: readonly ContainerId[]): Promise<void> {
    try {
      const { locations } = await this.cldb.call(control.calls.locate, { containers }, locateTimeoutMs)
      for (const location of locations) this.keep(location)
      for (const container of containers)
        this.settle(container, (search) =>
          search.reject(new Failure('STALE', `the CLDB knows no container ${container}`)),
        )
    } catch (error) {
      for (const container of containers) this.settle(container, (search) => search.reject(error))
    }
  }

  private keep(location: Location): void {
    const server = location.servers.find((candidate) => candidate.server === location.master)
    const place = { location, master: server === undefined ? undefined : this.connections.at(server.address) }
    if (this.places.size >= placesMax) {
      const [oldest] = this.places.keys()
      this.places.delete(oldest!)
    }
    this.places.set(location.container, place)
    this.settle(location.container, (search) => search.resolve(place))
  }

  private settle(container: ContainerId, how: (search: Search) => void): void {
    const search = this.searches.get(container)
    if (search === undefined) return
    this.searches.delete(container)
    how(search)
  }
}

function newSearch(): Search {
  let resolve!: (place: Place) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<Place>((onFound, onFailed) => {
    resolve = onFound
    reject = onFailed
  })
  return { promise, resolve, reject }
}
