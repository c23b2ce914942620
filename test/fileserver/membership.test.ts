/**
 * Claims about how a fileserver tells the CLDB what it holds.
 */
import t from 'tap'
import { Membership } from '../../fileserver/membership.ts'
import type { Cldb } from '../../protocol/cluster/cldb.ts'
import { Failure } from '../../protocol/failures.ts'
import { control } from '../../protocol/messages/control.ts'
import type { ReplyOf, RequestOf } from '../../protocol/messages/service.ts'
import { Nodes, until } from './nodes.ts'
import { container } from './world.ts'

type Update = ReplyOf<typeof control.calls.assignments>

t.test('a replica that is made while its server registers again is told to the CLDB', async (t) => {
  const nodes = await Nodes.make(t, 1)
  const [node] = nodes.all
  const { environment, replicas } = node!
  const told: RequestOf<typeof control.calls.register>[] = []
  let assign: (update: Update) => void = () => {}
  let known = true
  const cldb = {
    call: async (call: object, request: never) => {
      if (call === control.calls.register) {
        told.push(request)
        known = true
        return { cluster: 'a', leaseMs: 1000, heartbeatMs: 10 }
      }
      if (call === control.calls.locate) return { locations: [nodes.location(1, [node!])] }
      if (known) return { handOver: [] }
      // The answer that makes it register again comes just after what it is to do.
      assign({ locations: [nodes.location(1, [node!])], discard: [] })
      throw new Failure('CONFLICT', 'register again')
    },
    assignments: (_request: object, onUpdate: typeof assign) => {
      assign = onUpdate
      return { closed: new Promise<never>(() => {}), close: () => {} }
    },
  } as unknown as Cldb
  const presence = { address: 'here:1', topology: '/rack/here', incarnation: 1, cluster: '' }
  const membership = new Membership(environment, cldb, replicas, presence, () => {})
  t.teardown(() => membership.close())
  await membership.join()
  t.strictSame(told[0]!.replicas, [])
  known = false
  await until(() => told.length === 2, 'it registers again')
  t.strictSame(
    told[1]!.replicas.map((replica) => replica.container),
    [container],
  )
  await t.rejects(membership.isNamed(container), /not heard/, 'what it lists is on its way')
  assign({ locations: [], discard: [] })
  await until(() => membership.leased, 'the CLDB has taken that up')
  t.ok(await membership.isNamed(container))
  assign({ locations: [], discard: [container] })
  await until(() => !replicas.holds(container), 'the last stream is listened to')
})
