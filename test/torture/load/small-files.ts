/**
 * Small files: made, replaced, renamed (over others too), removed, listed, read. Each change is one durable record.
 */
import { isFailure } from '../../../client/index.ts'
import { bytesOf } from '../../harness/ledger.ts'
import { type Ground, type Lane, sketch } from './lane.ts'

/** What a file may hold: `''` is no file, else the name that it was made under, its version and its length. */
type Content = string
type Entry = { possible: readonly Content[]; retired: boolean }

const absent: Content = ''
const namesMax = 120
const lengthMax = 60_000

function bytesFor(content: Content): Buffer {
  const [, origin, version, length] = /^(.*)#(\d+):(\d+)$/.exec(content)!
  return bytesOf(origin!, Number(version), Number(length))
}

async function readOrNothing(client: Ground['reader'], path: string): Promise<Buffer | undefined> {
  try {
    return await client.fs.readFile(path)
  } catch (error) {
    if (isFailure(error, 'NOT_FOUND')) return undefined
    throw error
  }
}

export function smallFiles({ directory, writer, reader, random, tally, problem }: Ground): Lane {
  const entries = new Map<string, Entry>()
  const path = (name: string): string => `${directory}/${name}`
  let versions = 0
  /** Retired names are never used again: others take their place. */
  let names = Array.from({ length: namesMax }, (_, index) => `file-${index}`)
  let fresh = namesMax

  const entryOf = (name: string): Entry => {
    const entry = entries.get(name) ?? { possible: [absent], retired: false }
    entries.set(name, entry)
    return entry
  }
  const present = (name: string): boolean => entryOf(name).possible[0] !== absent

  function retire(name: string): void {
    entryOf(name).retired = true
    names = names.map((other) => (other === name ? `file-${fresh++}` : other))
  }

  /** Runs a change; until it is acknowledged either state is possible. */
  async function change(
    kind: string,
    next: ReadonlyMap<string, Content>,
    operation: () => Promise<unknown>,
  ): Promise<void> {
    for (const [name, content] of next) entryOf(name).possible = [...entryOf(name).possible, content]
    try {
      await tally.run(kind, `${directory} ${[...next].map((pair) => pair.join('=')).join(' ')}`, operation)
      for (const [name, content] of next) entryOf(name).possible = [content]
    } catch (error) {
      for (const name of next.keys()) retire(name)
      throw error
    }
  }

  async function write(name: string): Promise<void> {
    const length = random.chance(0.7) ? 1 + random.below(2000) : 1 + random.below(lengthMax)
    const content = `${directory}/${name}#${++versions}:${length}`
    const kind = present(name) ? 'replace' : 'create'
    await change(kind, new Map([[name, content]]), () => writer.fs.writeFile(path(name), bytesFor(content)))
  }

  async function rename(name: string): Promise<void> {
    const target = random.pick(names)
    if (target === name) return
    const content = entryOf(name).possible[0]!
    const next = new Map([
      [name, absent],
      [target, content],
    ])
    await change('rename', next, () => writer.fs.rename(path(name), path(target)))
  }

  const remove = (name: string): Promise<void> =>
    change('remove', new Map([[name, absent]]), () => writer.fs.unlink(path(name)))

  async function judge(name: string, client: Ground['reader']): Promise<void> {
    const { possible } = entryOf(name)
    const found = await tally.run('read', path(name), () => readOrNothing(client, path(name)))
    const right = possible.some((content) =>
      content === absent ? found === undefined : found !== undefined && bytesFor(content).equals(found),
    )
    if (right) return
    const what = found === undefined ? 'is not there' : `has ${found.length} bytes: ${sketch(found)}`
    problem(`${path(name)} ${what}; promised was ${possible.map((content) => content || 'nothing').join(' or ')}`)
  }

  async function list(client: Ground['reader']): Promise<void> {
    const listed = new Set(await tally.run('list', directory, () => client.fs.readdir(directory)))
    for (const [name, { possible, retired }] of entries) {
      const wrong = listed.has(name) ? possible.every((one) => one === absent) : !possible.includes(absent)
      if (!retired && wrong)
        problem(`${path(name)} is ${listed.has(name) ? 'listed' : 'not listed'}; promised was ${possible.join(' or ')}`)
    }
    for (const name of listed) if (!entries.has(name)) problem(`${path(name)} is listed; nobody made it`)
  }

  return {
    prepare: async () => void (await writer.fs.mkdir(directory, { recursive: true })),
    turn: async () => {
      const name = random.pick(names)
      const draw = random.next()
      if (draw < 0.01) await list(reader)
      else if (draw < 0.25) await judge(name, reader)
      else if (!present(name) || draw < 0.65) await write(name)
      else if (draw < 0.85) await rename(name)
      else await remove(name)
    },
    verify: async (client) => {
      await list(client)
      for (const name of entries.keys()) await judge(name, client)
    },
  }
}
