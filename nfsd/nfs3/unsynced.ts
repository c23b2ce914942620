/**
 * Writes that were answered UNSTABLE and not yet committed, and the write verifier.
 *
 * Not pure: calls `sync`. The verifier tells clients whether unstable data may have been lost: it is new at every
 * start of a gateway, and again whenever `sync` says UNSYNCED_LOST; a client that sees another one than with its
 * WRITEs sends them again. Invariants: a WRITE answers with the verifier as it was when it began, and is in this table
 * before it is answered; a COMMIT that cannot vouch for every write of the file either fails or answers with a
 * verifier that none of them had. The table is bounded: the file that has waited longest is synced to make room.
 *
 * Source: RFC 1813 §3.3.7 and §3.3.21.
 */
import { randomBytes } from 'node:crypto'
import type { Operations } from '../../client/operations.ts'
import { isFailure } from '../../protocol/failures.ts'
import { type Fid, formatFid } from '../../protocol/ids.ts'
import type { Log } from '../../protocol/logging.ts'
import type { Token } from '../../protocol/messages/attributes.ts'

/** By container and epoch: the last token, which stands for all before it. */
type Tokens = Map<string, Token>

export class Unsynced {
  readonly #sync: Operations['sync']
  readonly #filesMax: number
  readonly #log: Log
  readonly #files = new Map<string, Tokens>()
  readonly #evicting = new Set<string>()
  #verifier: Uint8Array = randomBytes(8)

  constructor(sync: Operations['sync'], filesMax: number, log: Log) {
    this.#sync = sync
    this.#filesMax = filesMax
    this.#log = log
  }

  /** 8 bytes. Take it before a WRITE begins. */
  get verifier(): Uint8Array {
    return this.#verifier
  }

  /** Files with writes that no sync has covered yet. */
  get files(): number {
    return this.#files.size
  }

  /** To be called, and waited for, before an unstable WRITE is answered. */
  async remember(fid: Fid, tokens: readonly Token[]): Promise<void> {
    if (tokens.length === 0) return
    const key = formatFid(fid)
    const known: Tokens = this.#files.get(key) ?? new Map()
    this.#files.delete(key)
    this.#files.set(key, known)
    for (const token of tokens) {
      const place = `${token.container} ${token.epoch}`
      if (token.sequence > (known.get(place)?.sequence ?? 0)) known.set(place, token)
    }
    if (this.#files.size - this.#evicting.size > this.#filesMax) await this.#evict()
  }

  /**
   * Makes the file's writes durable.
   * @returns the verifier to answer with. @throws Failure of the sync, other than UNSYNCED_LOST: nothing is forgotten.
   */
  async commit(fid: Fid): Promise<Uint8Array> {
    const key = formatFid(fid)
    const tokens = [...(this.#files.get(key)?.values() ?? [])]
    if (tokens.length === 0) return this.#verifier
    try {
      await this.#sync(tokens)
    } catch (error) {
      if (!isFailure(error, 'UNSYNCED_LOST')) throw error
      this.#renew(key, error)
    }
    this.#forget(key, tokens)
    return this.#verifier
  }

  async #evict(): Promise<void> {
    const key = [...this.#files.keys()].find((candidate) => !this.#evicting.has(candidate))
    if (key === undefined) return
    const tokens = [...this.#files.get(key)!.values()]
    this.#evicting.add(key)
    try {
      await this.#sync(tokens)
    } catch (error) {
      this.#renew(key, error)
    } finally {
      this.#evicting.delete(key)
    }
    this.#forget(key, tokens)
  }

  #renew(file: string, error: unknown): void {
    this.#verifier = randomBytes(8)
    this.#log.warn({ file, error }, 'unsynced writes are lost or in doubt: clients send them again')
  }

  /** Takes out what was synced, but not what came meanwhile. */
  #forget(key: string, tokens: readonly Token[]): void {
    const known = this.#files.get(key)
    if (known === undefined) return
    for (const token of tokens) {
      const place = `${token.container} ${token.epoch}`
      if ((known.get(place)?.sequence ?? 0) <= token.sequence) known.delete(place)
    }
    if (known.size === 0) this.#files.delete(key)
  }
}
