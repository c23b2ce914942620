/**
 * What NFS clients rely on, over the wire: real gateways on a real cluster.
 *
 * The cluster's servers are processes of their own; the gateways run here, so that they can be restarted in no time.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { nfsdConfig } from '../../nfsd/config.ts'
import { type Nfsd, startNfsd } from '../../nfsd/main.ts'
import { silentLog } from '../../protocol/logging.ts'
import { type Cluster, withCluster } from '../harness/cluster.ts'
import { makeScratch } from '../harness/scratch.ts'
import { mount, NfsClient, place, postAttributes, sattr } from './client.ts'

const NOENT = 2
const ACCES = 13
const EXIST = 17
const XDEV = 18
const NOTDIR = 20
const INVAL = 22
const FBIG = 27
const ROFS = 30
const NAMETOOLONG = 63
const NOTEMPTY = 66
const STALE = 70
const BADHANDLE = 10001
const NOT_SYNC = 10002
const BAD_COOKIE = 10003
const TOOSMALL = 10005
const BADTYPE = 10007

const exportsText = `
/ *(rw,no_root_squash)
/shown *(ro)
/squashed *(rw)
/everyone *(rw,all_squash,anonuid=77,anongid=78)
/hidden 192.0.2.0/24(rw)
`

async function claims(t: Tap, cluster: Cluster, exports: string): Promise<void> {
  const start = (): Promise<Nfsd> =>
    startNfsd(nfsdConfig({ cldb: [cluster.cldb], exports, listen: '127.0.0.1:0' }), silentLog)
  let gateway = await start()
  const other = await start()
  const opened: NfsClient[] = []
  const open = (uid?: number, address = gateway.address): NfsClient => {
    const made = new NfsClient(address, uid)
    opened.push(made)
    return made
  }
  let root = open(0)
  const { handle: top } = await root.mount('/')
  let directories = 0
  const fresh = async () => (await root.mkdir(top, `directory-${++directories}`, 0o777)).handle
  const restart = async () => {
    await gateway.close()
    gateway = await start()
    root = open(0)
  }

  await t.test('MOUNT', async (t) => {
    for (const name of ['shown', 'squashed', 'everyone', 'hidden']) await root.mkdir(top, name, 0o777)
    t.equal((await root.mount('/shown')).status, 0)
    t.equal((await root.mount('//shown/')).status, 0, 'slashes do not matter')
    t.equal((await root.mount('/hidden')).status, ACCES)
    t.equal((await root.mount('/shown/none')).status, NOENT)
    t.equal((await root.mount('shown')).status, INVAL)
    await root.create(top, 'file', 'unchecked')
    t.equal((await root.mount('/file')).status, NOTDIR)
    const list = await root.rpc(mount, 5, () => {})
    t.ok(list.boolean())
    t.equal(Buffer.from(list.opaque(1024)).toString(), '/', 'EXPORT lists the exports')
    const mounts = await root.rpc(mount, 2, () => {})
    t.ok(mounts.boolean(), 'DUMP lists the mounts')
    t.equal(Buffer.from(mounts.opaque(255)).toString(), '127.0.0.1')
    await root.rpc(mount, 4, () => {})
    t.notOk((await root.rpc(mount, 2, () => {})).boolean(), 'UMNTALL empties the list')
  })

  await t.test('rights of an export', async (t) => {
    const { handle: shown } = await root.mount('/shown')
    t.equal((await root.create(shown, 'x', 'unchecked')).status, ROFS)
    const access = await root.call(4, (xdr) => {
      xdr.opaque(shown)
      xdr.u32(0x3f)
    })
    postAttributes(access.xdr)
    t.equal(access.xdr.u32(), 0x03, 'ACCESS promises no changes there')
    const { handle: squashed } = await root.mount('/squashed')
    t.equal((await root.create(squashed, 'x', 'unchecked')).attributes?.uid, 65534, 'root is squashed')
    const { handle: everyone } = await root.mount('/everyone')
    const made = await open(1000).create(everyone, 'x', 'unchecked')
    t.strictSame([made.attributes?.uid, made.attributes?.gid], [77, 78], 'all are squashed')
    t.equal((await open().create(await fresh(), 'x', 'unchecked')).attributes?.uid, 65534, 'AUTH_NONE is nobody')
    const rename = await root.call(14, (xdr) => {
      place(xdr, squashed, 'x')
      place(xdr, everyone, 'y')
    })
    t.equal(rename.status, XDEV, 'nothing moves from one export to another')
    writeFileSync(exports, exportsText.replace('/squashed *', '/squashed 192.0.2.1'))
    await gateway.reload()
    t.not((await root.getattr(squashed)).status, 0, 'a client that is taken out of the exports has no access')
    writeFileSync(exports, '/ *(typo)')
    await t.rejects(gateway.reload(), /line 1: unknown option "typo"/)
    t.equal((await root.getattr(top)).status, 0, 'a mistake in the file changes nothing')
    writeFileSync(exports, exportsText)
    await gateway.reload()
  })

  await t.test('handles', async (t) => {
    const directory = await fresh()
    const { handle, attributes } = await root.create(directory, 'file', 'guarded')
    await root.write(handle, 0, Buffer.from('bytes'), 2)
    const there = open(0, other.address)
    t.equal((await there.getattr(handle)).attributes?.fileid, attributes?.fileid, 'work on another gateway')
    t.equal((await there.read(handle, 0, 9)).bytes.toString(), 'bytes')
    await restart()
    t.equal((await root.getattr(handle)).attributes?.fileid, attributes?.fileid, 'and after a restart')
    t.equal((await root.getattr(handle.subarray(1))).status, BADHANDLE)
    t.equal((await root.getattr(Buffer.alloc(44, 1))).status, BADHANDLE)
    const foreign = Buffer.from(handle)
    foreign[5]! ^= 1
    t.equal((await root.getattr(foreign)).status, STALE, 'of an export that is not there')

    const { handle: inner } = await root.mkdir(directory, 'inner')
    await root.remove(directory, 'file')
    await root.remove(directory, 'inner', 13)
    t.equal((await root.getattr(handle)).status, STALE, 'a dead handle is STALE for GETATTR')
    t.equal((await root.read(handle, 0, 1)).status, STALE, 'for READ')
    t.equal((await root.write(handle, 0, Buffer.from('x'), 0)).status, STALE, 'for WRITE')
    t.equal((await root.commit(handle)).status, STALE, 'for COMMIT')
    t.equal((await root.setattr(handle, { mode: 0 })).status, STALE, 'for SETATTR')
    t.equal((await root.list(inner, 0, 4096)).status, STALE, 'for READDIR')
    t.equal((await root.lookup(inner, 'x')).status, STALE, 'for LOOKUP in it')
    t.equal((await root.create(inner, 'x', 'guarded')).status, STALE, 'for CREATE in it')
    t.equal((await there.getattr(handle)).status, STALE, 'on every gateway')
  })

  await t.test('CREATE', async (t) => {
    const directory = await fresh()
    const first = await root.create(directory, 'file', 'guarded', 0o640)
    t.strictSame([first.status, first.attributes?.mode, first.attributes?.links], [0, 0o640, 1])
    t.equal((await root.create(directory, 'file', 'guarded')).status, EXIST)
    t.equal((await root.create(directory, 'file', 'unchecked')).attributes?.fileid, first.attributes?.fileid)
    const exclusive = await root.create(directory, 'mine', { verifier: 'verifier' })
    t.equal(exclusive.status, 0)
    await restart()
    const again = await root.create(directory, 'mine', { verifier: 'verifier' })
    t.equal(again.attributes?.fileid, exclusive.attributes?.fileid, 'an exclusive one succeeds again after a restart')
    t.equal((await root.create(directory, 'mine', { verifier: 'another!' })).status, EXIST, 'but no one else does')
  })

  await t.test('names', async (t) => {
    const directory = await fresh()
    const { handle: inner, attributes } = await root.mkdir(directory, 'inner')
    t.equal((await root.lookup(inner, '.')).attributes?.fileid, attributes?.fileid)
    const parent = await root.getattr(directory)
    t.equal((await root.lookup(inner, '..')).attributes?.fileid, parent.attributes?.fileid)
    t.equal((await root.lookup(top, '..')).attributes?.fileid, (await root.getattr(top)).attributes?.fileid)
    t.equal((await root.lookup(inner, 'none')).status, NOENT)
    t.equal((await root.lookup(inner, 'n'.repeat(256))).status, NAMETOOLONG)
    t.equal((await root.create(inner, 'n'.repeat(256), 'guarded')).status, NAMETOOLONG)
    t.equal((await root.create(inner, 'a/b', 'guarded')).status, INVAL)
    t.equal((await root.create(inner, 'a\0b', 'guarded')).status, INVAL)
    t.equal((await root.create(inner, '', 'guarded')).status, ACCES)
    t.equal((await root.create(inner, '..', 'guarded')).status, EXIST)
    t.equal((await root.remove(inner, '.', 13)).status, INVAL)
    t.equal((await root.remove(directory, 'inner', 12)).status !== 0, true, 'REMOVE takes no directory')
    for (const name of ['n'.repeat(255), '\xff\xfe', 'a b\n"'])
      t.equal((await root.create(inner, name, 'guarded')).status, 0, 'any other bytes are a name')
    t.equal((await root.remove(directory, 'inner', 13)).status, NOTEMPTY)
    const { handle: file } = await root.create(directory, 'file', 'guarded')
    t.equal((await root.lookup(file, 'x')).status, NOTDIR)
    t.equal((await root.list(file, 0, 4096)).status, NOTDIR)
  })

  await t.test('LINK, SYMLINK, MKNOD, RENAME', async (t) => {
    const directory = await fresh()
    const { handle, attributes } = await root.create(directory, 'file', 'guarded')
    const link = await root.call(15, (xdr) => {
      xdr.opaque(handle)
      place(xdr, directory, 'second')
    })
    t.equal(link.status, 0)
    t.equal(postAttributes(link.xdr)?.links, 2)
    const symlink = await root.make(10, directory, 'symlink', (xdr) => {
      sattr(xdr, { mode: 0o777 })
      xdr.opaque(Buffer.from('to/../there'))
    })
    t.equal(symlink.attributes?.type, 5)
    const readlink = await root.call(5, (xdr) => xdr.opaque(symlink.handle))
    postAttributes(readlink.xdr)
    t.equal(Buffer.from(readlink.xdr.opaque(4096)).toString(), 'to/../there')
    const long = await root.make(10, directory, 'long', (xdr) => {
      sattr(xdr, {})
      xdr.opaque(Buffer.alloc(4097, 'x'))
    })
    t.equal(long.status, NAMETOOLONG)
    for (const [type, expected] of [
      [4, 0],
      [6, 0],
      [7, 0],
      [1, BADTYPE],
      [99, BADTYPE],
    ] as const) {
      const node = await root.make(11, directory, `node-${type}`, (xdr) => {
        xdr.u32(type)
        sattr(xdr, { mode: 0o600 })
        if (type === 4) xdr.u64(2 ** 32 + 3)
      })
      t.strictSame([node.status, node.attributes?.type], [expected, expected === 0 ? type : undefined], `type ${type}`)
    }
    const rename = await root.call(14, (xdr) => {
      place(xdr, directory, 'second')
      place(xdr, directory, 'third')
    })
    t.equal(rename.status, 0)
    t.equal((await root.lookup(directory, 'second')).status, NOENT)
    t.equal((await root.lookup(directory, 'third')).attributes?.fileid, attributes?.fileid)
  })

  await t.test('READ and WRITE', async (t) => {
    const directory = await fresh()
    const { handle } = await root.create(directory, 'file', 'guarded')
    const bytes = Buffer.alloc(1024 * 1024)
    for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + (i >> 8)) & 255
    t.equal((await root.write(handle, 12_345, bytes, 0)).count, bytes.length, 'a megabyte at an odd place')
    const back = await root.read(handle, 12_345, bytes.length)
    t.ok(back.bytes.equals(bytes), 'comes back as it was')
    const hole = await root.read(handle, 0, 12_346)
    t.ok(hole.bytes.subarray(0, 12_345).every((byte) => byte === 0) && !hole.end, 'after zeros')
    t.strictSame(
      await root.read(handle, 2 ** 40, 10).then(({ count, end }) => [count, end]),
      [0, true],
      'nothing after',
    )
    const tail = await root.read(handle, 12_345 + bytes.length - 3, 100)
    t.strictSame([tail.count, tail.end, tail.attributes?.size], [3, true, 12_345 + bytes.length])
    t.equal((await root.write(handle, 2 ** 50, Buffer.from('x'), 0)).status, FBIG)
    t.equal((await root.write(handle, 5, Buffer.alloc(0), 0)).status, 0, 'a write of nothing')
    const { handle: inner } = await root.mkdir(directory, 'inner')
    t.equal((await root.read(inner, 0, 1)).status, INVAL)
    t.equal((await root.write(inner, 0, Buffer.from('x'), 0)).status, INVAL)
    await root.setattr(handle, { size: 20_000 })
    t.equal((await root.getattr(handle)).attributes?.size, 20_000)
    t.ok((await root.read(handle, 12_345, 2 ** 20)).bytes.equals(bytes.subarray(0, 20_000 - 12_345)))
  })

  await t.test('the write verifier', async (t) => {
    const { handle } = await root.create(await fresh(), 'file', 'guarded')
    const unstable = await root.write(handle, 0, Buffer.alloc(100_000), 0)
    const stable = await root.write(handle, 0, Buffer.alloc(10), 2)
    const commit = await root.commit(handle)
    t.equal(unstable.committed, 0)
    t.equal(stable.committed, 2)
    t.equal((await root.write(handle, 0, Buffer.alloc(10), 1)).committed, 2, 'DATA_SYNC is done as FILE_SYNC')
    t.equal(commit.verifier, unstable.verifier, 'WRITE and COMMIT share it')
    t.equal(stable.verifier, unstable.verifier)
    await restart()
    t.not((await root.commit(handle)).verifier, unstable.verifier, 'it is new after a restart')
  })

  await t.test('wcc data are those of the operation itself', async (t) => {
    const directory = await fresh()
    const empty = (await root.getattr(directory)).attributes
    const { handle, attributes, wcc: change } = await root.create(directory, 'file', 'guarded')
    t.equal(change.before, empty?.change, 'before CREATE')
    t.equal(change.after?.change, (await root.getattr(directory)).attributes?.change, 'and after')
    const write = await root.write(handle, 0, Buffer.from('x'), 0)
    t.equal(write.wcc.before, attributes?.change, 'before WRITE')
    t.equal(write.wcc.after?.change, (await root.getattr(handle)).attributes?.change, 'and after')
    const mode = await root.setattr(handle, { mode: 0o600 })
    t.equal(mode.wcc.before, write.wcc.after?.change, 'before SETATTR')
    t.equal((await root.setattr(handle, { mode: 0o644 }, attributes?.ctime)).status, NOT_SYNC, 'an old guard holds')
    t.equal((await root.setattr(handle, { mode: 0o644 }, mode.wcc.after?.ctime)).status, 0)
    const removal = await root.remove(directory, 'file')
    t.equal(removal.wcc.before, change.after?.change, 'before REMOVE')
  })

  await t.test('permissions', async (t) => {
    const directory = await fresh()
    const owner = open(1000)
    const { handle, attributes } = await owner.create(directory, 'file', 'guarded', 0o400)
    t.equal(attributes?.uid, 1000)
    t.equal((await owner.write(handle, 0, Buffer.from('x'), 0)).status, 0, 'the owner writes what it has open')
    t.equal((await open(1001).read(handle, 0, 1)).status, ACCES)
    t.equal((await open(1001).write(handle, 0, Buffer.from('x'), 0)).status, ACCES)
    await owner.setattr(handle, { mode: 0o4666 })
    t.equal((await open(1001).write(handle, 0, Buffer.from('x'), 0)).status, 0, 'a new mode counts at once')
    t.equal((await root.getattr(handle)).attributes?.mode, 0o666, 'and a write takes setuid away')
    const { handle: closed } = await owner.mkdir(directory, 'closed', 0o700)
    t.equal((await open(1001).create(closed, 'x', 'guarded')).status, ACCES)
    t.equal((await open(1001).list(closed, 0, 4096)).status, ACCES)
    t.equal((await open(1001).lookup(closed, '..')).status, ACCES)
  })

  await t.test('a call that comes twice runs once', async (t) => {
    const directory = await fresh()
    await root.create(directory, 'file', 'guarded')
    const again = open(0)
    again.xid = root.xid
    t.equal((await root.remove(directory, 'file')).status, 0)
    t.equal((await again.remove(directory, 'file')).status, 0, 'over a new connection, after the first ended')
    const twice = open(0)
    twice.xid = root.xid
    const both = await Promise.all([root.mkdir(directory, 'made'), twice.mkdir(directory, 'made')])
    t.strictSame(
      both.map(({ status }) => status),
      [0, 0],
      'or while it runs',
    )
    t.equal((await root.mkdir(directory, 'made')).status, EXIST, 'a new call is a new call')
  })

  await t.test('listings', async (t) => {
    const directory = await fresh()
    const names = Array.from({ length: 300 }, (_, i) => `${i}-${'n'.repeat((i * 37) % 200)}`)
    await Promise.all(names.map((name) => root.create(directory, name, 'guarded')))
    const expected = [...names, '.', '..'].sort()

    /** All entries, by calls of `count` bytes; `between` runs after each with what it gave. */
    async function all(count: number, plus: boolean, between: (last: string) => Promise<void> = async () => {}) {
      const found: string[] = []
      let cookie = 0
      for (let calls = 0; calls < 2000; calls++) {
        const page = await root.list(directory, cookie, count, plus ? count : undefined)
        if (page.status !== 0) throw new Error(`status ${page.status}`)
        if (page.bytes > count) t.fail(`${page.bytes} bytes where ${count} were asked for`)
        if (page.verifier !== '0000000000000000') t.fail('the verifier is constant')
        for (const entry of page.entries) {
          if (!(entry.cookie > cookie && entry.cookie < 2 ** 53)) t.fail(`cookie ${entry.cookie} after ${cookie}`)
          cookie = entry.cookie
          found.push(entry.name)
        }
        if (page.end) return found
        await between(page.entries.at(-1)!.name)
      }
      throw new Error('no end')
    }
    for (const count of [400, 1000, 4096, 1024 * 1024]) {
      t.strictSame((await all(count, false)).sort(), expected, `READDIR by ${count} bytes gives each name once`)
      t.strictSame((await all(count + 200, true)).sort(), expected, `and READDIRPLUS by ${count + 200}`)
    }
    t.equal((await root.list(directory, 0, 130)).status, TOOSMALL)
    t.equal((await root.list(directory, 0, 4096, 200)).status, TOOSMALL)
    const plus = await root.list(directory, 0, 4096, 32_768)
    for (const entry of plus.entries.filter(({ name }) => !name.startsWith('.')).slice(0, 5)) {
      t.equal(entry.attributes?.fileid, entry.fileid)
      t.equal((await root.getattr(entry.handle!)).attributes?.fileid, entry.fileid, 'a handle that works')
    }
    const foreign = await root.call(16, (xdr) => {
      xdr.opaque(directory)
      xdr.u64(20)
      xdr.fixed(Buffer.alloc(8, 1))
      xdr.u32(4096)
    })
    t.equal(foreign.status, BAD_COOKIE, 'a verifier that no gateway gave')
    const removed = await all(2000, false, async (last) => {
      await root.remove(directory, last)
      await root.create(directory, `new-${last}`.slice(0, 255), 'guarded')
    })
    t.equal(new Set(removed).size, removed.length, 'while names come and go none is seen twice')
    t.ok(
      names.every((name) => removed.includes(name)),
      'and none that stays is missed',
    )
    const half = await root.list(directory, 0, 4096)
    await restart()
    const rest = await root.list(directory, half.entries.at(-1)!.cookie, 4096)
    t.notOk(
      rest.entries.some(({ name }) => half.entries.some((entry) => entry.name === name)),
      'a listing goes on over a restart',
    )
  })

  await t.test('FSINFO, FSSTAT, PATHCONF', async (t) => {
    const info = await root.call(19, (xdr) => xdr.opaque(top))
    postAttributes(info.xdr)
    const sizes = Array.from({ length: 6 }, () => info.xdr.u32())
    t.strictSame(sizes, [2 ** 20, 2 ** 20, 4096, 2 ** 20, 2 ** 20, 4096], 'transfers of 1 MiB')
    t.ok(info.xdr.u32() >= 65_536)
    t.equal(info.xdr.u64(), 2 ** 50)
    t.strictSame([info.xdr.u32(), info.xdr.u32(), info.xdr.u32(), info.xdr.left], [0, 1, 0x1b, 0])
    const space = await root.call(18, (xdr) => xdr.opaque(top))
    postAttributes(space.xdr)
    const [total, free] = [space.xdr.u64(), space.xdr.u64()]
    t.ok(total > 0 && free > 0 && free <= total)
    const conf = await root.call(20, (xdr) => xdr.opaque(top))
    postAttributes(conf.xdr)
    t.strictSame(
      Array.from({ length: 6 }, () => conf.xdr.u32()),
      [2 ** 31 - 1, 255, 1, 1, 0, 1],
    )
  })

  for (const client of opened) client.close()
  await Promise.all([gateway.close(), other.close()])
}

type Tap = typeof t

t.test('NFS over a real cluster', async (t) => {
  const { directory, remove } = makeScratch('nfsd')
  const exports = join(directory, 'exports.test')
  writeFileSync(exports, exportsText)
  await withCluster(t, { directory, fileservers: 3, gateways: 0 }, async (cluster) => {
    await cluster.command('volume', 'create', 'main', '--mount', '/')
    await claims(t as Tap, cluster, exports)
  })
  remove()
})
