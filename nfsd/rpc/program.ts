/**
 * What an RPC program is to the server that runs it: a table of procedures.
 *
 * Types only.
 */
import type { Credentials } from '../../protocol/messages/attributes.ts'
import type { XdrReader } from '../xdr/reader.ts'
import type { XdrWriter } from '../xdr/writer.ts'

export type Caller = {
  /** The client's IP address, without port; IPv4-mapped IPv6 addresses as IPv4. */
  readonly address: string
  /** Absent with AUTH_NONE. */
  readonly credentials: Credentials | undefined
}

export type Encode = (xdr: XdrWriter) => void

export type Result = {
  readonly encode: Encode
  /** The client is to ask again later: a repetition must run anew. */
  readonly transient: boolean
}

/**
 * What becomes of a call that a client sends again because it missed the answer. `run`: it runs again, harmlessly;
 * `join`: it waits for the first one while that runs; `remember`: the same, and afterwards it gets the same answer.
 */
export type Repetition = 'run' | 'join' | 'remember'

export type Procedure<Arguments> = {
  readonly name: string
  readonly repetition: Repetition
  /** @throws Failure BAD_MESSAGE: answered as GARBAGE_ARGS. */
  decode(xdr: XdrReader): Arguments
  /** Answers failures of its own by itself; what it throws is a mistake of ours. */
  run(args: Arguments, caller: Caller): Promise<Result> | Result
}

export type Program = {
  readonly name: string
  readonly number: number
  readonly version: number
  /** By procedure number, without gaps from 0. */
  readonly procedures: readonly Procedure<unknown>[]
}

const nothing: Result = { encode: () => {}, transient: false }

/** Procedure 0 of every program: does nothing, for pings. */
export const nullProcedure: Procedure<undefined> = {
  name: 'NULL',
  repetition: 'run',
  decode: () => undefined,
  run: () => nothing,
}
