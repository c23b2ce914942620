/**
 * What clients asked and were answered, and the checks over it.
 *
 * The directories of a place are one object and each slot of a large file is one register: operations on different ones commute.
 */
import type { ContainerId } from '../../../protocol/ids.ts'
import { isLinearizable, type Model, type Operation } from './linearizable.ts'
import { type DirectoryOperation, directoryModel, type RegisterOperation, registerModel } from './model.ts'

/** An operation as it is recorded; `returned` and the outcome come later, or never. */
export type Recorded<O> = { readonly client: number; readonly called: number; returned: number; readonly what: O }

/** A write that is answered before it is synced: `containers` hold it, as soon as it is answered. */
export type UnsyncedWrite = {
  readonly value: number
  readonly called: number
  readonly calledMs: number
  returned: number
  synced: number
  containers: readonly ContainerId[]
}
export type UnsyncedRead = { readonly value: number; readonly called: number; readonly answeredMs: number }

/** Whether what was answered after `fromMs`, and not synced, may be gone at `untilMs` (blackouts.ts). */
export type Excuse = (container: ContainerId, fromMs: number, untilMs: number) => boolean

export class History {
  readonly directories: Recorded<DirectoryOperation>[][] = []
  readonly registers: Recorded<RegisterOperation>[][] = []
  /** Registers at the end of a file that is cut and grows again. */
  readonly cuts: Recorded<RegisterOperation>[][] = []
  readonly unsynced: { readonly writes: UnsyncedWrite[]; readonly reads: UnsyncedRead[] }[] = []
  answered = 0
  unanswered = 0
  /** Histories that were too tangled to decide. */
  undecided = 0
  readonly #excuse: Excuse
  #order = 0

  constructor(excuse: Excuse) {
    this.#excuse = excuse
  }

  /** Whether an answered write that was not synced may be gone at `atMs`. */
  mayBeLost({ containers, calledMs }: UnsyncedWrite, atMs: number): boolean {
    return containers.some((container) => this.#excuse(container, calledMs, atMs))
  }

  /** The next place in the order of all calls and returns. */
  place(): number {
    return this.#order++
  }

  begin<O>(list: Recorded<O>[], client: number, what: O): Recorded<O> {
    const recorded = { client, called: this.place(), returned: Number.POSITIVE_INFINITY, what }
    list.push(recorded)
    return recorded
  }

  /** @returns what is wrong, or nothing. */
  check(): string | undefined {
    for (const [i, operations] of this.directories.entries()) {
      const wrong = this.#linearizable(directoryModel, relevant(operations), `directory ${i}`)
      if (wrong !== undefined) return wrong
    }
    for (const [i, operations] of this.registers.entries()) {
      const wrong = this.#linearizable(registerModel, relevant(operations), `register ${i}`)
      if (wrong !== undefined) return wrong
    }
    for (const [i, operations] of this.cuts.entries()) {
      const wrong = this.#linearizable(registerModel, relevant(undisturbed(operations)), `cut register ${i}`)
      if (wrong !== undefined) return wrong
    }
    for (const [i, { writes, reads }] of this.unsynced.entries()) {
      const wrong = this.#lost(writes, reads)
      if (wrong !== undefined) return `unsynced register ${i}: ${wrong}`
    }
    return undefined
  }

  /** @returns a read that shows a state without a write that may not be lost, if there is one. */
  #lost(writes: readonly UnsyncedWrite[], reads: readonly UnsyncedRead[]): string | undefined {
    for (const { value, called: read, answeredMs } of reads) {
      const source = writes.find((write) => write.value === value)
      if (source === undefined && value !== 0) return `${value} was read and never written`
      const end = source?.returned ?? -1
      for (const write of writes) {
        if (write.called < end || write.returned > read) continue
        if (write.synced < read) return `${value} was read although ${write.value} had been synced after it`
        if (!this.mayBeLost(write, answeredMs))
          return `${value} was read although ${write.value} had been answered after it, and a replica in sync kept it`
      }
    }
    return undefined
  }

  #linearizable<S, O>(model: Model<S, O>, operations: readonly Operation<O>[], what: string): string | undefined {
    if (operations.length === 0) return undefined
    const holds = isLinearizable(model, operations)
    if (holds === undefined) this.undecided += 1
    return holds === false ? `${what} is not linearizable${told(shortest(model, operations))}` : undefined
  }
}

/**
 * Size and bytes of a file are in two containers. So reads of a file that is being cut are left out: until the cut is answered
 * some may see it and others not yet. And a write that a cut came between is made again: it may be seen, overwritten, and
 * seen once more before it is answered.
 */
function undisturbed(operations: readonly Recorded<RegisterOperation>[]): Recorded<RegisterOperation>[] {
  const cuts = operations.filter(({ what }) => what.type === 'write' && what.value === 0)
  const disturbed = ({ called, returned }: Recorded<RegisterOperation>): boolean =>
    cuts.some((cut) => cut.called < returned && called < cut.returned)
  return operations.flatMap((operation) => {
    if (!disturbed(operation)) return [operation]
    if (operation.what.type === 'read') return []
    return operation.what.value === 0 ? [operation] : [operation, { ...operation, returned: Number.POSITIVE_INFINITY }]
  })
}

/** Leaves out what has no known outcome and was seen by nobody: it may as well not have been. */
function relevant<O extends DirectoryOperation | RegisterOperation>(operations: readonly Recorded<O>[]): Recorded<O>[] {
  const seen = new Set(operations.map(({ what }) => what.outcome))
  return operations.filter(({ returned, what }) => {
    if (returned !== Number.POSITIVE_INFINITY) return true
    if (what.type === 'write') return seen.has(what.value)
    return what.type !== 'read' && what.type !== 'lookup' && what.type !== 'list'
  })
}

/** The shortest beginning of a history that is not linearizable, for people to read. */
function shortest<S, O>(model: Model<S, O>, operations: readonly Operation<O>[]): Operation<O>[] {
  const places = operations
    .map(({ returned }) => returned)
    .filter(Number.isFinite)
    .sort((a, b) => a - b)
  let low = 0
  let high = places.length - 1
  const until = (place: number): Operation<O>[] =>
    operations
      .filter(({ called }) => called <= place)
      .map((operation) =>
        operation.returned <= place ? operation : { ...operation, returned: Number.POSITIVE_INFINITY },
      )
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isLinearizable(model, until(places[middle]!)) === false) high = middle
    else low = middle + 1
  }
  return until(places[low]!)
}

const told = (operations: readonly Operation<unknown>[]): string =>
  operations
    .slice(-40)
    .map(({ called, returned, what }) => `\n    [${called}, ${returned}] ${JSON.stringify(what)}`)
    .join('')
