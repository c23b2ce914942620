/**
 * `holdfast volume create|list|info|remove`.
 */
import { type Command, InvalidArgumentError } from 'commander'
import { Failure } from '../../protocol/failures.ts'
import { formatFid } from '../../protocol/ids.ts'
import { replicationMax } from '../../protocol/messages/attributes.ts'
import { control } from '../../protocol/messages/control.ts'
import { formatBytes, parseBytes, print, table } from '../output.ts'
import { callMs, withClient } from '../session.ts'
import { volumeTable } from './status.ts'

type Creation = {
  readonly mount?: string
  readonly replication: number
  readonly minimum?: number
  readonly topology: string
  readonly chunkSize: number
}

function copies(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= replicationMax) return value
  throw new InvalidArgumentError(`It must be a whole number from 1 to ${replicationMax}.`)
}

function chunkSize(text: string): number {
  const value = parseBytes(text)
  if (value !== undefined && value > 0 && value % (64 * 1024) === 0) return value
  throw new InvalidArgumentError('It must be a multiple of 64K, such as 256M.')
}

export function volumeCommand(program: Command): void {
  const group = program.command('volume').description('volumes: mountable trees with their own policies')

  group
    .command('create')
    .description('make a volume')
    .argument('<name>')
    .option('--mount <path>', 'where it appears in the one tree of the cluster (/NAME)')
    .option('--replication <count>', 'copies of everything', copies, 3)
    .option('--minimum <count>', 'copies without which writes wait (2, or the replication where that is less)', copies)
    .option('--topology <path>', 'only on servers below this', '/')
    .option('--chunk-size <size>', 'of its files', chunkSize, 256 * 1024 * 1024)
    .action((name: string, options: Creation, command: Command) =>
      withClient(command, async (client, { json }) => {
        const { replication, topology } = options
        const request = {
          name,
          mountPath: options.mount ?? `/${name}`,
          replication,
          minimum: options.minimum ?? Math.min(2, replication),
          topology,
          chunkBytes: options.chunkSize,
        }
        const { volume } = await client.cldb.call(control.calls.createVolume, request, callMs)
        print(json, volume, () => `volume ${volume.name} made, mounted at ${volume.mountPath}`)
      }),
    )

  group
    .command('list')
    .description('list volumes')
    .action((_options: unknown, command: Command) =>
      withClient(command, async (client, { json }) => {
        const { volumes } = await client.cldb.call(control.calls.status, {}, callMs)
        print(json, volumes, () => volumeTable(volumes))
      }),
    )

  group
    .command('info')
    .description('show one volume')
    .argument('<name>')
    .action((name: string, _options: unknown, command: Command) =>
      withClient(command, async (client, { json }) => {
        const { volumes } = await client.cldb.call(control.calls.status, {}, callMs)
        const found = volumes.find(({ volume }) => volume.name === name)
        if (found === undefined) throw new Failure('NOT_FOUND', `no volume "${name}"`)
        const space = await client.cldb.call(control.calls.space, { volume: name }, callMs)
        const { volume, ...counts } = found
        print(json, { volume, ...counts, ...space }, () =>
          table(
            ['volume', name],
            [
              ['mounted at', volume.mountPath],
              ['root', formatFid(volume.root)],
              ['copies', `${volume.replication}, at least ${volume.minimum}`],
              ['topology', volume.topology],
              ['chunk size', formatBytes(volume.chunkBytes)],
              ['containers', counts.containers],
              ['under-replicated', counts.underReplicated],
              ['unavailable', counts.unavailable],
              ['free', `${formatBytes(space.freeBytes)} of ${formatBytes(space.totalBytes)}`],
            ],
          ),
        )
      }),
    )

  group
    .command('remove')
    .description('remove a volume')
    .argument('<name>')
    .option('--force', 'with all that is in it')
    .action((name: string, options: { force?: boolean }, command: Command) =>
      withClient(command, async (client, { json }) => {
        const volume = (await client.operations.volumes()).find((volume) => volume.name === name)
        if (volume === undefined) throw new Failure('NOT_FOUND', `no volume "${name}"`)
        if (!options.force) {
          const { entries } = await client.operations.readdir(superuser, volume.root, 0, 1, false)
          if (entries.length > 0)
            throw new Failure('NOT_EMPTY', `volume "${name}" is not empty: --force removes it with all that is in it`)
        }
        await client.cldb.call(control.calls.removeVolume, { name }, callMs)
        print(json, { removed: name }, () => `volume ${name} removed`)
      }),
    )
}

const superuser = { uid: 0, gid: 0, groups: [] }
