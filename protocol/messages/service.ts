/**
 * What a service's table of calls is: name, number, request shape, reply shape.
 *
 * Pure types. The one table of a service gives the TypeScript types, the check at both edges and the stub, for
 * the framed transport and for gRPC alike. `number` is the call's name on the wire and is never reused.
 */
import type { Shape } from '../check.ts'

/** Every call is a `Call<never, unknown>`: its shapes are so typed that requests only go in and replies only come out. */
export type Call<Q = never, R = unknown> = {
  readonly number: number
  readonly request: {
    readonly read: (wire: unknown, where: string) => unknown
    readonly write: (value: Q) => unknown
  }
  readonly reply: {
    readonly read: (wire: unknown, where: string) => R
    write(value: R): unknown
  }
}

/** One number space: 0x01xx files, 0x02xx replication, 0x03xx control, 0x04xx maintenance. */
export const call = <Q, R>(number: number, request: Shape<Q>, reply: Shape<R>): Call<Q, R> => ({
  number,
  request,
  reply,
})

export type RequestOf<C> = C extends Call<infer Q, unknown> ? Q : never
export type ReplyOf<C> = C extends Call<never, infer R> ? R : never
