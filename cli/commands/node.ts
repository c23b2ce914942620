/**
 * `holdfast node list|drain|maintenance|rejoin`: take servers out of service and back, without losing a copy.
 */
import type { Command } from 'commander'
import { control } from '../../protocol/messages/control.ts'
import { durationOf } from '../duration.ts'
import { type ServerStatus, serverNamed, stateOf } from '../nodes.ts'
import { formatDuration, print, table } from '../output.ts'
import { callMs, withClient } from '../session.ts'

type Mode = ServerStatus['mode']

export function nodeCommand(program: Command): void {
  const group = program.command('node').description('servers: take them out of service and back')

  group
    .command('list')
    .description('list the servers, what they hold, and how far they are drained')
    .action((_options: unknown, command: Command) =>
      withClient(command, async (client, { json }) => {
        const { servers } = await client.cldb.call(control.calls.status, {}, callMs)
        print(json, servers, () => nodeTable(servers))
      }),
    )

  group
    .command('drain')
    .description('give all its replicas to other servers; `node list` shows how far it is')
    .argument('<node>', 'a server: its id, the beginning of it, or its address')
    .action((name: string, _options: unknown, command: Command) => change(command, name, 'draining', 0))

  group
    .command('maintenance')
    .description('let it be away for a while without making its copies anew; its masters move off first')
    .argument('<node>', 'a server: its id, the beginning of it, or its address')
    .requiredOption('--for <duration>', 'how long, as 30m or 2h; then it counts as any other', durationOf)
    .action((name: string, options: { for: number }, command: Command) =>
      change(command, name, 'maintenance', options.for),
    )

  group
    .command('rejoin')
    .description('end a drain or a maintenance')
    .argument('<node>', 'a server: its id, the beginning of it, or its address')
    .action((name: string, _options: unknown, command: Command) => change(command, name, 'normal', 0))
}

function change(command: Command, name: string, mode: Mode, forMs: number): Promise<void> {
  return withClient(command, async (client, { json }) => {
    const { cldb } = client
    const { servers } = await cldb.call(control.calls.status, {}, callMs)
    const { server } = serverNamed(servers, name)
    await cldb.call(control.calls.setMode, { server, mode, forMs }, callMs)
    const after = serverNamed((await cldb.call(control.calls.status, {}, callMs)).servers, server)
    print(json, after, () => `${after.address}: ${stateOf(after)}${advice(mode, forMs)}`)
  })
}

function advice(mode: Mode, forMs: number): string {
  if (mode === 'draining') return '\n`holdfast node list` shows how far it is; stop it when it is drained.'
  if (mode === 'normal') return ''
  return `\nIf it is silent for more than ${formatDuration(forMs)} from now its copies are made anew elsewhere.`
}

function nodeTable(servers: readonly ServerStatus[]): string {
  if (servers.length === 0) return 'No fileserver has registered.'
  return table(
    ['server', 'address', 'topology', '>replicas', '>masters', '>disk errors', 'state'],
    servers.map((server) => [
      server.server,
      server.address,
      server.topology,
      server.replicas,
      server.masters,
      server.counters.diskErrors,
      stateOf(server),
    ]),
  )
}
