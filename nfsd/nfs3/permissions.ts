/**
 * Who may read and write a file's bytes, remembered for a moment.
 *
 * Not pure: asks the cluster. NFS has no open files: a program that opened a file and then took its own permission
 * away, or made it read-only at creation, goes on using it. So the owner may always read and write, and whoever
 * may execute may read. An answer is kept for `lifetimeMs`; a change of mode or owner through this gateway
 * ends it at once.
 *
 * Source: RFC 1813 §4.4.
 */
import type { Operations } from '../../client/operations.ts'
import type { Clock } from '../../protocol/clock.ts'
import { Failure } from '../../protocol/failures.ts'
import { type Fid, formatFid } from '../../protocol/ids.ts'
import type { Credentials } from '../../protocol/messages/attributes.ts'
import { access } from '../../protocol/messages/files.ts'

type Allowed = { readonly read: boolean; readonly write: boolean }
type Answer = { readonly allowed: Promise<Allowed>; readonly endsMs: number }

export class Permissions {
  readonly #access: Operations['access']
  readonly #clock: Pick<Clock, 'monotonicMs'>
  readonly #lifetimeMs: number
  readonly #filesMax: number
  /** By file, then by caller. The file that was first asked about is first, and goes first. */
  readonly #files = new Map<string, Map<string, Answer>>()

  constructor(
    access: Operations['access'],
    clock: Pick<Clock, 'monotonicMs'>,
    limits: { readonly lifetimeMs: number; readonly filesMax: number },
  ) {
    this.#access = access
    this.#clock = clock
    this.#lifetimeMs = limits.lifetimeMs
    this.#filesMax = limits.filesMax
  }

  /** @throws Failure ACCESS when the caller may not, and whatever the cluster answers. */
  async check(caller: Credentials, fid: Fid, wanted: keyof Allowed): Promise<void> {
    if (!(await this.#ask(caller, fid))[wanted]) throw new Failure('ACCESS', `no permission to ${wanted} the file`)
  }

  /** After a change of the file's mode or owner. */
  forget(fid: Fid): void {
    this.#files.delete(formatFid(fid))
  }

  #ask(caller: Credentials, fid: Fid): Promise<Allowed> {
    const fileKey = formatFid(fid)
    const callerKey = `${caller.uid} ${caller.gid} ${caller.groups.join(' ')}`
    const nowMs = this.#clock.monotonicMs()
    const known = this.#files.get(fileKey)?.get(callerKey)
    if (known !== undefined && nowMs < known.endsMs) return known.allowed
    const allowed = this.#fetch(caller, fid)
    const answers = this.#room(fileKey)
    answers.set(callerKey, { allowed, endsMs: nowMs + this.#lifetimeMs })
    allowed.catch(() => answers.delete(callerKey))
    return allowed
  }

  async #fetch(caller: Credentials, fid: Fid): Promise<Allowed> {
    const { allowed, attributes } = await this.#access(caller, fid)
    const owner = caller.uid === attributes.uid
    return {
      read: owner || (allowed & (access.read | access.execute)) !== 0,
      write: owner || (allowed & access.modify) !== 0,
    }
  }

  #room(fileKey: string): Map<string, Answer> {
    const known = this.#files.get(fileKey)
    if (known !== undefined && known.size < callersMax) return known
    if (this.#files.size >= this.#filesMax) {
      const oldest = this.#files.keys().next()
      if (!oldest.done) this.#files.delete(oldest.value)
    }
    const answers = new Map<string, Answer>()
    this.#files.set(fileKey, answers)
    return answers
  }
}

/** Callers remembered per file; with more of them the file starts anew. */
const callersMax = 64
