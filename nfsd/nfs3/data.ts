/**
 * READ, WRITE and COMMIT.
 *
 * Not pure. Payloads go through as the buffers in which they came.
 *
 * Source: RFC 1813 §3.3.6, §3.3.7 and §3.3.21.
 */
import { Failure } from '../../protocol/failures.ts'
import { type Attributes, fileBytesMax } from '../../protocol/messages/attributes.ts'
import { type Payload, payloadBytes } from '../../protocol/transport/transport.ts'
import type { Encode } from '../rpc/program.ts'
import { noChanges, writePostAttributes, writeWcc } from './attributes.ts'
import { type Definition, type Gateway, open, readHandleArgument, root, type Target } from './procedure.ts'

/** Most bytes that one READ gives and one WRITE takes. */
export const transferBytesMax = 1024 * 1024

/** stable_how */
const unstable = 0
const fileSync = 2

type Range = { readonly handle: Uint8Array; readonly offset: number; readonly count: number }

export function read(gateway: Gateway): Definition<Range> {
  const { operations, permissions } = gateway
  return {
    name: 'READ',
    repetition: 'run',
    emptyOnFailure: 1,
    decode: (xdr) => ({ handle: readHandleArgument(xdr), offset: xdr.u64(), count: xdr.u32() }),
    run: async ({ handle, offset, count }, caller) => {
      const target = open(gateway, handle, caller, false)
      await permissions.check(target.credentials, target.fid, 'read')
      const length = Math.min(count, transferBytesMax, fileBytesMax - offset)
      if (length <= 0) return readNothing(gateway, target, offset)
      const { payload, end, attributes } = await operations.read(target.fid, offset, length)
      const bytes = payloadBytes(payload)
      return (xdr) => {
        writePostAttributes(xdr, attributes, target)
        xdr.u32(bytes)
        xdr.boolean(end)
        xdr.payload(payload, bytes)
      }
    },
  }
}

async function readNothing({ operations }: Gateway, target: Target, offset: number): Promise<Encode> {
  const attributes = await operations.getattr(target.fid)
  return (xdr) => {
    writePostAttributes(xdr, attributes, target)
    xdr.u32(0)
    xdr.boolean(offset >= attributes.sizeBytes)
    xdr.u32(0)
  }
}

type Write = Range & { readonly stable: number; readonly payload: Payload }

export function write(gateway: Gateway): Definition<Write> {
  const { operations, permissions, unsynced } = gateway
  return {
    name: 'WRITE',
    repetition: 'join',
    emptyOnFailure: 2,
    decode: (xdr) => {
      const handle = readHandleArgument(xdr)
      const offset = xdr.u64()
      const count = xdr.u32()
      const stable = xdr.choice(fileSync)
      return { handle, offset, count, stable, payload: xdr.payload(transferBytesMax) }
    },
    run: async ({ handle, offset, count, stable, payload }, caller) => {
      const { verifier } = unsynced
      const target = open(gateway, handle, caller, true)
      if (payloadBytes(payload) !== count) throw new Failure('INVALID', `${count} bytes announced, others sent`)
      if (offset + count > fileBytesMax) throw new Failure('FILE_TOO_LARGE', `a write at ${offset}`)
      await permissions.check(target.credentials, target.fid, 'write')
      if (count === 0) return writeNothing(gateway, target, verifier)
      const written = await operations.write(target.fid, offset, payload, stable !== unstable)
      await unsynced.remember(target.fid, written.tokens)
      const attributes = await withoutPrivileges(gateway, target, written.attributes)
      return (xdr) => {
        writeWcc(xdr, written.before, attributes, target)
        xdr.u32(count)
        xdr.u32(stable === unstable ? unstable : fileSync)
        xdr.fixed(verifier)
      }
    },
  }
}

const setuid = 0o4000
const setgidAndExecute = 0o2010

/** Bytes that someone else than root wrote must not run with the privileges of the file. */
async function withoutPrivileges(gateway: Gateway, target: Target, written: Attributes): Promise<Attributes> {
  const { mode } = written
  const setgid = (mode & setgidAndExecute) === setgidAndExecute
  if (target.credentials.uid === 0 || ((mode & setuid) === 0 && !setgid)) return written
  const changes = { ...noChanges, mode: mode & ~setuid & (setgid ? ~0o2000 : ~0) }
  return (await gateway.operations.setattr(root, target.fid, changes)).attributes
}

async function writeNothing({ operations }: Gateway, target: Target, verifier: Uint8Array): Promise<Encode> {
  const attributes = await operations.getattr(target.fid)
  return (xdr) => {
    writeWcc(xdr, undefined, attributes, target)
    xdr.u32(0)
    xdr.u32(fileSync)
    xdr.fixed(verifier)
  }
}

/** The whole file becomes durable, whatever the range. */
export function commit(gateway: Gateway): Definition<Range> {
  const { operations, unsynced } = gateway
  return {
    name: 'COMMIT',
    repetition: 'run',
    emptyOnFailure: 2,
    decode: (xdr) => ({ handle: readHandleArgument(xdr), offset: xdr.u64(), count: xdr.u32() }),
    run: async ({ handle }, caller) => {
      const target = open(gateway, handle, caller, false)
      const [attributes, verifier] = await Promise.all([operations.getattr(target.fid), unsynced.commit(target.fid)])
      return (xdr) => {
        writeWcc(xdr, undefined, attributes, target)
        xdr.fixed(verifier)
      }
    },
  }
}
