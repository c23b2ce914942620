/**
 * The ledger finds each way to break a promise, and nothing else.
 */
import { join } from 'node:path'
import t from 'tap'
import { bytesOf, openLedger } from './ledger.ts'
import { makeScratch } from './scratch.ts'

const length = 100

for (const [acknowledged, begun, found, fine, why] of [
  [2, 2, 2, true, 'the promised version is there'],
  [2, 2, undefined, false, 'it is gone'],
  [2, 2, 1, false, 'an older version came back'],
  [2, 3, 2, true, 'a write that was not answered is not there'],
  [2, 3, 3, true, 'a write that was not answered is there'],
  [0, 1, undefined, true, 'the first write was not answered, and is not there'],
] as const)
  t.equal(judge(acknowledged, begun, found === undefined ? undefined : bytesOf('cell', found, length)), fine, why)

const torn = Buffer.concat([bytesOf('cell', 3, length).subarray(0, 50), bytesOf('cell', 2, length).subarray(50)])
t.notOk(judge(2, 3, torn), 'half of one version and half of another is neither')
t.notOk(judge(2, 2, bytesOf('cell', 2, length - 1)), 'a byte is missing')
t.notOk(judge(2, 2, bytesOf('other', 2, length)), 'it is the bytes of another place')

function judge(acknowledged: number, begun: number, found: Uint8Array | undefined): boolean {
  const { directory, remove } = makeScratch('ledger')
  try {
    const ledger = openLedger(join(directory, 'acknowledged'), () => length)
    for (let version = 1; version <= begun; version++) {
      ledger.begin('cell')
      if (version <= acknowledged) ledger.acknowledge('cell')
    }
    return ledger.judge('cell', found) === undefined
  } finally {
    remove()
  }
}
