/**
 * What the disks hold when everything is healed: identical replicas, none too many, nothing without a file.
 *
 * Not pure: reads the servers' disks behind their backs.
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Status } from '../harness/cluster.ts'
import type { Server } from './servers.ts'

type Container = Status['list'][number]

/** @returns every container whose replicas are not as many, or not as equal, as they must be, and every stray replica. */
export function differences(
  status: Status,
  fileservers: readonly Server[],
  addressOf: (name: string) => string,
): string[] {
  const problems: string[] = []
  const serverAt = (id: string): Server => {
    const address = status.servers.find(({ server }) => server === id)!.address
    return fileservers.find(({ name }) => address.startsWith(`${addressOf(name)}:`))!
  }
  const copies = new Map(status.volumes.map(({ volume }) => [volume.name, volume.replication]))
  const known = new Map(status.list.map((container) => [String(container.container), container]))
  for (const { container, inSync, resyncing, volume, epoch } of status.list) {
    if (inSync.length !== copies.get(volume) || resyncing.length > 0)
      problems.push(`container ${container}: ${inSync.length} in sync, ${resyncing.length} resyncing`)
    const seen = new Map<string, string[]>()
    for (const server of inSync.map(serverAt)) {
      const print = segmentsOf(server, container).map(({ name, hash }) => `${name} ${hash}`)
      const key = print.join(', ')
      seen.set(key, [...(seen.get(key) ?? []), server.name])
    }
    if (seen.size > 1) {
      const variants = [...seen].map(([print, servers]) => `${servers.join(' and ')}: ${print || 'nothing'}`)
      problems.push(`container ${container}, epoch ${epoch}, differs: ${variants.join('; ')}`)
    }
  }
  for (const server of fileservers) {
    for (const name of readdirSync(join(server.directory, 'containers'))) {
      const members = known.get(name)?.inSync.map(serverAt) ?? []
      if (!members.includes(server)) problems.push(`${server.name} holds container ${name}, which is not its own`)
    }
  }
  return problems
}

function segmentsOf(server: Server, container: Container['container']): { name: string; hash: string }[] {
  const directory = join(server.directory, 'containers', String(container))
  if (!existsSync(directory)) return []
  const names = readdirSync(directory).filter((name) => name.endsWith('.segment'))
  return names.sort().map((name) => {
    const bytes = readFileSync(join(directory, name))
    return { name, hash: `${createHash('sha1').update(bytes).digest('hex').slice(0, 12)}/${bytes.length}` }
  })
}

type ReplicaSize = { readonly server: string; readonly container: string; readonly bytes: number }

/** Bytes of segments of each replica on the servers' disks, of the containers of one kind. */
export function replicaSizes(status: Status, fileservers: readonly Server[], kind: Container['kind']): ReplicaSize[] {
  const wanted = new Set(
    status.list.filter((container) => container.kind === kind).map(({ container }) => `${container}`),
  )
  return fileservers.flatMap((server) => {
    const containers = join(server.directory, 'containers')
    const names = readdirSync(containers).filter((name) => wanted.has(name))
    return names.map((container) => {
      let bytes = 0
      for (const file of readdirSync(join(containers, container)))
        if (file.endsWith('.segment')) bytes += statSync(join(containers, container, file)).size
      return { server: server.name, container, bytes }
    })
  })
}
