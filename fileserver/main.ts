/**
 * Starts a fileserver: opens its storage pool and replicas, serves the data plane, joins the cluster.
 *
 * Not pure: this is where real disk, clock, sockets and randomness come in.
 */
import { randomBytes } from 'node:crypto'
import { systemClock } from '../protocol/clock.ts'
import { connectCldb } from '../protocol/cluster/cldb.ts'
import { Connections } from '../protocol/cluster/connections.ts'
import { openContainers } from '../protocol/cluster/containers.ts'
import { Failure } from '../protocol/failures.ts'
import { type ServerId, serverId } from '../protocol/ids.ts'
import { logger } from '../protocol/logging.ts'
import type { Location } from '../protocol/messages/attributes.ts'
import { control, zeroCounters } from '../protocol/messages/control.ts'
import { files } from '../protocol/messages/files.ts'
import { maintenance } from '../protocol/messages/maintenance.ts'
import { replication } from '../protocol/messages/replication.ts'
import { tcpTransport } from '../protocol/transport/tcp.ts'
import { served } from '../protocol/transport/transport.ts'
import { Abandoned } from './cleaning/abandoned.ts'
import { Cleaning } from './cleaning/cleaning.ts'
import { Reclaim } from './cleaning/reclaim.ts'
import type { FileserverConfig } from './config.ts'
import { followingHandlers } from './following.ts'
import { type Index, openIndex } from './index/store.ts'
import { Membership } from './membership.ts'
import { format } from './names/operations.ts'
import { BadPlaces } from './pool/bad-places.ts'
import { realDisk } from './pool/disk.ts'
import { openPool, saveIdentity } from './pool/pool.ts'
import { indexBufferBytesOf, openOnFullDisk, Room, sparesOf } from './pool/room.ts'
import type { Environment } from './replica/environment.ts'
import { Replicas } from './replicas.ts'
import { Resyncs } from './resync/resyncs.ts'
import { maintenanceHandlers } from './scrub/handlers.ts'
import { Scrubber } from './scrub/scrubber.ts'
import { fileHandlers } from './service.ts'

const tickMs = 50
const controlTimeoutMs = 2000

export type RunningFileserver = {
  /** `host:port` with the port that was really bound. */
  readonly address: string
  readonly close: () => Promise<void>
}

/**
 * @param config as `fileserverConfig` parsed it.
 * @throws Failure INVALID when the directory is no storage pool, WRONG_CLUSTER when it belongs to another cluster,
 * DISK_FAILED when it cannot be read or another process has it open, NO_SPACE when its disk has no room for the index to
 * open, UNAVAILABLE when the address cannot be bound.
 */
export async function startFileserver(config: FileserverConfig): Promise<RunningFileserver> {
  const clock = systemClock
  const log = logger('fileserver')
  const counters = zeroCounters()
  const spares = sparesOf(config.directory, config.reserveBytes)
  const badPlaces = new BadPlaces()
  const countError = (unread?: string): void => {
    if (unread === undefined || badPlaces.addFile(unread)) counters.diskErrors += 1
  }
  const disk = realDisk(config.directory, countError, () => spares.running.release())
  const identity = openPool(disk, config.directory, () => serverId(randomBytes(8).toString('hex')))
  let { cluster } = identity
  const room = new Room(disk, spares, clock, config.reserveBytes, () => counters.bytesWritten + counters.resyncBytes)
  const broken = (error: Failure): void => {
    log.error({ error }, 'the server ends: its index has to be opened again')
    process.exit(1)
  }
  const bufferBytes = indexBufferBytesOf(config.reserveBytes)
  const open = (): Promise<Index> =>
    openIndex(`${config.directory}/index`, { bufferBytes, before: () => room.look(), broken })
  const index = await openOnFullDisk(open, disk, config.directory, spares)
  const cldb = connectCldb({ addresses: config.cldb, clock })
  const transport = tcpTransport({ role: 'fileserver', cluster: () => cluster, clock, log })
  const connections = new Connections(transport)
  const containers = openContainers({ cldb, transport, clock })

  const addresses = new Map<ServerId, string>()
  const learn = (location: Location): void => {
    for (const { server, address } of location.servers) addresses.set(server, address)
  }
  const incarnation = randomBytes(6).readUIntBE(0, 6)

  const environment: Environment = {
    self: identity.server,
    clock,
    disk,
    index,
    directory: `${config.directory}/containers`,
    log,
    counters,
    badPlaces,
    random: Math.random,
    connect: async (server, timeoutMs) => {
      const address = addresses.get(server)
      if (address === undefined) throw new Failure('UNAVAILABLE', `the address of server ${server} is unknown`)
      return connections.open(address, timeoutMs)
    },
    leased: () => membership.leased,
    full: () => room.full,
    roomBytes: () => room.leftBytes,
    reconfigure: async (container, epoch, remove, add, lost = false) => {
      const request = { server: identity.server, incarnation, container, epoch, remove, add, lost }
      const { location } = await cldb.call(control.calls.reconfigure, request, controlTimeoutMs)
      learn(location)
      return location
    },
    limits: config,
    resyncs: new Resyncs(clock, config),
  }

  const replicas = new Replicas(environment, (location) =>
    location.kind === 'data'
      ? []
      : format({ container: location.container, volume: { chunkBytes: location.chunkBytes }, now: clock.now() }),
  )
  await replicas.openAll()
  const reclaim = new Reclaim(environment, containers)
  const scrubber = new Scrubber({
    environment,
    replicas,
    bytesPerSecond: config.scrubBytesPerSecond,
    againAfterMs: config.scrubAgainAfterMs,
    locate: (container) => membership.locate(container),
  })
  const listener = await transport.listen(config.listen, [
    served(files, fileHandlers(environment, replicas, cldb, reclaim)),
    served(
      replication,
      followingHandlers(environment, replicas, (container) => membership.isNamed(container)),
    ),
    served(maintenance, maintenanceHandlers(replicas, scrubber)),
  ])
  const address = config.advertise === '' ? listener.address : config.advertise
  const presence = { address, topology: config.topology, incarnation, cluster }
  const membership = new Membership(environment, cldb, replicas, presence, learn)

  const close = async (): Promise<void> => {
    membership.close()
    scrubber.close()
    clearInterval(ticking)
    await listener.close()
    await replicas.close()
    containers.close()
    connections.close()
    cldb.close()
    await index.close()
  }
  const ticking = setInterval(() => {
    for (const replica of replicas.all()) replica.tick()
  }, tickMs)
  try {
    cluster = await membership.join()
  } catch (error) {
    await close()
    throw error
  }
  if (identity.cluster !== cluster) saveIdentity(disk, config.directory, { server: identity.server, cluster })
  reclaim.start(replicas)
  scrubber.start()
  new Cleaning(environment, replicas).start()
  new Abandoned(environment, containers, config.abandonedEveryMs).start(replicas)
  log.info({ server: identity.server, address, cluster }, 'serving')
  return { address, close }
}
