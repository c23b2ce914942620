/**
 * Whether a history of concurrent operations could have happened one after the other.
 *
 * Pure. The search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memory of places that
 * were tried ("Testing for linearizability", 2017). An operation whose outcome is not known may take effect at any time
 * after its call, or never.
 */

/** `called` and `returned` are places in one order of all events; `returned` is Infinity while the outcome is unknown. */
export type Operation<O> = { readonly called: number; readonly returned: number; readonly what: O }

export type Model<S, O> = {
  readonly initial: S
  /** @returns the state after the operation, or nothing when it cannot have had its outcome in this state. */
  readonly step: (state: S, what: O, known: boolean) => S | undefined
  readonly key: (state: S) => string
}

type Entry<O> = {
  readonly operation: Operation<O>
  readonly index: number
  /** The entry of the return, if this is a call. */
  match: Entry<O> | undefined
  before: Entry<O> | undefined
  after: Entry<O> | undefined
}

/** Places tried at most: a history that needs more is not decided. */
const triesMax = 200_000

/** A state that was met, and where its operations led to. */
type Met<S> = { readonly state: S; readonly name: string; readonly steps: Map<number, Met<S> | undefined> }

/** The states of one search: the same ones are met again and again. */
class States<S, O> {
  readonly first: Met<S>
  readonly #model: Model<S, O>
  readonly #met = new Map<string, Met<S>>()

  constructor(model: Model<S, O>) {
    this.#model = model
    this.first = this.#named(model.initial)
  }

  after(from: Met<S>, index: number, { what, returned }: Operation<O>): Met<S> | undefined {
    if (from.steps.has(index)) return from.steps.get(index)
    const state = this.#model.step(from.state, what, returned !== Number.POSITIVE_INFINITY)
    const next = state === undefined ? undefined : this.#named(state)
    from.steps.set(index, next)
    return next
  }

  #named(state: S): Met<S> {
    const key = this.#model.key(state)
    let met = this.#met.get(key)
    if (met === undefined) {
      met = { state, name: String.fromCodePoint(this.#met.size), steps: new Map() }
      this.#met.set(key, met)
    }
    return met
  }
}

/** @returns whether the history is linearizable; nothing when that could not be found out in reasonable time. */
export function isLinearizable<S, O>(model: Model<S, O>, operations: readonly Operation<O>[]): boolean | undefined {
  const head = entriesOf(operations)
  const done = Buffer.alloc(Math.ceil(operations.length / 8))
  const tried = new Set<string>()
  const path: { readonly entry: Entry<O>; readonly state: Met<S> }[] = []
  const states = new States(model)
  let state = states.first
  let entry = head.after
  while (head.after !== undefined) {
    const at: Entry<O> = entry!
    if (at.match !== undefined) {
      const next = states.after(state, at.index, at.operation)
      if (next !== undefined) {
        flip(done, at.index)
        const key = next.name + done.toString('latin1')
        if (!tried.has(key)) {
          if (tried.size >= triesMax) return undefined
          tried.add(key)
          path.push({ entry: at, state })
          state = next
          lift(at)
          lift(at.match)
          entry = head.after
          continue
        }
        flip(done, at.index)
      }
      entry = at.after
      continue
    }
    const last = path.pop()
    if (last === undefined) return false
    flip(done, last.entry.index)
    state = last.state
    unlift(last.entry.match!)
    unlift(last.entry)
    entry = last.entry.after
  }
  return true
}

function flip(bits: Uint8Array, index: number): void {
  bits[index >>> 3]! ^= 1 << (index & 7)
}

/** A list of calls and returns in their order, behind a head that is neither. */
function entriesOf<O>(operations: readonly Operation<O>[]): Entry<O> {
  const events: { readonly place: number; readonly entry: Entry<O> }[] = []
  for (const [index, operation] of operations.entries()) {
    const end: Entry<O> = { operation, index, match: undefined, before: undefined, after: undefined }
    const start: Entry<O> = { ...end, match: end }
    events.push({ place: operation.called, entry: start }, { place: operation.returned, entry: end })
  }
  events.sort((a, b) => (a.place === b.place ? a.entry.index - b.entry.index : a.place - b.place))
  const head: Entry<O> = { operation: operations[0]!, index: -1, match: undefined, before: undefined, after: undefined }
  let last = head
  for (const { entry } of events) {
    last.after = entry
    entry.before = last
    last = entry
  }
  return head
}

function lift<O>(entry: Entry<O>): void {
  entry.before!.after = entry.after
  if (entry.after !== undefined) entry.after.before = entry.before
}

function unlift<O>(entry: Entry<O>): void {
  entry.before!.after = entry
  if (entry.after !== undefined) entry.after.before = entry
}
