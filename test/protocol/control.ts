/**
 * A control server over real gRPC whose few calls a test gives, and locations for it to tell.
 */
import { Failure } from '../../protocol/failures.ts'
import { type ContainerId, epoch, serverId } from '../../protocol/ids.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import { control } from '../../protocol/messages/control.ts'
import { type ControlHandlers, serveControl } from '../../protocol/transport/grpc.ts'
import type { Listener } from '../../protocol/transport/transport.ts'

/** Serves `handlers`; every other call fails with NOT_SUPPORTED. Closed when the test ends. */
export async function serveSome(
  t: { readonly teardown: (run: () => unknown) => void },
  handlers: Partial<ControlHandlers>,
  address = '127.0.0.1:0',
): Promise<Listener> {
  const none = async (): Promise<never> => {
    throw new Failure('NOT_SUPPORTED', 'not in this test')
  }
  const all = Object.fromEntries(Object.keys(control.calls).map((name) => [name, none]))
  const listener = await serveControl(address, { ...all, ...handlers } as ControlHandlers)
  t.teardown(() => listener.close())
  return listener
}

const master = serverId('000000000000000a')

/** A container whose master listens at `address`; without one it has no live master. */
export const locationOf = (container: ContainerId, address: string | undefined, number = 1): Location => ({
  container,
  volume: 'v',
  kind: 'name',
  epoch: epoch(number),
  master: address === undefined ? undefined : master,
  inSync: [master],
  resyncing: [],
  minimum: 1,
  chunkBytes: 2 ** 28,
  servers: address === undefined ? [] : [{ server: master, address, alive: true }],
})
