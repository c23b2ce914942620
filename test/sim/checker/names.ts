/**
 * Whether the names of a volume and its inodes agree, when nothing is under way.
 *
 * Pure but for the scans.
 */
import type { View } from '../../../fileserver/index/changes.ts'
import { rootInode } from '../../../fileserver/names/create.ts'
import { decodeEntry } from '../../../fileserver/names/directory.ts'
import { decodeInode, type InodeValue } from '../../../fileserver/names/inode.ts'
import { get64, inodeOfKey } from '../../../fileserver/names/keys.ts'

const countMax = 10_000
const withTag = (view: View, tag: string) => view.scan(Buffer.from(tag), Buffer.from([tag.charCodeAt(0) + 1]), countMax)

/** A name, seen from the inode that it leads to. */
type Holder = { readonly directory: number; readonly kind: InodeValue['kind'] }

/** @returns an inode that no name leads to, a name that leads nowhere, or a count that is wrong; nothing when all is well. */
export async function misnamed(view: View): Promise<string | undefined> {
  const inodes = new Map(
    (await withTag(view, 'i')).map(({ key, value }) => [inodeOfKey(key) as number, decodeInode(value)]),
  )
  const holders = new Map<number, Holder[]>([...inodes.keys()].map((inode) => [inode, []]))
  const entries = new Map<number, number>()
  const subdirectories = new Map<number, number>()
  const count = (counts: Map<number, number>, inode: number) => counts.set(inode, (counts.get(inode) ?? 0) + 1)
  for (const { key, value } of await withTag(view, 'd')) {
    const entry = decodeEntry(value)
    if (entry === undefined) continue
    const directory = get64(key, 1)
    const name = `directory ${directory} has ${Buffer.from(entry.name)}`
    if (!inodes.has(directory)) return `${name}, and is no more`
    const held = holders.get(entry.inode)
    if (held === undefined) return `${name}, which leads to no inode`
    held.push({ directory, kind: entry.kind })
    count(entries, directory)
    if (entry.kind === 'directory') count(subdirectories, directory)
  }
  for (const [inode, value] of inodes) {
    const held = holders.get(inode)!
    const what = `inode ${inode}, a ${value.kind} with ${value.links} links,`
    if (held.some(({ kind }) => kind !== value.kind)) return `${what} is something else by its name`
    if (value.kind !== 'directory') {
      if (held.length !== value.links) return `${what} has ${held.length} names`
      continue
    }
    if (inode !== rootInode && (held.length !== 1 || held[0]!.directory !== value.parent))
      return `${what} is in ${held.map(({ directory }) => directory)}, and its parent is ${value.parent}`
    if (value.entries !== (entries.get(inode) ?? 0))
      return `${what} has ${entries.get(inode)} and not ${value.entries} entries`
    if (value.links !== 2 + (subdirectories.get(inode) ?? 0))
      return `${what} has ${subdirectories.get(inode)} directories`
  }
  return undefined
}
