/**
 * `Operations` over a cluster: each goes to the container that its fid names.
 *
 * What a reply says of a file is taken in (`Layouts.learn`), so that reads and writes know its chunk size and size.
 */
import { Failure } from '../../protocol/failures.ts'
import { payloadSums } from '../../protocol/hash.ts'
import { type Fid, formatFid } from '../../protocol/ids.ts'
import type { Token } from '../../protocol/messages/attributes.ts'
import { files } from '../../protocol/messages/files.ts'
import type { Operations } from '../operations.ts'
import { Extends } from './extends.ts'
import { Layouts } from './layouts.ts'
import { Reading } from './reading.ts'
import type { Remote } from './remote.ts'
import type { Volumes } from './volumes.ts'
import { Writing } from './writing.ts'

const { calls } = files
const noBytes = new Uint8Array(0)

/** Fids in different containers are in different volumes: a volume has one name container. */
function sameVolume(a: Fid, b: Fid): void {
  if (a.container !== b.container) throw new Failure('CROSS_VOLUME', `${formatFid(a)} and ${formatFid(b)}`)
}

/** The last token of each container and epoch stands for all before it. */
function lastOfEach(tokens: readonly Token[]): Token[] {
  const last = new Map<string, Token>()
  for (const token of tokens) {
    const key = `${token.container}@${token.epoch}`
    const other = last.get(key)
    if (other === undefined || other.sequence < token.sequence) last.set(key, token)
  }
  return [...last.values()]
}

export function remoteOperations(remote: Remote, volumes: Volumes): Operations {
  const layouts = new Layouts(remote)
  const reading = new Reading(remote, layouts)
  const writing = new Writing(remote, layouts, new Extends(remote, layouts))

  return {
    volumes: () => volumes.list(),
    space: (fid) => volumes.space(fid),

    getattr: async (fid) => {
      const { attributes } = (await remote.call(fid.container, calls.getattr, { fid })).reply
      layouts.learn(attributes)
      return attributes
    },

    setattr: async (credentials, fid, changes, guard) => {
      const { reply } = await remote.change(fid.container, calls.setattr, (ticket) => ({
        ticket,
        fid,
        credentials,
        changes,
        guard,
      }))
      layouts.learn(reply.attributes)
      return reply
    },

    lookup: async (credentials, directory, name) => {
      const { reply } = await remote.call(directory.container, calls.lookup, { directory, name, credentials })
      layouts.learn(reply.attributes)
      return reply
    },

    access: async (credentials, fid) => {
      const { reply } = await remote.call(fid.container, calls.access, { fid, credentials })
      layouts.learn(reply.attributes)
      return reply
    },

    readlink: async (credentials, fid) =>
      (await remote.call(fid.container, calls.readlink, { fid, credentials })).reply,

    create: async (credentials, directory, name, creation) => {
      const { kind, how, changes, verifier, target, major = 0, minor = 0, data } = creation
      const payload = data === undefined || data.length === 0 ? undefined : [data]
      const sums = payload === undefined ? noBytes : payloadSums(payload, data!.length)
      const { reply } = await remote.change(
        directory.container,
        calls.create,
        (ticket) => ({
          ticket,
          directory,
          name,
          credentials,
          kind,
          how,
          changes,
          verifier,
          target,
          major,
          minor,
          sums,
        }),
        payload,
      )
      if (!reply.created) layouts.learn(reply.attributes)
      return reply
    },

    remove: async (credentials, directory, name, kind) =>
      (
        await remote.change(directory.container, calls.remove, (ticket) => ({
          ticket,
          directory,
          name,
          credentials,
          kind,
        }))
      ).reply,

    rename: async (credentials, source, sourceName, target, targetName, replace) => {
      sameVolume(source, target)
      const request = { source, sourceName, target, targetName, credentials, replace }
      return (await remote.change(source.container, calls.rename, (ticket) => ({ ticket, ...request }))).reply
    },

    link: async (credentials, fid, directory, name) => {
      sameVolume(fid, directory)
      const request = { fid, directory, name, credentials }
      return (await remote.change(directory.container, calls.link, (ticket) => ({ ticket, ...request }))).reply
    },

    readdir: async (credentials, directory, cookie, entriesMax, withAttributes) => {
      const request = { directory, credentials, cookie, entriesMax, withAttributes }
      return (await remote.call(directory.container, calls.readdir, request)).reply
    },

    read: (fid, offset, length, into) => reading.read(fid, offset, length, into),
    write: (fid, offset, payload, stable) => writing.write(fid, offset, payload, stable),

    sync: async (tokens) => {
      const last = lastOfEach(tokens)
      await Promise.all(last.map((token) => remote.call(token.container, calls.sync, { token })))
    },
  }
}
