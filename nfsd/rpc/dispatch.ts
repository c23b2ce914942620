/**
 * From the bytes of one call to the bytes of its reply.
 *
 * Not pure: it runs procedures. It never throws for what a client sent, except Failure BAD_MESSAGE where no reply is
 * possible. A mistake of ours is logged and answered SYSTEM_ERR; a failed assertion ends the process.
 *
 * Source: RFC 5531 §9.
 */
import { AssertionError } from '../../protocol/assert.ts'
import { isFailure } from '../../protocol/failures.ts'
import { hash64 } from '../../protocol/hash.ts'
import type { Log } from '../../protocol/logging.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import { XdrReader } from '../xdr/reader.ts'
import { XdrWriter } from '../xdr/writer.ts'
import { type Call, type Refusal, readCall, writeRefusal, writeSuccess } from './message.ts'
import type { Caller, Procedure, Program } from './program.ts'
import { type CallRecord, openRecord, sealRecord } from './record.ts'
import type { Answered, ReplyCache } from './replies.ts'

/** So much of a call's arguments goes into the sum that tells repetitions from other calls. */
const sumBytesMax = 256

export type Dispatch = (record: CallRecord, address: string) => Promise<Payload>

/** @returns runs one call of `programs` and gives its reply as a record, ready to send. */
export function dispatcher(programs: readonly Program[], cache: ReplyCache, log: Log): Dispatch {
  return async (record, address) => {
    const xdr = new XdrReader(record.pieces)
    const call = readCall(xdr)
    if ('refusal' in call) return refuse(call.xid, call.refusal)
    const found = find(programs, call)
    if ('type' in found) return refuse(call.xid, found)
    const key = found.repetition === 'run' ? '' : repetitionKey(call, xdr, address)
    let args: unknown
    try {
      args = found.decode(xdr)
    } catch (error) {
      if (isFailure(error, 'BAD_MESSAGE')) return refuse(call.xid, { type: 'garbageArguments' })
      throw error
    }
    const caller: Caller = { address, credentials: call.credentials }
    const run = () => answer(found, args, call.xid, caller, log)
    if (found.repetition === 'run') return (await run()).reply
    return cache.answer(key, found.repetition === 'remember', run)
  }
}

function find(programs: readonly Program[], call: Call): Procedure<unknown> | Refusal {
  const versions = programs.filter((program) => program.number === call.program)
  if (versions.length === 0) return { type: 'programUnavailable' }
  const program = versions.find((candidate) => candidate.version === call.version)
  if (program === undefined) {
    const numbers = versions.map(({ version }) => version)
    return { type: 'programMismatch', low: Math.min(...numbers), high: Math.max(...numbers) }
  }
  return program.procedures[call.procedure] ?? { type: 'procedureUnavailable' }
}

function repetitionKey(call: Call, xdr: XdrReader, address: string): string {
  const sum = hash64(xdr.peek(sumBytesMax))
  return `${address} ${call.xid} ${call.program} ${call.procedure} ${xdr.left} ${sum}`
}

async function answer(
  procedure: Procedure<unknown>,
  args: unknown,
  xid: number,
  caller: Caller,
  log: Log,
): Promise<Answered> {
  try {
    const result = await procedure.run(args, caller)
    const xdr = new XdrWriter()
    openRecord(xdr)
    writeSuccess(xdr, xid)
    result.encode(xdr)
    return { reply: sealRecord(xdr), transient: result.transient }
  } catch (error) {
    if (error instanceof AssertionError) {
      process.nextTick(() => {
        throw error
      })
    }
    log.error({ procedure: procedure.name, client: caller.address, error }, 'a procedure failed unexpectedly')
    return { reply: refuse(xid, { type: 'systemError' }), transient: true }
  }
}

function refuse(xid: number, refusal: Refusal): Payload {
  const xdr = new XdrWriter()
  openRecord(xdr)
  writeRefusal(xdr, xid, refusal)
  return sealRecord(xdr)
}
