/**
 * Rot: a byte of a file on disk that is no longer what was written.
 *
 * Not pure: changes files behind the back of the process that owns them.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'

export type Place = { readonly path: string; readonly offset: number }

/** @returns where `bytes` stand in a file below `directory`. */
export function findBytes(directory: string, bytes: Uint8Array): Place | undefined {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true })
  for (const entry of entries.filter((entry) => entry.isFile())) {
    const path = join(entry.parentPath, entry.name)
    const offset = readFileSync(path).indexOf(bytes)
    if (offset >= 0) return { path, offset }
  }
  return undefined
}

/** Flips the byte. @returns whether it has been put right since. */
export function flipByte({ path, offset }: Place): () => boolean {
  const right = byteAt(path, offset)
  const file = openSync(path, 'r+')
  writeSync(file, Buffer.of(right ^ 0xff), 0, 1, offset)
  closeSync(file)
  return () => {
    try {
      return byteAt(path, offset) === right
    } catch {
      // The file may be gone for a moment, when its server has it made anew; or its disk has no power.
      return false
    }
  }
}

/** A file that cannot be looked at now is not gone. */
export function isGone(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined
  } catch {
    return false
  }
}

function byteAt(path: string, offset: number): number {
  const byte = Buffer.alloc(1)
  const file = openSync(path, 'r')
  try {
    readSync(file, byte, 0, 1, offset)
  } finally {
    closeSync(file)
  }
  return byte[0]!
}
