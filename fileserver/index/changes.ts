/**
 * What a record changes, and how the operations of a container see its state.
 *
 * Types only. A key is any bytes, unique in its container. File bytes are never values: an `extent` says that a run
 * of the record's payload is now a run of an object's bytes, and `punch` forgets a run (it then reads as zeros).
 * An `object` is a key of its own name space: what file bytes belong to (an inode, or a chunk).
 */
export type Change =
  /** `fresh`: the key surely has no value now, which saves every replica a look-up. */
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array; readonly fresh: boolean }
  | { readonly type: 'delete'; readonly key: Uint8Array }
  | {
      readonly type: 'extent'
      readonly object: Uint8Array
      readonly offset: number
      readonly length: number
      readonly payloadOffset: number
    }
  /** [from, to) of the object's bytes; `to` at most the highest offset ever written, rounded up as you like. */
  | { readonly type: 'punch'; readonly object: Uint8Array; readonly from: number; readonly to: number }
  /** What an earlier record, whose segment is dropped, did for a client's call: repeats are answered from it. */
  | {
      readonly type: 'call'
      readonly client: number
      readonly number: number
      readonly oldest: number
      readonly result: number
    }

/** The container's state with every appended record applied, committed or not. */
export type View = {
  readonly get: (key: Uint8Array) => Uint8Array | undefined
  /** Keys in [from, to) in byte order, at most `limit`, as of the moment of the call. */
  readonly scan: (
    from: Uint8Array,
    to: Uint8Array,
    limit: number,
  ) => Promise<readonly { readonly key: Uint8Array; readonly value: Uint8Array }[]>
}
