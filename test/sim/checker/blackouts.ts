/**
 * Who was in sync, and who lost the power when: whether an answered write that was not synced may be gone.
 *
 * Pure but for its own state. Such a write is in the page cache of every member of the in-sync set (DESIGN §4, rule 1), where
 * the end of a process takes nothing of it. It may be gone only when a member of a set of that time lost its power, and then
 * became the master (rule 9) because none that had kept running was there: they had ended too, or could not be reached.
 */
import type { ContainerId, ServerId } from '../../../protocol/ids.ts'

type Configured = { readonly inSync: readonly ServerId[]; readonly fromMs: number }

export class Blackouts {
  /** Of each container, its in-sync sets in the order of time: a set holds until the next one. */
  readonly #sets = new Map<ContainerId, Configured[]>()
  readonly #cuts = new Map<ServerId, number[]>()

  configured(container: ContainerId, inSync: readonly ServerId[], fromMs: number): void {
    const sets = this.#sets.get(container)
    if (sets === undefined) this.#sets.set(container, [{ inSync, fromMs }])
    else sets.push({ inSync, fromMs })
  }

  powerLost(server: ServerId, atMs: number): void {
    const cuts = this.#cuts.get(server)
    if (cuts === undefined) this.#cuts.set(server, [atMs])
    else cuts.push(atMs)
  }

  /** @returns whether what the container's replicas in sync held at `fromMs` without a sync may be gone at `untilMs`. */
  excuse(container: ContainerId, fromMs: number, untilMs: number): boolean {
    const lostPower = (server: ServerId): boolean =>
      this.#cuts.get(server)?.some((atMs) => atMs >= fromMs && atMs <= untilMs) ?? false
    const sets = this.#sets.get(container) ?? []
    return sets.some(({ inSync, fromMs: since }, i) => {
      if (since > untilMs || (sets[i + 1]?.fromMs ?? untilMs) < fromMs) return false
      return inSync.some(lostPower)
    })
  }
}
