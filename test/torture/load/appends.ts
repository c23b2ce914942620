/**
 * Files that grow by appends, now and then synced, now and then cut shorter.
 *
 * A byte of a file follows from the file's name and its place. What was synced, and every truncation, is there for
 * ever; what was acknowledged but not synced may only go when all replicas lose their power, and then `sync` says so.
 */
import { type FileHandle, isFailure } from '../../../client/index.ts'
import { bytesOf } from '../../harness/ledger.ts'
import { type Ground, type Lane, sketch } from './lane.ts'

type Growing = {
  readonly path: string
  /** Acknowledged, and how much of that is durable. */
  sizeBytes: number
  syncedBytes: number
  /** The size that an operation under way, or one that failed, may have brought. */
  maybe: number | undefined
  /** When the first change since the last sync began: a part of it may be lost before the rest is acknowledged. */
  unsyncedSinceMs: number
  retired: boolean
  /** What was not synced is gone, and what was appended since stands where nobody knows. */
  cut: boolean
}

const sizeMax = 1_500_000
const appendMax = 40_000
const keptMax = 4

/** @returns the bytes of the file `path` from `start` to `end`. */
function expected(path: string, start: number, end: number): Buffer {
  const unit = 64
  const first = Math.floor(start / unit)
  const last = Math.ceil(end / unit)
  const units = Array.from({ length: last - first }, (_, index) => bytesOf(path, first + index, unit))
  return Buffer.concat(units).subarray(start - first * unit, end - first * unit)
}

export function appends({ directory, writer, reader, random, tally, problem, lost }: Ground): Lane {
  const files: Growing[] = []
  let made = 0
  let current: { readonly file: Growing; readonly handle: FileHandle } | undefined

  async function begin(): Promise<void> {
    const path = `${directory}/log-${made++}`
    const file = {
      path,
      sizeBytes: 0,
      syncedBytes: 0,
      maybe: undefined,
      unsyncedSinceMs: Number.POSITIVE_INFINITY,
      retired: true,
      cut: false,
    }
    const handle = await tally.run('create', path, () => writer.fs.open(path, 'ax'))
    file.retired = false
    files.push(file)
    current = { file, handle }
  }

  /** Ends with the file: synced and checked, or retired by a failure on the way. */
  async function finish(): Promise<void> {
    const { file, handle } = current!
    await sync(file, handle)
    await judge(file, reader)
    current = undefined
    await handle.close()
    if (files.filter(({ retired }) => !retired).length > keptMax) {
      const oldest = files.find(({ retired }) => !retired)!
      oldest.retired = true // Gone or not: nobody looks at it any more, unless it is gone for sure.
      await tally.run('remove', oldest.path, () => writer.fs.unlink(oldest.path))
      files.splice(files.indexOf(oldest), 1)
    }
  }

  async function sync(file: Growing, handle: FileHandle): Promise<void> {
    try {
      await tally.run('sync', `${file.path} ${file.sizeBytes}`, () => handle.sync())
      file.syncedBytes = file.sizeBytes
      file.unsyncedSinceMs = Number.POSITIVE_INFINITY
    } catch (error) {
      if (isFailure(error, 'UNSYNCED_LOST')) {
        lost(file.path, file.unsyncedSinceMs)
        file.cut = true
      }
      throw error
    }
  }

  async function append(file: Growing, handle: FileHandle): Promise<void> {
    const length = 1 + random.below(random.chance(0.5) ? 500 : appendMax)
    const bytes = expected(file.path, file.sizeBytes, file.sizeBytes + length)
    file.maybe = file.sizeBytes + length
    file.unsyncedSinceMs = Math.min(file.unsyncedSinceMs, Date.now())
    await tally.run('append', `${file.path} ${file.sizeBytes}+${length}`, () => handle.write(bytes))
    file.sizeBytes += length
    file.maybe = undefined
  }

  async function truncate(file: Growing, handle: FileHandle): Promise<void> {
    const size = random.below(file.sizeBytes + 1)
    file.maybe = size
    file.syncedBytes = Math.min(file.syncedBytes, size)
    await tally.run('truncate', `${file.path} ${size}`, () => handle.truncate(size))
    file.sizeBytes = size
    file.maybe = undefined
  }

  /** A promise is broken when the durable bytes are not there, or others stand in the place of some. */
  async function judge(file: Growing, client: Ground['reader']): Promise<void> {
    const { path, sizeBytes, syncedBytes, maybe, retired, cut } = file
    const found = await tally.run('read', path, () => client.fs.readFile(path))
    const least = retired ? syncedBytes : sizeBytes
    const most = retired ? Math.max(sizeBytes, maybe ?? 0) : sizeBytes
    const right = expected(path, 0, found.length)
    if (found.length < least || (found.length > most && !cut))
      problem(`${path} has ${found.length} bytes; promised were ${least} to ${most}`)
    else if (!found.subarray(0, least).equals(right.subarray(0, least))) differs(least)
    else if (!cut) {
      // Between the two each byte is what was written, or was never written.
      for (let at = least; at < found.length; at++) if (found[at] !== 0 && found[at] !== right[at]) return differs(at)
    }

    function differs(end: number): void {
      let at = 0
      while (at < end && found[at] === right[at]) at++
      problem(`${path} differs from ${at} on, of ${found.length}: ${sketch(found, at)}, not ${sketch(right, at)}`)
    }
  }

  return {
    prepare: async () => void (await writer.fs.mkdir(directory, { recursive: true })),
    turn: async () => {
      if (current === undefined) await begin()
      const { file, handle } = current!
      try {
        const draw = random.next()
        if (file.sizeBytes > sizeMax) await finish()
        else if (draw < 0.1) await sync(file, handle)
        else if (draw < 0.12) await truncate(file, handle)
        else await append(file, handle)
      } catch (error) {
        file.retired = true
        current = undefined
        throw error
      }
    },
    verify: async (client) => {
      if (current !== undefined) {
        const { file, handle } = current
        current = undefined
        file.retired = true
        await sync(file, handle).then(
          () => {
            file.retired = false
          },
          (error) => {
            if (!file.cut) throw error
          },
        )
      }
      for (const file of files) await judge(file, client)
    },
  }
}
