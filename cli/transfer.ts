/**
 * Copies files and trees between this machine and the cluster, either way, by one algorithm over two `Side`s.
 *
 * Files of a tree travel in parallel; a directory is made before what is in it. Symbolic links inside a tree are
 * copied as links; one that is named on the command line is followed. A copied file is durable.
 */
import { createReadStream, createWriteStream } from 'node:fs'
import * as local from 'node:fs/promises'
import { basename, join } from 'node:path'
import { type Readable, Transform, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Client } from '../client/index.ts'
import { Failure, isFailure } from '../protocol/failures.ts'
import { isAbsent } from './failure.ts'
import { parallel } from './parallel.ts'
import { type Progress, progress } from './progress.ts'

type Kinds = {
  readonly mode: number
  readonly size: number
  isFile(): boolean
  isDirectory(): boolean
  isSymbolicLink(): boolean
}

export type Side = {
  readonly stat: (path: string) => Promise<Kinds>
  readonly lstat: (path: string) => Promise<Kinds>
  readonly readdir: (path: string) => Promise<string[]>
  readonly mkdir: (path: string, mode: number) => Promise<unknown>
  readonly readlink: (path: string) => Promise<string>
  readonly symlink: (target: string, path: string) => Promise<void>
  readonly unlink: (path: string) => Promise<void>
  readonly read: (path: string) => Readable
  readonly write: (path: string, mode: number) => Writable
}

export type Copied = { readonly files: number; readonly directories: number; readonly bytes: number }

const blockBytes = 1024 * 1024
const inFlightMax = 16

export const localSide: Side = {
  ...local,
  readlink: (path) => local.readlink(path),
  readdir: (path) => local.readdir(path),
  read: (path) => (path === '-' ? process.stdin : createReadStream(path, { highWaterMark: blockBytes })),
  write: (path, mode) =>
    path === '-' ? process.stdout : createWriteStream(path, { highWaterMark: blockBytes, mode, flush: true }),
}

export const clusterSide = ({ fs }: Client): Side => ({
  stat: (path) => fs.stat(path),
  lstat: (path) => fs.lstat(path),
  readdir: (path) => fs.readdir(path),
  mkdir: (path, mode) => fs.mkdir(path, { mode }),
  readlink: (path) => fs.readlink(path),
  symlink: (target, path) => fs.symlink(target, path),
  unlink: (path) => fs.unlink(path),
  read: (path) => fs.createReadStream(path),
  write: (path, mode) => fs.createWriteStream(path, { mode, flush: true }),
})

type Task = { readonly from: string; readonly to: string; readonly kinds: Kinds }

/**
 * Copies `from` to `to`, into it where it is a directory. `-` is this machine's standard input or output.
 *
 * @throws Failure IS_DIRECTORY for a directory without `recursive`.
 */
export async function copy(source: Side, target: Side, from: string, to: string, recursive: boolean): Promise<Copied> {
  if (from === '-' || to === '-') return copyStream(source, target, from, to)
  const kinds = await source.stat(from)
  if (kinds.isDirectory() && !recursive) throw new Failure('IS_DIRECTORY', `${from} is a directory: -r copies it`)
  const place = (await isDirectory(target, to)) ? join(to, basename(from)) : to
  const totals = { files: 0, directories: 0, bytes: 0 }
  const bar = progress(basename(from), 0)

  async function* tasks(from: string, to: string, kinds: Kinds): AsyncGenerator<Task> {
    if (!kinds.isDirectory()) {
      if (kinds.isFile()) bar.grow(kinds.size)
      yield { from, to, kinds }
      return
    }
    await makeDirectory(target, to, kinds.mode & 0o7777)
    totals.directories++
    for (const name of await source.readdir(from)) {
      const below = join(from, name)
      yield* tasks(below, join(to, name), await source.lstat(below))
    }
  }

  try {
    await parallel(tasks(from, place, kinds), recursive ? inFlightMax : 1, async ({ from, to, kinds }) => {
      if (kinds.isSymbolicLink()) await copyLink(source, target, from, to)
      else if (kinds.isFile()) {
        // Awaited by itself: `+=` would take the sum from before and lose what others add meanwhile.
        const bytes = await copyBytes(source, target, from, to, kinds.mode & 0o7777, bar)
        totals.bytes += bytes
      } else return skip(from)
      totals.files++
    })
  } finally {
    bar.done()
  }
  return totals
}

async function copyStream(source: Side, target: Side, from: string, to: string): Promise<Copied> {
  const size = from === '-' ? 0 : (await source.stat(from)).size
  const bar = progress(basename(from === '-' ? to : from), size)
  try {
    return { files: 1, directories: 0, bytes: await copyBytes(source, target, from, to, 0o666, bar) }
  } finally {
    bar.done()
  }
}

async function copyBytes(source: Side, target: Side, from: string, to: string, mode: number, bar: Progress) {
  let bytes = 0
  const count = new Transform({
    readableHighWaterMark: blockBytes,
    writableHighWaterMark: blockBytes,
    transform(piece: Uint8Array, _encoding, done) {
      bytes += piece.length
      bar.add(piece.length)
      done(null, piece)
    },
  })
  await pipeline(source.read(from), count, target.write(to, mode), { end: to !== '-' })
  return bytes
}

async function copyLink(source: Side, target: Side, from: string, to: string): Promise<void> {
  const text = await source.readlink(from)
  try {
    await target.symlink(text, to)
  } catch (error) {
    if (!isExisting(error)) throw error
    await target.unlink(to)
    await target.symlink(text, to)
  }
}

async function makeDirectory(target: Side, path: string, mode: number): Promise<void> {
  try {
    await target.mkdir(path, mode)
  } catch (error) {
    if (!isExisting(error) || !(await isDirectory(target, path))) throw error
  }
}

async function isDirectory(side: Side, path: string): Promise<boolean> {
  try {
    return (await side.stat(path)).isDirectory()
  } catch (error) {
    if (isAbsent(error)) return false
    throw error
  }
}

function skip(path: string): void {
  process.stderr.write(`holdfast: ${path} is neither a file, nor a directory, nor a symbolic link: left out\n`)
  process.exitCode = 1
}

const isExisting = (error: unknown): boolean =>
  isFailure(error, 'EXISTS') || (error as NodeJS.ErrnoException).code === 'EEXIST'
