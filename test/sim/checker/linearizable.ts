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
const triesMax = 60_000

/** @returns whether the history is linearizable; nothing when that could not be found out in reasonable time. */
export function isLinearizable<S, O>(model: Model<S, O>, operations: readonly Operation<O>[]): boolean | undefined {
  const head = entriesOf(operations)
  const done = new Uint8Array(Math.ceil(operations.length / 8))
  const tried = new Set<string>()
  const path: { readonly entry: Entry<O>; readonly state: S }[] = []
  let state = model.initial
  let entry = head.after
  while (head.after !== undefined) {
    const at: Entry<O> = entry!
    if (at.match !== undefined) {
      const { what, returned } = at.operation
      const next = model.step(state, what, returned !== Number.POSITIVE_INFINITY)
      if (next !== undefined) {
        flip(done, at.index)
        const key = `${Buffer.from(done.buffer).toString('latin1')}|${model.key(next)}`
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
