/**
 * Claims about the exports file: what it means, who matches, who becomes whom, and what is refused with which line.
 */
import t from 'tap'
import { normalPath, parseExports, type Rights, squash } from '../../nfsd/exports.ts'

const text = `
# comment
/ *(ro)                                  # another
/data   10.0.0.0/8,192.168.1.7(rw)  2001:db8::/32(rw,no_root_squash) *(all_squash,anonuid=1000,anongid=100)
"/with blank/"   127.0.0.1(rw)
/data/inner 127.0.0.1
/data/inner 127.0.0.2(rw)
`
const exports = parseExports(text, 'exports')
const rights = (path: string, address: string): Rights | undefined => {
  const item = exports.find(path)
  return item === undefined ? undefined : exports.rights(item, address)
}

for (const [path, expected] of [
  ['/', '/'],
  ['/elsewhere', '/'],
  ['/data', '/data'],
  ['/data/below', '/data'],
  ['/database', '/'],
  ['/data/inner/most', '/data/inner'],
  ['/with blank', '/with blank'],
] as const)
  t.equal(exports.find(path)?.path, expected, `${path} belongs to the export ${expected}`)
t.equal(parseExports('/data *', 'exports').find('/'), undefined, 'above all exports there is none')

const nobody = { anonymousUid: 65534, anonymousGid: 65534 }
for (const [path, address, expected, why] of [
  ['/', '10.1.2.3', { writable: false, squash: 'root', ...nobody }, 'everyone may read'],
  ['/data', '10.1.2.3', { writable: true, squash: 'root', ...nobody }, 'a range'],
  ['/data', '192.168.1.7', { writable: true, squash: 'root', ...nobody }, 'one address beside it'],
  ['/data', '2001:db8:1::9', { writable: true, squash: 'none', ...nobody }, 'a range of IPv6'],
  ['/data', '192.168.1.8', { writable: false, squash: 'all', anonymousUid: 1000, anonymousGid: 100 }, 'the rest'],
  ['/data', '2001:db9::1', { writable: false, squash: 'all', anonymousUid: 1000, anonymousGid: 100 }, 'of IPv6 too'],
  ['/with blank', '127.0.0.1', { writable: true, squash: 'root', ...nobody }, 'a quoted path'],
  ['/with blank', '127.0.0.2', undefined, 'nobody else'],
  ['/data/inner', '127.0.0.1', { writable: false, squash: 'root', ...nobody }, 'read-only and root_squash by default'],
  ['/data/inner', '127.0.0.2', { writable: true, squash: 'root', ...nobody }, 'two lines for one path add up'],
  ['/data/inner', '10.1.2.3', undefined, 'the deepest export alone decides'],
] as const)
  for (const again of ['', ', asked again'])
    t.strictSame(rights(path, address), expected, `${address} at ${path}: ${why}${again}`)

const root = { uid: 0, gid: 0, groups: [0, 10] }
const user = { uid: 1000, gid: 100, groups: [100, 0] }
const plain = { uid: 1000, gid: 100, groups: [100] }
const as = (kind: Rights['squash']): Rights => ({ writable: true, squash: kind, anonymousUid: 7, anonymousGid: 8 })
for (const [kind, given, expected] of [
  ['none', root, root],
  ['none', undefined, { uid: 7, gid: 8, groups: [] }],
  ['root', root, { uid: 7, gid: 8, groups: [8, 10] }],
  ['root', user, { uid: 1000, gid: 100, groups: [100, 8] }],
  ['root', plain, plain],
  ['root', undefined, { uid: 7, gid: 8, groups: [] }],
  ['all', user, { uid: 7, gid: 8, groups: [] }],
] as const)
  t.strictSame(squash(as(kind), given), expected, `squash ${kind} of uid ${given?.uid ?? '(AUTH_NONE)'}`)

for (const [line, problem] of [
  ['/data *(rw,sync)', /^INVALID: exports, line 2: unknown option "sync"; known are rw, ro,/],
  ['/data', /line 2: \/data has no clients/],
  ['data *', /line 2: data is not an absolute path/],
  ['/data/../x *', /line 2: .* is not an absolute path without/],
  ['/data (rw)', /line 2: "\(rw\)" should read CLIENT/],
  ['/data *(rw', /line 2: .* should read CLIENT/],
  ['/data host.example(rw)', /line 2: "host.example" is not an IP address/],
  ['/data 10.0.0.0/33', /line 2: "10.0.0.0\/33" is not/],
  ['/data 10.0.0.0/8/8', /line 2: /],
  ['/data 10.0.0.1,', /line 2: "" is not/],
  ['/data *(anonuid=-1)', /line 2: anonuid must be a number/],
  ['/data *(anongid=4294967296)', /line 2: anongid must be a number/],
] as const)
  t.throws(() => parseExports(`/ok *\n${line}`, 'exports'), problem, line)

for (const [path, expected] of [
  ['//a///b/', '/a/b'],
  ['/', '/'],
  ['a', undefined],
  ['/a/./b', undefined],
  ['/a/..', undefined],
  ['/a\0', undefined],
] as const)
  t.equal(normalPath(path), expected, JSON.stringify(path))
