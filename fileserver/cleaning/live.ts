/**
 * What of a segment's records the state still needs: the one rule of liveness (DESIGN §3).
 *
 * Pure. A record holds items. A put is live while the index names the record for its key; bytes while an extent names
 * their place; a call while the retry table has it. A deletion is live while what it deleted is absent and an older
 * segment is there: rebuilt from the log, the state would show again what that segment still holds. Whoever moves an
 * item asks again when it appends it: what is newer by then, staged records included, is never undone.
 */
import type { Change } from '../index/changes.ts'
import type { Extent } from '../index/extents.ts'
import { decodeChanges } from '../log/changes-codec.ts'
import type { Entry } from '../log/find.ts'
import { changesOf } from '../log/record.ts'

/** A container's state with every appended record applied. */
export type State = {
  /** The sequence of the record that gave the key its value; nothing where it has none. */
  readonly sequenceOf: (key: Uint8Array) => number | undefined
  readonly extents: (object: Uint8Array, from: number, to: number) => readonly Extent[]
  /** Whether the retry table knows the call. */
  readonly knows: (client: number, number: number) => boolean
}

type Of<T extends Change['type']> = Change & { readonly type: T }

export type Item =
  | (Of<'put'> & { readonly sequence: number })
  | Of<'delete'>
  | Of<'punch'>
  | Of<'call'>
  /** A run of an object's bytes; `offset` in the object. */
  | ({ readonly type: 'bytes'; readonly object: Uint8Array } & Extent)

/** Everything that a record holds, live or not, in order; of several puts of a key the last. */
export function itemsOf({ header, head, segment, offset: record }: Omit<Entry, 'payload'>): Item[] {
  const { sequence, headBytes, payloadBytes, client, number, oldest, result } = header
  const items: Item[] = []
  const put = new Set<string>()
  for (const change of decodeChanges(changesOf(head, header)).reverse()) {
    if (change.type === 'put') {
      const key = Buffer.from(change.key).toString('latin1')
      if (put.has(key)) continue
      put.add(key)
      items.push({ ...change, fresh: false, sequence })
    } else if (change.type === 'extent') {
      const { object, offset, length, payloadOffset } = change
      items.push({ type: 'bytes', object, offset, length, segment, record, headBytes, payloadBytes, payloadOffset })
    } else items.push(change)
  }
  items.reverse()
  if (client !== 0) items.push({ type: 'call', client, number, oldest, result })
  return items
}

/**
 * @param oldest the item stands in the log's oldest segment.
 * @returns the parts of it that are live.
 */
export function live(item: Item, state: State, oldest: boolean): readonly Item[] {
  switch (item.type) {
    case 'put':
      return state.sequenceOf(item.key) === item.sequence ? [item] : []
    case 'delete':
      return oldest || state.sequenceOf(item.key) !== undefined ? [] : [item]
    case 'punch':
      return oldest ? [] : holes(item, state)
    case 'call':
      return state.knows(item.client, item.number) ? [item] : []
    case 'bytes': {
      const { type, object, offset, length } = item
      const found = state.extents(object, offset, offset + length)
      return found.filter((part) => isOf(part, item)).map((part) => ({ type, object, ...part }))
    }
  }
}

/** Whether an extent of the same object is a part of the item's run. */
const isOf = (part: Extent, item: Extent): boolean =>
  part.segment === item.segment &&
  part.record === item.record &&
  part.payloadOffset - part.offset === item.payloadOffset - item.offset

/** The parts of a punched run that nothing was written to since. */
function holes({ type, object, from, to }: Of<'punch'>, state: State): Item[] {
  const found: Item[] = []
  let at = from
  for (const { offset, length } of state.extents(object, from, to)) {
    if (at < offset) found.push({ type, object, from: at, to: offset })
    at = offset + length
  }
  if (at < to) found.push({ type, object, from: at, to })
  return found
}
