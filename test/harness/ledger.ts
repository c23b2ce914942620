/**
 * A record of every acknowledged write, kept outside the cluster, and what may be found after a crash.
 *
 * A *cell* is a place that is written again and again (a whole file, a range of one); each write of it is a version
 * from 1 that is only begun once the last one ended. A version's bytes follow from the cell's name and the number.
 * What is found must be whole and of a version from the last acknowledged one to the last begun one: a write that was
 * never answered may be there or not.
 */
import { appendFileSync } from 'node:fs'

type State = { begun: number; acknowledged: number }

export type Ledger = {
  /** @returns the version to write now. */
  readonly begin: (cell: string) => number
  /** The last begun version of the cell is promised from now on. */
  readonly acknowledge: (cell: string) => void
  readonly cells: () => readonly string[]
  /** How many versions of all cells were acknowledged so far. */
  readonly acknowledged: () => number
  /** @returns undefined, or how `found` (undefined: nothing is there) breaks the promise. */
  readonly judge: (cell: string, found: Uint8Array | undefined) => string | undefined
}

/** Bytes of a version: readable, and different in every run of a few bytes. */
export function bytesOf(cell: string, version: number, length: number): Buffer {
  return Buffer.alloc(length, `${cell}#${version};`)
}

/** @param length of a cell's bytes, by its name and version; each acknowledgement is a line in `file`. */
export function openLedger(file: string, length: (cell: string, version: number) => number): Ledger {
  const states = new Map<string, State>()
  let count = 0
  return {
    begin: (cell) => {
      const state = states.get(cell) ?? { begun: 0, acknowledged: 0 }
      states.set(cell, state)
      return ++state.begun
    },
    acknowledge: (cell) => {
      const state = states.get(cell)!
      state.acknowledged = state.begun
      count++
      appendFileSync(file, `${cell} ${state.begun}\n`)
    },
    cells: () => [...states.keys()],
    acknowledged: () => count,
    judge: (cell, found) => {
      const { acknowledged, begun } = states.get(cell)!
      if (found === undefined)
        return acknowledged === 0 ? undefined : `${cell} is gone; version ${acknowledged} was promised`
      for (let version = begun; version >= Math.max(1, acknowledged); version--) {
        if (bytesOf(cell, version, length(cell, version)).equals(found)) return undefined
      }
      const text = Buffer.from(found.subarray(0, 60)).toString('latin1')
      return `${cell} is neither of versions ${acknowledged} to ${begun}: ${found.length} bytes: ${JSON.stringify(text)}`
    },
  }
}
