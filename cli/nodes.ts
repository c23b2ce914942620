/**
 * Servers as administrators see them: how they are named, what state they are in, what is being brought up where.
 *
 * Pure: makes text and figures of what the CLDB's `status` says.
 */
import { Failure } from '../protocol/failures.ts'
import type { control } from '../protocol/messages/control.ts'
import type { ReplyOf } from '../protocol/messages/service.ts'
import { counted, formatBytes, formatDuration, table } from './output.ts'

export type Status = ReplyOf<typeof control.calls.status>
export type ServerStatus = Status['servers'][number]

/** @param name an id, the beginning of one, or an address. @throws Failure NOT_FOUND, or INVALID for what means several. */
export function serverNamed(servers: readonly ServerStatus[], name: string): ServerStatus {
  const exact = servers.filter(({ server, address }) => server === name || address === name)
  const found = exact.length > 0 ? exact : servers.filter(({ server }) => server.startsWith(name))
  if (found.length === 1) return found[0]!
  if (found.length === 0) throw new Failure('NOT_FOUND', `there is no server ${name} (holdfast node list)`)
  throw new Failure('INVALID', `${name} may be ${found.map(({ server }) => server).join(' or ')}`)
}

/** `alive, draining: 2 replicas left (containers 7, 12)`. */
export function stateOf(server: ServerStatus): string {
  const { state, full, alarm } = server
  return [state, ...(full ? ['full'] : []), ...(alarm === '' ? [] : [`failing: ${alarm}`]), ...modeOf(server)].join(
    ', ',
  )
}

function modeOf(server: ServerStatus): readonly string[] {
  const { state, mode, replicas, masters, modeLeftMs, needed, reason, left } = server
  const because = reason === '' || reason === 'asked for' ? '' : ` because of ${reason}`
  const which = left.length === 0 ? '' : ` (${left.length === 1 ? 'container' : 'containers'} ${left.join(', ')})`
  if (mode === 'draining')
    return [replicas === 0 ? `drained${because}` : `draining${because}: ${counted(replicas, 'replica')} left${which}`]
  if (mode === 'normal') return []
  const waiting = [
    ...(masters > 0 ? [`leads ${masters}`] : []),
    ...(needed > 0 ? [`${counted(needed, 'container')} ${needed === 1 ? 'needs' : 'need'} it`] : []),
  ]
  const ready = state !== 'alive' ? [] : waiting.length > 0 ? [`not ready: ${waiting.join(', ')}`] : ['may be stopped']
  return [`maintenance for ${formatDuration(modeLeftMs)}`, ...ready]
}

export type ResyncTotal = {
  readonly running: number
  readonly waiting: number
  readonly doneBytes: number
  readonly leftBytes: number
  readonly bytesPerSecond: number
  /** Absent while nothing moves. */
  readonly endsInMs: number | undefined
}

/** What is brought up on each server that is a target, and what waits at each master. */
export function resyncsByServer(servers: readonly ServerStatus[]): ReadonlyMap<ServerStatus, ResyncTotal> {
  const all = servers.flatMap(({ resyncs }) => resyncs)
  const totals = servers.map((server) => {
    const here = all.filter(({ target }) => target === server.server)
    const waiting = Math.max(0, server.resyncing - here.length)
    return [server, totalOf(here, waiting, 0)] as const
  })
  return new Map(totals.filter(([, { running, waiting }]) => running + waiting > 0))
}

/** Of the whole cluster; what waits is counted with the size of its containers, so the end is the latest to expect. */
export function resyncTotal({ servers, volumes }: Status): ResyncTotal {
  const running = servers.flatMap(({ resyncs }) => resyncs)
  const waiting = servers.reduce((sum, { resyncsWaiting }) => sum + resyncsWaiting, 0)
  return totalOf(running, waiting, sum(volumes.map(({ lackingBytes }) => lackingBytes)))
}

const sum = (figures: readonly number[]): number => figures.reduce((total, figure) => total + figure, 0)

/** @param lackingBytes what is not in sync at all; 0 where only what runs is known. */
function totalOf(resyncs: ServerStatus['resyncs'], waiting: number, lackingBytes: number): ResyncTotal {
  const doneBytes = sum(resyncs.map((resync) => resync.doneBytes))
  const runningBytes = sum(resyncs.map((resync) => Math.max(0, resync.totalBytes - resync.doneBytes)))
  const leftBytes = Math.max(runningBytes, lackingBytes - doneBytes)
  const bytesPerSecond = sum(resyncs.map((resync) => resync.bytesPerSecond))
  const endsInMs = bytesPerSecond === 0 ? undefined : Math.ceil((leftBytes / bytesPerSecond) * 1000)
  return { running: resyncs.length, waiting, doneBytes, leftBytes, bytesPerSecond, endsInMs }
}

/** @returns undefined when nothing is brought up. */
export function resyncTable(status: Status): string | undefined {
  const byServer = resyncsByServer(status.servers)
  if (byServer.size === 0) return undefined
  const row = (name: string, total: ResyncTotal) => [
    name,
    total.running,
    total.waiting,
    formatBytes(total.doneBytes),
    formatBytes(total.leftBytes),
    `${formatBytes(total.bytesPerSecond)}/s`,
    total.endsInMs === undefined ? '-' : formatDuration(total.endsInMs),
  ]
  return table(
    ['resyncing on', '>running', '>waiting', '>done', '>left', '>rate', '>ends in'],
    [
      ...[...byServer].map(([{ address }, total]) => row(address, total)),
      row('all', { ...resyncTotal(status), waiting: sum([...byServer.values()].map(({ waiting }) => waiting)) }),
    ],
  )
}
