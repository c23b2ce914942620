/**
 * Work on many items with a bounded number in flight.
 */

/** Runs `run` on each item, at most `limit` at a time; the first failure ends it and is thrown. */
export async function parallel<T>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  run: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]()
  let over = false
  const worker = async (): Promise<void> => {
    while (!over) {
      const { done, value } = await iterator.next()
      if (done) return
      await run(value)
    }
  }
  const end = (error: unknown): never => {
    over = true
    throw error
  }
  await Promise.all(Array.from({ length: limit }, () => worker().catch(end)))
}
