/**
 * The MOUNT program, version 3: hands out the handle of an export, or of a directory below one.
 *
 * Not pure. The list of mounts that DUMP shows is what this gateway was told since it started; nothing depends on it.
 *
 * Source: RFC 1813 appendix I.
 */
import type { Operations } from '../../client/operations.ts'
import { Failure } from '../../protocol/failures.ts'
import type { Log } from '../../protocol/logging.ts'
import { type Exports, normalPath } from '../exports.ts'
import { writeHandle } from '../nfs3/handle.ts'
import { type Caller, nullProcedure, type Procedure, type Program, type Result } from '../rpc/program.ts'
import type { XdrReader } from '../xdr/reader.ts'
import type { XdrWriter } from '../xdr/writer.ts'
import { resolve } from './resolve.ts'

const pathBytesMax = 1024
const hostBytesMax = 255
const mountsMax = 1024
/** AUTH_SYS, AUTH_NONE */
const flavors = [1, 0]

/** mountstat3 has fewer values than nfsstat3. */
const statuses = [1, 2, 5, 13, 20, 22, 63, 10004, 10006]
const statusOf = (failure: Failure): number => (statuses.includes(failure.row.nfs) ? failure.row.nfs : 5)

type Mount = { readonly host: string; readonly path: string }

export function mount3(operations: Operations, exports: () => Exports, log: Log): Program {
  const mounts = new Map<string, Mount>()
  const procedures: Procedure<unknown>[] = [
    nullProcedure,
    mnt(operations, exports, mounts, log),
    {
      name: 'DUMP',
      repetition: 'run',
      decode: () => undefined,
      run: () => done((xdr) => writeMounts(xdr, mounts)),
    },
    {
      name: 'UMNT',
      repetition: 'run',
      decode: readPath,
      run: (path: string, caller: Caller) => {
        mounts.delete(mountKey(caller.address, normalPath(path) ?? path))
        return done(() => {})
      },
    },
    {
      name: 'UMNTALL',
      repetition: 'run',
      decode: () => undefined,
      run: (_: unknown, caller: Caller) => {
        for (const [key, { host }] of mounts) if (host === caller.address) mounts.delete(key)
        return done(() => {})
      },
    },
    {
      name: 'EXPORT',
      repetition: 'run',
      decode: () => undefined,
      run: () => done((xdr) => writeExports(xdr, exports())),
    },
  ]
  return { name: 'MOUNT', number: 100005, version: 3, procedures }
}

const done = (encode: (xdr: XdrWriter) => void): Result => ({ encode, transient: false })
const mountKey = (host: string, path: string) => `${host} ${path}`
const readPath = (xdr: XdrReader): string => Buffer.from(xdr.opaque(pathBytesMax)).toString('utf8')

function mnt(operations: Operations, exports: () => Exports, mounts: Map<string, Mount>, log: Log): Procedure<string> {
  return {
    name: 'MNT',
    repetition: 'run',
    decode: readPath,
    run: async (given, { address }) => {
      try {
        const { path, handle } = await mountable(operations, exports(), given, address)
        if (mounts.size < mountsMax) mounts.set(mountKey(address, path), { host: address, path })
        log.info({ client: address, path }, 'a client mounts')
        return done((xdr) => {
          xdr.u32(0)
          xdr.opaque(handle)
          xdr.u32(flavors.length)
          for (const flavor of flavors) xdr.u32(flavor)
        })
      } catch (error) {
        if (!(error instanceof Failure)) throw error
        log.warn({ client: address, path: given, error }, 'a mount is refused')
        return done((xdr) => xdr.u32(statusOf(error)))
      }
    },
  }
}

async function mountable(
  operations: Operations,
  exports: Exports,
  given: string,
  address: string,
): Promise<{ path: string; handle: Uint8Array }> {
  const path = normalPath(given)
  if (path === undefined) throw new Failure('INVALID', 'not an absolute path without "." and ".."')
  const item = exports.find(path)
  if (item === undefined) throw new Failure('ACCESS', 'not exported')
  if (exports.rights(item, address) === undefined) throw new Failure('ACCESS', `${item.path} is not for this client`)
  const { volume, directory } = await resolve(operations, path)
  return { path, handle: writeHandle({ exportId: item.id, volume: volume.root.container, fid: directory.fid }) }
}

function writeMounts(xdr: XdrWriter, mounts: ReadonlyMap<string, Mount>): void {
  for (const { host, path } of mounts.values()) {
    xdr.boolean(true)
    xdr.opaque(Buffer.from(host).subarray(0, hostBytesMax))
    xdr.opaque(Buffer.from(path).subarray(0, pathBytesMax))
  }
  xdr.boolean(false)
}

function writeExports(xdr: XdrWriter, exports: Exports): void {
  for (const { path, rules } of exports.list) {
    xdr.boolean(true)
    xdr.opaque(Buffer.from(path).subarray(0, pathBytesMax))
    for (const { client } of rules) {
      xdr.boolean(true)
      xdr.opaque(Buffer.from(client).subarray(0, hostBytesMax))
    }
    xdr.boolean(false)
  }
  xdr.boolean(false)
}
