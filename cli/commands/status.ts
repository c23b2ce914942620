/**
 * `holdfast status`: servers, volumes, what lacks copies and is being brought up, and who is master of what.
 */
import type { Command } from 'commander'
import { control } from '../../protocol/messages/control.ts'
import { containersOf, containerTable, namesOf } from '../containers.ts'
import { resyncTable, resyncTotal, type Status, stateOf } from '../nodes.ts'
import { counted, formatBytes, print, table } from '../output.ts'
import { callMs, withClient } from '../session.ts'

export function statusCommand(program: Command): void {
  program
    .command('status')
    .description('servers, volumes, containers that lack copies, and who is master of what')
    .option('--containers', 'list every container with its master')
    .action((options: { containers?: boolean }, command: Command) =>
      withClient(command, async (client, { json }) => {
        const status = await client.cldb.call(control.calls.status, {}, callMs)
        const containers = options.containers ? await containersOf(client, {}) : undefined
        const sum = (key: 'containers' | 'underReplicated' | 'unavailable'): number =>
          status.volumes.reduce((total, volume) => total + volume[key], 0)
        const summary = {
          cluster: status.cluster,
          containers: sum('containers'),
          underReplicated: sum('underReplicated'),
          unavailable: sum('unavailable'),
          resync: resyncTotal(status),
        }
        const listed = containers === undefined ? {} : { list: containers }
        print(json, { ...summary, servers: status.servers, volumes: status.volumes, ...listed }, () => {
          const resyncs = resyncTable(status)
          const sections = [headline(summary), serverTable(status), volumeTable(status.volumes)]
          if (resyncs !== undefined) sections.push(resyncs)
          if (containers !== undefined) sections.push(containerTable(containers, namesOf(status.servers)))
          return sections.join('\n\n')
        })
      }),
    )
}

function headline(summary: { cluster: string; containers: number; underReplicated: number; unavailable: number }) {
  const { cluster, containers, underReplicated, unavailable } = summary
  const lacking = [
    ...(unavailable > 0 ? [`${unavailable} unavailable`] : []),
    ...(underReplicated > 0 ? [`${underReplicated} under-replicated`] : []),
  ]
  const look = ' (holdfast container list --under-replicated)'
  const state = lacking.length === 0 ? 'every container has all its copies' : lacking.join(', ') + look
  return `Cluster ${cluster}: ${counted(containers, 'container')}, ${state}`
}

function serverTable({ servers }: Status): string {
  if (servers.length === 0) return 'No fileserver has registered.'
  return table(
    ['server', 'address', 'topology', 'state', '>free', '>capacity', '>replicas', '>masters', '>corrupt', '>repaired'],
    servers.map((server) => [
      server.server,
      server.address,
      server.topology,
      stateOf(server),
      formatBytes(server.freeBytes),
      formatBytes(server.capacityBytes),
      server.replicas,
      server.masters,
      server.counters.corruptBlocks,
      server.counters.repairedBlocks,
    ]),
  )
}

export function volumeTable(volumes: Status['volumes']): string {
  if (volumes.length === 0) return 'There is no volume: make one with `holdfast volume create`.'
  return table(
    ['volume', 'mounted at', '>copies', '>minimum', 'topology', '>containers', '>under-replicated', '>unavailable'],
    volumes.map(({ volume, containers, underReplicated, unavailable }) => [
      volume.name,
      volume.mountPath,
      volume.replication,
      volume.minimum,
      volume.topology,
      containers,
      underReplicated,
      unavailable,
    ]),
  )
}
