/**
 * Large files: chunks over data containers, truncation both ways, and what is forgotten of files that are cut or gone.
 *
 * Three data containers and the name container run the pure operations; the test is the client and the reclaimer.
 */
import t from 'tap'
import { get64, nextInodeKey } from '../../fileserver/names/keys.ts'
import { orphanOf, orphans, queries, reclaimed } from '../../fileserver/names/operations.ts'
import { type ContainerId, containerId, type Fid } from '../../protocol/ids.ts'
import { type Chunk, inlineBytesMax } from '../../protocol/messages/attributes.ts'
import { randomFrom } from './random.ts'
import { bytesOf, codeOf, container, noChanges, noPayload, root, rootFid, World } from './world.ts'

const chunkBytes = 128 * 1024
const seed = Number(process.env.SEED ?? 11)

/** Known to a client that knows of every cut. */
const latest = 2 ** 50

class Cluster {
  readonly names = World.formatted({ volume: { chunkBytes } })
  readonly data = new Map(this.names.context.dataContainers.map((id) => [id, new World({ container: id })]))

  write(fid: Fid, offset: number, bytes: Buffer): void {
    const inline = bytes.subarray(0, Math.max(0, inlineBytesMax - offset))
    if (inline.length > 0) this.names.do('write', { fid, offset, stable: true }, inline)
    if (inline.length === bytes.length) return
    for (let done = inline.length; done < bytes.length; ) {
      const index = Math.floor((offset + done) / chunkBytes)
      const within = offset + done - index * chunkBytes
      const piece = bytes.subarray(done, done + chunkBytes - within)
      const [place] = this.names.do('map', { fid, first: index, count: 1, allocate: true }).containers
      const chunk = { container: place!, owner: fid, index }
      this.data.get(place!)!.do('writeChunk', { chunk, offset: within, stable: true }, piece)
      done += piece.length
    }
    this.names.do('extend', { fid, sizeBytes: offset + bytes.length, trimmed: latest, stable: true })
  }

  resize(fid: Fid, sizeBytes: number): void {
    this.names.do('setattr', { fid, credentials: root, changes: { ...noChanges, sizeBytes }, guard: undefined })
  }

  async truncate(fid: Fid, sizeBytes: number): Promise<void> {
    this.resize(fid, sizeBytes)
    await this.reclaim(fid)
  }

  reclaim = (fid: Fid): Promise<void> => this.names.reclaim(fid, (...trim) => this.trim(fid, ...trim))

  trim(owner: Fid, place: ContainerId, index: number, keepBytes: number, cut: number): void {
    this.data.get(place)!.do('trimChunk', { chunk: { container: place, owner, index }, keepBytes, cut })
  }

  read(fid: Fid): Buffer {
    const { sizeBytes } = this.names.attributes(fid)
    const whole = Buffer.alloc(sizeBytes)
    whole.write(this.names.read(fid, 0, inlineBytesMax), 0, 'latin1')
    const count = Math.ceil(sizeBytes / chunkBytes)
    const { containers } = this.names.do('map', { fid, first: 0, count, allocate: false })
    for (const [index, place] of containers.entries()) {
      if (place === undefined) continue
      const world = this.data.get(place)!
      const { object, offset, length } = this.readChunk({ container: place, owner: fid, index })
      const bytes = world.bytes(object, offset, Math.min(length, sizeBytes - index * chunkBytes))
      const inline = index === 0 ? inlineBytesMax : 0
      bytes.subarray(inline).copy(whole, index * chunkBytes + inline)
    }
    return whole
  }

  readChunk(chunk: Chunk) {
    const world = this.data.get(chunk.container)!
    return queries.readChunk(world, { chunk, offset: 0, length: chunkBytes }, world.context)
  }

  remove(name: string): void {
    this.names.do('remove', { directory: rootFid, name: bytesOf(name), credentials: root, kind: 'file' })
  }

  /** Values of data containers, and bytes that are not zero. */
  /** Chunks of which something is known, or only those with bytes. */
  remains(withBytes = false): number {
    let found = 0
    for (const world of this.data.values()) {
      for (const value of world.values.values()) if (!withBytes || get64(value, 0) > 0) found++
      for (const object of world.objects.values()) if (object.some((byte) => byte !== 0)) found++
    }
    return found
  }
}

t.test(`any writes and truncations read back (seed ${seed})`, async (t) => {
  const random = randomFrom(seed)
  const cluster = new Cluster()
  const { fid } = cluster.names.create(rootFid, 'f')
  let model = Buffer.alloc(0)
  const grown = (sizeBytes: number) => Buffer.concat([model, Buffer.alloc(Math.max(0, sizeBytes - model.length))])
  for (let step = 0; step < 300; step++) {
    const offset = random(5 * chunkBytes)
    if (random(2) === 0) {
      const bytes = Buffer.alloc(1 + random(2 * chunkBytes), 1 + random(255))
      cluster.write(fid, offset, bytes)
      model = grown(offset + bytes.length)
      bytes.copy(model, offset)
    } else {
      await cluster.truncate(fid, offset)
      model = Buffer.from(grown(offset).subarray(0, offset))
    }
    if (!cluster.read(fid).equals(model)) t.fail(`step ${step}`)
  }
  cluster.remove('f')
  await cluster.reclaim(fid)
  t.equal(cluster.remains(), 0, 'nothing is left of a file that has gone')
  t.strictSame(
    [...cluster.names.values.keys()].filter((key) => /^[co]/.test(key)),
    [],
  )
})

t.test('chunks spread over the data containers, and stay where they are', async (t) => {
  const { names } = new Cluster()
  const { fid } = names.create(rootFid, 'f')
  names.context.random = 0.5
  const map = (first: number, count: number, allocate: boolean) =>
    names.do('map', { fid, first, count, allocate }).containers
  t.strictSame(map(0, 2, false), [undefined, undefined], 'holes have no place')
  t.strictSame(map(1, 4, true), [102, 103, 101, 102])
  names.context.random = 0
  t.strictSame(map(0, 6, true), [101, 102, 103, 101, 102, 102])
  names.context.dataContainers = []
  t.strictSame(map(0, 6, true), [101, 102, 103, 101, 102, 102])
  t.equal(names.fails('map', { fid, first: 6, count: 1, allocate: true }), 'NO_SPACE')
  t.equal(names.fails('map', { fid, first: 2 ** 32, count: 1, allocate: true }), 'FILE_TOO_LARGE')
  t.strictSame(map(0, 0, true), [])
  const directory = { fid: rootFid, first: 0, count: 1, allocate: true }
  t.equal(names.fails('map', directory), 'IS_DIRECTORY')
})

t.test('until what was cut off is forgotten, the file does not grow into it', async (t) => {
  const cluster = new Cluster()
  const { names } = cluster
  const { fid } = names.create(rootFid, 'f')
  const bytes = Buffer.alloc(3 * chunkBytes, 'x')
  cluster.write(fid, 0, bytes)
  cluster.resize(fid, chunkBytes + 10)
  const growth = { fid, credentials: root, changes: { ...noChanges, sizeBytes: 2 * chunkBytes }, guard: undefined }
  t.equal(names.fails('setattr', growth), 'NOT_READY')
  t.equal(names.fails('extend', { fid, sizeBytes: chunkBytes + 11, trimmed: latest, stable: true }), 'NOT_READY')
  t.equal(
    names.fails('extend', { fid, sizeBytes: chunkBytes + 10, trimmed: latest, stable: true }),
    'NOT_READY',
    'what was written may go with it',
  )
  t.equal(names.fails('map', { fid, first: 0, count: 1, allocate: true }), 'NOT_READY')
  t.equal(names.fails('map', { fid, first: 0, count: 1, allocate: false }), undefined, 'reads go on')
  cluster.resize(fid, 5)
  names.do('write', { fid, offset: 0, stable: true }, bytes.subarray(0, inlineBytesMax))
  t.equal(names.fails('setattr', growth), 'NOT_READY')
  await cluster.reclaim(fid)
  t.equal(names.fails('setattr', growth), undefined)
  t.equal(cluster.read(fid).indexOf(0), inlineBytesMax)
  t.equal(cluster.remains(true), 0)
})

t.test('a write that a cut came between says so, and a chunk says what it was cut for', async (t) => {
  const cluster = new Cluster()
  const { names } = cluster
  const { fid } = names.create(rootFid, 'f')
  cluster.write(fid, 0, Buffer.alloc(2 * chunkBytes, 'x'))
  const known = names.attributes(fid).cut
  cluster.resize(fid, chunkBytes)
  await cluster.reclaim(fid)
  const extend = { fid, sizeBytes: 2 * chunkBytes, stable: true }
  t.equal(names.fails('extend', { ...extend, trimmed: known }), 'NOT_SYNC', 'its bytes may be gone')
  const { cut } = names.attributes(fid)
  t.equal(names.fails('extend', { ...extend, trimmed: cut }), undefined)
  const [, place] = names.do('map', { fid, first: 0, count: 2, allocate: false }).containers
  const chunk = { container: place!, owner: fid, index: 1 }
  t.equal(cluster.readChunk(chunk).cut, cut)
  t.equal(cluster.readChunk({ ...chunk, index: 2 }).cut, 0)
  cluster.resize(fid, 2 * chunkBytes)
  t.equal(names.attributes(fid).cut, cut, 'growth is no cut')
})

t.test('a file that never had chunks leaves nothing to forget', async (t) => {
  const cluster = new Cluster()
  const { fid } = cluster.names.create(rootFid, 'f', {}, bytesOf('content'))
  cluster.resize(fid, 2 ** 40)
  cluster.resize(fid, 3)
  cluster.remove('f')
  t.strictSame(await orphans(cluster.names, container, 10), [])
})

t.test('a page that was made before the next cut, or the end, is not noted', async (t) => {
  const cluster = new Cluster()
  const { names } = cluster
  const { fid } = names.create(rootFid, 'f')
  cluster.write(fid, 0, Buffer.alloc(4 * chunkBytes, 'x'))
  t.equal(await orphanOf(names, fid), undefined)

  cluster.resize(fid, 2 * chunkBytes + 1)
  const first = (await orphanOf(names, fid))!
  t.strictSame(
    first.chunks.map(({ chunk, keepBytes }) => [chunk.index, keepBytes]),
    [
      [2, 1],
      [3, 0],
    ],
  )
  cluster.resize(fid, chunkBytes + 1)
  t.strictSame(reclaimed(names, first), [], 'cut anew')

  cluster.resize(fid, 0)
  const [second] = await orphans(names, container, 10)
  cluster.remove('f')
  t.strictSame(reclaimed(names, second!), [], 'gone since')

  const [third] = await orphans(names, container, 10)
  t.equal(third?.chunks.length, 4)
  names.apply(reclaimed(names, third!), noPayload)
  t.strictSame(reclaimed(names, third!), [], 'noted already')
  t.strictSame(await orphans(names, container, 10), [])
})

t.test('removing a file of very many chunks is a small record, and forgotten by pages', async (t) => {
  const { names } = new Cluster()
  const { fid } = names.create(rootFid, 'f')
  const count = 600
  names.do('map', { fid, first: 0, count, allocate: true })
  names.do('extend', { fid, sizeBytes: count * chunkBytes, trimmed: latest, stable: true })
  names.do('remove', { directory: rootFid, name: bytesOf('f'), credentials: root, kind: 'file' })
  t.ok(names.lastLength <= 5)
  const seen: number[] = []
  const pages: number[] = []
  for (let page = await orphans(names, container, 10); page.length > 0; page = await orphans(names, container, 10)) {
    seen.push(...page[0]!.chunks.map(({ chunk }) => chunk.index))
    pages.push(page[0]!.chunks.length)
    names.apply(reclaimed(names, page[0]!), noPayload)
  }
  t.strictSame(
    seen,
    Array.from({ length: count }, (_, index) => index),
  )
  t.strictSame(pages, [256, 256, 88])
  t.strictSame(
    [...names.values.keys()].filter((key) => key.startsWith('c')),
    [],
  )
})

t.test('a chunk ends where its last byte was written', async (t) => {
  const world = new World({ container: containerId(101) })
  const owner = rootFid
  const chunk = { container: containerId(101), owner, index: 3 }
  const ranges = (offset: number, length: number) => {
    const range = queries.readChunk(world, { chunk, offset, length }, world.context)
    return [range.offset, range.length]
  }
  t.strictSame(ranges(0, 10), [0, 0])
  world.do('writeChunk', { chunk, offset: 4, stable: false }, bytesOf('abcd'))
  t.strictSame(ranges(0, 100), [0, 8])
  world.do('writeChunk', { chunk, offset: 0, stable: false }, bytesOf('xy'))
  t.equal(world.lastLength, 1, 'a write below the end changes no key')
  t.strictSame(ranges(6, 100), [6, 2])
  t.strictSame(ranges(8, 100), [8, 0])
  world.do('trimChunk', { chunk, keepBytes: 9, cut: 7 })
  t.strictSame(ranges(0, 100), [0, 8])
  world.do('trimChunk', { chunk, keepBytes: 5, cut: 8 })
  t.strictSame(ranges(0, 100), [0, 5])
  world.do('writeChunk', { chunk, offset: 5, stable: false }, bytesOf('new'))
  for (const cut of [7, 8]) world.do('trimChunk', { chunk, keepBytes: 5, cut })
  t.strictSame(ranges(0, 100), [0, 8], 'a cut that comes late takes nothing that was written since')
  world.do('trimChunk', { chunk, keepBytes: 0, cut: 9 })
  t.strictSame(ranges(0, 100), [0, 0])
  world.do('writeChunk', { chunk, offset: 0, stable: false }, bytesOf('new'))
  world.do('trimChunk', { chunk, keepBytes: 0, cut: 9 })
  t.strictSame(ranges(0, 100), [0, 3], 'nor when it had taken everything')
  world.do('trimChunk', { chunk, keepBytes: 0, cut: 0 })
  t.equal(world.values.size, 0, 'the file is gone')
  world.do('trimChunk', { chunk, keepBytes: 0, cut: 0 })
  t.equal(world.lastLength, 0, 'a repeat does no harm')
  world.do('trimChunk', { chunk, keepBytes: 0, cut: 10 })
  world.do('writeChunk', { chunk, offset: 0, stable: false }, bytesOf('first'))
  world.do('trimChunk', { chunk, keepBytes: 0, cut: 10 })
  t.strictSame(ranges(0, 100), [0, 5], 'nor where nothing had been written')
  world.do('trimChunk', { chunk, keepBytes: 0, cut: 0 })
  world.do('writeChunk', { chunk, offset: 0, stable: false })
  t.equal(world.lastLength, 0, 'nothing is written by an empty write')
  t.equal(world.fails('writeChunk', { chunk, offset: 2 ** 40, stable: false }, bytesOf('x')), 'INVALID')
  const foreign = { ...chunk, container: containerId(102) }
  t.equal(world.fails('writeChunk', { chunk: foreign, offset: 0, stable: false }, bytesOf('x')), 'STALE')
})

t.test('bytes come along only where they belong', async (t) => {
  const { names } = new Cluster()
  const { fid } = names.create(rootFid, 'f', {}, Buffer.alloc(inlineBytesMax, 'x'))
  t.equal(names.attributes(fid).sizeBytes, inlineBytesMax)
  const large = Buffer.alloc(inlineBytesMax + 1)
  t.equal(
    codeOf(() => names.create(rootFid, 'g', {}, large)),
    'INVALID',
  )
  t.equal(
    codeOf(() => names.create(rootFid, 'g', { kind: 'directory' }, bytesOf('x'))),
    'INVALID',
  )
  t.equal(names.fails('extend', { fid, sizeBytes: 1, trimmed: latest, stable: true }, bytesOf('x')), 'BAD_MESSAGE')
  t.equal(names.get(nextInodeKey)?.at(-1), 3, 'what failed took no number')
})
