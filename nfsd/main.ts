/**
 * Starts an NFS gateway: exports, programs and sockets over the SDK.
 *
 * Not pure. It keeps nothing that a crash would lose: handles, cookies and exclusive-create verifiers are the
 * cluster's, and unsynced writes are the clients' until COMMIT. SIGHUP reads the exports file anew.
 */
import { readFile } from 'node:fs/promises'
import { connect } from '../client/index.ts'
import { systemClock } from '../protocol/clock.ts'
import { Failure } from '../protocol/failures.ts'
import { type Log, logger } from '../protocol/logging.ts'
import { fragmentsMax, type NfsdConfig, recordBytesMax } from './config.ts'
import { type Exports, parseExports } from './exports.ts'
import { mount3 } from './mount3/program.ts'
import { Permissions } from './nfs3/permissions.ts'
import type { Gateway } from './nfs3/procedure.ts'
import { nfs3 } from './nfs3/program.ts'
import { Unsynced } from './nfs3/unsynced.ts'
import { Budget } from './rpc/budget.ts'
import { dispatcher } from './rpc/dispatch.ts'
import { ReplyCache } from './rpc/replies.ts'
import { listenRpc, type RpcListener } from './rpc/server.ts'

export type Nfsd = {
  /** `host:port` of NFS. */
  readonly address: string
  /** `host:port` of MOUNT; the same unless the configuration says otherwise. */
  readonly mountAddress: string
  /** Reads the exports file anew. @throws Failure INVALID: the exports stay as they were. */
  readonly reload: () => Promise<void>
  /** Cuts all clients; their mounts wait and go on with the next gateway at the address. */
  readonly close: () => Promise<void>
}

/** @throws Failure INVALID for a bad exports file or an address that cannot be bound; what `connect` throws. */
export async function startNfsd(config: NfsdConfig, log: Log = logger('nfsd')): Promise<Nfsd> {
  let exports: Exports = await readExports(config.exports)
  const client = await connect({ cldb: config.cldb, timeoutMs: config.callMs })
  const { operations } = client
  const gateway: Gateway = {
    operations,
    exports: () => exports,
    permissions: new Permissions(operations.access, systemClock, {
      lifetimeMs: config.accessMs,
      filesMax: config.accessFilesMax,
    }),
    unsynced: new Unsynced(operations.sync, config.unsyncedFilesMax, log),
    log,
  }
  const mount = mount3(operations, () => exports, log)
  const apart = config.mountListen !== ''
  const listeners: RpcListener[] = []
  const close = async (): Promise<void> => {
    process.off('SIGHUP', hangup)
    await Promise.all(listeners.map((listener) => listener.close()))
    await client.close()
  }
  const reload = async (): Promise<void> => {
    exports = await readExports(config.exports)
    log.info({ file: config.exports, exports: exports.list.length }, 'the exports are read anew')
  }
  const hangup = (): void => {
    reload().catch((error) => log.error({ error }, 'the exports stay as they were'))
  }
  try {
    const listen = listenOn(config, log)
    listeners.push(await listen(config.listen, apart ? [nfs3(gateway)] : [nfs3(gateway), mount]))
    if (apart) listeners.push(await listen(config.mountListen, [mount]))
  } catch (error) {
    await close()
    throw error
  }
  process.on('SIGHUP', hangup)
  const address = listeners[0]!.address
  return { address, mountAddress: listeners.at(-1)!.address, reload, close }
}

function listenOn(config: NfsdConfig, log: Log) {
  const budget = new Budget(config.memoryBytesMax)
  const cache = new ReplyCache(config.repliesMax)
  const limits = {
    recordBytesMax,
    fragmentsMax,
    callsMax: config.callsMax,
    bytesMax: config.connectionBytesMax,
    stallMs: config.stallMs,
    connectionsMax: config.connectionsMax,
  }
  return (address: string, programs: Parameters<typeof dispatcher>[0]): Promise<RpcListener> =>
    listenRpc(address, dispatcher(programs, cache, log), limits, budget, log)
}

async function readExports(file: string): Promise<Exports> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    throw new Failure('INVALID', `the exports file cannot be read: ${(error as Error).message}`, { cause: error })
  }
  return parseExports(text, file)
}
