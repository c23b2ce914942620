/**
 * Holds the habits of the code base: module headers, sizes, directions of imports, no unfinished places, live links.
 *
 * Reads the files that git knows of, so that scratch files do not count.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const top = fileURLToPath(new URL('..', import.meta.url))
const known = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: top })
  .toString()
  .split('\n')
  .filter((path) => path !== '' && existsSync(join(top, path)))
const code = known.filter((path) => path.endsWith('.ts'))
const textOf = (path: string): string => readFileSync(join(top, path), 'utf8')
const folderOf = (path: string): string => path.split('/')[0]!

const linesMax = 450
const linesWanted = 400
const entriesMax = 14

/** What each folder may import besides itself; `bench` and `test` may import everything. */
const imports: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  cldb: ['protocol'],
  fileserver: ['protocol'],
  client: ['protocol'],
  nfsd: ['protocol', 'client'],
  cli: ['protocol', 'client', 'nfsd', 'cldb', 'fileserver'],
  bench: ['protocol', 'client', 'nfsd', 'cldb', 'fileserver', 'cli'],
  test: ['protocol', 'client', 'nfsd', 'cldb', 'fileserver', 'cli', 'bench'],
}

// Each in pieces, so that this file does not find itself.
const unfinished = [
  ['\\bTO', 'DO\\b'],
  ['\\bFIX', 'ME\\b'],
  ['@ts-', 'ignore'],
  ['@ts-', 'expect-error'],
  ['\\bas ', 'any\\b(?! \\w)'],
  ['\\bt\\.', 'skip\\('],
  ['\\btest\\.', 'skip\\b'],
].map((pieces) => new RegExp(pieces.join('')))

t.test('every module opens by saying what it is', async (t) => {
  const silent = code.filter((path) => !/^(#!.*\n)?\/\*\*\n \* \S/.test(textOf(path)))
  t.strictSame(silent, [], 'a docblock stands before the first import')
})

t.test(`no module is longer than ${linesMax} lines`, async (t) => {
  const lengths = code.map((path) => ({ path, lines: textOf(path).split('\n').length - 1 }))
  const long = lengths.filter(({ lines }) => lines > linesWanted)
  for (const { path, lines } of long) t.comment(`${path} has ${lines} lines; ${linesWanted} are wanted at most`)
  t.strictSame(
    long.filter(({ lines }) => lines > linesMax),
    [],
  )
})

t.test(`no folder holds more than ${entriesMax} entries of code`, async (t) => {
  const entries = new Map<string, Set<string>>()
  for (const path of code) {
    const parts = path.split('/')
    for (let depth = 1; depth < parts.length; depth++) {
      const folder = parts.slice(0, depth).join('/')
      entries.set(folder, (entries.get(folder) ?? new Set()).add(parts[depth]!))
    }
  }
  const crowded = [...entries].filter(([, names]) => names.size > entriesMax).map(([folder]) => folder)
  t.strictSame(crowded, [])
})

t.test('imports go one way', async (t) => {
  const wrong: string[] = []
  for (const path of code) {
    const folder = folderOf(path)
    const allowed = imports[folder]
    if (allowed === undefined) {
      wrong.push(`${path} is in a folder that has no rule`)
      continue
    }
    for (const [, target] of textOf(path).matchAll(/(?:from|import)\s*\(?\s*'(\.\.?\/[^']*)'/g)) {
      const other = folderOf(normalize(join(dirname(path), target!)))
      if (other !== folder && !allowed.includes(other)) wrong.push(`${path} imports ${target}`)
      if (!target!.endsWith('.ts')) wrong.push(`${path} imports ${target} without .ts`)
    }
  }
  t.strictSame(wrong, [])
})

t.test('nothing looks unfinished', async (t) => {
  const found: string[] = []
  for (const path of code)
    for (const [index, line] of textOf(path).split('\n').entries())
      if (unfinished.some((pattern) => pattern.test(line))) found.push(`${path}:${index + 1}: ${line.trim()}`)
  t.strictSame(found, [])
})

t.test('each folder explains itself, and no link is dead', async (t) => {
  const folders = [...new Set(code.filter((path) => path.includes('/')).map(folderOf))]
  const unexplained = ['.', 'docs', ...folders].filter((folder) => !existsSync(join(top, folder, 'README.md')))
  t.strictSame(unexplained, [], 'each top folder has a README.md')
  t.ok(existsSync(join(top, 'CHANGELOG.md')), 'there is a CHANGELOG.md')
  t.ok(existsSync(join(top, 'LICENSE')), 'there is a LICENSE')
  const dead: string[] = []
  for (const path of known.filter((path) => path.endsWith('.md')))
    for (const [, target] of textOf(path).matchAll(/\]\(([^)\s#]+)(?:#[^)\s]*)?\)/g))
      if (!/^[a-z]+:/.test(target!) && !existsSync(join(top, dirname(path), target!))) dead.push(`${path}: ${target}`)
  t.strictSame(dead, [], 'every link to a file leads to one')
})
