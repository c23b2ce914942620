/**
 * How far the scrub of each replica is, across restarts.
 *
 * Driver over the pool's index, which may be thrown away: then every replica is read again. An entry is in the key space
 * of its container, so it goes with the replica; one that was made anew counts as never read.
 */
import { read53, write53 } from '../../protocol/bytes.ts'
import { type ContainerId, sequence } from '../../protocol/ids.ts'
import { containerPrefix } from '../index/container-index.ts'
import type { Index } from '../index/store.ts'
import type { Memory } from './order.ts'

/** Key: container, `v` (verified). Value: completedMs u64, next u64. */
const keyOf = (container: ContainerId): Buffer => Buffer.concat([containerPrefix(container), Buffer.from('v')])
const valueBytes = 16

export function recall(index: Index, container: ContainerId): Memory {
  const value = index.get(keyOf(container))
  if (value === undefined || value.length !== valueBytes) return { completedMs: 0, next: sequence(0) }
  const bytes = Buffer.from(value)
  return { completedMs: read53(bytes, 0), next: sequence(read53(bytes, 8)) }
}

/** Outlives the process when it settles; a power cut may take it. */
export function remember(index: Index, container: ContainerId, { completedMs, next }: Memory): Promise<void> {
  const value = Buffer.alloc(valueBytes)
  write53(value, completedMs, 0)
  write53(value, next, 8)
  return index.write([{ key: keyOf(container), value }], false)
}
