/**
 * Three fileservers with a scrubber each, whose segments are small; and how to spoil what they have on disk.
 */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Disk, File } from '../../../fileserver/pool/disk.ts'
import { maintenanceHandlers } from '../../../fileserver/scrub/handlers.ts'
import { Scrubber } from '../../../fileserver/scrub/scrubber.ts'
import { Failure } from '../../../protocol/failures.ts'
import type { ServerId } from '../../../protocol/ids.ts'
import type { Location } from '../../../protocol/messages/attributes.ts'
import { maintenance, type ScrubReport } from '../../../protocol/messages/maintenance.ts'
import type { Connection } from '../../../protocol/transport/transport.ts'
import { type Node, Nodes, serves, until, write } from '../nodes.ts'
import { extent, put } from '../stored.ts'
import { container, contents, segmentFiles } from '../world.ts'

const segmentBytes = 256 * 1024

export class Scrubbed {
  readonly nodes: Nodes
  readonly scrubbers = new Map<ServerId, Scrubber>()
  location: Location
  /** Files that the disk neither reads nor writes any more. */
  readonly refused = new Set<string>()

  private constructor(nodes: Nodes) {
    this.nodes = nodes
    this.location = nodes.location(1, nodes.all)
    for (const node of nodes.all) this.scrubs(node)
  }

  /** A container with files of all sizes, over several segments, on three servers. */
  static async make(t: Test): Promise<Scrubbed> {
    const nodes = await Nodes.make(t, 3)
    const scrubbed = new Scrubbed(nodes)
    for (const { environment } of nodes.all)
      Object.assign(environment, { segmentBytes, disk: failing(environment.disk, scrubbed.refused) })
    t.teardown(() => {
      for (const scrubber of scrubbed.scrubbers.values()) scrubber.close()
    })
    await nodes.govern(1, nodes.all)
    const { reconfigured } = nodes
    nodes.reconfigured = async (...asked) => {
      scrubbed.location = await reconfigured(...asked)
      return scrubbed.location
    }
    const [master] = nodes.all
    await serves(master!)
    for (let i = 0; i < 60; i++) {
      const size = [100, 20_000, 70_000, 0][i % 4]!
      const payload = size === 0 ? [] : [Buffer.alloc(size, `${i} `)]
      const changes = [put(`key ${i}`, `${i}`, true), ...(size === 0 ? [] : [extent(`file ${i}`, 0, size)])]
      await write(master!, { changes, payload })
    }
    const { log } = master!.replica.storage
    const whole = (): boolean =>
      scrubbed.location.inSync.length === 3 &&
      nodes.all.every(({ replicas }) => [...replicas.all()].some(({ core }) => core.committed === log.last))
    await until(whole, 'all know that everything is committed')
    return scrubbed
  }

  /** Gives the node a scrubber, and lets it reach those of others. */
  scrubs(node: Node, rate = { bytesPerSecond: 0, againAfterMs: 1000 }): Scrubber {
    const { environment, replicas, server } = node
    const scrubber = new Scrubber({ environment, replicas, ...rate, locate: async () => this.location })
    this.scrubbers.set(server, scrubber)
    const { connect } = environment
    const call = async (to: ServerId, request: never) => {
      const target = this.nodes.all.find((other) => other.server === to)!
      return maintenanceHandlers(target.replicas, this.scrubbers.get(to)!).damaged(request, [], {
        deadlineMs: 0,
        peer: server,
      })
    }
    Object.assign(environment, {
      connect: async (to: ServerId, timeoutMs: number): Promise<Connection> => {
        const connection = await connect(to, timeoutMs)
        const calls = ((what: { readonly number: number }, request: never, options: never) =>
          what.number === maintenance.calls.damaged.number
            ? call(to, request)
            : connection.call(what as never, request, options)) as Connection['call']
        return { ...connection, call: calls }
      },
    })
    return scrubber
  }

  /** Scrubs the container on these servers at once, by default on all. @returns what each found. */
  async scrub(...nodes: readonly Node[]): Promise<readonly ScrubReport[]> {
    const asked = (nodes.length === 0 ? this.nodes.all : nodes).map(({ server }) => {
      const scrubber = this.scrubbers.get(server)!
      return { scrubber, run: scrubber.request([container]).run }
    })
    const reports = (): readonly ScrubReport[] => asked.map(({ scrubber, run }) => scrubber.report(run))
    await until(() => reports().every(({ done }) => done), 'the scrubs are done', 20_000)
    return reports()
  }

  /** All come to have the same bytes. */
  async equal(t: Test, why: string): Promise<void> {
    const [first, ...others] = this.nodes.all.map(({ directory }) => directory)
    await until(
      () => others.every((other) => isSame(contents(first!), contents(other))),
      `${why}: all have the same bytes`,
    )
    t.pass(why)
  }
}

/** The disk, which refuses some files. */
function failing(disk: Disk, refused: ReadonlySet<string>): Disk {
  const wrapped = (file: File): File => {
    const demand = (): void => {
      if (refused.has(file.path)) throw new Failure('DISK_FAILED', `EIO: ${file.path}`)
    }
    return {
      path: file.path,
      read: (target, offset) => {
        demand()
        return file.read(target, offset)
      },
      readLater: async (target, offset) => {
        demand()
        return file.readLater(target, offset)
      },
      write: (pieces, offset) => {
        demand()
        file.write(pieces, offset)
      },
      sync: (dirtyBytes) => file.sync(dirtyBytes),
      truncate: (sizeBytes) => file.truncate(sizeBytes),
      sizeBytes: () => file.sizeBytes(),
      close: () => file.close(),
    }
  }
  return { ...disk, open: (path, create) => wrapped(disk.open(path, create)) }
}

/** Compared by ourselves: tap would look for the smallest difference of megabytes. */
export const isSame = (one: Readonly<Record<string, Buffer>>, other: Readonly<Record<string, Buffer>>): boolean =>
  Object.keys(one).join() === Object.keys(other).join() &&
  Object.entries(one).every(([name, content]) => content.equals(other[name]!))

/** @returns the paths of the node's segments, oldest first. */
export const segmentsOf = (node: Node): string[] =>
  segmentFiles(node.directory).map((name) => join(node.directory, name))

/** Overwrites bytes of a file with others. */
export function spoil(path: string, offset: number, length = 1): void {
  const content = readFileSync(path)
  for (let i = offset; i < Math.min(offset + length, content.length); i++) content[i]! ^= 0x55
  writeFileSync(path, content)
}

/** Where records begin in a segment file, and how long their heads are. */
export function recordsIn(
  path: string,
): { readonly offset: number; readonly headBytes: number; readonly payloadBytes: number }[] {
  const content = readFileSync(path)
  const records = []
  for (let offset = 64; offset < statSync(path).size; ) {
    const headBytes = content.readUInt32LE(offset + 12)
    const payloadBytes = content.readUInt32LE(offset + 16)
    records.push({ offset, headBytes, payloadBytes })
    offset += headBytes + payloadBytes
  }
  return records
}
