/**
 * The SDK: connects to a cluster and gives its filesystem by paths (`fs`), by fids (`operations`) and its CLDB.
 */
import { randomInt } from 'node:crypto'
import { systemClock } from '../protocol/clock.ts'
import { type Cldb, connectCldb } from '../protocol/cluster/cldb.ts'
import { openContainers } from '../protocol/cluster/containers.ts'
import { clientId } from '../protocol/ids.ts'
import type { Credentials } from '../protocol/messages/attributes.ts'
import { control } from '../protocol/messages/control.ts'
import { tcpTransport } from '../protocol/transport/tcp.ts'
import { Filesystem } from './filesystem/filesystem.ts'
import { remoteOperations } from './operations/operations.ts'
import { Remote } from './operations/remote.ts'
import { Tickets } from './operations/tickets.ts'
import { Volumes } from './operations/volumes.ts'
import type { Operations } from './operations.ts'

export type { Cldb } from '../protocol/cluster/cldb.ts'
export { Failure, type FailureCode, isFailure } from '../protocol/failures.ts'
export type { Fid } from '../protocol/ids.ts'
export type { Credentials } from '../protocol/messages/attributes.ts'
export type { Dir } from './filesystem/directory.ts'
export type { Filesystem } from './filesystem/filesystem.ts'
export { PathFailure } from './filesystem/path-failure.ts'
export type { Path } from './filesystem/paths.ts'
export type { Dirent, StatFs, Stats } from './filesystem/stats.ts'
export type { FileHandle } from './handle/file-handle.ts'
export type { ReadStream, WriteStream } from './handle/streams.ts'
export type { Operations } from './operations.ts'

export type ConnectOptions = {
  /** `host:port` of the CLDB's servers; one that answers is enough. */
  readonly cldb: readonly string[]
  /** Who the caller is to the cluster; the process's own user and groups unless told. */
  readonly identity?: Credentials
  /** How long a call is retried while servers fail over, before it fails; 60,000 unless told. */
  readonly timeoutMs?: number
  /** Permission bits that new files and directories do not get; 0o022 unless told. */
  readonly umask?: number
}

export type Client = {
  readonly fs: Filesystem
  readonly operations: Operations
  /** For administrators: `control.calls` of protocol/messages/control.ts. Volumes made by it are there at once. */
  readonly cldb: Cldb
  /** Ends all connections; calls that are under way fail. */
  readonly close: () => Promise<void>
}

const timeoutMsDefault = 60_000
const umaskDefault = 0o022
const clientBits = 2 ** 48

/** @throws Failure when no CLDB answers in time. */
export async function connect(options: ConnectOptions): Promise<Client> {
  const { timeoutMs = timeoutMsDefault, umask = umaskDefault, identity = ownIdentity() } = options
  const clock = systemClock
  const cldb = connectCldb({ addresses: options.cldb, clock })
  try {
    await cldb.call(control.calls.volumes, {}, timeoutMs)
  } catch (error) {
    cldb.close()
    throw error
  }
  const transport = tcpTransport({ role: 'client', cluster: () => '', clock })
  const containers = openContainers({ cldb, transport, clock })
  const remote = new Remote(containers, new Tickets(clientId(randomInt(1, clientBits - 1))), timeoutMs)
  const volumes = new Volumes(cldb, timeoutMs)
  const operations = remoteOperations(remote, volumes)
  return {
    fs: new Filesystem(operations, identity, umask),
    operations,
    cldb: {
      ...cldb,
      call: (call, request, callMs) => cldb.call(call, request, callMs).finally(() => volumes.forget()),
    },
    close: async () => {
      containers.close()
      cldb.close()
    },
  }
}

function ownIdentity(): Credentials {
  const { getuid, getgid, getgroups } = process
  return { uid: getuid?.() ?? 0, gid: getgid?.() ?? 0, groups: (getgroups?.() ?? []).slice(0, 64) }
}
