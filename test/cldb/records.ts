/**
 * One stored record of each kind, for the tests of the store and for its golden bytes.
 */
import type { Container, Meta, Records, ServerRecord } from '../../cldb/state.ts'
import { containerId, epoch, inode } from '../../protocol/ids.ts'
import type { Volume } from '../../protocol/messages/attributes.ts'
import { server } from './world.ts'

export const meta: Meta = { cluster: 'b7a1', nextContainer: 9, leaseMs: 1500 }
export const serverRow: ServerRecord = {
  server: server(1),
  incarnation: 2 ** 40 + 1,
  topology: '/rack1/node1',
  address: '10.0.0.1:7500',
  capacityBytes: 4e12,
  mode: undefined,
}
export const draining: ServerRecord = {
  ...serverRow,
  server: server(2),
  mode: { kind: 'draining', reason: '12 disk errors', forMs: 0 },
}
export const volume: Volume = {
  name: 'home',
  mountPath: '/home',
  root: { container: containerId(1), inode: inode(1), generation: 1 },
  replication: 3,
  minimum: 2,
  topology: '/',
  chunkBytes: 256 * 2 ** 20,
}
export const container: Container = {
  container: containerId(1),
  volume: 'home',
  kind: 'name',
  epoch: epoch(7),
  master: server(1),
  inSync: [server(1), server(2)],
  resyncing: [server(3)],
  created: true,
}

export const records: Records = {
  meta,
  servers: new Map([serverRow, draining].map((row) => [row.server, row])),
  volumes: new Map([[volume.name, volume]]),
  containers: new Map([
    [containerId(1), container],
    [containerId(2), { ...container, container: containerId(2), kind: 'data', master: undefined, created: false }],
    [containerId(10), { ...container, container: containerId(10) }],
  ]),
}
