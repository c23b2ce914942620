/**
 * How an NFS procedure is made: open the handle, check the export, run, and turn failures into their status.
 *
 * Not pure (logs). A definition writes only its own results; status and the empty attributes of failures are
 * written here.
 */
import type { Operations } from '../../client/operations.ts'
import { AssertionError } from '../../protocol/assert.ts'
import { Failure } from '../../protocol/failures.ts'
import type { Fid } from '../../protocol/ids.ts'
import type { Log } from '../../protocol/logging.ts'
import type { Credentials } from '../../protocol/messages/attributes.ts'
import { type Exports, type Rights, squash } from '../exports.ts'
import type { Caller, Encode, Procedure, Repetition, Result } from '../rpc/program.ts'
import type { XdrReader } from '../xdr/reader.ts'
import type { Origin } from './attributes.ts'
import { handleBytesMax, readHandle } from './handle.ts'
import type { Permissions } from './permissions.ts'
import { type ProcedureName, status, statusOf } from './status.ts'
import type { Unsynced } from './unsynced.ts'

/** All that the procedures share. */
export type Gateway = {
  readonly operations: Operations
  /** The exports as they are now. */
  readonly exports: () => Exports
  readonly permissions: Permissions
  readonly unsynced: Unsynced
  readonly log: Log
}

/** An object that a handle named and that this client may reach. */
export type Target = Origin & {
  readonly fid: Fid
  readonly rights: Rights
  /** The caller after squashing. */
  readonly credentials: Credentials
}

export type Definition<Arguments> = {
  readonly name: ProcedureName
  readonly repetition: Repetition
  /**
   * How many optional attributes a failure carries, all left out: none (GETATTR), post_op_attr (1), wcc_data (2), or
   * both or two of them.
   */
  readonly emptyOnFailure: 0 | 1 | 2 | 3 | 4
  readonly decode: (xdr: XdrReader) => Arguments
  /** @returns what writes the results of success, without the status. */
  readonly run: (args: Arguments, caller: Caller) => Promise<Encode>
}

export function procedure<Arguments>(definition: Definition<Arguments>, log: Log): Procedure<Arguments> {
  const { name, repetition, decode, run } = definition
  return {
    name,
    repetition,
    decode,
    run: async (args, caller) => {
      try {
        const encode = await run(args, caller)
        return {
          transient: false,
          encode: (xdr) => {
            xdr.u32(status.ok)
            encode(xdr)
          },
        }
      } catch (error) {
        return failed(definition, error, caller, log)
      }
    },
  }
}

function failed(
  { name, emptyOnFailure }: { readonly name: ProcedureName; readonly emptyOnFailure: number },
  error: unknown,
  caller: Caller,
  log: Log,
): Result {
  if (error instanceof AssertionError) throw error
  const code = error instanceof Failure ? statusOf(name, error) : status.serverfault
  const fields = { procedure: name, client: caller.address, status: code, error }
  if (code === status.serverfault) log.error(fields, 'a procedure failed unexpectedly')
  else if (code === status.io || code === status.jukebox) log.warn(fields, 'a procedure failed')
  else log.debug(fields, 'a procedure failed')
  return {
    transient: code === status.jukebox,
    encode: (xdr) => {
      xdr.u32(code)
      for (let i = 0; i < emptyOnFailure; i++) xdr.boolean(false)
    },
  }
}

/** For what the gateway itself must know or do, whoever asks. */
export const root: Credentials = { uid: 0, gid: 0, groups: [] }

/** nfs_fh3, not yet looked into: a bad one is a status of the procedure, not garbage. */
export const readHandleArgument = (xdr: XdrReader): Uint8Array => xdr.opaque(handleBytesMax)

/**
 * @param changing the procedure changes something: READ_ONLY where the export is.
 * @throws Failure BAD_HANDLE; STALE when the export is no more; ACCESS when it is not for this client; READ_ONLY.
 */
export function open(gateway: Gateway, handle: Uint8Array, caller: Caller, changing: boolean): Target {
  const { exportId, volume, fid } = readHandle(handle)
  const exports = gateway.exports()
  const item = exports.get(exportId)
  if (item === undefined) throw new Failure('STALE', 'the handle is of an export that is no more')
  const rights = exports.rights(item, caller.address)
  if (rights === undefined) throw new Failure('ACCESS', `${item.path} is not exported to ${caller.address}`)
  if (changing && !rights.writable) throw new Failure('READ_ONLY', `${item.path} is exported read-only`)
  return { exportId, volume, fid, rights, credentials: squash(rights, caller.credentials) }
}
