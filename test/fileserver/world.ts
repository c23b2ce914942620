/**
 * What the tests of a replica's storage share: records, logs on the real disk, and the bytes of their files.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Change } from '../../fileserver/index/changes.ts'
import { encodeChanges } from '../../fileserver/log/changes-codec.ts'
import { Log } from '../../fileserver/log/log.ts'
import type { Known } from '../../fileserver/log/open.ts'
import type { Draft } from '../../fileserver/log/record.ts'
import { realDisk } from '../../fileserver/pool/disk.ts'
import { payloadSums } from '../../protocol/hash.ts'
import { clientId, containerId, epoch, sequence } from '../../protocol/ids.ts'
import type { Ticket } from '../../protocol/messages/attributes.ts'
import { type Payload, payloadBytes } from '../../protocol/transport/transport.ts'
import { makeScratch } from '../harness/scratch.ts'

export const container = containerId(7)
export const e = epoch
export const s = sequence
export const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')
export const ticket = (client: number, number: number, oldest = 0): Ticket => ({
  client: clientId(client),
  number,
  oldest,
  epoch: e(1),
})

/** Nothing but the files says what the log holds. */
export const unknown: Known = { checkpoint: undefined, starts: [], committed: s(0) }

/** As large as a payload may be: sixteen of these fill a segment. */
export const large = Buffer.alloc(4 * 1024 * 1024, 'large')

export type Wanted = Partial<Omit<Draft, 'sums' | 'changes' | 'payloadBytes'>> & {
  readonly changes?: readonly Change[]
}

export function draft({ changes = [], payload = [], ...rest }: Wanted = {}): Draft {
  const size = payloadBytes(payload)
  return {
    kind: 'operation',
    stable: true,
    ticket: ticket(0, 0),
    result: 0,
    payload,
    payloadBytes: size,
    sums: payloadSums(payload, size),
    changes: encodeChanges(changes),
    ...rest,
  }
}

export type Place = { readonly directory: string; readonly disk: ReturnType<typeof realDisk> }

/** A directory of its own for one test. */
export function place(t: Test): Place {
  const { directory, remove } = makeScratch('fileserver')
  t.teardown(remove)
  return { directory, disk: realDisk(directory) }
}

export const create = ({ disk, directory }: Place, name = 'log'): Log =>
  Log.create(disk, join(directory, name), container)

export const open = ({ disk, directory }: Place, known: Partial<Known> = {}, name = 'log'): Log =>
  Log.open(disk, join(directory, name), container, { ...unknown, ...known })

/** Appends a record with `content` as its payload, and writes it. */
export function append(log: Log, content: string | Buffer = '', of = 1, committed = 0): void {
  const payload = content.length === 0 ? [] : [typeof content === 'string' ? bytes(content) : content]
  log.append(draft({ payload }), e(of), s(committed))
  log.write()
}

/** Appends records that fill a segment. */
export function fill(log: Log, of = 1, committed = 0): void {
  for (const from = log.last; log.last < from + 16; ) append(log, large, of, committed)
}

/** All of `log` from record `from` on, as a master sends it. */
export function stream(log: Log, from = 1, bytesMax = 1_000_000): Payload {
  const pieces: Uint8Array[] = []
  for (let next = s(from); next <= log.last; ) {
    const read = log.read(next, bytesMax)
    if (read === undefined) throw new Error(`the log does not hold ${next}`)
    pieces.push(...read.payload)
    next = s(read.last + 1)
  }
  return pieces
}

export const chains = (log: Log): (bigint | undefined)[] =>
  Array.from({ length: log.last + 1 }, (_, at) => log.chainAt(s(at)))

export const segmentFiles = (directory: string): string[] =>
  readdirSync(directory)
    .filter((name) => name.endsWith('.segment'))
    .sort()

export const contents = (directory: string): Record<string, Buffer> =>
  Object.fromEntries(segmentFiles(directory).map((name) => [name, readFileSync(join(directory, name))]))

/** Changes one bit of a file. */
export function flip(path: string, offset: number): void {
  const content = readFileSync(path)
  content[offset]! ^= 16
  writeFileSync(path, content)
}

/** @returns the code of the failure that `run` throws. */
export function failure(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    return (error as { failure?: string }).failure ?? `${error}`
  }
  return 'none'
}
