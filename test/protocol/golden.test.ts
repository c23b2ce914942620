/**
 * Golden bytes: what each call of each table looks like on the wire, and the frame around it, as fixtures.
 *
 * A difference means that servers of two versions no longer understand each other. When a message grew at its end
 * on purpose, write the fixtures anew: `GOLDEN=write npx tap run test/protocol/golden.test.ts`.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { control } from '../../protocol/messages/control.ts'
import { files } from '../../protocol/messages/files.ts'
import { maintenance } from '../../protocol/messages/maintenance.ts'
import { replication } from '../../protocol/messages/replication.ts'
import type { Call } from '../../protocol/messages/service.ts'
import { frameBytes, kinds, writeHead } from '../../protocol/transport/frame.ts'
import { pack, unpack } from '../../protocol/transport/wire.ts'
import { controlSamples, fileSamples, maintenanceSamples, replicationSamples } from './samples.ts'

type Golden = { readonly [call: string]: { readonly number: number; readonly request: string; readonly reply: string } }
type Sampled = { readonly [call: string]: { readonly request: unknown; readonly reply: unknown } }

/** `actual` as text; the fixture is read, or written when that is asked for. */
function fixture(name: string, actual: unknown): unknown {
  const file = new URL(`fixtures/${name}.json`, import.meta.url)
  if (process.env.GOLDEN === 'write') writeFileSync(file, `${JSON.stringify(actual, null, 2)}\n`)
  return JSON.parse(readFileSync(file, 'utf8'))
}

for (const [service, samples] of [
  [files, fileSamples],
  [replication, replicationSamples],
  [control, controlSamples],
  [maintenance, maintenanceSamples],
] as const) {
  const calls = service.calls as unknown as { readonly [name: string]: Call<unknown, unknown> }
  const sampled = samples as unknown as Sampled

  t.test(`${service.name}: every call still has the bytes that it had`, async (t) => {
    const golden: Golden = Object.fromEntries(
      Object.entries(calls).map(([name, call]) => [
        name,
        {
          number: call.number,
          request: pack(call.request.write(sampled[name]!.request)).toString('hex'),
          reply: pack(call.reply.write(sampled[name]!.reply)).toString('hex'),
        },
      ]),
    )
    t.strictSame(golden, fixture(service.name, golden))
  })

  t.test(`${service.name}: what is written reads back the same`, async (t) => {
    for (const [name, call] of Object.entries(calls)) {
      const { request, reply } = sampled[name]!
      t.strictSame(call.request.read(unpack(pack(call.request.write(request))), name), request, `request of ${name}`)
      t.strictSame(call.reply.read(unpack(pack(call.reply.write(reply))), name), reply, `reply of ${name}`)
    }
  })
}

t.test('no two calls of all services share a number', async (t) => {
  const numbers = [files, replication, control, maintenance].flatMap((service) =>
    Object.values(service.calls).map((c) => c.number),
  )
  t.equal(new Set(numbers).size, numbers.length)
})

t.test('the frame head still has the bytes that it had', async (t) => {
  const head = Buffer.alloc(frameBytes)
  writeHead(head, 0, {
    kind: kinds.call,
    number: 0x0102,
    id: 0x03040506,
    messageBytes: 0x0708,
    payloadBytes: 0x090a0b,
    timeoutMs: 0x0c0d0e0f,
  })
  t.equal(head.toString('hex'), '48460102020100000605040308070000' + '0b0a09000f0e0d0c')
})
