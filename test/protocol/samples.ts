/**
 * One request and one reply for each call of each table: what the golden bytes are made from.
 *
 * Values are chosen so that a mixed-up field shows: no two numbers of one message are alike.
 */
import { clientId, containerId, epoch, type Fid, inode, sequence, serverId } from '../../protocol/ids.ts'
import type { Attributes, Location, Volume } from '../../protocol/messages/attributes.ts'
import { type control, zeroCounters } from '../../protocol/messages/control.ts'
import type { files } from '../../protocol/messages/files.ts'
import type { maintenance, ScrubReport } from '../../protocol/messages/maintenance.ts'
import type { replication } from '../../protocol/messages/replication.ts'
import type { ReplyOf, RequestOf } from '../../protocol/messages/service.ts'

export type Samples<Calls> = {
  readonly [K in keyof Calls]: { readonly request: RequestOf<Calls[K]>; readonly reply: ReplyOf<Calls[K]> }
}

const text = (value: string): Buffer => Buffer.from(value)
const fidOf = (container: number, object: number, generation: number): Fid => ({
  container: containerId(container),
  inode: inode(object),
  generation,
})
const fid = fidOf(17, 2 ** 33, 3)
const directory = fidOf(17, 1, 0)
const time = { seconds: 1_700_000_000, nanoseconds: 999_999_999 }
const early = { seconds: -1, nanoseconds: 1 }
const before = { sizeBytes: 41, modified: early, changed: time }
const credentials = { uid: 1000, gid: 1001, groups: [4, 24, 0xffffffff] }
const ticket = { client: clientId(2 ** 47 + 1), number: 500, oldest: 499, epoch: epoch(7) }
const token = { container: containerId(17), epoch: epoch(9), sequence: sequence(2 ** 40) }
const sums = Buffer.from('0011223344556677', 'hex')
const chain = Buffer.from('8899aabbccddeeff', 'hex')
const attributes: Attributes = {
  fid,
  kind: 'symlink',
  mode: 0o4755,
  links: 2,
  uid: 1000,
  gid: 1001,
  sizeBytes: 2 ** 50,
  usedBytes: 65_536,
  major: 8,
  minor: 17,
  accessed: early,
  modified: time,
  changed: { seconds: 0, nanoseconds: 0 },
  chunkBytes: 2 ** 28,
  cut: 0,
  trimmed: 0,
}
const changes = {
  mode: 0o640,
  uid: undefined,
  gid: 7,
  sizeBytes: undefined,
  accessed: { now: true, time: early },
  modified: undefined,
}
const directoryChange = { directoryBefore: before, directory: { ...attributes, kind: 'directory' as const } }
const chunk = { container: containerId(21), owner: fid, index: 6 }
const server = serverId('0123456789abcdef')
const other = serverId('fedcba9876543210')
const location: Location = {
  container: containerId(17),
  volume: 'home',
  kind: 'data',
  epoch: epoch(9),
  master: server,
  inSync: [server],
  resyncing: [other],
  minimum: 2,
  chunkBytes: 2 ** 28,
  servers: [
    { server, address: '10.0.0.1:7001', alive: true },
    { server: other, address: '[::1]:7002', alive: false },
  ],
}
const volume: Volume = {
  name: 'home',
  mountPath: '/home',
  root: directory,
  replication: 3,
  minimum: 2,
  topology: '/rack1',
  chunkBytes: 2 ** 28,
}
const counters = { ...zeroCounters(), corruptBlocks: 1, repairedBlocks: 2, resyncs: 3, bytesWritten: 2 ** 41 }
const resyncs = [
  {
    container: containerId(7),
    target: serverId('00000000000000ab'),
    doneBytes: 5,
    totalBytes: 2 ** 40,
    bytesPerSecond: 9,
  },
]

export const fileSamples: Samples<typeof files.calls> = {
  getattr: { request: { fid }, reply: { attributes } },
  lookup: {
    request: { directory, name: Buffer.from('ff00fe', 'hex'), credentials },
    reply: { attributes, directory: attributes },
  },
  access: { request: { fid, credentials }, reply: { attributes, allowed: 37 } },
  setattr: { request: { ticket, fid, credentials, changes, guard: time }, reply: { before, attributes } },
  create: {
    request: {
      ticket,
      directory,
      name: text('a file'),
      credentials,
      kind: 'file',
      how: 'exclusive',
      changes,
      verifier: text('12345678'),
      target: undefined,
      major: 0,
      minor: 5,
      sums,
    },
    reply: { attributes, created: true, ...directoryChange },
  },
  remove: {
    request: { ticket, directory, name: text('gone'), credentials, kind: 'directory' },
    reply: directoryChange,
  },
  rename: {
    request: {
      ticket,
      source: directory,
      sourceName: text('old'),
      target: fidOf(17, 88, 1),
      targetName: text('new'),
      credentials,
      replace: false,
    },
    reply: { sourceBefore: before, source: attributes, targetBefore: before, target: attributes },
  },
  link: {
    request: { ticket, fid, directory, name: text('second'), credentials },
    reply: { attributes, ...directoryChange },
  },
  readlink: { request: { fid, credentials }, reply: { attributes, target: text('../elsewhere') } },
  readdir: {
    request: { directory, credentials, cookie: 2 ** 53 - 1, entriesMax: 4096, withAttributes: true },
    reply: {
      directory: attributes,
      parent: directory,
      end: true,
      entries: [
        { name: text('x'), cookie: 16, fid, kind: 'fifo', attributes: undefined },
        { name: text('y'), cookie: 2 ** 52, fid, kind: 'file', attributes },
      ],
    },
  },
  read: { request: { fid, offset: 4096, length: 65_536 }, reply: { attributes } },
  write: { request: { ticket, fid, offset: 12, stable: true, sums }, reply: { before, attributes, token } },
  extend: {
    request: { ticket, fid, sizeBytes: 2 ** 32, trimmed: 0, stable: false },
    reply: { before, attributes, token },
  },
  map: {
    request: { ticket, fid, first: 2, count: 3, allocate: true },
    reply: { attributes, containers: [containerId(21), undefined, containerId(22)] },
  },
  readChunk: { request: { chunk, offset: 2 ** 27, length: 1_048_576 }, reply: { cut: 3 } },
  writeChunk: { request: { ticket, chunk, offset: 0, stable: false, sums }, reply: { token } },
  trimChunk: { request: { ticket, chunk, keepBytes: 100, cut: 70 }, reply: {} },
  sync: { request: { token }, reply: {} },
}

export const replicationSamples: Samples<typeof replication.calls> = {
  follow: {
    request: { container: containerId(17), epoch: epoch(9) },
    reply: {
      history: {
        starts: [
          { epoch: epoch(1), first: sequence(1) },
          { epoch: epoch(8), first: sequence(70_000) },
        ],
        last: sequence(80_000),
      },
      committed: sequence(79_999),
      attempt: 4,
      whole: true,
    },
  },
  chains: {
    request: { container: containerId(17), epoch: epoch(9), sequences: [sequence(6), sequence(7)] },
    reply: { chains: [chain, Buffer.alloc(0)] },
  },
  rollback: {
    request: { container: containerId(17), epoch: epoch(9), attempt: 4, after: sequence(8), chain },
    reply: {},
  },
  append: {
    request: {
      container: containerId(17),
      epoch: epoch(9),
      first: sequence(10),
      committed: sequence(8),
      durable: true,
      resync: false,
    },
    reply: { appended: sequence(12), durable: sequence(11), full: false, roomBytes: 1_048_576 },
  },
  install: {
    request: {
      container: containerId(17),
      epoch: epoch(9),
      attempt: 4,
      master: server,
      committed: sequence(299),
      segments: [{ first: sequence(1), sizeBytes: 2 ** 26, chain }],
      starts: [{ epoch: epoch(1), first: sequence(1) }],
    },
    reply: {},
  },
  installed: {
    request: { container: containerId(17), epoch: epoch(9) },
    reply: { done: false, last: sequence(300), doneBytes: 2 ** 27, totalBytes: 2 ** 28 },
  },
  piece: {
    request: { container: containerId(17), first: sequence(1), offset: 4096, length: 1_048_576 },
    reply: {},
  },
  sums: { request: { container: containerId(17), first: sequence(1), sizeBytes: 2 ** 26 }, reply: {} },
  mend: { request: { container: containerId(17), first: sequence(1) }, reply: {} },
  segment: {
    request: { container: containerId(17), first: sequence(1), offset: 4096, length: 8_388_608 },
    reply: {},
  },
}

export const controlSamples: Samples<typeof control.calls> = {
  register: {
    request: {
      cluster: '',
      server,
      incarnation: 2 ** 40,
      attempt: 3,
      topology: '/rack1/node3',
      address: '10.0.0.1:7001',
      capacityBytes: 2 ** 42,
      freeBytes: 2 ** 41,
      replicas: [{ container: containerId(17), epoch: epoch(9) }],
      damaged: [containerId(18)],
    },
    reply: { cluster: 'c0ffee', leaseMs: 2000, heartbeatMs: 500 },
  },
  heartbeat: {
    request: {
      server,
      incarnation: 2 ** 40,
      capacityBytes: 2 ** 42,
      freeBytes: 0,
      full: true,
      counters,
      resyncs,
      resyncsWaiting: 3,
      stuck: [{ container: containerId(19), target: other }],
      damaged: [{ container: containerId(18), epoch: epoch(8) }],
      sizes: [{ container: containerId(17), sizeBytes: 12_345 }],
    },
    reply: { handOver: [{ container: containerId(17), epoch: epoch(9) }] },
  },
  assignments: {
    request: { server, incarnation: 2 ** 40 },
    reply: { locations: [location, { ...location, master: undefined }], discard: [containerId(99)] },
  },
  reconfigure: {
    request: {
      server,
      incarnation: 2 ** 40,
      container: containerId(17),
      epoch: epoch(9),
      remove: [other],
      add: [server],
      lost: true,
    },
    reply: { location },
  },
  locate: { request: { containers: [containerId(17), containerId(18)] }, reply: { locations: [location] } },
  createVolume: {
    request: { name: 'home', mountPath: '/home', replication: 3, minimum: 2, topology: '/rack1', chunkBytes: 2 ** 28 },
    reply: { volume },
  },
  removeVolume: { request: { name: 'home' }, reply: {} },
  volumes: { request: {}, reply: { volumes: [volume] } },
  allocate: { request: { volume: 'home' }, reply: { containers: [containerId(21)] } },
  space: { request: { volume: 'home' }, reply: { totalBytes: 2 ** 43, freeBytes: 2 ** 42 } },
  status: {
    request: {},
    reply: {
      cluster: 'c0ffee',
      servers: [
        {
          server,
          address: '10.0.0.1:7001',
          topology: '/rack1',
          state: 'silent',
          full: false,
          capacityBytes: 2 ** 42,
          freeBytes: 2 ** 41,
          replicas: 40,
          masters: 13,
          counters,
          resyncs,
          resyncsWaiting: 3,
          mode: 'maintenance',
          reason: 'asked for',
          modeLeftMs: 7_200_000,
          resyncing: 2,
          needed: 1,
          alarm: '10 disk errors, cannot be drained',
          left: [7, 12] as never,
        },
      ],
      volumes: [{ volume, containers: 6, underReplicated: 1, unavailable: 0, lackingBytes: 2 ** 33 }],
    },
  },
  containers: {
    request: { volume: undefined, after: containerId(16), limit: 1000, underReplicated: true },
    reply: { locations: [location] },
  },
  setMode: { request: { server, mode: 'maintenance', forMs: 7_200_000 }, reply: {} },
}

const report: ScrubReport = {
  done: true,
  containers: 9,
  containersChecked: 8,
  totalBytes: 2 ** 41,
  checkedBytes: 2 ** 40,
  found: 7,
  repaired: 5,
  remaining: 2,
  unchecked: 1,
  problems: [{ container: containerId(17), problem: 'damaged' }],
}

export const maintenanceSamples: Samples<typeof maintenance.calls> = {
  scrub: { request: { containers: [containerId(17), containerId(18)] }, reply: { run: 3, report } },
  scrubbed: { request: { run: 4 }, reply: { report } },
  damaged: { request: { container: containerId(17), epoch: epoch(9), server }, reply: {} },
  scrubs: { request: {}, reply: { runs: [5, 6] } },
}
