/**
 * Tokens of a handle's writes that are not yet known to be durable: the last of each container and epoch.
 *
 * Pure. A token stays until it is dropped after a sync of it, so that everybody who syncs waits for what they wrote.
 */
import type { Token } from '../../protocol/messages/attributes.ts'

export class Unsynced {
  readonly #bytes: Token[] = []
  readonly #times: Token[] = []

  /** `timesOnly`: no byte of the file depends on this token, only its times. */
  add(token: Token, timesOnly: boolean): void {
    const list = timesOnly ? this.#times : this.#bytes
    const place = list.findIndex(({ container, epoch }) => container === token.container && epoch === token.epoch)
    if (place === -1) list.push(token)
    else if (list[place]!.sequence < token.sequence) list[place] = token
  }

  bytes(): readonly Token[] {
    return [...this.#bytes]
  }

  all(): readonly Token[] {
    return [...this.#bytes, ...this.#times]
  }

  /** Forgets just these; later ones of the same containers stay. */
  drop(tokens: readonly Token[]): void {
    for (const list of [this.#bytes, this.#times])
      for (let i = list.length - 1; i >= 0; i--) if (tokens.includes(list[i]!)) list.splice(i, 1)
  }
}
