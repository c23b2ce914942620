/**
 * Claims about RPC: replies written by hand from RFC 5531, over real sockets, with garbage between.
 */
import { EventEmitter, once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { Budget } from '../../nfsd/rpc/budget.ts'
import { dispatcher } from '../../nfsd/rpc/dispatch.ts'
import { nullProcedure, type Program } from '../../nfsd/rpc/program.ts'
import { RecordReader } from '../../nfsd/rpc/record.ts'
import { ReplyCache } from '../../nfsd/rpc/replies.ts'
import { listenRpc, normalAddress } from '../../nfsd/rpc/server.ts'
import { silentLog } from '../../protocol/logging.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
const word = (value: number): string => value.toString(16).padStart(8, '0')

/** Program 7, version 2: echoes an opaque after as many milliseconds as its first byte says; procedure 2 breaks. */
let running = 0
let runningMost = 0
const echo: Program = {
  name: 'ECHO',
  number: 7,
  version: 2,
  procedures: [
    nullProcedure,
    {
      name: 'ECHO',
      repetition: 'run',
      decode: (xdr) => xdr.opaque(1024 * 1024),
      run: async (bytes, { credentials }) => {
        running++
        runningMost = Math.max(runningMost, running)
        await new Promise((resolve) => setTimeout(resolve, (bytes as Uint8Array)[0]))
        running--
        return {
          transient: false,
          encode: (xdr) => {
            xdr.u32(credentials?.uid ?? 0xffffffff)
            xdr.opaque(bytes as Uint8Array)
          },
        }
      },
    },
    {
      name: 'BREAK',
      repetition: 'run',
      decode: () => undefined,
      run: () => {
        throw new Error('a mistake of ours')
      },
    },
  ],
}
const limits = {
  recordBytesMax: 1024 * 1024 + 1024,
  fragmentsMax: 100,
  callsMax: 8,
  bytesMax: 4 * 1024 * 1024,
  stallMs: 300,
  connectionsMax: 10,
}
const none = '00000000 00000000'
/** stamp, machine "h", uid 1000, gid 100, groups 100 and 7 */
const sys = '00000001 00000020 00000005 00000001 68000000 000003e8 00000064 00000002 00000064 00000007'
const head = (xid: number, procedure: number, credentials = none): string =>
  `${word(xid)} 00000000 00000002 00000007 00000002 ${word(procedure)} ${credentials} ${none}`
const accepted = (xid: number, status: number): string => `${word(xid)} 00000001 00000000 ${none} ${word(status)}`

function marked(body: string): Buffer {
  const bytes = hex(body)
  return Buffer.concat([hex(word(2 ** 31 + bytes.length)), bytes])
}

class Client {
  readonly socket: Socket
  readonly replies: Buffer[] = []
  readonly closed: Promise<void>
  readonly #news = new EventEmitter()
  readonly #reader = new RecordReader({ recordBytesMax: 2 ** 22, fragmentsMax: 9 })

  constructor(address: string) {
    this.socket = connect(Number(address.split(':')[1]), '127.0.0.1')
    this.socket.on('error', () => {})
    this.closed = new Promise((resolve) => this.socket.on('close', () => resolve()))
    this.socket.on('data', (chunk) => {
      for (const { pieces } of this.#reader.push(chunk)) this.replies.push(Buffer.concat(pieces))
      this.#news.emit('reply')
    })
  }

  async receive(count: number): Promise<Buffer[]> {
    while (this.replies.length < count) await once(this.#news, 'reply')
    return this.replies
  }
}

const listener = await listenRpc(
  '127.0.0.1:0',
  dispatcher([echo], new ReplyCache(10), silentLog),
  limits,
  new Budget(64 * 1024 * 1024),
  silentLog,
)
const opened: Client[] = []
function open(): Client {
  const client = new Client(listener.address)
  opened.push(client)
  return client
}
t.teardown(async () => {
  for (const { socket } of opened) socket.destroy()
  await listener.close()
})

for (const [call, reply, why] of [
  [head(1, 0), accepted(1, 0), 'NULL'],
  [`${head(2, 1)}00000001 00000000`, `${accepted(2, 0)} ffffffff 00000001 00000000`, 'AUTH_NONE'],
  [`${head(2, 1, sys)}00000001 00000000`, `${accepted(2, 0)} 000003e8 00000001 00000000`, 'AUTH_SYS'],
  [`${word(3)} 00000000 00000003`, `${word(3)} 00000001 00000001 00000000 00000002 00000002`, 'RPC version 3'],
  [head(4, 0).replace('00000007', '00000008'), accepted(4, 1), 'a program that is not there'],
  [
    head(5, 0).replace('00000007 00000002', '00000007 00000003'),
    `${accepted(5, 2)} 00000002 00000002`,
    'its version 3',
  ],
  [head(6, 3), accepted(6, 3), 'a procedure that is not there'],
  [`${head(7, 1)}00000008 00000000`, accepted(7, 4), 'arguments that end early'],
  [head(8, 0).slice(0, 60), accepted(8, 4), 'a head that ends early'],
  [head(9, 2), accepted(9, 5), 'a procedure that breaks'],
  [head(10, 0, '00000006 00000000'), `${word(10)} 00000001 00000001 00000001 00000001`, 'RPCSEC_GSS'],
  [head(11, 0, '00000001 00000004 00000001'), `${word(11)} 00000001 00000001 00000001 00000001`, 'a torn AUTH_SYS'],
  [
    `${head(12, 0).slice(0, -none.length)}00000001 00000000`,
    `${word(12)} 00000001 00000001 00000001 00000003`,
    'a verifier that AUTH_SYS does not have',
  ],
] as const)
  t.test(`the answer to ${why}`, async (t) => {
    const client = open()
    client.socket.write(marked(call))
    const [answer] = await client.receive(1)
    t.equal(answer!.toString('hex'), hex(reply).toString('hex'))
    client.socket.destroy()
  })

t.test('calls on one connection run together and are answered as they are ready', async (t) => {
  const client = open()
  const delays = [60, 30, 1]
  client.socket.write(
    Buffer.concat(
      delays.map((ms, xid) => marked(`${head(xid, 1)} 00000001 ${ms.toString(16).padStart(2, '0')}000000`)),
    ),
  )
  const replies = await client.receive(3)
  t.strictSame(
    replies.map((reply) => reply.readUInt32BE(0)),
    [2, 1, 0],
  )
  client.socket.destroy()
})

t.test('a connection has no more calls in flight than its limit', async (t) => {
  const client = open()
  runningMost = 0
  const call = (xid: number) => marked(`${head(xid, 1)} 00000001 02000000`)
  client.socket.write(Buffer.concat(Array.from({ length: 100 }, (_, xid) => call(xid))))
  const xids = (await client.receive(100)).map((reply) => reply.readUInt32BE(0))
  t.equal(new Set(xids).size, 100, 'all are answered, once')
  t.equal(runningMost, limits.callsMax)
  client.socket.destroy()
})

t.test('a client that takes no replies is not read from, and then cut off', async (t) => {
  const client = open()
  client.socket.pause()
  client.socket.removeAllListeners('data')
  const megabyte = Buffer.concat([marked(`${head(1, 1)} 00100000`), Buffer.alloc(1024 * 1024)])
  megabyte.writeUInt32BE(2 ** 31 + megabyte.length - 4)
  const flooding = setInterval(() => {
    if (client.socket.writableLength < 64 * 1024 * 1024) client.socket.write(megabyte)
  }, 1)
  let waiting = 0
  setTimeout(() => {
    waiting = client.socket.writableLength
  }, 250)
  await client.closed
  clearInterval(flooding)
  t.ok(waiting > 16 * 1024 * 1024, `${waiting} bytes had to wait at the client`)
})

t.test('half a call is cut off, an idle connection is not', async (t) => {
  const [half, idle] = [open(), open()]
  half.socket.write(marked(head(1, 0)).subarray(0, 20))
  await half.closed
  idle.socket.write(marked(head(2, 0)))
  t.equal((await idle.receive(1)).length, 1)
  idle.socket.destroy()
})

t.test('garbage closes its own connection and no other', async (t) => {
  const good = open()
  let state = 20260612
  const random = (max: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * max)
  }
  for (let round = 0; round < 60; round++) {
    const bad = open()
    const body = marked(`${head(round, random(4), random(2) === 0 ? none : sys)} 00000004 00000000`)
    for (let flips = random(6); flips >= 0; flips--) body[random(body.length)] = random(256)
    bad.socket.end(body.subarray(0, random(3) === 0 ? random(body.length) : body.length))
    await bad.closed
    good.replies.length = 0
    good.socket.write(marked(head(round, 0)))
    const [answer] = await good.receive(1)
    if (answer!.toString('hex') !== hex(accepted(round, 0)).toString('hex')) t.fail(`round ${round}`)
  }
  t.notOk(good.socket.destroyed)
  const reply = open()
  reply.socket.write(marked('00000001 00000001 00000000'))
  await reply.closed
  t.pass('a reply where a call should be ends the connection')
})

t.test('IPv4-mapped addresses are IPv4', async (t) => {
  t.equal(normalAddress('::ffff:10.1.2.3'), '10.1.2.3')
  t.equal(normalAddress('fe80::1%eth0'), 'fe80::1')
  t.equal(normalAddress('2001:db8::1'), '2001:db8::1')
})
