/**
 * The growth of files: chunk writes that were acknowledged become visible by an `extend` of the file's size.
 *
 * Coalesced: each file has at most one `extend` under way; those that come meanwhile share the next one, which
 * carries the largest end. So a burst of writes costs one record or two, and every write is covered by an `extend`
 * that began after its bytes were acknowledged. It fails when the file was cut since the first of them went out.
 */
import { type Fid, formatFid } from '../../protocol/ids.ts'
import { files } from '../../protocol/messages/files.ts'
import type { ReplyOf } from '../../protocol/messages/service.ts'
import type { Layouts } from './layouts.ts'
import type { Remote } from './remote.ts'

export type Extended = ReplyOf<typeof files.calls.extend>

type Batch = { readonly fid: Fid; sizeBytes: number; trimmed: number; stable: boolean }
type Joinable = Batch & { readonly reply: Promise<Extended> }
type Lane = { running: Promise<Extended>; next: Joinable | undefined }

export class Extends {
  readonly #remote: Remote
  readonly #layouts: Layouts
  readonly #lanes = new Map<string, Lane>()

  constructor(remote: Remote, layouts: Layouts) {
    this.#remote = remote
    this.#layouts = layouts
  }

  /**
   * Raises the size to `sizeBytes` at least, and says what the file is then.
   * @param trimmed the file's, as it was known before the bytes were sent. @throws Failure NOT_SYNC when it was cut later
   */
  extend(fid: Fid, sizeBytes: number, trimmed: number, stable: boolean): Promise<Extended> {
    const key = formatFid(fid)
    const batch: Batch = { fid, sizeBytes, trimmed, stable }
    const lane = this.#lanes.get(key)
    if (lane === undefined) {
      const running = this.#send(key, batch)
      this.#lanes.set(key, { running, next: undefined })
      return running
    }
    if (lane.next !== undefined) {
      lane.next.sizeBytes = Math.max(lane.next.sizeBytes, sizeBytes)
      lane.next.trimmed = Math.min(lane.next.trimmed, trimmed)
      lane.next.stable ||= stable
      return lane.next.reply
    }
    const begin = (): Promise<Extended> => {
      lane.next = undefined
      lane.running = this.#send(key, batch)
      return lane.running
    }
    lane.next = Object.assign(batch, { reply: lane.running.then(begin, begin) })
    return lane.next.reply
  }

  async #send(key: string, { fid, sizeBytes, trimmed, stable }: Batch): Promise<Extended> {
    try {
      const { reply } = await this.#remote.change(fid.container, files.calls.extend, (ticket) => ({
        ticket,
        fid,
        sizeBytes,
        trimmed,
        stable,
      }))
      this.#layouts.learn(reply.attributes)
      return reply
    } finally {
      if (this.#lanes.get(key)?.next === undefined) this.#lanes.delete(key)
    }
  }
}
