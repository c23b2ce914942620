/**
 * The record that gives live items of a segment a new place.
 *
 * Pure. It changes nothing that anybody could read: every item is asked for again, in the same turn in which the record is
 * appended, and put in again as it stands.
 */
import type { Change } from '../index/changes.ts'
import { type Item, live, type State } from './live.ts'

/** An item, and if it is a run of bytes, these, as they were read and checked. */
export type Held = { readonly item: Item; readonly bytes: Uint8Array | undefined }

/**
 * @param held in the order in which they are to stand.
 * @param oldest they stand in the log's oldest segment.
 * @returns no changes when nothing is live any more.
 */
export function moved(
  held: readonly Held[],
  state: State,
  oldest: boolean,
): { readonly changes: readonly Change[]; readonly payload: readonly Uint8Array[]; readonly payloadBytes: number } {
  const changes: Change[] = []
  const payload: Uint8Array[] = []
  let payloadBytes = 0
  for (const { item, bytes } of held) {
    for (const part of live(item, state, oldest)) {
      if (part.type !== 'bytes') changes.push(part)
      else if (item.type === 'bytes' && bytes !== undefined) {
        const { object, offset, length } = part
        const from = part.payloadOffset - item.payloadOffset
        payload.push(bytes.subarray(from, from + length))
        const before = changes.at(-1)
        if (before?.type === 'extent' && isNext(before, part))
          changes[changes.length - 1] = { ...before, length: before.length + length }
        else changes.push({ type: 'extent', object, offset, length, payloadOffset: payloadBytes })
        payloadBytes += length
      }
    }
  }
  return { changes, payload, payloadBytes }
}

/** Whether `part` continues the run: its bytes are the next in the payload anyway. */
const isNext = (before: Change & { readonly type: 'extent' }, part: Item & { readonly type: 'bytes' }): boolean =>
  before.offset + before.length === part.offset && Buffer.compare(before.object, part.object) === 0
