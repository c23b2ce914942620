/**
 * Large files: written in pieces side by side, overwritten here and there, synced, read, removed.
 *
 * A file is cells of 64 KiB, none of which crosses a record, so each is whole in one of the versions that it may have. An acknowledged version is
 * there for every reader; once synced it is durable.
 */
import { type FileHandle, isFailure } from '../../../client/index.ts'
import { bytesOf } from '../../harness/ledger.ts'
import { type Ground, type Lane, sketch } from './lane.ts'

/** Version 0: never written, so zeros. */
type Cell = { possible: readonly number[]; durable: readonly number[] }
type File = { readonly path: string; readonly cells: Cell[]; unsyncedSinceMs: number; retired: boolean }

const cellBytes = 64 * 1024
const cellsLeast = 32
const cellsMost = 320
/** Cells of one write, and writes side by side. */
const stretchMax = 24
const inFlight = 4
const keptMax = 2

const cellContent = (path: string, index: number, version: number): Buffer =>
  version === 0 ? Buffer.alloc(cellBytes) : bytesOf(`${path}[${index}]`, version, cellBytes)

export function largeFiles({ directory, writer, reader, random, tally, problem, lost }: Ground): Lane {
  const files: File[] = []
  let made = 0
  let versions = 0
  let current: { readonly file: File; readonly handle: FileHandle; overwrites: number } | undefined

  async function begin(): Promise<void> {
    const path = `${directory}/large-${made++}`
    const handle = await tally.run('create', path, () => writer.fs.open(path, 'wx'))
    const count = cellsLeast + random.below(cellsMost - cellsLeast)
    const cells = Array.from({ length: count }, () => ({ possible: [0], durable: [0] }))
    const file: File = { path, cells, unsyncedSinceMs: Number.POSITIVE_INFINITY, retired: false }
    files.push(file)
    current = { file, handle, overwrites: random.below(40) }
    const starts = Array.from({ length: Math.ceil(count / stretchMax) }, (_, index) => index * stretchMax)
    const lanes = Array.from({ length: inFlight }, async () => {
      for (let first = starts.shift(); first !== undefined; first = starts.shift())
        await write('write', file, handle, first, Math.min(stretchMax, count - first))
    })
    const outcomes = await Promise.allSettled(lanes)
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  async function write(kind: string, file: File, handle: FileHandle, first: number, count: number): Promise<void> {
    const version = ++versions
    const cells = file.cells.slice(first, first + count)
    for (const cell of cells) cell.possible = [...cell.possible, version]
    const bytes = Buffer.concat(cells.map((_, index) => cellContent(file.path, first + index, version)))
    const what = `${file.path}[${first}+${count}]#${version}`
    file.unsyncedSinceMs = Math.min(file.unsyncedSinceMs, Date.now())
    await tally.run(kind, what, () => handle.write(bytes, 0, bytes.length, first * cellBytes))
    for (const cell of cells) {
      cell.possible = [version]
      cell.durable = [...cell.durable, version]
    }
  }

  async function sync(file: File, handle: FileHandle): Promise<void> {
    try {
      await tally.run('sync', file.path, () => handle.sync())
    } catch (error) {
      if (isFailure(error, 'UNSYNCED_LOST')) lost(file.path, file.unsyncedSinceMs)
      throw error
    }
    file.unsyncedSinceMs = Number.POSITIVE_INFINITY
    for (const cell of file.cells) cell.durable = cell.possible
  }

  async function finish(): Promise<void> {
    const { file, handle } = current!
    await sync(file, handle)
    await judge(file, reader)
    current = undefined
    await handle.close()
    const whole = files.filter(({ retired }) => !retired)
    if (whole.length <= keptMax) return
    const oldest = whole[0]!
    oldest.retired = true
    await tally.run('remove', oldest.path, () => writer.fs.unlink(oldest.path))
    files.splice(files.indexOf(oldest), 1)
  }

  /** @param sync says, by failing, that older versions are right: what was not synced went with the power. */
  async function judge(file: File, client: Ground['reader'], sync?: () => Promise<void>): Promise<void> {
    const { path, cells, retired } = file
    const found = await tally.run('read', path, () => client.fs.readFile(path))
    if (found.length > cells.length * cellBytes) problem(`${path} has ${found.length} bytes, more than were written`)
    const bad: string[] = []
    let older = false
    for (const [index, { possible, durable }] of cells.entries()) {
      // Beyond the end is as never written.
      const cell = Buffer.alloc(cellBytes)
      cell.set(found.subarray(index * cellBytes, (index + 1) * cellBytes))
      const allowed = [...new Set(retired ? [...possible, ...durable] : possible)]
      if (allowed.some((version) => cellContent(path, index, version).equals(cell))) continue
      older ||= durable.some((version) => cellContent(path, index, version).equals(cell))
      bad.push(`[${index}] is ${sketch(cell)}, promised was version ${allowed.join(' or ')}`)
    }
    if (older) await sync?.()
    if (bad.length > 0)
      problem(`${path}: ${bad.length} of ${cells.length} cells are wrong: ${bad.slice(0, 3).join('; ')}`)
  }

  return {
    prepare: async () => void (await writer.fs.mkdir(directory, { recursive: true })),
    turn: async () => {
      try {
        if (current === undefined) return await begin()
        const { file, handle } = current
        if (current.overwrites-- <= 0) return await finish()
        const draw = random.next()
        const first = random.below(file.cells.length)
        if (draw < 0.1) await sync(file, handle)
        else if (draw < 0.15) await judge(file, reader, () => sync(file, handle))
        else await write('overwrite', file, handle, first, 1 + random.below(Math.min(4, file.cells.length - first)))
      } catch (error) {
        if (current !== undefined) current.file.retired = true
        current = undefined
        throw error
      }
    },
    verify: async (client) => {
      if (current !== undefined) {
        const { file, handle } = current
        current = undefined
        await sync(file, handle).catch((error) => {
          file.retired = true
          if (!isFailure(error, 'UNSYNCED_LOST')) throw error
        })
      }
      for (const file of files) await judge(file, client)
    },
  }
}
