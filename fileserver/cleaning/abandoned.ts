/**
 * Forgets chunks whose files are gone: a client's write may come after its file was removed and its chunks were trimmed.
 *
 * Driver. A data container knows no file, so its master asks the masters of names, page by page and seldom. An inode that
 * has a chunk was made before, and inodes are never made twice: one that is gone does not come back.
 */
import { pause } from '../../protocol/cluster/backoff.ts'
import type { Containers } from '../../protocol/cluster/containers.ts'
import { isFailure } from '../../protocol/failures.ts'
import type { Epoch, Fid } from '../../protocol/ids.ts'
import type { Chunk } from '../../protocol/messages/attributes.ts'
import { files } from '../../protocol/messages/files.ts'
import { chunksAfter, forgotten } from '../names/operations.ts'
import { bare } from '../replica/addition.ts'
import type { Environment } from '../replica/environment.ts'
import type { ContainerReplica } from '../replica/replica.ts'
import type { Replicas } from '../replicas.ts'

const pageLength = 64
/** Between two pages: 600 files a second are asked for at most. */
const restMs = 100
const timeoutMs = 10_000

export class Abandoned {
  readonly #environment: Environment
  readonly #containers: Containers
  readonly #everyMs: number

  /** @param everyMs between two looks at all chunks, on average. */
  constructor(environment: Environment, containers: Containers, everyMs: number) {
    this.#environment = environment
    this.#containers = containers
    this.#everyMs = everyMs
  }

  /** Looks through every data container that this server leads, again and again; at times of chance, so that not all do at once. */
  start(replicas: Replicas): void {
    const { clock, random } = this.#environment
    clock.after(
      Math.ceil(2 * random() * this.#everyMs),
      () => void this.#round(replicas).then(() => this.start(replicas)),
    )
  }

  async #round(replicas: Replicas): Promise<void> {
    for (const replica of [...replicas.all()])
      if (replica.location?.kind === 'data' && replica.core.role === 'master') await this.look(replica)
  }

  /** One look at all chunks of the container, for as long as this replica leads it. */
  async look(replica: ContainerReplica): Promise<void> {
    const { clock, log } = this.#environment
    const { container } = replica
    const { epoch } = replica.core
    try {
      for (let after: Chunk | undefined; ; ) {
        replica.demandMaster(epoch)
        const chunks = await chunksAfter(replica.view, container, after, pageLength)
        await this.#forget(replica, epoch, chunks)
        after = chunks.at(-1)
        if (chunks.length < pageLength) return
        await pause(clock, restMs)
      }
    } catch (error) {
      if (!isFailure(error)) throw error
      log.debug({ container, error }, 'chunks of files that are gone are looked for later')
    }
  }

  async #forget(replica: ContainerReplica, epoch: Epoch, chunks: readonly Chunk[]): Promise<void> {
    const { log } = this.#environment
    const gone = await Promise.all(chunks.map(({ owner }) => this.#isGone(owner)))
    for (const [i, chunk] of chunks.entries()) {
      if (!gone[i]) continue
      replica.demandWritable(epoch)
      const changes = forgotten(replica.view, chunk)
      if (changes.length === 0) continue
      log.info({ container: replica.container, chunk }, 'a chunk of a file that is gone is forgotten')
      await replica.append({ ...bare, kind: 'operation', stable: true, result: 0, changes }).acknowledged
    }
  }

  /**
   * A file counts as there while its container's master does not answer, and where the CLDB does not know its container (any
   * more): then its volume went, and the chunks with it.
   */
  async #isGone(fid: Fid): Promise<boolean> {
    try {
      await this.#containers.call(fid.container, files.calls.getattr, () => ({ fid }), { timeoutMs })
      return false
    } catch (error) {
      if (!isFailure(error)) throw error
      if (error.failure !== 'STALE') return false
    }
    try {
      await this.#containers.location(fid.container, timeoutMs)
      return true
    } catch (error) {
      if (!isFailure(error)) throw error
      return false
    }
  }
}
