/**
 * Containers as administrators see them: all pages of the CLDB's list, and a table with servers by address.
 */
import type { Client } from '../client/index.ts'
import { containerId } from '../protocol/ids.ts'
import type { Location } from '../protocol/messages/attributes.ts'
import { control } from '../protocol/messages/control.ts'
import { table } from './output.ts'
import { callMs } from './session.ts'

const pageMax = 1000

export type Filter = { readonly volume?: string | undefined; readonly underReplicated?: boolean | undefined }

export async function containersOf(client: Client, filter: Filter): Promise<Location[]> {
  const all: Location[] = []
  for (let after = containerId(0); ; ) {
    const request = { volume: filter.volume, underReplicated: filter.underReplicated === true, after, limit: pageMax }
    const { locations } = await client.cldb.call(control.calls.containers, request, callMs)
    all.push(...locations)
    if (locations.length < pageMax) return all
    after = locations.at(-1)!.container
  }
}

type Named = { readonly server: string; readonly address: string }

/** @returns what to call a server: its address, or its id where that is unknown. */
export function namesOf(servers: readonly Named[]): (server: string) => string {
  const names = new Map(servers.map(({ server, address }) => [server, address]))
  return (server) => names.get(server) ?? server
}

/** Under one location, `servers` are all that it names. */
export function containerTable(locations: readonly Location[], nameOf: (server: string) => string): string {
  if (locations.length === 0) return 'No container.'
  return table(
    ['>container', 'volume', 'kind', '>epoch', 'master', 'in sync', 'resyncing'],
    locations.map(({ container, volume, kind, epoch, master, inSync, resyncing }) => [
      container,
      volume,
      kind,
      epoch,
      master === undefined ? 'none' : nameOf(master),
      inSync.map(nameOf).join(' '),
      resyncing.map(nameOf).join(' '),
    ]),
  )
}
