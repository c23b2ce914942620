/**
 * What all calls of one connected filesystem share.
 */
import { type Fid, formatFid } from '../../protocol/ids.ts'
import type { Credentials } from '../../protocol/messages/attributes.ts'
import type { Operations } from '../operations.ts'
import type { Walk } from './walk.ts'

export type Session = {
  readonly operations: Operations
  readonly caller: Credentials
  /** Permission bits that new files and directories do not get. */
  readonly umask: number
  readonly walk: Walk
  readonly appends: Appends
}

/** Appends to one file run one after another: each must know the end that the one before it made. */
export class Appends {
  readonly #last = new Map<string, Promise<unknown>>()

  async run<T>(fid: Fid, append: () => Promise<T>): Promise<T> {
    const key = formatFid(fid)
    const mine = (this.#last.get(key) ?? Promise.resolve()).then(append, append)
    this.#last.set(key, mine)
    try {
      return await mine
    } finally {
      if (this.#last.get(key) === mine) this.#last.delete(key)
    }
  }
}
