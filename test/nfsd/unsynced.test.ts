/**
 * Claims about unstable writes and the write verifier: no COMMIT vouches for what may be lost.
 */
import t from 'tap'
import { Unsynced } from '../../nfsd/nfs3/unsynced.ts'
import { Failure } from '../../protocol/failures.ts'
import { containerId, epoch, type Fid, inode, sequence } from '../../protocol/ids.ts'
import { silentLog } from '../../protocol/logging.ts'
import type { Token } from '../../protocol/messages/attributes.ts'

const file = (number: number): Fid => ({ container: containerId(1), inode: inode(number), generation: 1 })
const token = (container: number, at: number, number: number): Token => ({
  container: containerId(container),
  epoch: epoch(at),
  sequence: sequence(number),
})
const shown = (tokens: readonly Token[]) => tokens.map((one) => `${one.container}@${one.epoch}:${one.sequence}`).sort()
const lost = new Failure('UNSYNCED_LOST', 'a crash of all')

/** A table whose syncs are recorded and end as told. */
function table(filesMax = 100) {
  const syncs: { tokens: string[]; end: (error?: Error) => void }[] = []
  const sync = (tokens: readonly Token[]): Promise<void> =>
    new Promise((resolve, reject) => {
      syncs.push({ tokens: shown(tokens), end: (error) => (error === undefined ? resolve() : reject(error)) })
    })
  return { syncs, unsynced: new Unsynced(sync, filesMax, silentLog) }
}

t.test('a commit syncs the last token of each container and epoch, once', async (t) => {
  const { syncs, unsynced } = table()
  const { verifier } = unsynced
  t.equal(verifier.length, 8)
  await unsynced.remember(file(1), [token(5, 1, 10), token(6, 1, 3)])
  await unsynced.remember(file(1), [token(5, 1, 12)])
  await unsynced.remember(file(1), [token(5, 1, 11), token(5, 2, 1)])
  await unsynced.remember(file(2), [token(5, 1, 99)])
  const commit = unsynced.commit(file(1))
  t.strictSame(syncs[0]!.tokens, ['5@1:12', '5@2:1', '6@1:3'])
  syncs[0]!.end()
  t.equal(await commit, verifier, 'the verifier of the writes')
  t.equal(await unsynced.commit(file(1)), verifier)
  t.equal(syncs.length, 1, 'nothing is left to sync')
  t.equal(unsynced.files, 1, 'but the other file')
})

t.test('a loss changes the verifier, so that the client sends its writes again', async (t) => {
  const { syncs, unsynced } = table()
  const before = unsynced.verifier
  await unsynced.remember(file(1), [token(5, 1, 10)])
  const commit = unsynced.commit(file(1))
  syncs[0]!.end(lost)
  const after = await commit
  t.notSame(after, before, 'the commit answers with a new one')
  t.equal(unsynced.verifier, after, 'which later writes get')
  t.equal(await unsynced.commit(file(1)), after, 'and the lost writes are forgotten')
})

t.test('another failure fails the commit and forgets nothing', async (t) => {
  const { syncs, unsynced } = table()
  const before = unsynced.verifier
  await unsynced.remember(file(1), [token(5, 1, 10)])
  const failing = unsynced.commit(file(1))
  syncs[0]!.end(new Failure('UNAVAILABLE', 'no master'))
  await t.rejects(failing, /UNAVAILABLE/)
  const again = unsynced.commit(file(1))
  t.strictSame(syncs[1]!.tokens, ['5@1:10'])
  syncs[1]!.end()
  t.equal(await again, before)
})

t.test('a write during a commit waits for the next one', async (t) => {
  for (const end of [undefined, lost]) {
    const { syncs, unsynced } = table()
    await unsynced.remember(file(1), [token(5, 1, 10), token(6, 1, 1)])
    const commit = unsynced.commit(file(1))
    await unsynced.remember(file(1), [token(5, 1, 11)])
    syncs[0]!.end(end)
    await commit
    void unsynced.commit(file(1))
    t.strictSame(syncs[1]!.tokens, ['5@1:11'], end === undefined ? 'after a success' : 'and after a loss')
  }
})

t.test('a full table syncs the file that waited longest, and the write waits for it', async (t) => {
  const { syncs, unsynced } = table(2)
  const { verifier } = unsynced
  await unsynced.remember(file(1), [token(5, 1, 1)])
  await unsynced.remember(file(2), [token(5, 1, 2)])
  await unsynced.remember(file(1), [token(5, 1, 3)])
  let written = false
  const write = unsynced.remember(file(3), [token(5, 1, 4)]).then(() => {
    written = true
  })
  t.strictSame(syncs[0]!.tokens, ['5@1:2'])
  const second = unsynced.remember(file(4), [token(5, 1, 5)])
  t.strictSame(syncs[1]!.tokens, ['5@1:3'], 'a second write that needs room takes another file')
  await Promise.resolve()
  t.notOk(written)
  syncs[0]!.end()
  syncs[1]!.end()
  await Promise.all([write, second])
  t.equal(unsynced.files, 2)
  t.equal(unsynced.verifier, verifier)
})

t.test('when that sync fails in any way, all clients are told to send again', async (t) => {
  const { syncs, unsynced } = table(1)
  const { verifier } = unsynced
  await unsynced.remember(file(1), [token(5, 1, 1)])
  const write = unsynced.remember(file(2), [token(5, 1, 2)])
  syncs[0]!.end(new Failure('UNAVAILABLE', 'no master'))
  await write
  t.notSame(unsynced.verifier, verifier)
  t.equal(unsynced.files, 1, 'and the table stays within its bound')
})
