/**
 * Empties one segment and has it dropped: its live records are appended again through the ordinary replicated path.
 *
 * Driver around live.ts and moving.ts, at the container's master, whose order decides: what is moved is still live in the
 * turn in which it is appended, so a newer value is never undone. The moves are records as any other: if they are
 * rolled back, so is the drop, which stands behind them. Bytes are read as for a client: checked, and mended from another
 * replica where they are damaged. A record of moves is not waited for to be durable, since the old place is there
 * until the drop is.
 */
import { assert } from '../../protocol/assert.ts'
import { Failure } from '../../protocol/failures.ts'
import { payloadSums } from '../../protocol/hash.ts'
import { clientId, type Sequence } from '../../protocol/ids.ts'
import { bare } from '../replica/addition.ts'
import type { ContainerReplica } from '../replica/replica.ts'
import { type Item, itemsOf, live, type State } from './live.ts'
import { type Held, moved } from './moving.ts'

/** Of live records appended again at once: small, so that others hardly wait for it. */
const batchBytesMax = 256 * 1024
const batchItemsMax = 256
/** Records looked through in one turn. */
const recordsMax = 512
/** Calls of clients that the record which drops the segment carries. */
const callsMax = 4096

type Call = Item & { readonly type: 'call' }

/** What decides how the work goes on. */
export type Course = {
  /** Lets others have their turn. */
  readonly rest: () => Promise<void>
  /** Waits until `holds`. */
  readonly until: (holds: () => boolean) => Promise<void>
  /** @throws Failure when the work has to stop. Both of the others throw it too. */
  readonly demand: () => void
}

/**
 * @returns how many bytes of it were moved; nothing when it cannot be dropped yet.
 * @throws Failure of `course`, CORRUPT, or NO_SPACE when a replica has no room for what is moved.
 */
export async function emptySegment(
  replica: ContainerReplica,
  first: Sequence,
  course: Course,
): Promise<number | undefined> {
  const { log, index } = replica.storage
  const state: State = {
    sequenceOf: (key) => index.sequenceOf(key),
    extents: (object, from, to) => index.extents(object, from, to),
    knows: (client, number) => index.retries.find({ client: clientId(client), number }) !== undefined,
  }
  const isLast = (): boolean => log.manifest().at(-1)?.first === first
  // What is moved out of the last segment would only get into it again.
  if (isLast() && index.liveness.of(first).liveBytes > 0)
    await replica.append({ ...bare, kind: 'sealSegment', stable: false, result: first, changes: [] }).acknowledged
  const last = isLast()
  const oldest = log.manifest()[0]?.first === first
  const looked = log.last
  const gather = new Gathering(replica, first, state, oldest)
  let movedBytes = 0
  while (!gather.done) {
    const held = await read(replica, gather.next())
    course.demand()
    const { changes, payload, payloadBytes } = moved(held, state, oldest)
    if (changes.length > 0) {
      if (last) return undefined
      if (payloadBytes + batchBytesMax > replica.roomBytes) throw new Failure('NO_SPACE', 'no room to clean')
      const sums = payloadSums(payload, payloadBytes)
      const record = { ...bare, kind: 'operation', stable: false, result: 0, changes } as const
      movedBytes += payloadBytes
      await replica.append({ ...record, payload, payloadBytes, sums }).acknowledged
    }
    await course.rest()
  }
  const end = log.last
  await course.until(() => index.applied >= end)
  course.demand()
  if (last && (!isLast() || log.last !== looked)) return undefined
  assert(index.liveness.of(first).liveBytes === 0, `nothing is left in segment ${first} that is live`)
  const changes = gather.calls.filter((call) => live(call, state, oldest).length > 0)
  await replica.append({ ...bare, kind: 'dropSegment', stable: true, result: first, changes }).acknowledged
  await course.until(() => log.segmentOf(first) === undefined)
  return movedBytes
}

/** Live items of a segment, in pieces that are small enough for a record. */
class Gathering {
  /** Those that the record which drops the segment is to carry. */
  readonly calls: Call[] = []
  done = false
  readonly #items: Iterator<Item | undefined>
  /** Found, but it did not fit. */
  #left: Item | undefined

  constructor(replica: ContainerReplica, first: Sequence, state: State, oldest: boolean) {
    this.#items = itemsIn(replica, first, state, oldest)
  }

  next(): readonly Item[] {
    const batch: Item[] = this.#left === undefined ? [] : [this.#left]
    let bytes = batch.reduce((sum, item) => sum + sizeOf(item), 0)
    this.#left = undefined
    for (let records = 0; records < recordsMax && batch.length < batchItemsMax && bytes < batchBytesMax; ) {
      const { value: item, done } = this.#items.next()
      if (done) {
        this.done = true
        break
      }
      if (item === undefined) records += 1
      else if (item.type === 'call') this.calls.push(item)
      else if (batch.length > 0 && bytes + sizeOf(item) > batchBytesMax) {
        this.#left = item
        break
      } else {
        batch.push(item)
        bytes += sizeOf(item)
      }
    }
    return this.calls.length < callsMax ? batch : [...batch, ...this.calls.splice(0)]
  }
}

/** After the items of each record nothing. */
function* itemsIn(
  { storage }: ContainerReplica,
  first: Sequence,
  state: State,
  oldest: boolean,
): Generator<Item | undefined> {
  for (const entry of storage.log.entriesOf(first)) {
    for (const item of itemsOf(entry)) yield* live(item, state, oldest)
    yield undefined
  }
}

const sizeOf = (item: Item): number =>
  item.type === 'bytes' ? item.length : item.type === 'put' ? item.key.length + item.value.length : 32

/** @throws Failure CORRUPT when bytes are damaged and no replica has them whole. */
async function read(replica: ContainerReplica, items: readonly Item[]): Promise<Held[]> {
  const held: Held[] = []
  for (const item of items) {
    if (item.type !== 'bytes') {
      held.push({ item, bytes: undefined })
      continue
    }
    const reading = replica.readExtents([item], item.offset, item.length)
    const { payload, release } = reading instanceof Promise ? await reading : reading
    held.push({ item, bytes: Buffer.concat([...payload]) })
    release?.()
  }
  return held
}
