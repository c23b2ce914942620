/**
 * A real source tree of more than 5,000 files, links among them: packages of this project's own node_modules, as a tar file.
 */
import { execFileSync } from 'node:child_process'
import { lstatSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export type Tree = {
  /** The tree unpacked, to compare with. */
  readonly directory: string
  /** Parts of about the same size; together they are the tree. */
  readonly tars: readonly string[]
  readonly files: number
}

const modules = fileURLToPath(new URL('../../node_modules', import.meta.url))
/** TypeScript builds something in the tree; `.bin` is all links. */
const wanted = ['typescript', '@types', '.bin']
const tarCount = 8
const filesMin = 5000
const filesMax = 5300
/** Native binaries are many bytes and few files: `dd` sees to the bytes. */
const packageBytesMax = 12 * 1024 * 1024

/** Makes the tree in `parent`. */
export function makeTree(parent: string): Tree {
  let files = 0
  const packages: string[] = []
  const others = readdirSync(modules).filter((name) => !name.startsWith('.') && !wanted.includes(name))
  for (const name of [...wanted, ...others]) {
    if (files >= filesMin) break
    const size = sizeOf(join(modules, name))
    if (!wanted.includes(name) && (size.bytes > packageBytesMax || files + size.files > filesMax)) continue
    files += size.files
    packages.push(name)
  }
  const directory = join(parent, 'tree')
  mkdirSync(directory)
  const tars = Array.from({ length: tarCount }, (_, index) => {
    const tar = join(parent, `tree-${index}.tar`)
    const names = packages.filter((_, place) => place % tarCount === index)
    execFileSync('tar', ['-cf', tar, '-C', modules, ...names.map((name) => `./${name}`)])
    execFileSync('tar', ['-xf', tar, '-C', directory])
    return tar
  })
  return { directory, tars, files }
}

function sizeOf(path: string): { files: number; bytes: number } {
  const entry = lstatSync(path)
  if (!entry.isDirectory()) return { files: 1, bytes: entry.size }
  let files = 0
  let bytes = 0
  for (const name of readdirSync(path)) {
    const inner = sizeOf(join(path, name))
    files += inner.files
    bytes += inner.bytes
  }
  return { files, bytes }
}
