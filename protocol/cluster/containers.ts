/**
 * Calls to a container's master, wherever it is now: cached locations, shared connections, retries.
 */
import type { ContainerId } from '../ids.ts'
import type { Location } from '../messages/attributes.ts'
import type { Call, ReplyOf, RequestOf } from '../messages/service.ts'
import type { Answer, CallOptions } from '../transport/transport.ts'

export type Containers = {
  /**
   * Sends `request` to the container's master; retries it unchanged by the failure table until `options.timeoutMs`,
   * then throws the last `Failure`. `call` is one of `files.calls` or `replication.calls`.
   */
  readonly call: <C extends Call<never, unknown>>(
    container: ContainerId,
    call: C,
    request: RequestOf<C>,
    options: CallOptions,
  ) => Promise<Answer<ReplyOf<C>>>
  /** The cached location, or the CLDB's. NOT_FOUND when there is no such container. */
  readonly location: (container: ContainerId, timeoutMs: number) => Promise<Location>
  /** The next use of the container asks the CLDB again. */
  readonly forget: (container: ContainerId) => void
  readonly close: () => void
}
