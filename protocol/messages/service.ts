/**
 * What a service's table of calls is: name, number, request shape, reply shape.
 *
 * Pure types. The one table of a service gives the TypeScript types, the check at both edges and the stub, for
 * the framed transport and for gRPC alike. `number` is the call's name on the wire and is never reused.
 */
import type { Of, Shape } from '../check.ts'

export type Call<Q = never, R = unknown> = {
  readonly number: number
  readonly request: Shape<Q>
  readonly reply: Shape<R>
}
export type Calls = { readonly [name: string]: { number: number; request: Shape<never>; reply: Shape<unknown> } }

/** One number space: 0x01xx files, 0x02xx replication, 0x03xx control. */
export type Service<C> = { readonly name: string; readonly calls: C }

export const call = <Q, R>(number: number, request: Shape<Q>, reply: Shape<R>): Call<Q, R> => ({
  number,
  request,
  reply,
})

export type RequestOf<C> = C extends { readonly request: infer S } ? Of<S> : never
export type ReplyOf<C> = C extends { readonly reply: infer S } ? Of<S> : never
