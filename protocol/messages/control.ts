/**
 * Calls to the CLDB over gRPC: by fileservers (register, heartbeat, assignments, reconfigure) and by clients.
 *
 * Pure table. Configurations change only here, by compare-and-set on the epoch, and are durable before they are told.
 */
import {
  addressShape,
  boolean,
  containerShape,
  epochShape,
  list,
  message,
  natural,
  nothing,
  type Of,
  oneOf,
  optional,
  serverShape,
  text,
} from '../check.ts'
import { locationShape, replicationMax, volumeShape } from './attributes.ts'
import { call } from './service.ts'

const container = containerShape
const server = serverShape
/** Random per start of a fileserver: a new one ends the old one's lease at once. */
const incarnation = natural()
const volumeName = text(255)

export const replicasMax = 200_000
/** Containers that are changing their masters by plan, in the whole cluster: each stands still for a moment. */
export const handOversMax = 64
/** As many as a heartbeat tells of: those that are so for longest, and the newest of those that are damaged. */
export const stuckMax = 256
export const damagedMax = 1000
/** The last containers of a draining server are named. */
export const leftMax = 8
/** Longest maintenance: 30 days. */
export const maintenanceMsMax = 30 * 24 * 3600 * 1000

export const countersShape = message({
  corruptBlocks: natural(),
  repairedBlocks: natural(),
  resyncs: natural(),
  bytesWritten: natural(),
  bytesRead: natural(),
  /** Reads and writes that the disk refused, and blocks that were not what was written. */
  diskErrors: natural(),
  /** Dead bytes that cleaning gave back. */
  cleanedBytes: natural(),
  scrubbedBytes: natural(),
  /** Received to make or catch up replicas. */
  resyncBytes: natural(),
})

export type Counters = { -readonly [name in keyof Of<typeof countersShape>]: number }

/** The counters of a process that begins. */
export const zeroCounters = (): Counters => ({
  corruptBlocks: 0,
  repairedBlocks: 0,
  resyncs: 0,
  bytesWritten: 0,
  bytesRead: 0,
  diskErrors: 0,
  cleanedBytes: 0,
  scrubbedBytes: 0,
  resyncBytes: 0,
})

/** A replica that is being brought to its master's log, as the master sees it. */
export const resyncShape = message({
  container,
  target: server,
  doneBytes: natural(),
  totalBytes: natural(),
  bytesPerSecond: natural(),
})

/** `draining`: its replicas go elsewhere; `maintenance`: it may be silent for a while. Neither gets new replicas or masters. */
const modeShape = oneOf('normal', 'draining', 'maintenance')

export const serverStatusShape = message({
  server,
  address: addressShape,
  topology: text(1024),
  state: oneOf('alive', 'silent', 'dead'),
  full: boolean,
  capacityBytes: natural(),
  freeBytes: natural(),
  replicas: natural(),
  masters: natural(),
  counters: countersShape,
  resyncs: list(resyncShape, 256),
  resyncsWaiting: natural(),
  mode: modeShape,
  /** Why it is in this mode. */
  reason: text(255),
  /** That its disk fails and that it cannot be drained, and why; empty otherwise. */
  alarm: text(1024),
  /** Containers whose replicas a draining server still has, once they are so few. */
  left: list(container, leftMax),
  /** Until maintenance ends by itself. */
  modeLeftMs: natural(),
  /** Of its replicas, those that are not in sync. */
  resyncing: natural(),
  /** Containers that would have fewer live copies than their volume's minimum without it; told of servers in a mode. */
  needed: natural(),
})

export const volumeStatusShape = message({
  volume: volumeShape,
  containers: natural(),
  underReplicated: natural(),
  unavailable: natural(),
  /** Size of the copies that are missing or not in sync. */
  lackingBytes: natural(),
})

export const control = {
  name: 'holdfast.Cldb',
  calls: {
    /**
     * `cluster` is empty for a new storage pool, which then takes the id in the reply. WRONG_CLUSTER otherwise. `attempt` counts
     * the registrations of this process: what is repeated, or comes after a later one, changes nothing.
     */
    register: call(
      0x0301,
      message({
        cluster: text(64),
        server,
        incarnation,
        attempt: natural(),
        topology: text(1024),
        address: addressShape,
        capacityBytes: natural(),
        freeBytes: natural(),
        replicas: list(message({ container, epoch: epochShape }), replicasMax),
        /** What nobody can count on: copies that were not finished, what the disk has spoiled, what is empty and has followed nobody. */
        damaged: list(container, replicasMax),
      }),
      message({ cluster: text(64), leaseMs: natural(), heartbeatMs: natural() }),
    ),
    /** Renews the lease. CONFLICT when the CLDB does not know this incarnation: register again. */
    heartbeat: call(
      0x0302,
      message({
        server,
        incarnation,
        capacityBytes: natural(),
        freeBytes: natural(),
        full: boolean,
        counters: countersShape,
        /** Of containers that this server masters and whose log's size changed. */
        sizes: list(message({ container, sizeBytes: natural() }), 1000),
        /** Replicas that this server is bringing to its logs now, and how many wait for their turn. */
        resyncs: list(resyncShape, 256),
        resyncsWaiting: natural(),
        /** Replicas that this server cannot bring to its logs: for a while they have not followed, and their disks are not full. */
        stuck: list(message({ container, target: server }), stuckMax),
        /** Replicas here of which nothing counts any more, with the last epochs that they followed. */
        damaged: list(message({ container, epoch: epochShape }), damagedMax),
      }),
      /** Containers that this server should stop leading in this epoch, once its in-sync members have everything. */
      message({ handOver: list(message({ container, epoch: epochShape }), handOversMax) }),
    ),
    /**
     * Server stream: first all containers that this server masters, then each change as it happens. `discard`:
     * replicas on this server that no configuration names any more; it deletes them.
     */
    assignments: call(
      0x0303,
      message({ server, incarnation }),
      message({ locations: list(locationShape, replicasMax), discard: list(container, replicasMax) }),
    ),
    /**
     * By a container's master: CONFLICT unless `epoch` is current and `server` its master. `remove`: members that
     * failed (they become resyncing); `add`: resyncing replicas that hold everything. A master that removes itself
     * gives way to another member; where none can lead, it begins anew in the next epoch, or, when it `lost` its
     * replica, nobody leads until another member is back. One that removes and adds itself gives way too, but stays in
     * sync. Each has stopped to act in this epoch before it asks.
     */
    reconfigure: call(
      0x0304,
      message({
        server,
        incarnation,
        container,
        epoch: epochShape,
        remove: list(server, replicationMax * 2),
        add: list(server, replicationMax * 2),
        lost: boolean,
      }),
      message({ location: locationShape }),
    ),
    locate: call(0x0305, message({ containers: list(container, 64) }), message({ locations: list(locationShape, 64) })),
    createVolume: call(
      0x0306,
      message({
        name: volumeName,
        mountPath: text(4096),
        replication: natural(replicationMax),
        minimum: natural(replicationMax),
        topology: text(1024),
        chunkBytes: natural(2 ** 40),
      }),
      message({ volume: volumeShape }),
    ),
    removeVolume: call(0x0307, message({ name: volumeName }), nothing),
    volumes: call(0x0308, nothing, message({ volumes: list(volumeShape, 100_000) })),
    /** Data containers of the volume that take new chunks; made as needed. NO_SERVERS below the minimum replication, NO_SPACE when all are full. */
    allocate: call(0x0309, message({ volume: volumeName }), message({ containers: list(container, 1024) })),
    space: call(0x030a, message({ volume: volumeName }), message({ totalBytes: natural(), freeBytes: natural() })),
    status: call(
      0x030b,
      nothing,
      message({
        cluster: text(64),
        servers: list(serverStatusShape, 10_000),
        volumes: list(volumeStatusShape, 100_000),
      }),
    ),
    /** Pages of containers in order of id, after `after`. */
    containers: call(
      0x030c,
      message({ volume: optional(volumeName), after: container, limit: natural(1000), underReplicated: boolean }),
      message({ locations: list(locationShape, 1000) }),
    ),
    /**
     * By an administrator. `forMs`: how long maintenance lasts, 0 for the others. NOT_FOUND for an unknown server,
     * INVALID when its replicas could be nowhere else.
     */
    setMode: call(0x030d, message({ server, mode: modeShape, forMs: natural(maintenanceMsMax) }), nothing),
  },
} as const
