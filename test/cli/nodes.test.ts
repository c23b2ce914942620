/**
 * Claims about how servers are named, what is said of their state, and what is said of resyncs; and about durations.
 */
import t from 'tap'
import { resyncsByServer, resyncTable, resyncTotal, type ServerStatus, serverNamed, stateOf } from '../../cli/nodes.ts'
import { formatDuration, parseDuration } from '../../cli/output.ts'
import { containerId, type ServerId, serverId } from '../../protocol/ids.ts'
import { zeroCounters } from '../../protocol/messages/control.ts'

const id = (digits: string): ServerId => serverId(digits.padEnd(16, '0'))
const server = (digits: string, more: Partial<ServerStatus> = {}): ServerStatus => ({
  server: id(digits),
  address: `${digits}.example:7500`,
  topology: '/rack1',
  state: 'alive',
  full: false,
  capacityBytes: 1e12,
  freeBytes: 5e11,
  replicas: 12,
  masters: 4,
  counters: zeroCounters(),
  resyncs: [],
  resyncsWaiting: 0,
  mode: 'normal',
  reason: '',
  modeLeftMs: 0,
  resyncing: 0,
  needed: 0,
  alarm: '',
  left: [],
  ...more,
})

t.test('a server is named by its id, the beginning of it, or its address', async (t) => {
  const servers = [server('a1'), server('a2'), server('b')]
  t.equal(serverNamed(servers, id('a1')), servers[0])
  t.equal(serverNamed(servers, 'b'), servers[2])
  t.equal(serverNamed(servers, 'a2.example:7500'), servers[1])
  t.throws(() => serverNamed(servers, 'a'), /a may be a1.* or a2/)
  t.throws(() => serverNamed(servers, 'c'), /there is no server c/)
})

for (const [more, expected] of [
  [{}, 'alive'],
  [{ full: true }, 'alive, full'],
  [{ mode: 'draining', reason: 'asked for' }, 'alive, draining: 12 replicas left'],
  [{ mode: 'draining', reason: '12 disk errors' }, 'alive, draining because of 12 disk errors: 12 replicas left'],
  [{ mode: 'draining', replicas: 0, state: 'dead' }, 'dead, drained'],
  [
    { mode: 'draining', replicas: 2, left: [7, 12].map(containerId) },
    'alive, draining: 2 replicas left (containers 7, 12)',
  ],
  [{ mode: 'draining', replicas: 1, left: [containerId(7)] }, 'alive, draining: 1 replica left (container 7)'],
  [{ alarm: '12 disk errors, cannot be drained: why' }, 'alive, failing: 12 disk errors, cannot be drained: why'],
  [
    { mode: 'maintenance', modeLeftMs: 6e4, masters: 0, needed: 1 },
    'alive, maintenance for 1 min, not ready: 1 container needs it',
  ],
  [{ mode: 'maintenance', modeLeftMs: 7.2e6 }, 'alive, maintenance for 2 h, not ready: leads 4'],
  [
    { mode: 'maintenance', modeLeftMs: 6e4, masters: 0, needed: 2 },
    'alive, maintenance for 1 min, not ready: 2 containers need it',
  ],
  [{ mode: 'maintenance', modeLeftMs: 6e4, masters: 0 }, 'alive, maintenance for 1 min, may be stopped'],
  [{ mode: 'maintenance', modeLeftMs: 6e4, state: 'silent' }, 'silent, maintenance for 1 min'],
] as const)
  t.equal(stateOf(server('a', more)), expected)

t.test('what is brought up', async (t) => {
  const resync = (target: string, doneBytes: number) => ({
    container: containerId(1),
    target: id(target),
    doneBytes,
    totalBytes: 100,
    bytesPerSecond: 10,
  })
  const servers = [
    server('a', { resyncs: [resync('b', 40), resync('c', 90)], resyncsWaiting: 2 }),
    server('b', { resyncing: 3 }),
    server('c', { resyncing: 1 }),
  ]
  const volumes = [{ volume: {} as never, containers: 9, underReplicated: 4, unavailable: 0, lackingBytes: 400 }]
  const status = { cluster: 'c', servers, volumes }
  t.match(resyncsByServer(servers).get(servers[1]!), {
    running: 1,
    waiting: 2,
    doneBytes: 40,
    leftBytes: 60,
    endsInMs: 6000,
  })
  t.match(resyncTotal(status), { running: 2, waiting: 2, doneBytes: 130, leftBytes: 270, bytesPerSecond: 20 })
  t.equal(resyncTotal(status).endsInMs, 13_500, 'what waits is counted')
  t.match(resyncTable(status), /b\.example:7500 +1 +2 +40 B +60 B +10 B\/s +6 s/)
  t.equal(resyncTable({ ...status, servers: [server('a')] }), undefined, 'nothing is said where there is nothing')
  t.equal(resyncTotal({ ...status, servers: [server('a')] }).endsInMs, undefined, 'nor an end where nothing moves')
})

for (const [text, ms, shown] of [
  ['90s', 90_000, '1 min 30 s'],
  ['2h', 7_200_000, '2 h'],
  ['1d', 86_400_000, '1 d'],
  ['1.5h', 5_400_000, '1 h 30 min'],
  ['500ms', 500, '1 s'],
  ['0s', 0, '0 s'],
] as const) {
  t.equal(parseDuration(text), ms)
  t.equal(formatDuration(ms), shown)
}
for (const text of ['', '5', 'h', '5x', '-1h', '1 h']) t.equal(parseDuration(text), undefined, text)
