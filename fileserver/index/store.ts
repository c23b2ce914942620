/**
 * The index of a storage pool: ordered keys and values, for all its containers together.
 *
 * Driver over `level`. It holds only what the logs hold too and may be thrown away (DESIGN §3); so a write that is not
 * `durable` may be lost with a power cut, but only together with all writes after it.
 */
import { Level } from 'level'
import { Failure } from '../../protocol/failures.ts'

export type KeyValue = { readonly key: Uint8Array; readonly value: Uint8Array }
/** Without a value the key is deleted. */
export type Write = { readonly key: Uint8Array; readonly value: Uint8Array | undefined }

export type Index = {
  readonly get: (key: Uint8Array) => Uint8Array | undefined
  /** Keys in [from, to) in byte order, at most `limit`, as of the moment of the call. */
  readonly scan: (from: Uint8Array, to: Uint8Array, limit: number) => Promise<readonly KeyValue[]>
  /** Atomic. With `durable`, it and every write before it are on the disk when it settles. */
  readonly write: (writes: readonly Write[], durable: boolean) => Promise<void>
  readonly clear: (from: Uint8Array, to: Uint8Array) => Promise<void>
  readonly close: () => Promise<void>
}

const encodings = { keyEncoding: 'view', valueEncoding: 'view' } as const
/** Enough that the index of a busy pool is rarely read from disk; shared by all containers. */
const cacheBytes = 64 * 1024 * 1024
/** Fewer, larger tables: the log has the data, so replaying more after a crash costs little. */
const writeBufferBytes = 16 * 1024 * 1024

/** @throws Failure DISK_FAILED when the directory holds no readable index. */
export async function openIndex(directory: string): Promise<Index> {
  const level = new Level<Uint8Array, Uint8Array>(directory, {
    ...encodings,
    cacheSize: cacheBytes,
    writeBufferSize: writeBufferBytes,
  })
  try {
    await level.open()
  } catch (error) {
    const cause = (error as Error).cause instanceof Error ? ((error as Error).cause as Error) : (error as Error)
    throw new Failure('DISK_FAILED', `the index in ${directory} does not open: ${cause.message}`, { cause: error })
  }
  return {
    get: (key) => level.getSync(key),
    scan: async (from, to, limit) => {
      const found = await level.iterator({ gte: from, lt: to, limit }).all()
      return found.map(([key, value]) => ({ key, value }))
    },
    write: async (writes, durable) => {
      const batch = level.batch()
      for (const { key, value } of writes) {
        if (value === undefined) batch.del(key)
        else batch.put(key, value)
      }
      await batch.write({ sync: durable })
    },
    clear: (from, to) => level.clear({ gte: from, lt: to }),
    close: () => level.close(),
  }
}
