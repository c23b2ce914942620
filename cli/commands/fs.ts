/**
 * `holdfast fs ls|put|get|cat|rm|mkdir|mv|stat|du`: files of the cluster without a mount.
 */
import { basename, join } from 'node:path'
import type { Command } from 'commander'
import type { Client } from '../../client/index.ts'
import { formatFid } from '../../protocol/ids.ts'
import { isAbsent } from '../failure.ts'
import { counted, formatBytes, print, table } from '../output.ts'
import { parallel } from '../parallel.ts'
import { withClient } from '../session.ts'
import { type Copied, clusterSide, copy, localSide } from '../transfer.ts'

type Stats = Awaited<ReturnType<Client['fs']['lstat']>>

const inFlightMax = 32

export function fsCommand(program: Command): void {
  const group = program.command('fs').description('files of the cluster, without a mount')

  group
    .command('ls')
    .description('list a directory, or show one file')
    .argument('[path]', 'absolute', '/')
    .option('-l, --long', 'with mode, owner, size and time')
    .action((path: string, options: { long?: boolean }, command: Command) =>
      withClient(command, async (client, { json }) => {
        const entries = await list(client, path, json || options.long === true)
        if (json)
          print(
            true,
            entries.map(({ name, stats }) => ({ name, ...shown(stats!) })),
            () => '',
          )
        else
          print(false, undefined, () =>
            options.long ? longTable(entries) : entries.map(({ name }) => name).join('\n'),
          )
      }),
    )

  group
    .command('put')
    .description('copy a file of this machine into the cluster')
    .argument('<source>', 'on this machine; - for standard input')
    .argument('<target>', 'in the cluster; into it where it is a directory')
    .option('-r, --recursive', 'directories with all that is in them')
    .action((source: string, target: string, options: { recursive?: boolean }, command: Command) =>
      withClient(command, async (client, { json }) => {
        const copied = await copy(localSide, clusterSide(client), source, target, options.recursive === true)
        print(json, copied, () => summary(copied))
      }),
    )

  group
    .command('get')
    .description('copy a file of the cluster to this machine')
    .argument('<source>', 'in the cluster')
    .argument('<target>', 'on this machine; into it where it is a directory; - for standard output')
    .option('-r, --recursive', 'directories with all that is in them')
    .action((source: string, target: string, options: { recursive?: boolean }, command: Command) =>
      withClient(command, async (client, { json }) => {
        const copied = await copy(clusterSide(client), localSide, source, target, options.recursive === true)
        if (target !== '-') print(json, copied, () => summary(copied))
      }),
    )

  group
    .command('cat')
    .description('write files to standard output')
    .argument('<path...>')
    .action((paths: string[], _options: unknown, command: Command) =>
      withClient(command, async (client) => {
        for (const path of paths) await copy(clusterSide(client), localSide, path, '-', false)
      }),
    )

  group
    .command('rm')
    .description('remove files')
    .argument('<path...>')
    .option('-r, --recursive', 'directories with all that is in them')
    .option('-f, --force', 'what is absent is no failure')
    .action((paths: string[], options: { recursive?: boolean; force?: boolean }, command: Command) =>
      withClient(command, async (client, { json }) => {
        const { recursive = false, force = false } = options
        for (const path of paths) await client.fs.rm(path, { recursive, force })
        print(json, { removed: paths }, () => '')
      }),
    )

  group
    .command('mkdir')
    .description('make directories')
    .argument('<path...>')
    .option('-p, --parents', 'those above too; one that exists is no failure')
    .action((paths: string[], options: { parents?: boolean }, command: Command) =>
      withClient(command, async (client, { json }) => {
        for (const path of paths) await client.fs.mkdir(path, { recursive: options.parents === true })
        print(json, { made: paths }, () => '')
      }),
    )

  group
    .command('mv')
    .description('rename, or move into a directory')
    .argument('<source>')
    .argument('<target>')
    .action((source: string, target: string, _options: unknown, command: Command) =>
      withClient(command, async (client, { json }) => {
        const place = (await isDirectory(client, target)) ? join(target, basename(source)) : target
        await client.fs.rename(source, place)
        print(json, { source, target: place }, () => '')
      }),
    )

  group
    .command('stat')
    .description('show all attributes')
    .argument('<path...>')
    .action((paths: string[], _options: unknown, command: Command) =>
      withClient(command, async (client, { json }) => {
        const all = await Promise.all(paths.map(async (path) => ({ path, ...shown(await client.fs.lstat(path)) })))
        print(json, all, () => all.map(statTable).join('\n\n'))
      }),
    )

  group
    .command('du')
    .description('space used, before replication, by all that is below')
    .argument('[path...]', 'absolute', ['/'])
    .action((paths: string[], _options: unknown, command: Command) =>
      withClient(command, async (client, { json }) => {
        const all: Usage[] = []
        for (const path of paths) all.push(await usage(client, path))
        print(json, all, () =>
          table(
            ['>used', '>size', '>files', '>directories', 'path'],
            all.map(({ path, usedBytes, sizeBytes, files, directories }) => [
              formatBytes(usedBytes),
              formatBytes(sizeBytes),
              files,
              directories,
              path,
            ]),
          ),
        )
      }),
    )
}

type Listed = { readonly name: string; readonly stats?: Stats }

async function list(client: Client, path: string, withStats: boolean): Promise<Listed[]> {
  const stats = await client.fs.stat(path)
  if (!stats.isDirectory()) return [{ name: path, stats }]
  const names = (await client.fs.readdir(path)).sort()
  if (!withStats) return names.map((name) => ({ name }))
  const found = new Map<string, Stats>()
  await parallel(names, inFlightMax, async (name) => {
    try {
      found.set(name, await client.fs.lstat(join(path, name)))
    } catch (error) {
      if (!isAbsent(error)) throw error // Removed since the directory was read.
    }
  })
  return names.flatMap((name) => (found.has(name) ? [{ name, stats: found.get(name)! }] : []))
}

const shown = (stats: Stats) => ({
  fid: formatFid(stats.fid),
  kind: stats.kind,
  mode: stats.mode & 0o7777,
  links: stats.nlink,
  uid: stats.uid,
  gid: stats.gid,
  sizeBytes: stats.size,
  usedBytes: stats.blocks * 512,
  accessed: stats.atime.toISOString(),
  modified: stats.mtime.toISOString(),
  changed: stats.ctime.toISOString(),
})

const letters: Readonly<Record<Stats['kind'], string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  fifo: 'p',
  socket: 's',
  character: 'c',
  block: 'b',
}

/** `-rw-r--r--`, without the special bits, which `stat` shows. */
function modeText(kind: Stats['kind'], mode: number): string {
  const bits = [...'rwxrwxrwx'].map((letter, i) => ((mode >> (8 - i)) & 1 ? letter : '-'))
  return letters[kind] + bits.join('')
}

function longTable(entries: readonly Listed[]): string {
  if (entries.length === 0) return ''
  return table(
    ['mode', '>links', '>uid', '>gid', '>size', 'modified', 'name'],
    entries.map(({ name, stats }) => {
      const { kind, mode, links, uid, gid, sizeBytes, modified } = shown(stats!)
      return [modeText(kind, mode), links, uid, gid, formatBytes(sizeBytes), modified.slice(0, 19), name]
    }),
  )
}

function statTable({ path, ...attributes }: { path: string } & ReturnType<typeof shown>): string {
  const mode = `0${attributes.mode.toString(8)} ${modeText(attributes.kind, attributes.mode)}`
  return table(['path', path], Object.entries({ ...attributes, mode }))
}

const summary = ({ files, bytes }: Copied): string => `${counted(files, 'file')}, ${formatBytes(bytes)}`

async function isDirectory(client: Client, path: string): Promise<boolean> {
  try {
    return (await client.fs.stat(path)).isDirectory()
  } catch (error) {
    if (isAbsent(error)) return false
    throw error
  }
}

type Usage = { path: string; usedBytes: number; sizeBytes: number; files: number; directories: number }

/** A file with several names counts once. */
async function usage(client: Client, path: string): Promise<Usage> {
  const sum: Usage = { path, usedBytes: 0, sizeBytes: 0, files: 0, directories: 0 }
  const counted = new Set<string>()
  const waiting = [path]
  while (waiting.length > 0)
    await parallel(waiting.splice(0), inFlightMax, async (path) => {
      const stats = await client.fs.lstat(path)
      const fid = formatFid(stats.fid)
      if (counted.has(fid)) return
      counted.add(fid)
      sum.usedBytes += stats.blocks * 512
      sum.sizeBytes += stats.size
      if (!stats.isDirectory()) sum.files++
      else {
        sum.directories++
        for (const name of await client.fs.readdir(path)) waiting.push(join(path, name))
      }
    })
  return sum
}
