/**
 * Claims about the CLDB's store, on a real database in a directory.
 */
import { readFileSync } from 'node:fs'
import { Level } from 'level'
import t from 'tap'
import type { RecordChanges } from '../../cldb/state.ts'
import { containerRecord, encode, metaRecord, openLevelStore, serverRecord } from '../../cldb/store.ts'
import { containerId } from '../../protocol/ids.ts'
import { volumeShape } from '../../protocol/messages/attributes.ts'
import { unpack } from '../../protocol/transport/wire.ts'
import { container, draining, meta, records, serverRow, volume } from './records.ts'

const nothing: RecordChanges = { meta: undefined, servers: new Map(), volumes: new Map(), containers: new Map() }

t.test('what was committed is there after the process', async (t) => {
  const directory = t.testdir()
  const store = await openLevelStore(directory)
  t.strictSame(await store.load(), { meta: undefined, servers: new Map(), volumes: new Map(), containers: new Map() })
  await store.commit(records)
  await t.rejects(openLevelStore(directory), /CONFLICT/, 'one process at a time')
  await store.close()
  const again = await openLevelStore(directory)
  t.strictSame(await again.load(), records)
  t.strictSame([...(await again.load()).containers.keys()], [1, 2, 10], 'containers come in order of id')
  await again.commit({ ...nothing, volumes: new Map([['home', undefined]]) })
  t.equal((await again.load()).volumes.size, 0, 'and what was removed is not')
  await again.close()
})

t.test('commits settle in order, the later ones together', async (t) => {
  const store = await openLevelStore(t.testdir())
  const settled: number[] = []
  const commit = async (number: number, changes: RecordChanges): Promise<void> => {
    await store.commit(changes)
    settled.push(number)
  }
  const put = (epoch: number): RecordChanges => ({
    ...nothing,
    containers: new Map([[containerId(1), { ...container, epoch: epoch as never }]]),
  })
  await Promise.all([...Array.from({ length: 50 }, (_, i) => commit(i, put(i + 1))), commit(50, nothing)])
  t.strictSame(
    settled,
    [...settled].sort((a, b) => a - b),
  )
  t.equal((await store.load()).containers.get(containerId(1))?.epoch, 50, 'the last one is what is kept')
  await store.close()
})

t.test('after a failed commit none succeeds', async (t) => {
  const store = await openLevelStore(t.testdir())
  await store.close()
  await t.rejects(store.commit(records))
  await t.rejects(store.commit(nothing), 'not even one of nothing')
})

t.test('a damaged database is refused', async (t) => {
  for (const [key, value, failure] of [
    ['container/0000000000000001', new Uint8Array([0xc1]), 'CORRUPT'],
    ['container/0000000000000001', encode(serverRecord, serverRow), 'CORRUPT'],
    ['meta', encode(metaRecord, { ...meta, version: 2 }), 'VERSION_MISMATCH'],
    ['pool/1', new Uint8Array([0]), 'VERSION_MISMATCH'],
  ] as const) {
    const directory = t.testdir()
    const database = new Level<string, Uint8Array>(directory, { valueEncoding: 'view' })
    await database.put(key, value)
    await database.close()
    const store = await openLevelStore(directory)
    await t.rejects(store.load(), new RegExp(failure), `${key} = ${Buffer.from(value).toString('hex')}`)
    await store.close()
  }
})

t.test('stored records keep their bytes', async (t) => {
  const golden = JSON.parse(readFileSync(new URL('fixtures/records-1.json', import.meta.url), 'utf8'))
  const hex = {
    meta: encode(metaRecord, { ...meta, version: 1 }),
    server: encode(serverRecord, serverRow),
    draining: encode(serverRecord, draining),
    volume: encode(volumeShape, volume),
    container: encode(containerRecord, container),
    vacant: encode(containerRecord, { ...container, master: undefined }),
  }
  for (const [name, bytes] of Object.entries(hex)) t.equal(Buffer.from(bytes).toString('hex'), golden[name], name)
  const old = serverRecord.read(unpack(Buffer.from(golden.serverWithoutMode, 'hex')), 'server')
  t.strictSame(old, serverRow, 'a record from before servers had modes is read')
})
