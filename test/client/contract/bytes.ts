/**
 * The filesystem contract, as far as it is about the bytes of files.
 */
import type { Test } from 'tap'
import { type Handle, pattern, random, type Subject } from './subject.ts'

const KiB = 1024
const MiB = 1024 * 1024
/** Around the end of the inline bytes, of pieces, and of chunks of 1 MiB, 4 MiB. */
const sizes = [0, 1, 100, 64 * KiB - 1, 64 * KiB, 64 * KiB + 1, MiB - 1, MiB, MiB + 1, 4 * MiB + 17, 9 * MiB]

async function contents(handle: Handle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length, 0xee)
  const { bytesRead } = await handle.read(buffer, 0, length, position)
  return buffer.subarray(0, bytesRead)
}

export function bytesContract(t: Test, fs: Subject, directory: string): void {
  const at = (name: string): string => `${directory}/${name}`

  t.test('what writeFile wrote, readFile reads, at any size', async (t) => {
    for (const size of sizes) {
      const data = pattern(size, size + 1)
      await fs.writeFile(at(`size-${size}`), data)
      t.ok((await fs.readFile(at(`size-${size}`))).equals(data), `${size} bytes come back`)
      t.equal((await fs.stat(at(`size-${size}`))).size, size, `and stat says ${size}`)
    }
  })

  t.test('writeFile replaces all there was', async (t) => {
    for (const [before, after] of [
      [10, 3],
      [3, 10],
      [2 * MiB, 10],
      [10, 2 * MiB],
      [2 * MiB, 0],
    ] as const) {
      await fs.writeFile(at('replaced'), pattern(before, 1))
      await fs.writeFile(at('replaced'), pattern(after, 2))
      t.ok((await fs.readFile(at('replaced'))).equals(pattern(after, 2)), `${before} bytes by ${after}`)
    }
  })

  t.test('each of the flags of open does its own', async (t) => {
    await t.rejects(fs.open(at('missing'), 'r'), { code: 'ENOENT' }, 'r: what is not there cannot be opened')
    await t.rejects(fs.open(at('missing'), 'r+'), { code: 'ENOENT' }, 'r+: nor for writing')
    await fs.writeFile(at('flags'), '0123456789')
    await t.rejects(fs.open(at('flags'), 'wx'), { code: 'EEXIST' }, 'wx: what is there cannot be made')
    const inPlace = await fs.open(at('flags'), 'r+')
    await inPlace.write(Buffer.from('AB'), 0, 2, 4)
    await inPlace.close()
    t.equal(await fs.readFile(at('flags'), 'utf8'), '0123AB6789', 'r+: leaves the rest alone')
    const append = await fs.open(at('flags'), 'a')
    await append.write(Buffer.from('x'), 0, 1, null)
    await append.write(Buffer.from('y'), 0, 1, 0)
    await append.close()
    t.equal(await fs.readFile(at('flags'), 'utf8'), '0123AB6789xy', 'a: every write goes to the end')
    const reader = await fs.open(at('flags'), 'r')
    await t.rejects(reader.write(Buffer.from('x'), 0, 1, 0), { code: 'EBADF' }, 'r: cannot be written')
    await reader.close()
    await (await fs.open(at('flags'), 'w')).close()
    t.equal((await fs.stat(at('flags'))).size, 0, 'w: truncates at once')
    const writer = await fs.open(at('flags'), 'w')
    await t.rejects(writer.read(Buffer.alloc(1), 0, 1, 0), { code: 'EBADF' }, 'w: cannot be read')
    await writer.close()
  })

  t.test('reads and writes without a position follow each other', async (t) => {
    const handle = await fs.open(at('positions'), 'w+')
    await handle.write(Buffer.from('hello '), 0, 6, null)
    await handle.write(Buffer.from('world'), 0, 5, null)
    t.equal((await contents(handle, 0, 100)).toString(), 'hello world', 'two writes stand one behind the other')
    await handle.close()
    const reader = await fs.open(at('positions'), 'r')
    const buffer = Buffer.alloc(6)
    t.equal((await reader.read(buffer, 0, 6, null)).bytesRead, 6)
    t.equal((await reader.read(buffer, 0, 6, null)).bytesRead, 5, 'the second read is cut at the end')
    t.equal((await reader.read(buffer, 0, 6, null)).bytesRead, 0, 'the third is beyond it')
    await reader.close()
  })

  t.test('bytes between the end and a later write are zeros', async (t) => {
    for (const [end, start] of [
      [10, 1000],
      [10, 100 * KiB],
      [100 * KiB, 5 * MiB],
      [0, 9 * MiB],
    ] as const) {
      const name = at(`hole-${end}-${start}`)
      await fs.writeFile(name, pattern(end))
      const handle = await fs.open(name, 'r+')
      await handle.write(Buffer.from('far'), 0, 3, start)
      await handle.close()
      const expected = Buffer.concat([pattern(end), Buffer.alloc(start - end), Buffer.from('far')])
      t.ok((await fs.readFile(name)).equals(expected), `a hole from ${end} to ${start}`)
    }
  })

  t.test('truncate cuts, and lengthens by zeros, without bringing back what was cut', async (t) => {
    for (const [size, cut, grown] of [
      [100, 10, 50],
      [100 * KiB, 10, 100 * KiB],
      [100 * KiB, 70 * KiB, 90 * KiB],
      [5 * MiB, 64 * KiB, 5 * MiB],
      [5 * MiB, MiB + 5, 4 * MiB + 5],
      [10, 10, 2 * MiB],
    ] as const) {
      const name = at(`cut-${size}-${cut}-${grown}`)
      const data = pattern(size)
      await fs.writeFile(name, data)
      await fs.truncate(name, cut)
      t.ok((await fs.readFile(name)).equals(data.subarray(0, cut)), `${size} cut to ${cut}`)
      await fs.truncate(name, grown)
      const expected = Buffer.concat([data.subarray(0, cut), Buffer.alloc(grown - cut)])
      t.ok((await fs.readFile(name)).equals(expected), `and grown to ${grown}`)
    }
  })

  t.test('what one handle wrote, another reads at once', async (t) => {
    const writer = await fs.open(at('shared'), 'w')
    const reader = await fs.open(at('shared'), 'r')
    for (const [position, length] of [
      [0, 10],
      [60 * KiB, 10 * KiB],
      [3 * MiB, 100],
    ] as const) {
      const data = pattern(length, position + 1)
      await writer.write(data, 0, length, position)
      t.ok((await contents(reader, position, length + 10)).equals(data), `${length} bytes at ${position}`)
    }
    t.equal((await reader.stat()).size, 3 * MiB + 100)
    await writer.close()
    await reader.close()
  })

  t.test('writes side by side all arrive', async (t) => {
    const handle = await fs.open(at('parallel'), 'w')
    const data = pattern(6 * MiB)
    const piece = 96 * KiB
    const offsets = Array.from({ length: data.length / piece }, (_, index) => index * piece)
    await Promise.all(offsets.map((offset) => handle.write(data, offset, piece, offset)))
    await handle.sync()
    await handle.close()
    t.ok((await fs.readFile(at('parallel'))).equals(data))
  })

  t.test('any mixture of writes, truncations and reads agrees with a model', async (t) => {
    const seed = 42
    const next = random(seed)
    const upTo = (max: number): number => Math.floor(next() * max)
    let model = Buffer.alloc(0)
    const handle = await fs.open(at('model'), 'w+')
    for (let round = 0; round < 150; round++) {
      const offset = upTo(next() < 0.5 ? 130 * KiB : 3 * MiB)
      const length = 1 + upTo(next() < 0.7 ? 20 * KiB : 600 * KiB)
      const what = next()
      if (what < 0.5) {
        const data = pattern(length, round + 1)
        await handle.write(data, 0, length, offset)
        if (model.length < offset + length) model = Buffer.concat([model, Buffer.alloc(offset + length - model.length)])
        data.copy(model, offset)
      } else if (what < 0.6) {
        await handle.truncate(offset)
        model =
          offset <= model.length
            ? Buffer.from(model.subarray(0, offset))
            : Buffer.concat([model, Buffer.alloc(offset - model.length)])
      } else {
        const read = await contents(handle, offset, length)
        const expected = model.subarray(offset, offset + length)
        if (!read.equals(expected)) t.fail(`round ${round}: ${length} bytes at ${offset} differ (seed ${seed})`)
      }
    }
    await handle.close()
    t.ok((await fs.readFile(at('model'))).equals(model), 'the whole file is the model')
  })

  t.test('a file is copied whole', async (t) => {
    const data = pattern(2 * MiB + 100)
    await fs.writeFile(at('original'), data)
    await fs.copyFile(at('original'), at('copy'))
    t.ok((await fs.readFile(at('copy'))).equals(data))
    await t.rejects(fs.copyFile(at('original'), at('copy'), 1), { code: 'EEXIST' }, 'unless the copy must be new')
  })

  t.test('appendFile makes and lengthens', async (t) => {
    await fs.appendFile(at('appended'), 'one')
    await fs.appendFile(at('appended'), 'two')
    t.equal(await fs.readFile(at('appended'), 'utf8'), 'onetwo')
  })

  t.test('reading and writing a directory is refused', async (t) => {
    await fs.mkdir(at('folder'))
    await t.rejects(fs.readFile(at('folder')), { code: 'EISDIR' })
    await t.rejects(fs.writeFile(at('folder'), 'x'), { code: 'EISDIR' })
    await t.rejects(fs.open(at('folder'), 'r+'), { code: 'EISDIR' })
  })
}
