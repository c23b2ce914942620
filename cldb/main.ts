/**
 * Starts the CLDB: opens its database, makes the cluster's id at the first start, and serves the control plane.
 *
 * Not pure.
 */
import { randomUUID } from 'node:crypto'
import { systemClock } from '../protocol/clock.ts'
import { Failure } from '../protocol/failures.ts'
import { logger } from '../protocol/logging.ts'
import { serveControl } from '../protocol/transport/grpc.ts'
import type { CldbConfig } from './config.ts'
import { createService } from './service.ts'
import { initialState, type Meta, type Records, type State } from './state.ts'
import { openLevelStore, type Store } from './store.ts'

export type RunningCldb = {
  /** `host:port` with the port that was really bound. */
  readonly address: string
  readonly close: () => Promise<void>
}

/**
 * @param config as `cldbConfig` parsed it. After a failure that it must not outlive (the disk, a broken invariant) the
 * CLDB answers nothing more and throws the error out of the event loop, which ends the process.
 * @throws Failure CONFLICT when another process uses the directory, CORRUPT or VERSION_MISMATCH for a database that
 * cannot be read, UNAVAILABLE when the address cannot be bound.
 */
export async function startCldb(config: CldbConfig): Promise<RunningCldb> {
  const log = logger('cldb')
  const store = await openLevelStore(config.directory)
  try {
    const state = await loadState(config, store)
    const onFatal = (error: unknown): void =>
      queueMicrotask(() => {
        throw error
      })
    const service = createService({ state, store, clock: systemClock, random: Math.random, log, onFatal })
    const listener = await serveControl(config.listen, service.handlers, { onFatal })
    log.info({ cluster: state.meta.cluster, address: listener.address }, 'serving')
    return {
      address: listener.address,
      close: async () => {
        service.close()
        await listener.close()
        await store.close()
      },
    }
  } catch (error) {
    await store.close()
    throw error
  }
}

async function loadState(config: CldbConfig, store: Store): Promise<State> {
  const records = await store.load()
  const meta = metaOf(config, records)
  if (meta !== records.meta) await store.commit({ meta, servers: new Map(), volumes: new Map(), containers: new Map() })
  return initialState(config, meta, records, systemClock.monotonicMs())
}

/** `leaseMs` is the longest that was ever promised: after a restart such a lease may still run. */
function metaOf(config: CldbConfig, { meta, servers, containers }: Records): Meta {
  if (meta === undefined) {
    if (servers.size + containers.size > 0) throw new Failure('CORRUPT', 'the CLDB has lost the record of its cluster')
    return { cluster: randomUUID(), nextContainer: 1, leaseMs: config.leaseMs }
  }
  return meta.leaseMs >= config.leaseMs ? meta : { ...meta, leaseMs: config.leaseMs }
}
