/**
 * What a cluster says of its copies while servers die and come back.
 *
 * Not pure: polls the CLDB. Times are those of this process's monotonic clock, late by at most one poll.
 */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '../../client/index.ts'
import { control } from '../../protocol/messages/control.ts'
import type { ReplyOf } from '../../protocol/messages/service.ts'

export type Status = ReplyOf<typeof control.calls.status>

const pollMs = 50
const callMs = 10_000
const waitMsMax = 300_000
/** By then what a server counted has come with a heartbeat. */
const countersMs = 2500

export const statusOf = (client: Client): Promise<Status> => client.cldb.call(control.calls.status, {}, callMs)

/** @returns when the CLDB first said that it is so. */
export async function until(client: Client, what: string, condition: (status: Status) => boolean): Promise<number> {
  const endMs = performance.now() + waitMsMax
  for (;;) {
    const status = await statusOf(client)
    const now = performance.now()
    if (condition(status)) return now
    if (now > endMs) throw new Error(`not within ${waitMsMax / 1000} s: ${what}`)
    await sleep(pollMs)
  }
}

export const isReplicated = ({ volumes }: Status): boolean =>
  volumes.every(({ underReplicated, unavailable }) => underReplicated === 0 && unavailable === 0)

export const stateOf = ({ servers }: Status, address: string): 'alive' | 'silent' | 'dead' | undefined =>
  servers.find((server) => server.address === address)?.state

/** @returns what each server that lives has received by resync since it started, by address. */
export async function received(client: Client): Promise<Map<string, number>> {
  await sleep(countersMs)
  const { servers } = await statusOf(client)
  const alive = servers.filter(({ state }) => state === 'alive')
  return new Map(alive.map(({ address, counters }) => [address, counters.resyncBytes]))
}

/** Bytes of all logs below a fileserver's directory: what its loss takes. */
export async function logBytes(directory: string): Promise<number> {
  const names = await readdir(join(directory, 'containers'), { recursive: true })
  const segments = names.filter((name) => name.endsWith('.segment'))
  const sizes = await Promise.all(
    segments.map(async (name) => (await stat(join(directory, 'containers', name)).catch(() => undefined))?.size ?? 0),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}
