/**
 * The volumes of the cluster, as the CLDB last told them: asked again when the answer is a second old.
 */
import type { Cldb } from '../../protocol/cluster/cldb.ts'
import { Failure } from '../../protocol/failures.ts'
import type { Fid } from '../../protocol/ids.ts'
import type { Volume } from '../../protocol/messages/attributes.ts'
import { control } from '../../protocol/messages/control.ts'

const freshMs = 1000

export class Volumes {
  readonly #cldb: Cldb
  readonly #timeoutMs: number
  #answer: Promise<readonly Volume[]> | undefined
  #askedMs = 0

  constructor(cldb: Cldb, timeoutMs: number) {
    this.#cldb = cldb
    this.#timeoutMs = timeoutMs
  }

  /** The same array as long as it is fresh. */
  list(): Promise<readonly Volume[]> {
    const nowMs = performance.now()
    if (this.#answer === undefined || nowMs - this.#askedMs > freshMs) {
      this.#askedMs = nowMs
      const answer = this.#ask()
      this.#answer = answer
      answer.catch(() => {
        if (this.#answer === answer) this.#answer = undefined
      })
    }
    return this.#answer
  }

  async space(fid: Fid): Promise<{ readonly totalBytes: number; readonly freeBytes: number }> {
    const volume = (await this.list()).find(({ root }) => root.container === fid.container)
    if (volume === undefined) throw new Failure('STALE', `no volume has the name container ${fid.container}`)
    return await this.#cldb.call(control.calls.space, { volume: volume.name }, this.#timeoutMs)
  }

  async #ask(): Promise<readonly Volume[]> {
    return (await this.#cldb.call(control.calls.volumes, {}, this.#timeoutMs)).volumes
  }
}
