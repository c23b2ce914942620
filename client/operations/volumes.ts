/**
 * The volumes of the cluster, as the CLDB last told them: asked again when the answer is a second old.
 *
 * While the CLDB is away the last answer stands: files are served without it.
 */
import type { Cldb } from '../../protocol/cluster/cldb.ts'
import { Failure } from '../../protocol/failures.ts'
import type { Fid } from '../../protocol/ids.ts'
import type { Volume } from '../../protocol/messages/attributes.ts'
import { control } from '../../protocol/messages/control.ts'

const freshMs = 1000
/** Longest that an operation waits for a new answer when there is an old one. */
const patienceMs = 250

export class Volumes {
  readonly #cldb: Cldb
  readonly #timeoutMs: number
  #last: readonly Volume[] | undefined
  #answeredMs = Number.NEGATIVE_INFINITY
  #asking: Promise<readonly Volume[]> | undefined

  constructor(cldb: Cldb, timeoutMs: number) {
    this.#cldb = cldb
    this.#timeoutMs = timeoutMs
  }

  /** The same array as long as it is fresh. */
  async list(): Promise<readonly Volume[]> {
    const last = this.#last
    if (last !== undefined && performance.now() - this.#answeredMs < freshMs) return last
    this.#asking ??= this.#ask()
    if (last === undefined) return await this.#asking
    return await within(patienceMs, this.#asking, last)
  }

  /** The next `list` waits for the CLDB: something has changed. */
  forget(): void {
    this.#last = undefined
  }

  async space(fid: Fid): Promise<{ readonly totalBytes: number; readonly freeBytes: number }> {
    const volume = (await this.list()).find(({ root }) => root.container === fid.container)
    if (volume === undefined) throw new Failure('STALE', `no volume has the name container ${fid.container}`)
    return await this.#cldb.call(control.calls.space, { volume: volume.name }, this.#timeoutMs)
  }

  async #ask(): Promise<readonly Volume[]> {
    try {
      const { volumes } = await this.#cldb.call(control.calls.volumes, {}, this.#timeoutMs)
      this.#last = volumes
      this.#answeredMs = performance.now()
      return volumes
    } finally {
      this.#asking = undefined
    }
  }
}

/** `otherwise` when the promise fails or takes too long. */
function within<T>(waitMs: number, promise: Promise<T>, otherwise: T): Promise<T> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(otherwise), waitMs)
    promise.then(resolve, () => resolve(otherwise)).finally(() => clearTimeout(timer))
  })
}
