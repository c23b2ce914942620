/**
 * The CLDB as its users see it: unary calls that find a live address and retry, and the stream of assignments.
 */
import type { Clock } from '../clock.ts'
import { Failure, type FailureCode } from '../failures.ts'
import type { control } from '../messages/control.ts'
import type { Call, ReplyOf, RequestOf } from '../messages/service.ts'
import { type ControlClient, controlClient } from '../transport/grpc.ts'
import { type Backoff, backoffMs, pause, tellingOf } from './backoff.ts'

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

const backoff: Backoff = { firstMs: 20, lastMs: 500 }
/** Where there are several addresses: how long one may keep the others waiting. */
const attemptTimeoutMs = 2000
/** Of the rows that say `locate`, those that another CLDB, or this one later, may answer otherwise; the rest is the caller's to decide on. */
const elsewhere: readonly FailureCode[] = ['UNAVAILABLE', 'DEADLINE', 'NOT_READY']

/** Connects when first called; `addresses` are tried from the one that last answered. */
export function connectCldb(options: {
  readonly addresses: readonly string[]
  readonly clock: Clock
  readonly random?: () => number
  /** How one address is reached; the simulator brings its own. */
  readonly dial?: (address: string) => ControlClient
}): Cldb {
  const { addresses, clock, random = Math.random, dial = controlClient } = options
  if (addresses.length === 0) throw new Failure('INVALID', 'no address of a CLDB')
  const clients: readonly ControlClient[] = addresses.map(dial)
  let current = 0
  let closed = false

  const leave = (used: number): void => {
    if (current === used) current = (used + 1) % clients.length
  }

  return {
    call: async (call, request, timeoutMs) => {
      const deadlineMs = clock.monotonicMs() + timeoutMs
      let told: Failure | undefined
      for (let attempt = 0; ; attempt++) {
        const used = current
        const remainingMs = deadlineMs - clock.monotonicMs()
        try {
          if (closed) throw new Failure('INVALID', 'this CLDB client was closed')
          return await clients[used]!.call(
            call,
            request,
            clients.length === 1 ? remainingMs : Math.min(remainingMs, attemptTimeoutMs),
          )
        } catch (error) {
          if (!(error instanceof Failure)) throw error
          const another = elsewhere.includes(error.failure)
          if (!another && error.row.retry !== 'same') throw error
          if (another) leave(used)
          told = tellingOf(told, error)
          // All addresses are tried once before the first wait.
          const round = Math.floor(attempt / clients.length)
          const lastOfRound = attempt % clients.length === clients.length - 1
          const delayMs = lastOfRound || !another ? backoffMs(backoff, round, random) : 0
          if (clock.monotonicMs() + delayMs >= deadlineMs) throw told
          if (delayMs > 0) await pause(clock, delayMs)
        }
      }
    },
    assignments: (request, onUpdate) => {
      const used = current
      let onClosed!: (failure: Failure) => void
      const over = new Promise<Failure>((resolve) => {
        onClosed = resolve
      })
      const stream = clients[used]!.assignments(request, onUpdate, (failure) => {
        if (elsewhere.includes(failure.failure)) leave(used)
        onClosed(failure)
      })
      return {
        closed: over,
        close: () => {
          onClosed(new Failure('UNAVAILABLE', 'the subscription was closed'))
          stream.close()
        },
      }
    },
    close: () => {
      closed = true
      for (const client of clients) client.close()
    },
  }
}
