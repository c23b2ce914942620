/**
 * Watches that a replica obeys no master whose epoch is over (DESIGN §4, rule 3), whatever came of it.
 */
import type { Replicas } from '../../../fileserver/replicas.ts'
import type { ContainerId, Epoch } from '../../../protocol/ids.ts'
import type { replication } from '../../../protocol/messages/replication.ts'
import type { Handlers, Reply } from '../../../protocol/transport/transport.ts'
import type { Tally } from '../world/tally.ts'

type Following = Handlers<typeof replication.calls>
type Order = { readonly container: ContainerId; readonly epoch: Epoch }

/** Masters' orders, and how they are counted when they were obeyed. */
const orderNames = {
  follow: 'replicas followed',
  chains: 'chains compared',
  rollback: 'rollbacks',
  append: 'appends',
  install: 'replicas copied',
} as const

/** @returns handlers that do the same and report an answer to an order of an epoch that was over when it came. */
export function watched(
  handlers: Following,
  replicas: Replicas,
  tally: Tally,
  report: (problem: string) => void,
): Following {
  const epochOf = (container: ContainerId): number => {
    for (const replica of replicas.all()) if (replica.container === container) return replica.core.epoch
    return 0
  }
  const watch =
    <A extends [Order, ...unknown[]], R>(
      name: keyof typeof orderNames,
      handler: (...given: A) => Reply<R> | Promise<Reply<R>>,
    ) =>
    (...given: A): Reply<R> | Promise<Reply<R>> => {
      const [{ container, epoch }] = given
      const known = epochOf(container)
      const check = (reply: Reply<R>): Reply<R> => {
        if (epoch < known)
          report(`container ${container}: a replica in epoch ${known} took a ${name} of epoch ${epoch}`)
        tally.add(orderNames[name])
        return reply
      }
      const answer = handler(...given)
      return answer instanceof Promise ? answer.then(check) : check(answer)
    }
  return {
    follow: watch('follow', handlers.follow),
    chains: watch('chains', handlers.chains),
    rollback: watch('rollback', handlers.rollback),
    append: watch('append', handlers.append),
    install: watch('install', handlers.install),
    installed: handlers.installed,
    piece: handlers.piece,
    sums: handlers.sums,
    mend: handlers.mend,
    segment: handlers.segment,
  }
}
