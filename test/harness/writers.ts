/**
 * Writers that load a cluster and enter each acknowledged write in a ledger, and the check of what is found later.
 *
 * Not pure. Four promises are put to the test: a small file is durable when `writeFile` returns; a rename over an
 * existing file when it returns; bytes of a file when `sync` returned; bytes over NFS when a FILE_SYNC WRITE is
 * answered, or a COMMIT with the verifier of the WRITEs. A writer goes on over failures: a write that failed may or
 * may not be there.
 */
import type { Client } from '../../client/index.ts'
import { Failure } from '../../protocol/failures.ts'
import { type Handle, type HardClient, stability } from './hard-client.ts'
import { bytesOf, type Ledger } from './ledger.ts'

/** Ranges of one file, each a cell: `name[index]`. None crosses a multiple of 64 KiB, so each is one record. */
export type Ranges = { readonly name: string; readonly lengthBytes: number; readonly count: number }

export const ranges = {
  small: { name: 'small-ranges', lengthBytes: 4096, count: 512 },
  large: { name: 'large-ranges', lengthBytes: 256 * 1024, count: 64 },
  fileSync: { name: 'nfs-file-sync', lengthBytes: 8192, count: 256 },
  commit: { name: 'nfs-commit', lengthBytes: 32 * 1024, count: 128 },
} as const satisfies Record<string, Ranges>

/** Where the ranges begin: beyond the inline bytes for the large ones. */
const offsetOf = (range: Ranges, index: number): number => (index + 1) * range.lengthBytes
const batch = 8
const directories = { created: '/created', replaced: '/replaced' } as const
const replacedCount = 64

export function lengthOf(cell: string, version: number): number {
  const range = Object.values(ranges).find(({ name }) => cell.startsWith(`${name}[`))
  if (range !== undefined) return range.lengthBytes
  // Small files of many sizes: all their bytes live with their name, so that one record holds a version.
  return 1 + ((cell.length * 7919 + version * 104_729 + Number(/\d+/.exec(cell)) * 31) % 20_000)
}

export type Load = {
  /** Ends all writers once what they have begun has succeeded or failed. */
  readonly stop: () => void
  /** The failures that they met, when all have ended. */
  readonly stopped: Promise<ReadonlyMap<string, number>>
}

/** Makes the directories and files, once. */
export async function prepare(client: Client): Promise<void> {
  for (const directory of Object.values(directories)) await client.fs.mkdir(directory)
  for (const { name } of [ranges.small, ranges.large]) {
    const handle = await client.fs.open(`/${name}`, 'w')
    await handle.close()
  }
}

export type LoadOptions = {
  readonly client: Client
  readonly nfs: HardClient
  readonly ledger: Ledger
  /** Different in every round, so that created files have new names. */
  readonly round: number
  /** At most so many small files are created in one round. */
  readonly createdMax: number
}

export function startLoad({ client, nfs, ledger, round, createdMax }: LoadOptions): Load {
  let stopping = false
  const failures = new Map<string, number>()

  /** Repeats until told to stop; a failure is counted, and the next turn comes a little later. */
  async function loop(turn: (count: number) => Promise<boolean>): Promise<void> {
    for (let count = 0; !stopping; count++) {
      try {
        if (!(await turn(count))) return
      } catch (error) {
        const code = error instanceof Failure ? error.failure : String(error)
        failures.set(code, (failures.get(code) ?? 0) + 1)
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  }

  async function create(lane: number, count: number): Promise<boolean> {
    const cell = `created-${round}-${lane}-${count}`
    const version = ledger.begin(cell)
    await client.fs.writeFile(`${directories.created}/${cell}`, bytesOf(cell, version, lengthOf(cell, version)))
    ledger.acknowledge(cell)
    return (count + 1) * lanes < createdMax
  }

  async function replace(count: number): Promise<boolean> {
    const cell = `replaced-${count % replacedCount}`
    const version = ledger.begin(cell)
    const fresh = `${directories.replaced}/new-${round}-${count}`
    await client.fs.writeFile(fresh, bytesOf(cell, version, lengthOf(cell, version)))
    await client.fs.rename(fresh, `${directories.replaced}/${cell}`)
    ledger.acknowledge(cell)
    return true
  }

  async function sync(range: Ranges): Promise<void> {
    const open = await client.fs.open(`/${range.name}`, 'r+')
    await loop(async (count) => {
      const cells = begin(range, count)
      await all(
        cells.map(async ({ bytes, offset }) => {
          const { bytesWritten } = await open.write(bytes, 0, bytes.length, offset)
          whole(bytes.length, bytesWritten)
        }),
      )
      await open.sync()
      for (const { cell } of cells) ledger.acknowledge(cell)
      return true
    })
    await open.close()
  }

  async function fileSync(file: Handle): Promise<void> {
    await loop(async (count) => {
      await all(
        begin(ranges.fileSync, count).map(async ({ cell, bytes, offset }) => {
          const reply = await nfs.write(file, offset, bytes, stability.fileSync)
          whole(bytes.length, reply.count)
          if (reply.committed !== stability.fileSync) throw new Error(`FILE_SYNC was answered ${reply.committed}`)
          ledger.acknowledge(cell)
        }),
      )
      return true
    })
  }

  async function commit(file: Handle): Promise<void> {
    await loop(async (count) => {
      const cells = begin(ranges.commit, count)
      for (;;) {
        const replies = await all(cells.map(({ bytes, offset }) => nfs.write(file, offset, bytes, stability.unstable)))
        const verifier = await nfs.commit(file)
        // As a client must: another verifier than that of a WRITE means that its bytes may be lost.
        if (replies.every((reply) => reply.verifier === verifier)) break
      }
      for (const { cell } of cells) ledger.acknowledge(cell)
      return true
    })
  }

  function begin(range: Ranges, count: number) {
    return Array.from({ length: batch }, (_, place) => {
      const index = (count * batch + place) % range.count
      const cell = `${range.name}[${index}]`
      const bytes = bytesOf(cell, ledger.begin(cell), range.lengthBytes)
      return { cell, bytes, offset: offsetOf(range, index) }
    })
  }

  const lanes = 4
  const writers = (async () => {
    const root = await nfs.mount('/')
    const files = await Promise.all([ranges.fileSync, ranges.commit].map(({ name }) => nfs.create(root, name)))
    await Promise.all([
      ...Array.from({ length: lanes }, (_, lane) => loop((count) => create(lane, count))),
      loop(replace),
      sync(ranges.small),
      sync(ranges.large),
      fileSync(files[0]!),
      commit(files[1]!),
    ])
  })()
  const stopped = writers.then(() => failures)
  stopped.catch(() => undefined) // Whoever awaits it hears of it; nobody may, when the crash itself went wrong.
  return {
    stop: () => {
      stopping = true
    },
    stopped,
  }
}

/** Waits for all, also when one fails: nothing of a turn may reach the cluster after the next began. */
async function all<T>(work: readonly Promise<T>[]): Promise<readonly T[]> {
  await Promise.allSettled(work)
  return Promise.all(work)
}

function whole(wanted: number, written: number): void {
  if (written !== wanted) throw new Error(`a short write: ${written} of ${wanted} bytes`)
}

/** Reads every cell of the ledger. @returns each broken promise. */
export async function verify(client: Client, ledger: Ledger): Promise<readonly string[]> {
  const broken: string[] = []
  const cells = [...ledger.cells()]
  const handles = new Map<string, Awaited<ReturnType<Client['fs']['open']>>>()
  for (const { name } of Object.values(ranges)) {
    if (cells.some((cell) => cell.startsWith(`${name}[`))) handles.set(name, await client.fs.open(`/${name}`, 'r'))
  }
  const lanes = Array.from({ length: 16 }, async () => {
    for (let cell = cells.pop(); cell !== undefined; cell = cells.pop()) {
      const problem = ledger.judge(cell, await find(cell))
      if (problem !== undefined) broken.push(problem)
    }
  })
  await Promise.all(lanes)
  for (const handle of handles.values()) await handle.close()
  return broken

  async function find(cell: string): Promise<Uint8Array | undefined> {
    const range = Object.values(ranges).find(({ name }) => cell.startsWith(`${name}[`))
    if (range !== undefined) {
      const bytes = Buffer.alloc(range.lengthBytes)
      const offset = offsetOf(range, Number(/\[(\d+)\]/.exec(cell)![1]))
      const { bytesRead } = await handles.get(range.name)!.read(bytes, 0, bytes.length, offset)
      // Never written: a hole, or beyond the end.
      return bytesRead === 0 || bytes.every((byte) => byte === 0) ? undefined : bytes.subarray(0, bytesRead)
    }
    const directory = cell.startsWith('created') ? directories.created : directories.replaced
    try {
      return await client.fs.readFile(`${directory}/${cell}`)
    } catch (error) {
      if (error instanceof Failure && error.failure === 'NOT_FOUND') return undefined
      throw error
    }
  }
}
