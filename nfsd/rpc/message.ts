/**
 * Heads of RPC calls and replies, and the two kinds of credentials that we take: AUTH_NONE and AUTH_SYS.
 *
 * Pure. What cannot even be answered (no call, or no number to answer it by) is a Failure BAD_MESSAGE.
 *
 * Source: RFC 5531 §9 and §10, appendix A (AUTH_SYS).
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import type { Credentials } from '../../protocol/messages/attributes.ts'
import { XdrReader } from '../xdr/reader.ts'
import type { XdrWriter } from '../xdr/writer.ts'

const rpcVersion = 2
const authBytesMax = 400
const machineNameBytesMax = 255
const groupsMax = 16
const flavors = { none: 0, sys: 1 } as const

export type Call = {
  readonly xid: number
  readonly program: number
  readonly version: number
  readonly procedure: number
  /** Absent with AUTH_NONE. */
  readonly credentials: Credentials | undefined
}

/** Why a call is not run. `authError` carries an auth_stat: 1 bad credentials, 3 bad verifier. */
export type Refusal =
  | { readonly type: 'rpcMismatch' }
  | { readonly type: 'authError'; readonly status: number }
  | { readonly type: 'programUnavailable' }
  | { readonly type: 'programMismatch'; readonly low: number; readonly high: number }
  | { readonly type: 'procedureUnavailable' }
  | { readonly type: 'garbageArguments' }
  | { readonly type: 'systemError' }

/** Reads a call's head; its arguments are what is left. @throws Failure BAD_MESSAGE: close the connection. */
export function readCall(xdr: XdrReader): Call | { readonly xid: number; readonly refusal: Refusal } {
  const xid = xdr.u32()
  if (xdr.u32() !== 0) throw new Failure('BAD_MESSAGE', 'a reply where a call should be')
  try {
    if (xdr.u32() !== rpcVersion) return { xid, refusal: { type: 'rpcMismatch' } }
    const program = xdr.u32()
    const version = xdr.u32()
    const procedure = xdr.u32()
    const flavor = xdr.u32()
    const body = xdr.opaque(authBytesMax)
    const verifierFlavor = xdr.u32()
    const verifier = xdr.opaque(authBytesMax)
    const credentials = readCredentials(flavor, body)
    if (credentials === 'bad') return { xid, refusal: { type: 'authError', status: 1 } }
    if (verifierFlavor !== flavors.none || verifier.length > 0)
      return { xid, refusal: { type: 'authError', status: 3 } }
    return { xid, program, version, procedure, credentials }
  } catch (error) {
    if (isFailure(error, 'BAD_MESSAGE')) return { xid, refusal: { type: 'garbageArguments' } }
    throw error
  }
}

function readCredentials(flavor: number, body: Uint8Array): Credentials | undefined | 'bad' {
  if (flavor === flavors.none) return undefined
  if (flavor !== flavors.sys) return 'bad'
  try {
    const xdr = new XdrReader([body])
    xdr.u32() // stamp: the client's own affair
    xdr.opaque(machineNameBytesMax)
    const uid = xdr.u32()
    const gid = xdr.u32()
    const groups = new Array<number>(xdr.choice(groupsMax))
    for (let i = 0; i < groups.length; i++) groups[i] = xdr.u32()
    return { uid, gid, groups }
  } catch (error) {
    if (isFailure(error, 'BAD_MESSAGE')) return 'bad'
    throw error
  }
}

const reply = 1
const accepted = 0
const denied = 1

/** Head of a successful reply; the results follow. */
export function writeSuccess(xdr: XdrWriter, xid: number): void {
  writeAccepted(xdr, xid, 0)
}

export function writeRefusal(xdr: XdrWriter, xid: number, refusal: Refusal): void {
  switch (refusal.type) {
    case 'rpcMismatch':
      writeDenied(xdr, xid, 0)
      xdr.u32(rpcVersion)
      xdr.u32(rpcVersion)
      break
    case 'authError':
      writeDenied(xdr, xid, 1)
      xdr.u32(refusal.status)
      break
    case 'programUnavailable':
      writeAccepted(xdr, xid, 1)
      break
    case 'programMismatch':
      writeAccepted(xdr, xid, 2)
      xdr.u32(refusal.low)
      xdr.u32(refusal.high)
      break
    case 'procedureUnavailable':
      writeAccepted(xdr, xid, 3)
      break
    case 'garbageArguments':
      writeAccepted(xdr, xid, 4)
      break
    case 'systemError':
      writeAccepted(xdr, xid, 5)
      break
  }
}

function writeAccepted(xdr: XdrWriter, xid: number, status: number): void {
  xdr.u32(xid)
  xdr.u32(reply)
  xdr.u32(accepted)
  xdr.u32(flavors.none)
  xdr.u32(0)
  xdr.u32(status)
}

function writeDenied(xdr: XdrWriter, xid: number, status: number): void {
  xdr.u32(xid)
  xdr.u32(reply)
  xdr.u32(denied)
  xdr.u32(status)
}
