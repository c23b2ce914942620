/**
 * The durable half of the CLDB's state: what a `Store` promises, and the store on one machine (`level`).
 *
 * Not pure. Keys: `meta`, `server/<id>`, `volume/<name>`, `container/<id, 16 digits>`; values are packed messages of
 * the shapes below (golden bytes in test/cldb/fixtures), which may only grow at their ends. A value that does not fit
 * its shape stops the start with a Failure: nothing is guessed and nothing is overwritten.
 */
import { Level } from 'level'
import {
  addressShape,
  boolean,
  containerShape,
  epochShape,
  list,
  message,
  natural,
  oneOf,
  optional,
  type Shape,
  serverShape,
  text,
} from '../protocol/check.ts'
import { Failure } from '../protocol/failures.ts'
import { containerId, serverId } from '../protocol/ids.ts'
import { replicationMax, type Volume, volumeShape } from '../protocol/messages/attributes.ts'
import { pack, unpack } from '../protocol/transport/wire.ts'
import type { Container, Meta, RecordChanges, Records, ServerRecord } from './state.ts'

export type Store = {
  readonly load: () => Promise<Records>
  /**
   * Settles when these changes and all of earlier calls are durable, in the order of the calls; an empty batch only
   * waits for those before it. Once one has failed all later ones fail: what is in memory is then ahead of what is durable.
   */
  readonly commit: (changes: RecordChanges) => Promise<void>
  readonly close: () => Promise<void>
}

type Put = { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
type Operation = Put | { readonly type: 'del'; readonly key: string }

const version = 1

export const metaRecord: Shape<Meta & { readonly version: number }> = message({
  version: natural(),
  cluster: text(64),
  nextContainer: natural(),
  leaseMs: natural(),
})
export const serverRecord: Shape<ServerRecord> = message({
  server: serverShape,
  incarnation: natural(),
  topology: text(1024),
  address: addressShape,
  capacityBytes: natural(),
  mode: optional(message({ kind: oneOf('draining', 'maintenance'), reason: text(255), forMs: natural() })),
})
export const containerRecord: Shape<Container> = message({
  container: containerShape,
  volume: text(255),
  kind: oneOf('name', 'data'),
  epoch: epochShape,
  master: optional(serverShape),
  inSync: list(serverShape, replicationMax * 2),
  resyncing: list(serverShape, replicationMax * 2),
  created: boolean,
})

const containerKey = (id: number): string => `container/${String(id).padStart(16, '0')}`

/** Opens, or makes, the database in `directory`. @throws Failure CONFLICT when another process has it open. */
export async function openLevelStore(directory: string): Promise<Store> {
  const database = new Level<string, Uint8Array>(directory, { keyEncoding: 'utf8', valueEncoding: 'view' })
  try {
    await database.open()
  } catch (error) {
    const cause = error instanceof Error ? (error.cause as NodeJS.ErrnoException | undefined) : undefined
    if (cause?.code === 'LEVEL_LOCKED') throw new Failure('CONFLICT', `another process uses ${directory}`, { cause })
    throw new Failure('DISK_FAILED', `cannot open the database in ${directory}`, { cause: error })
  }
  return {
    load: () => load(database),
    commit: groupCommit((operations) => database.batch(operations, { sync: true })),
    close: () => database.close(),
  }
}

/** Gathers what is committed while a batch is being written into the next batch. */
function groupCommit(write: (operations: Operation[]) => Promise<void>): Store['commit'] {
  let gathering: Operation[] = []
  let tail: Promise<void> = Promise.resolve()
  let next: Promise<void> | undefined
  return (changes) => {
    const operations = operationsOf(changes)
    if (operations.length === 0) return next ?? tail
    gathering.push(...operations)
    next ??= tail = tail.then(() => {
      const batch = gathering
      gathering = []
      next = undefined
      return write(batch)
    })
    return next
  }
}

function operationsOf(changes: RecordChanges): Operation[] {
  const operations: Operation[] = []
  const add = <T>(key: string, shape: Shape<T>, value: T | undefined): void => {
    operations.push(value === undefined ? { type: 'del', key } : { type: 'put', key, value: encode(shape, value) })
  }
  if (changes.meta !== undefined) add('meta', metaRecord, { ...changes.meta, version })
  for (const [id, record] of changes.servers) add(`server/${id}`, serverRecord, record)
  for (const [name, volume] of changes.volumes) add(`volume/${name}`, volumeShape, volume)
  for (const [id, container] of changes.containers) add(containerKey(id), containerRecord, container)
  return operations
}

export const encode = <T>(shape: Shape<T>, value: T): Uint8Array => pack(shape.write(value))

function decode<T>(shape: Shape<T>, key: string, value: Uint8Array): T {
  try {
    return shape.read(unpack(value), key)
  } catch (error) {
    throw new Failure('CORRUPT', `the CLDB's record ${key} is damaged`, { cause: error })
  }
}

async function load(database: Level<string, Uint8Array>): Promise<Records> {
  let meta: Meta | undefined
  const servers = new Map<ServerRecord['server'], ServerRecord>()
  const volumes = new Map<string, Volume>()
  const containers = new Map<Container['container'], Container>()
  for await (const [key, value] of database.iterator()) {
    const [table, name = ''] = split(key)
    if (table === 'meta') meta = decodeMeta(value)
    else if (table === 'server') servers.set(serverId(name), decode(serverRecord, key, value))
    else if (table === 'volume') volumes.set(name, decode(volumeShape, key, value))
    else if (table === 'container') containers.set(containerId(Number(name)), decode(containerRecord, key, value))
    else throw new Failure('VERSION_MISMATCH', `the CLDB's database holds an unknown record ${key}`)
  }
  return { meta, servers, volumes, containers }
}

function split(key: string): readonly [string, string] | readonly [string] {
  const slash = key.indexOf('/')
  return slash === -1 ? [key] : [key.slice(0, slash), key.slice(slash + 1)]
}

function decodeMeta(value: Uint8Array): Meta {
  const { version: stored, ...meta } = decode(metaRecord, 'meta', value)
  if (stored !== version)
    throw new Failure('VERSION_MISMATCH', `the CLDB's database has version ${stored}; this program knows ${version}`)
  return meta
}
