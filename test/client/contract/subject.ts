/**
 * What the filesystem contract asks of a filesystem: a part of Node.js's `fs/promises` that several have.
 *
 * The SDK's `Filesystem` fits it, and so does `node:fs/promises` on a local disk or on a mount.
 */
export type Handle = {
  read(buffer: Uint8Array, offset: number, length: number, position: number | null): Promise<{ bytesRead: number }>
  write(buffer: Uint8Array, offset: number, length: number, position: number | null): Promise<{ bytesWritten: number }>
  readFile(): Promise<Buffer>
  writeFile(data: string | Uint8Array): Promise<void>
  stat(): Promise<Stat>
  truncate(length?: number): Promise<void>
  sync(): Promise<void>
  datasync(): Promise<void>
  chmod(mode: number): Promise<void>
  utimes(accessed: number, modified: number): Promise<void>
  close(): Promise<void>
}

export type Stat = {
  readonly size: number
  readonly mode: number
  readonly nlink: number
  readonly ino: number
  readonly mtimeMs: number
  readonly atimeMs: number
  readonly ctimeMs: number
  isFile(): boolean
  isDirectory(): boolean
  isSymbolicLink(): boolean
}

export type Entry = {
  readonly name: string
  isFile(): boolean
  isDirectory(): boolean
  isSymbolicLink(): boolean
}

export type Path = string | Buffer

export type Subject = {
  open(path: Path, flags?: string, mode?: number): Promise<Handle>
  readFile(path: Path): Promise<Buffer>
  readFile(path: Path, encoding: 'utf8'): Promise<string>
  writeFile(path: Path, data: string | Uint8Array, options?: { mode?: number; flag?: string }): Promise<void>
  appendFile(path: Path, data: string | Uint8Array): Promise<void>
  mkdir(path: Path, options?: { recursive?: boolean; mode?: number }): Promise<string | undefined>
  readdir(path: Path): Promise<string[]>
  readdir(path: Path, options: { encoding: 'buffer' }): Promise<Buffer[]>
  readdir(path: Path, options: { withFileTypes: true }): Promise<Entry[]>
  opendir(path: string): Promise<AsyncIterable<Entry>>
  rename(path: Path, newPath: Path): Promise<void>
  rm(path: Path, options?: { recursive?: boolean; force?: boolean }): Promise<void>
  rmdir(path: Path): Promise<void>
  unlink(path: Path): Promise<void>
  stat(path: Path): Promise<Stat>
  lstat(path: Path): Promise<Stat>
  symlink(target: Path, path: Path): Promise<void>
  readlink(path: Path): Promise<string>
  link(path: Path, newPath: Path): Promise<void>
  chmod(path: Path, mode: number): Promise<void>
  utimes(path: Path, accessed: number, modified: number): Promise<void>
  lutimes(path: Path, accessed: number, modified: number): Promise<void>
  truncate(path: Path, length?: number): Promise<void>
  access(path: Path, mode?: number): Promise<void>
  copyFile(path: Path, newPath: Path, mode?: number): Promise<void>
  statfs(path: Path): Promise<{ readonly bsize: number; readonly blocks: number; readonly bfree: number }>
}

/** Deterministic bytes that differ from place to place, so that misplaced ones show. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  let state = seed >>> 0 || 1
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}

/** Numbers in [0, 1) from a seed. */
export function random(seed: number): () => number {
  let state = seed >>> 0 || 1
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}
