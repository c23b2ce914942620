/**
 * What clients asked and were answered, and the checks over it.
 *
 * Each directory is one object and each slot of a large file is one register: operations on different ones commute.
 */
import { isLinearizable, type Model, type Operation } from './linearizable.ts'
import { type DirectoryOperation, directoryModel, type RegisterOperation, registerModel } from './model.ts'

/** An operation as it is recorded; `returned` and the outcome come later, or never. */
export type Recorded<O> = { readonly client: number; readonly called: number; returned: number; readonly what: O }

/** A register whose writes count only when they are synced. */
export type UnsyncedWrite = { readonly value: number; readonly called: number; returned: number; synced: number }
export type UnsyncedRead = { readonly value: number; readonly called: number }

export class History {
  readonly directories: Recorded<DirectoryOperation>[][] = []
  readonly registers: Recorded<RegisterOperation>[][] = []
  readonly unsynced: { readonly writes: UnsyncedWrite[]; readonly reads: UnsyncedRead[] }[] = []
  answered = 0
  unanswered = 0
  /** Histories that were too tangled to decide. */
  undecided = 0
  #order = 0

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
    for (const [i, { writes, reads }] of this.unsynced.entries()) {
      const wrong = lost(writes, reads)
      if (wrong !== undefined) return `unsynced register ${i}: ${wrong}`
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

/** Leaves out what has no known outcome and was seen by nobody: it may as well not have been. */
function relevant<O extends DirectoryOperation | RegisterOperation>(operations: readonly Recorded<O>[]): Recorded<O>[] {
  const seen = new Set(operations.map(({ what }) => what.outcome))
  return operations.filter(({ returned, what }) => {
    if (returned !== Number.POSITIVE_INFINITY) return true
    if (what.type === 'write') return seen.has(what.value)
    return what.type !== 'read' && what.type !== 'lookup' && what.type !== 'list'
  })
}

/** @returns a read that shows a state without a write that was synced before, if there is one. */
function lost(writes: readonly UnsyncedWrite[], reads: readonly UnsyncedRead[]): string | undefined {
  for (const read of reads) {
    const source = writes.find(({ value }) => value === read.value)
    if (source === undefined && read.value !== 0) return `${read.value} was read and never written`
    const end = source?.returned ?? -1
    const later = writes.find(({ called, synced }) => synced < read.called && called > end)
    if (later !== undefined) return `${read.value} was read although ${later.value} had been synced after it`
  }
  return undefined
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
