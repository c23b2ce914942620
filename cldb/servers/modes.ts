/**
 * What servers are kept from by plan: draining, maintenance, and the way back. A failing disk drains by itself.
 *
 * Pure: reads and changes a draft. Only notes what is wanted: repair moves replicas and masters, each replica before
 * the old one is dropped.
 */
import { Failure } from '../../protocol/failures.ts'
import type { Counters, control } from '../../protocol/messages/control.ts'
import type { RequestOf } from '../../protocol/messages/service.ts'
import type { Draft } from '../draft.ts'
import { isUnder } from '../placement.ts'
import { isDraining, type Mode, type Server } from '../state.ts'

/** The reason of what an administrator wants. */
export const askedFor = 'asked for'
/** Errors are counted anew after this: over years every disk has some. */
const errorsWindowMs = 24 * 3600 * 1000

/** @throws Failure NOT_FOUND for an unknown server, INVALID for what cannot be. */
export function setMode(draft: Draft, request: RequestOf<typeof control.calls.setMode>): void {
  const { server: id, mode, forMs } = request
  const server = draft.servers.get(id)
  if (server === undefined) throw new Failure('NOT_FOUND', `there is no server ${id}`)
  if (mode === 'maintenance') {
    if (forMs === 0) throw new Failure('INVALID', 'maintenance must last for some time')
    enter(draft, server, { kind: mode, reason: askedFor, forMs })
  } else if (mode === 'draining') {
    const hindrance = isDraining(server) ? undefined : hindranceOf(draft, server)
    if (hindrance !== undefined) throw new Failure('INVALID', `server ${id} cannot be drained: ${hindrance}`)
    enter(draft, server, { kind: mode, reason: askedFor, forMs: 0 })
  } else enter(draft, server, undefined)
}

function enter(draft: Draft, server: Server, mode: Mode | undefined): void {
  const id = server.record.server
  const errors = server.errors && { sinceMs: draft.nowMs, base: server.counters.diskErrors }
  draft.servers.set(id, {
    ...server,
    record: { ...server.record, mode },
    modeSinceMs: draft.nowMs,
    errors,
    alarm: undefined,
  })
  for (const container of draft.state.containersOf.get(id) ?? []) draft.attend(container)
}

/** Why the replicas on the server could never all be elsewhere. */
function hindranceOf(draft: Draft, server: Server): string | undefined {
  const id = server.record.server
  const names = new Set<string>()
  for (const container of draft.state.containersOf.get(id) ?? []) names.add(draft.containers.get(container)!.volume)
  for (const name of names) {
    const { replication, topology } = draft.volumes.get(name)!
    let others = 0
    for (const other of draft.state.servers.keys())
      if (other !== id && canHold(draft.servers.get(other)!, topology)) others++
    if (others < replication)
      return `volume ${name} has replication ${replication}, other servers that can hold its copies: ${others}`
  }
  return undefined
}

const canHold = (server: Server, topology: string): boolean =>
  server.state !== 'dead' && !isDraining(server) && isUnder(server.record.topology, topology)

export const mayBeSilent = (server: Server): boolean => server.record.mode?.kind === 'maintenance'

/** How long maintenance goes on; 0 for all others. */
export const modeLeftMs = ({ record, modeSinceMs }: Server, nowMs: number): number =>
  Math.max(0, modeSinceMs + (record.mode?.forMs ?? 0) - nowMs)

export function endMaintenance(draft: Draft): void {
  for (const id of draft.state.servers.keys()) {
    const server = draft.servers.get(id)!
    if (mayBeSilent(server) && modeLeftMs(server, draft.nowMs) === 0) enter(draft, server, undefined)
  }
}

/** From where the errors of the server's disk are counted, after it told of them. */
export function errorsOf(server: Server, { diskErrors }: Counters, nowMs: number): NonNullable<Server['errors']> {
  const { errors } = server
  if (errors === undefined || nowMs - errors.sinceMs >= errorsWindowMs) return { sinceMs: nowMs, base: diskErrors }
  return diskErrors < errors.base ? { ...errors, base: 0 } : errors // another process counts from 0
}

/** Servers whose disks fail give their replicas away, where others can hold them; elsewhere they raise the alarm. */
export function drainFailing(draft: Draft): void {
  const { diskErrorsMax } = draft.state.config
  if (diskErrorsMax === 0) return
  for (const server of draft.state.servers.values()) {
    const errors = server.counters.diskErrors - (server.errors?.base ?? server.counters.diskErrors)
    const isFailing = errors >= diskErrorsMax && server.record.mode === undefined
    const reason = `${errors} disk ${errors === 1 ? 'error' : 'errors'}`
    const hindrance = isFailing ? hindranceOf(draft, server) : undefined
    const alarm = hindrance && `${reason}, cannot be drained: ${hindrance}`
    if (isFailing && alarm === undefined) enter(draft, server, { kind: 'draining', reason, forMs: 0 })
    else if (alarm !== server.alarm) draft.servers.set(server.record.server, { ...server, alarm })
  }
}
