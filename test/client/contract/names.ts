/**
 * The filesystem contract, as far as it is about names and attributes.
 */
import type { Test } from 'tap'
import type { Subject } from './subject.ts'

const sorted = (names: readonly string[]): string[] => [...names].sort()

export function namesContract(t: Test, fs: Subject, directory: string): void {
  const at = (name: string): string => `${directory}/${name}`

  t.test('directories are made, listed and removed', async (t) => {
    await fs.mkdir(at('d'))
    await t.rejects(fs.mkdir(at('d')), { code: 'EEXIST', syscall: 'mkdir', path: at('d') })
    await t.rejects(fs.mkdir(at('missing/d')), { code: 'ENOENT' })
    t.ok((await fs.stat(at('d'))).isDirectory())
    t.equal((await fs.stat(at('d'))).nlink, 2)
    await fs.mkdir(at('d/below'))
    t.equal((await fs.stat(at('d'))).nlink, 3, 'a directory in it is a link to it')
    await t.rejects(fs.rmdir(at('d')), { code: 'ENOTEMPTY' })
    await t.rejects(fs.unlink(at('d/below')), { code: 'EISDIR' })
    await fs.rmdir(at('d/below'))
    await fs.rmdir(at('d'))
    await t.rejects(fs.stat(at('d')), { code: 'ENOENT', syscall: 'stat', path: at('d') })
  })

  t.test('mkdir with recursive makes what is missing and says where it began', async (t) => {
    t.equal(await fs.mkdir(at('r/a/b'), { recursive: true }), at('r'))
    t.equal(await fs.mkdir(at('r/a/b'), { recursive: true }), undefined)
    t.equal(await fs.mkdir(at('r/a/c/d'), { recursive: true }), at('r/a/c'))
    await fs.writeFile(at('r/file'), '')
    await t.rejects(fs.mkdir(at('r/file'), { recursive: true }), { code: 'EEXIST' })
    await t.rejects(fs.mkdir(at('r/file/x'), { recursive: true }), { code: 'ENOTDIR' })
  })

  t.test('a listing names every entry once, of however many', async (t) => {
    await fs.mkdir(at('many'))
    const names = Array.from({ length: 2500 }, (_, index) => `entry-${index}`)
    for (let i = 0; i < names.length; i += 50)
      await Promise.all(names.slice(i, i + 50).map((name) => fs.writeFile(at(`many/${name}`), name)))
    t.strictSame(sorted(await fs.readdir(at('many'))), sorted(names))
    const seen: string[] = []
    for await (const entry of await fs.opendir(at('many'))) seen.push(entry.name)
    t.strictSame(sorted(seen), sorted(names), 'opendir as well')
    await fs.rm(at('many'), { recursive: true })
    await t.rejects(fs.readdir(at('many')), { code: 'ENOENT' }, 'and a recursive removal takes all of them')
  })

  t.test('entries say what they are', async (t) => {
    await fs.mkdir(at('kinds/directory'), { recursive: true })
    await fs.writeFile(at('kinds/file'), '')
    await fs.symlink('file', at('kinds/symlink'))
    const entries = await fs.readdir(at('kinds'), { withFileTypes: true })
    const kinds = entries.map((entry) => [entry.name, entry.isFile(), entry.isDirectory(), entry.isSymbolicLink()])
    t.strictSame(kinds.sort(), [
      ['directory', false, true, false],
      ['file', true, false, false],
      ['symlink', false, false, true],
    ])
    await t.rejects(fs.readdir(at('kinds/file')), { code: 'ENOTDIR' })
  })

  t.test('rename moves, and replaces in one step', async (t) => {
    await fs.mkdir(at('from/deep'), { recursive: true })
    await fs.mkdir(at('to'))
    await fs.writeFile(at('from/a'), 'a')
    await fs.writeFile(at('to/b'), 'b')
    await fs.rename(at('from/a'), at('to/b'))
    t.equal(await fs.readFile(at('to/b'), 'utf8'), 'a')
    await t.rejects(fs.stat(at('from/a')), { code: 'ENOENT' })
    await t.rejects(fs.rename(at('from/a'), at('to/c')), { code: 'ENOENT', syscall: 'rename', dest: at('to/c') })
    await t.rejects(fs.rename(at('from'), at('from/deep/x')), { code: 'EINVAL' }, 'not into itself')
    await t.rejects(fs.rename(at('to/b'), at('from')), { code: 'EISDIR' }, 'a file not over a directory')
    await t.rejects(fs.rename(at('from'), at('to/b')), { code: 'ENOTDIR' }, 'a directory not over a file')
    await t.rejects(fs.rename(at('from'), at('to')), { code: 'ENOTEMPTY' }, 'nor over a full one')
    await fs.writeFile(at('from/deep/x'), 'x')
    await fs.mkdir(at('empty'))
    await fs.rename(at('from'), at('empty'))
    t.equal(await fs.readFile(at('empty/deep/x'), 'utf8'), 'x', 'over an empty one, with all that is in it')
    await t.rejects(fs.readFile(at('from/deep/x')), { code: 'ENOENT' }, 'the old path leads nowhere')
    await fs.mkdir(at('from/deep'), { recursive: true })
    await fs.writeFile(at('from/deep/x'), 'new')
    t.equal(await fs.readFile(at('from/deep/x'), 'utf8'), 'new', 'until it is made anew')
    t.equal(await fs.readFile(at('empty/deep/x'), 'utf8'), 'x')
  })

  t.test('hard links are one file', async (t) => {
    await fs.writeFile(at('one'), 'same')
    await fs.link(at('one'), at('two'))
    t.equal((await fs.stat(at('one'))).nlink, 2)
    t.equal((await fs.stat(at('one'))).ino, (await fs.stat(at('two'))).ino)
    await fs.appendFile(at('two'), ' again')
    await fs.unlink(at('one'))
    t.equal(await fs.readFile(at('two'), 'utf8'), 'same again')
    t.equal((await fs.stat(at('two'))).nlink, 1)
    await t.rejects(fs.link(at('two'), at('two')), { code: 'EEXIST' })
  })

  t.test('symlinks lead where they say', async (t) => {
    await fs.mkdir(at('place/inner'), { recursive: true })
    await fs.writeFile(at('place/file'), 'found')
    await fs.symlink('place', at('relative'))
    await fs.symlink(at('place'), at('absolute'))
    await fs.symlink('../file', at('place/inner/up'))
    await fs.symlink('nowhere', at('dangling'))
    t.equal(await fs.readFile(at('relative/file'), 'utf8'), 'found')
    t.equal(await fs.readFile(at('absolute/inner/up'), 'utf8'), 'found')
    t.equal(await fs.readFile(at('relative/inner/../file'), 'utf8'), 'found', '.. is the parent of where the link led')
    t.equal(await fs.readlink(at('relative')), 'place')
    t.ok((await fs.lstat(at('relative'))).isSymbolicLink())
    t.ok((await fs.stat(at('relative'))).isDirectory())
    await t.rejects(fs.stat(at('dangling')), { code: 'ENOENT' })
    await fs.writeFile(at('dangling'), 'made')
    t.equal(await fs.readFile(at('nowhere'), 'utf8'), 'made', 'writing through a dangling link makes its target')
    await t.rejects(fs.open(at('dangling'), 'wx'), { code: 'EEXIST' })
    await t.rejects(fs.readlink(at('place')), { code: 'EINVAL' })
    await fs.unlink(at('relative'))
    t.ok((await fs.stat(at('place'))).isDirectory(), 'removing the link leaves its target')
    await fs.symlink('loop-b', at('loop-a'))
    await fs.symlink('loop-a', at('loop-b'))
    await t.rejects(fs.stat(at('loop-a')), { code: 'ELOOP' })
  })

  t.test('what replaces a symlink in a path is what the path means', async (t) => {
    await fs.mkdir(at('old'))
    await fs.symlink('old', at('way'))
    await fs.writeFile(at('way/file'), 'old')
    await fs.unlink(at('way'))
    await fs.mkdir(at('way'))
    await fs.writeFile(at('way/file'), 'new')
    t.equal(await fs.readFile(at('old/file'), 'utf8'), 'old')
    t.equal(await fs.readFile(at('way/file'), 'utf8'), 'new')
  })

  t.test('names are any bytes but / and NUL, up to 255', async (t) => {
    await fs.mkdir(at('names'))
    const names = [' ', '\n', '…', 'ä', 'a\u0308', '\u{1f600}', '-rf', '*', '\\', "'", 'n'.repeat(255)]
    for (const name of names) await fs.writeFile(at(`names/${name}`), name)
    t.strictSame(sorted(await fs.readdir(at('names'))), sorted(names))
    for (const name of names) t.equal(await fs.readFile(at(`names/${name}`), 'utf8'), name)
    await t.rejects(fs.writeFile(at(`names/${'n'.repeat(256)}`), ''), { code: 'ENAMETOOLONG' })
    const odd = Buffer.from([0xff, 0xfe, 0x80])
    await fs.writeFile(Buffer.concat([Buffer.from(at('names/')), odd]), 'odd')
    const listed = await fs.readdir(at('names'), { encoding: 'buffer' })
    t.ok(
      listed.some((name) => name.equals(odd)),
      'bytes that are no UTF-8 come back as they are',
    )
  })

  t.test('slashes and dots in paths mean what they do everywhere', async (t) => {
    await fs.mkdir(at('dots/a'), { recursive: true })
    await fs.writeFile(at('dots/a/f'), 'x')
    t.equal(await fs.readFile(at('dots//a/./f'), 'utf8'), 'x')
    t.equal(await fs.readFile(at('dots/a/../a/f'), 'utf8'), 'x')
    t.ok((await fs.stat(at('dots/a/'))).isDirectory())
    t.ok((await fs.stat(at('dots/a/.'))).isDirectory())
    await t.rejects(fs.stat(at('dots/a/f/')), { code: 'ENOTDIR' })
    await t.rejects(fs.stat(at('dots/a/f/x')), { code: 'ENOTDIR' })
    await fs.mkdir(at('dots/b/'))
    t.ok((await fs.stat(at('dots/b'))).isDirectory())
  })

  t.test('modes and times are kept', async (t) => {
    await fs.writeFile(at('attributes'), 'x', { mode: 0o640 })
    t.equal((await fs.stat(at('attributes'))).mode & 0o7777, 0o640)
    await fs.chmod(at('attributes'), 0o4711)
    t.equal((await fs.stat(at('attributes'))).mode & 0o7777, 0o4711)
    await fs.utimes(at('attributes'), 1_000_000_000.25, 1_100_000_000.5)
    const stat = await fs.stat(at('attributes'))
    t.equal(stat.atimeMs, 1_000_000_000_250)
    t.equal(stat.mtimeMs, 1_100_000_000_500)
    await fs.appendFile(at('attributes'), 'y')
    t.ok((await fs.stat(at('attributes'))).mtimeMs > 1_700_000_000_000, 'a write sets the time to now')
    await fs.symlink('attributes', at('times-link'))
    await fs.lutimes(at('times-link'), 1, 2)
    t.equal((await fs.lstat(at('times-link'))).mtimeMs, 2000, 'lutimes is about the link')
    t.ok((await fs.stat(at('times-link'))).mtimeMs > 2000)
    const handle = await fs.open(at('attributes'), 'r+')
    await handle.chmod(0o600)
    await handle.utimes(3, 4)
    t.equal((await handle.stat()).mode & 0o7777, 0o600)
    t.equal((await handle.stat()).mtimeMs, 4000)
    await handle.close()
    await fs.access(at('attributes'))
    await t.rejects(fs.access(at('not-there')), { code: 'ENOENT' })
  })

  t.test('rm removes files, and trees only when told', async (t) => {
    await fs.mkdir(at('tree/a/b'), { recursive: true })
    await fs.writeFile(at('tree/a/b/f'), 'x')
    await fs.symlink('/', at('tree/a/root'))
    await t.rejects(fs.rm(at('tree')), /EISDIR/)
    await fs.rm(at('tree'), { recursive: true })
    await t.rejects(fs.stat(at('tree')), { code: 'ENOENT' })
    await t.rejects(fs.rm(at('tree')), { code: 'ENOENT' })
    await fs.rm(at('tree'), { force: true })
    await t.rejects(fs.rmdir(at('attributes')), { code: 'ENOTDIR' })
  })

  t.test('of many who make the same new file, one does', async (t) => {
    const outcomes = await Promise.allSettled(
      Array.from({ length: 16 }, async () => (await fs.open(at('exclusive'), 'wx')).close()),
    )
    t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
  })

  t.test('there is room', async (t) => {
    const { bsize, blocks, bfree } = await fs.statfs(directory)
    t.ok(bsize > 0 && blocks > 0 && bfree > 0 && bfree <= blocks)
  })
}
