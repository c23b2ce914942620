/**
 * The SDK on a real cluster: the filesystem contract, several clients at once, streams, and the death of a server.
 */
import { createHash } from 'node:crypto'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import t, { type Test } from 'tap'
import { type Client, connect, Failure } from '../../client/index.ts'
import { inlineBytesMax } from '../../protocol/messages/attributes.ts'
import { control } from '../../protocol/messages/control.ts'
import { payloadBytes } from '../../protocol/transport/transport.ts'
import { type Cluster, withCluster } from '../harness/cluster.ts'
import { makeScratch } from '../harness/scratch.ts'
import { pattern } from './contract/subject.ts'
import { filesystemContract } from './contract.ts'

t.setTimeout(240_000)
const KiB = 1024
const MiB = 1024 * 1024

const volume = (name: string, mountPath: string, chunkBytes: number) => ({
  name,
  mountPath,
  replication: 3,
  minimum: 2,
  topology: '/',
  chunkBytes,
})

t.test('the SDK on a real cluster', async (t) => {
  const scratch = makeScratch('client')
  t.teardown(scratch.remove)
  await withCluster(t, { directory: scratch.directory, fileservers: 4, gateways: 0 }, async (cluster) => {
    const client = await connect({ cldb: [cluster.cldb] })
    try {
      await client.cldb.call(control.calls.createVolume, volume('main', '/', MiB), 30_000)
      await claims(t, cluster, client)
    } finally {
      await client.close()
    }
  })
})

async function claims(t: Test, cluster: Cluster, client: Client): Promise<void> {
  const { fs } = client

  async function another(t: Test, identity?: { uid: number; gid: number; groups: number[] }): Promise<Client> {
    const other = await connect({ cldb: [cluster.cldb], ...(identity && { identity }) })
    t.teardown(() => other.close())
    return other
  }

  await t.test('the filesystem contract', async (t) => {
    await fs.mkdir('/contract')
    filesystemContract(t, fs, '/contract')
  })

  await t.test('what one client was answered, another sees', async (t) => {
    const other = await another(t)
    const writer = await fs.open('/shared', 'w')
    const reader = await other.fs.open('/shared')
    const data = pattern(3 * MiB)
    for (let position = 0; position < data.length; position += 200 * KiB) {
      const length = Math.min(200 * KiB, data.length - position)
      await writer.write(data, position, length, position)
      const buffer = Buffer.alloc(length + 1)
      const { bytesRead } = await reader.read(buffer, 0, length + 1, position)
      if (!buffer.subarray(0, bytesRead).equals(data.subarray(position, position + length)))
        t.fail(`${length} bytes at ${position} are not what was written (${bytesRead} read)`)
    }
    await writer.truncate(100 * KiB)
    t.equal((await reader.read(Buffer.alloc(MiB), 0, MiB, 0)).bytesRead, 100 * KiB, 'a truncation is seen as well')
    await writer.truncate(2 * MiB)
    const grown = await reader.readFile()
    t.ok(grown.equals(Buffer.concat([data.subarray(0, 100 * KiB), Buffer.alloc(2 * MiB - 100 * KiB)])), 'no old bytes')
    await writer.close()
    await reader.close()
  })

  await t.test('of many writes at once, each is seen as soon as it is answered', async (t) => {
    const other = await another(t)
    const writer = await fs.open('/growing', 'w')
    const reader = await other.fs.open('/growing')
    const length = 20 * KiB
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const data = pattern(length, index + 1)
        const position = index * 50 * KiB
        await writer.write(data, 0, length, position)
        const buffer = Buffer.alloc(length)
        await reader.read(buffer, 0, length, position)
        if (!buffer.equals(data)) t.fail(`the write at ${position} was answered and is not there`)
      }),
    )
    t.equal((await reader.stat()).size, 99 * 50 * KiB + length)
    await writer.close()
    await reader.close()
  })

  await t.test("another client's change of names is seen after a second at most", async (t) => {
    const other = await another(t)
    await fs.mkdir('/place/inner', { recursive: true })
    await fs.writeFile('/place/inner/file', 'first')
    t.equal(await other.fs.readFile('/place/inner/file', 'utf8'), 'first')
    await fs.rm('/place', { recursive: true })
    await t.rejects(other.fs.readFile('/place/inner/file'), { code: 'ENOENT' }, 'a removal at once')
    await fs.mkdir('/place/inner', { recursive: true })
    await fs.writeFile('/place/inner/file', 'second')
    t.equal(await other.fs.readFile('/place/inner/file', 'utf8'), 'second', 'what was made anew at once')
    await fs.rename('/place', '/elsewhere')
    await fs.mkdir('/place/inner', { recursive: true })
    await fs.writeFile('/place/inner/file', 'third')
    await new Promise((resolve) => setTimeout(resolve, 1100))
    t.equal(await other.fs.readFile('/place/inner/file', 'utf8'), 'third', 'what was moved away after a second')
  })

  await t.test('a small file is one call; it replaces one whole, whatever its size was', async (t) => {
    const small = pattern(inlineBytesMax)
    await fs.writeFile('/whole', pattern(3 * MiB, 9))
    await fs.writeFile('/whole', small)
    t.ok((await fs.readFile('/whole')).equals(small))
    t.equal((await fs.stat('/whole')).size, inlineBytesMax)
    await fs.symlink('/whole', '/whole-link')
    await fs.writeFile('/whole-link', 'through')
    t.equal(await fs.readFile('/whole', 'utf8'), 'through', 'a symlink is followed')
    t.ok((await fs.lstat('/whole-link')).isSymbolicLink())
  })

  await t.test('streams carry a file both ways', async (t) => {
    const data = pattern(20 * MiB + 12_345)
    async function* pieces() {
      for (let at = 0; at < data.length; at += 100_000) yield data.subarray(at, at + 100_000)
    }
    await pipeline(pieces, fs.createWriteStream('/streamed', { flush: true }))
    t.equal((await fs.stat('/streamed')).size, data.length)
    const hash = createHash('sha256')
    await pipeline(fs.createReadStream('/streamed'), hash)
    t.equal(hash.digest('hex'), createHash('sha256').update(data).digest('hex'))
    const part: Buffer[] = []
    for await (const piece of fs.createReadStream('/streamed', { start: 60_000, end: 5_000_000 })) part.push(piece)
    t.ok(Buffer.concat(part).equals(data.subarray(60_000, 5_000_001)), 'start and end, which is included')
    const slow: Buffer[] = []
    const paused = fs.createReadStream('/streamed')
    await new Promise<void>((resolve, reject) => {
      paused.on('readable', () => {
        for (let piece = paused.read(12_345); piece !== null; piece = paused.read(12_345)) slow.push(piece)
      })
      paused.on('end', resolve)
      paused.on('error', reject)
    })
    t.ok(Buffer.concat(slow).equals(data), 'pulled in odd sizes')
    const patch = fs.createWriteStream('/streamed', { flags: 'r+', start: MiB - 5 })
    patch.end('0123456789')
    await new Promise((resolve) => patch.on('close', resolve))
    const expected = Buffer.from(data)
    expected.write('0123456789', MiB - 5)
    t.ok((await fs.readFile('/streamed')).equals(expected), 'a stream may begin in the middle')
    const appending = fs.createWriteStream('/streamed', { flags: 'a' })
    appending.write(Buffer.alloc(3 * MiB, 1))
    appending.end('end')
    await new Promise((resolve) => appending.on('close', resolve))
    const appended = Buffer.concat([expected, Buffer.alloc(3 * MiB, 1), Buffer.from('end')])
    t.ok((await fs.readFile('/streamed')).equals(appended), 'or at the end')
  })

  await t.test('nothing is read where there is nothing', async (t) => {
    await fs.writeFile('/some', pattern(2 * MiB))
    const { fid } = await fs.stat('/some')
    for (const [offset, length, expected, end] of [
      [0, 0, 0, false],
      [MiB, 0, 0, false],
      [2 * MiB, 0, 0, true],
      [2 * MiB, 10, 0, true],
      [2 * MiB - 5, 10, 5, true],
      [2 ** 49, 10, 0, true],
      [2 ** 50, 10, 0, true],
    ] as const) {
      const read = await client.operations.read(fid, offset, length)
      t.equal(payloadBytes(read.payload), expected, `${length} bytes at ${offset}: ${expected} come`)
      t.equal(read.end, end, `and ${end ? 'that is' : 'that is not known to be'} the end`)
    }
  })

  await t.test('a stream that fails says why', async (t) => {
    await t.rejects(pipeline(fs.createReadStream('/not-there'), new Writable({ write: (_c, _e, done) => done() })), {
      code: 'ENOENT',
      path: '/not-there',
    })
    await t.rejects(pipeline(['x'], fs.createWriteStream('/not-there/x')), { code: 'ENOENT' })
  })

  await t.test('appends through one client never overwrite each other', async (t) => {
    await fs.writeFile('/log', '')
    const handles = await Promise.all(Array.from({ length: 4 }, () => fs.open('/log', 'a')))
    const line = (writer: number, index: number): string => `${writer}-${index}`.padEnd(99, '.').concat('\n')
    await Promise.all(
      handles.map(async (handle, writer) => {
        for (let index = 0; index < 25; index++) await handle.write(line(writer, index))
        await handle.close()
      }),
    )
    const lines = (await fs.readFile('/log', 'utf8')).split('\n').slice(0, -1)
    t.equal(new Set(lines).size, 100, 'each line is there')
    t.ok(
      lines.every((text) => text.length === 99),
      'and whole',
    )
  })

  await t.test('sync makes durable what was written, for every caller', async (t) => {
    const handle = await fs.open('/synced', 'w')
    await Promise.all(
      Array.from({ length: 40 }, async (_, index) => {
        await handle.write(pattern(5000, index + 1), 0, 5000, index * 50_000)
        await (index % 2 === 0 ? handle.sync() : handle.datasync())
      }),
    )
    await handle.sync()
    await handle.close()
    t.equal((await fs.stat('/synced')).size, 39 * 50_000 + 5000)
    await t.rejects(handle.sync(), { code: 'EBADF' }, 'a closed handle does nothing more')
  })

  await t.test('permissions bind those who are not root', async (t) => {
    const guest = await another(t, { uid: 1000, gid: 1000, groups: [] })
    await fs.writeFile('/secret', 'x', { mode: 0o600 })
    await fs.writeFile('/public', 'x', { mode: 0o644 })
    await fs.mkdir('/open')
    await fs.chmod('/open', 0o777)
    await t.rejects(guest.fs.readFile('/secret'), { code: 'EACCES' })
    t.equal(await guest.fs.readFile('/public', 'utf8'), 'x')
    await t.rejects(guest.fs.open('/public', 'r+'), { code: 'EACCES' })
    await t.rejects(guest.fs.writeFile('/public', 'y'), { code: 'EACCES' })
    await t.rejects(guest.fs.writeFile('/new', 'y'), { code: 'EACCES' })
    await t.rejects(guest.fs.chmod('/public', 0o777), { code: 'EPERM' })
    const own = await guest.fs.open('/open/read-only', 'wx', 0o444)
    await own.write('who makes a file may write it')
    await own.close()
    t.equal((await fs.stat('/open/read-only')).uid, 1000)
    t.equal(await guest.fs.readFile('/open/read-only', 'utf8'), 'who makes a file may write it')
  })

  await t.test('volumes appear at their mount paths', async (t) => {
    await t.rejects(fs.stat('/mnt/second'), { code: 'ENOENT' })
    await client.cldb.call(control.calls.createVolume, volume('second', '/mnt/second', MiB), 30_000)
    await new Promise((resolve) => setTimeout(resolve, 1100))
    await fs.writeFile('/mnt/second/file', 'there')
    t.equal(await fs.readFile('/mnt/second/file', 'utf8'), 'there')
    t.equal(await fs.readFile('/mnt/second/../second/./file', 'utf8'), 'there')
    await t.rejects(fs.rename('/mnt/second/file', '/file'), { code: 'EXDEV' })
    await t.rejects(fs.link('/mnt/second/file', '/file'), { code: 'EXDEV' })
    await t.rejects(fs.mkdir('/mnt/second'), { code: 'EEXIST' })
    t.strictSame(await fs.readdir('/mnt/second'), ['file'])
  })

  await t.test('nobody notices that a server was killed', async (t) => {
    const handle = await fs.open('/survivor', 'w')
    const data = pattern(24 * MiB)
    let killed = false
    for (let position = 0; position < data.length; position += MiB) {
      if (position === 8 * MiB) {
        await cluster.kill(cluster.fileservers[1]!)
        killed = true
      }
      await handle.write(data, position, MiB, position)
      await fs.writeFile(`/survivor-${position / MiB}`, String(position))
    }
    await handle.sync()
    await handle.close()
    t.ok(killed)
    t.ok((await fs.readFile('/survivor')).equals(data), 'all bytes are there')
    for (let index = 0; index < 24; index++)
      t.equal(await fs.readFile(`/survivor-${index}`, 'utf8'), String(index * MiB))
    await cluster.start(cluster.fileservers[1]!)
  })

  await t.test('without a CLDB that answers, connect says so', async (t) => {
    await t.rejects(connect({ cldb: ['127.0.0.1:1'], timeoutMs: 500 }), Failure)
  })
}
