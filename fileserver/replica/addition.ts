/**
 * What an operation adds to the log.
 *
 * Types, and the parts of a record that has no client and no payload.
 */
import type { CallNumber } from '../../protocol/messages/attributes.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import type { Change } from '../index/changes.ts'
import type { RecordKind } from '../log/record.ts'

export type Addition = {
  readonly kind: RecordKind
  readonly stable: boolean
  readonly ticket: CallNumber
  readonly result: number
  readonly changes: readonly Change[]
  readonly sums: Uint8Array
  readonly payload: Payload
  readonly payloadBytes: number
}

export const noTicket: CallNumber = { client: 0 as never, number: 0, oldest: 0 }
export const bare = { sums: new Uint8Array(), payload: [], payloadBytes: 0, ticket: noTicket }
