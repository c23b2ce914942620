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

export type IndexOptions = {
  /** Kept in memory before it gets a table. Few, large tables: the log has the data, so replaying more after a crash costs little. */
  readonly bufferBytes?: number
  /** Called before every write: whoever knows of room to give up does so now. */
  readonly before?: () => void
  /** Told once, when a write has failed. From then on every write fails. */
  readonly broken?: (failure: Failure) => void
}

/**
 * Writes go one at a time, and none after one that failed: `level` goes on behind what it could not write, and the next
 * to open it would find what came later without what came before.
 * @throws Failure DISK_FAILED when the directory holds no readable index, NO_SPACE when the disk has no room to open it.
 */
export async function openIndex(directory: string, options: IndexOptions = {}): Promise<Index> {
  const { bufferBytes = 16 * 1024 * 1024, before = () => {}, broken = () => {} } = options
  const level = new Level<Uint8Array, Uint8Array>(directory, {
    ...encodings,
    cacheSize: cacheBytes,
    writeBufferSize: bufferBytes,
  })
  try {
    await level.open()
  } catch (error) {
    throw failureOf(error, `the index in ${directory} does not open`)
  }
  let failed: Failure | undefined
  let latest: Promise<void> = Promise.resolve()
  const next = (run: () => Promise<void>): Promise<void> => {
    const done = latest.then(async () => {
      if (failed !== undefined) throw failed
      try {
        before()
        await run()
      } catch (error) {
        failed = failureOf(error, `the index in ${directory} cannot be written`)
        broken(failed)
        throw failed
      }
    })
    latest = done.catch(() => {})
    return done
  }
  return {
    get: (key) => level.getSync(key),
    scan: async (from, to, limit) => {
      const found = await level.iterator({ gte: from, lt: to, limit }).all()
      return found.map(([key, value]) => ({ key, value }))
    },
    write: (writes, durable) =>
      next(async () => {
        const batch = level.batch()
        for (const { key, value } of writes) {
          if (value === undefined) batch.del(key)
          else batch.put(key, value)
        }
        await batch.write({ sync: durable })
      }),
    clear: (from, to) => next(() => level.clear({ gte: from, lt: to })),
    close: async () => {
      await latest
      await level.close()
    },
  }
}

/** `level` says what the system said only in words. */
function failureOf(error: unknown, what: string): Failure {
  const { cause = error } = error as Error
  const message = cause instanceof Error ? cause.message : String(cause)
  const noSpace = /No space left on device|Disk quota exceeded/.test(message)
  return new Failure(noSpace ? 'NO_SPACE' : 'DISK_FAILED', `${what}: ${message}`, { cause: error })
}
