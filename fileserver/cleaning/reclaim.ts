/**
 * Forgets in the background what deleted and shortened files left in data containers.
 *
 * Driver. The list of what is to be forgotten is in the name container (names/reclaim.ts), so it outlives every crash;
 * its master works it off.
 */
import type { Containers } from '../../protocol/cluster/containers.ts'
import { Failure, isFailure } from '../../protocol/failures.ts'
import { type ClientId, type ContainerId, clientId, type Epoch, type Inode, inode } from '../../protocol/ids.ts'
import { files } from '../../protocol/messages/files.ts'
import type { RequestOf } from '../../protocol/messages/service.ts'
import { type Orphan, orphans, reclaimed } from '../names/operations.ts'
import { bare } from '../replica/addition.ts'
import type { Environment } from '../replica/environment.ts'
import type { ContainerReplica } from '../replica/replica.ts'
import type { Replicas } from '../replicas.ts'

const everyMs = 1000
/** Files worked on at once, and chunks of each. */
const filesAtOnce = 8
const timeoutMs = 30_000

export class Reclaim {
  readonly #environment: Environment
  readonly #containers: Containers
  readonly #client: ClientId
  readonly #working = new Set<ContainerId>()
  /** Numbers of calls under way, ascending. */
  readonly #unanswered = new Set<number>()
  #number = 0

  constructor(environment: Environment, containers: Containers) {
    this.#environment = environment
    this.#containers = containers
    this.#client = clientId(Math.floor(environment.random() * 2 ** 48))
  }

  /** Looks for work in every name container that this server leads, again and again. */
  start(replicas: Replicas): void {
    this.#environment.clock.after(everyMs, () => {
      for (const replica of replicas.all()) if (replica.location?.kind === 'name') void this.#visit(replica)
      this.start(replicas)
    })
  }

  /**
   * Has every chunk of the orphan trimmed, and notes it. Trimmed bytes do not come back: so first whatever cut them off
   * must be committed.
   * @param of the epoch in which the orphan was read.
   * @param away containers that did not answer: they are not asked again, and those that do not answer now are added.
   * @throws Failure when this replica is its master no more, or a container is away.
   */
  async work(replica: ContainerReplica, orphan: Orphan, of: Epoch, away = new Set<ContainerId>()): Promise<void> {
    const { trimChunk } = files.calls
    replica.demandWritable(of)
    await replica.settled(replica.storage.index.latest)
    await Promise.all(
      orphan.chunks.map(async ({ chunk, keepBytes }) => {
        if (away.has(chunk.container)) throw new Failure('UNAVAILABLE', `container ${chunk.container} did not answer`)
        const number = ++this.#number
        this.#unanswered.add(number)
        const [oldest = number] = this.#unanswered
        const request = (epoch: Epoch): RequestOf<typeof trimChunk> => ({
          ticket: { client: this.#client, number, oldest, epoch },
          chunk,
          keepBytes,
          cut: orphan.cut,
        })
        return this.#containers
          .call(chunk.container, trimChunk, request, { timeoutMs })
          .catch((error) => {
            // The container went with its volume: nothing is left to trim.
            if (isFailure(error, 'STALE')) return
            away.add(chunk.container)
            throw error
          })
          .finally(() => this.#unanswered.delete(number))
      }),
    )
    replica.demandWritable(of)
    const changes = reclaimed(replica.view, orphan)
    if (changes.length === 0) return
    await replica.append({ ...bare, kind: 'operation', stable: true, result: 0, changes }).acknowledged
  }

  async #visit(replica: ContainerReplica): Promise<void> {
    if (replica.core.role !== 'master' || this.#working.has(replica.container)) return
    this.#working.add(replica.container)
    try {
      const away = new Set<ContainerId>()
      let first: Inode | undefined
      for (;;) {
        const { epoch } = replica.core
        const found = await orphans(replica.view, replica.container, filesAtOnce, first)
        if (found.length === 0) break
        const done = await Promise.allSettled(found.map((orphan) => this.work(replica, orphan, epoch, away)))
        const errors = done.filter((one) => one.status === 'rejected').map(({ reason }) => reason)
        if (errors.length === 0) continue
        for (const error of errors) if (!isFailure(error)) throw error
        replica.demandWritable(epoch)
        // Files with bytes that cannot be reached now must not keep the others waiting: their turn comes again at the next visit.
        const last = found.at(-1)!.inode
        first = inode(last + 1)
        this.#environment.log.debug(
          { container: replica.container, inode: last, error: errors[0] },
          'reclaiming passes on',
        )
      }
    } catch (error) {
      if (!isFailure(error)) throw error
      this.#environment.log.debug({ container: replica.container, error }, 'reclaiming goes on later')
    } finally {
      this.#working.delete(replica.container)
    }
  }
}
