/**
 * Paths, flags, times and modes: what programs give, as the SDK understands it.
 */
import { constants } from 'node:fs'
import t from 'tap'
import { modeOf, ownerOf, timeOf } from '../../client/filesystem/changes.ts'
import { type Flags, parseFlags } from '../../client/filesystem/flags.ts'
import { PathFailure } from '../../client/filesystem/path-failure.ts'
import { byteString, bytesOf, namesOf, target, textOf } from '../../client/filesystem/paths.ts'
import { Failure } from '../../protocol/failures.ts'

t.test('a path is its last name and what comes before', async (t) => {
  for (const [path, parent, name, slash] of [
    ['/', '/', '', true],
    ['/a', '/', 'a', false],
    ['/a/', '/', 'a', true],
    ['/a//', '/', 'a', true],
    ['/a/b', '/a/', 'b', false],
    ['/a//b', '/a//', 'b', false],
    ['/a/..', '/a/', '..', false],
    ['/a/b/.', '/a/b/', '.', false],
  ] as const)
    t.strictSame(target(path), { parent, name, slash }, path)
  for (const path of ['', 'a', 'a/b', '/a\0b', Buffer.from('/\0')])
    t.throws(() => target(path), /INVALID/, JSON.stringify(path))
})

t.test('names are bytes, whatever they spell', async (t) => {
  for (const text of ['plain', 'ä', '\u{1f600}', '\n', ' ~'])
    t.equal(textOf(bytesOf(byteString(text))), text, JSON.stringify(text))
  const odd = Buffer.from([0x2f, 0xff, 0x80])
  t.ok(bytesOf(byteString(odd)).equals(odd), 'bytes that are no UTF-8 stay as they are')
  t.equal(byteString('/ä'), byteString(Buffer.from('/ä')), 'text and its bytes are the same path')
  t.strictSame(namesOf('//a/./b/'), ['a', '.', 'b'])
})

t.test("flags are Node.js's", async (t) => {
  const set = (flags: Flags): string[] =>
    Object.entries(flags)
      .filter(([, on]) => on)
      .map(([name]) => name)
      .sort()
  for (const [text, expected] of [
    ['r', ['read']],
    ['r+', ['read', 'write']],
    ['rs+', ['read', 'sync', 'write']],
    ['w', ['create', 'truncate', 'write']],
    ['wx', ['create', 'exclusive', 'truncate', 'write']],
    ['w+', ['create', 'read', 'truncate', 'write']],
    ['wx+', ['create', 'exclusive', 'read', 'truncate', 'write']],
    ['a', ['append', 'create', 'write']],
    ['ax', ['append', 'create', 'exclusive', 'write']],
    ['a+', ['append', 'create', 'read', 'write']],
    ['as', ['append', 'create', 'sync', 'write']],
  ] as const)
    t.strictSame(set(parseFlags(text)), expected, text)
  const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND } = constants
  t.strictSame(parseFlags(O_RDONLY), parseFlags('r'))
  t.strictSame(parseFlags(O_RDWR), parseFlags('r+'))
  t.strictSame(parseFlags(O_WRONLY | O_CREAT | O_TRUNC), parseFlags('w'))
  t.strictSame(parseFlags(O_WRONLY | O_CREAT | O_TRUNC | O_EXCL), parseFlags('wx'))
  t.strictSame(parseFlags(O_RDWR | O_CREAT | O_APPEND), parseFlags('a+'))
  for (const wrong of ['', 'x', 'rw', 'rx', 'w++', 'wxx', 'ws', -1, 1.5])
    t.throws(() => parseFlags(wrong), /INVALID/, String(wrong))
})

t.test('times are seconds or dates, of either side of 1970', async (t) => {
  for (const [time, seconds, nanoseconds] of [
    [0, 0, 0],
    [1.5, 1, 500_000_000],
    ['2', 2, 0],
    [-0.25, -1, 750_000_000],
    [new Date(1234), 1, 234_000_000],
  ] as const)
    t.strictSame(timeOf(time), { now: false, time: { seconds, nanoseconds } }, String(time))
  t.throws(() => timeOf('tomorrow'), /INVALID/)
  t.equal(modeOf('755'), 0o755)
  t.equal(modeOf(0o100644), 0o644)
  t.throws(() => modeOf('rwx'), /INVALID/)
  t.equal(ownerOf(-1), undefined)
  t.equal(ownerOf(0), 0)
})

t.test("a failure on a path reads like Node.js's", async (t) => {
  const failure = new PathFailure(new Failure('NOT_FOUND', 'no such file'), 'open', '/x')
  t.match(failure, { code: 'ENOENT', errno: -2, syscall: 'open', path: '/x', failure: 'NOT_FOUND' })
  t.equal(failure.message, "ENOENT: no such file, open '/x'")
  const moved = new PathFailure(new Failure('EXISTS', 'it is there'), 'rename', '/a', Buffer.from('/b'))
  t.equal(moved.message, "EEXIST: it is there, rename '/a' -> '/b'")
})
