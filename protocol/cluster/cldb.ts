/**
 * The CLDB as its users see it: unary calls that find a live address and retry, and the stream of assignments.
 */
import type { Failure } from '../failures.ts'
import type { control } from '../messages/control.ts'
import type { Call, ReplyOf, RequestOf } from '../messages/service.ts'

type Assignments = typeof control.calls.assignments

export type Subscription = {
  /** Settles once, when the stream is over, with the reason. Never rejects. */
  readonly closed: Promise<Failure>
  readonly close: () => void
}

export type Cldb = {
  /** `call` is one of `control.calls` (not `assignments`). Retried by the failure table until `timeoutMs`; throws the last `Failure`. */
  readonly call: <C extends Call<never, unknown>>(
    call: C,
    request: RequestOf<C>,
    timeoutMs: number,
  ) => Promise<ReplyOf<C>>
  /** One stream to one CLDB, not renewed when it ends: the caller subscribes again. */
  readonly assignments: (
    request: RequestOf<Assignments>,
    onUpdate: (update: ReplyOf<Assignments>) => void,
  ) => Subscription
  readonly close: () => void
}
