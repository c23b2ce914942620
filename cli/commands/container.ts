/**
 * `holdfast container list|info`: where the copies of each container are, and who is master.
 */
import { type Command, InvalidArgumentError } from 'commander'
import { Failure } from '../../protocol/failures.ts'
import { containerId } from '../../protocol/ids.ts'
import { control } from '../../protocol/messages/control.ts'
import { containersOf, containerTable, type Filter, namesOf } from '../containers.ts'
import { print, table } from '../output.ts'
import { callMs, withClient } from '../session.ts'

function idOf(text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value > 0) return value
  throw new InvalidArgumentError('A container is a number from 1.')
}

export function containerCommand(program: Command): void {
  const group = program.command('container').description('containers: where their copies are, who is master')

  group
    .command('list')
    .description('list containers')
    .option('--volume <name>', 'only those of one volume')
    .option('--under-replicated', 'only those that lack copies')
    .action((options: Filter, command: Command) =>
      withClient(command, async (client, { json }) => {
        const locations = await containersOf(client, options)
        print(json, locations, () => containerTable(locations, namesOf(locations.flatMap(({ servers }) => servers))))
      }),
    )

  group
    .command('info')
    .description('show one container')
    .argument('<container>', 'its number', idOf)
    .action((id: number, _options: unknown, command: Command) =>
      withClient(command, async (client, { json }) => {
        const { locations } = await client.cldb.call(control.calls.locate, { containers: [containerId(id)] }, callMs)
        const location = locations[0]
        if (location === undefined) throw new Failure('NOT_FOUND', `no container ${id}`)
        print(json, location, () => {
          const role = (server: string): string => {
            if (server === location.master) return 'master'
            return location.inSync.some((member) => member === server) ? 'in sync' : 'resyncing'
          }
          const rows = location.servers.map(({ server, address, alive }) => [
            server,
            address,
            role(server),
            alive ? 'alive' : 'gone',
          ])
          const { container, kind, volume, epoch, minimum } = location
          const title = `Container ${container}: a ${kind} container of volume ${volume}, epoch ${epoch}, minimum ${minimum}`
          return `${title}\n\n${table(['server', 'address', 'role', 'state'], rows)}`
        })
      }),
    )
}
