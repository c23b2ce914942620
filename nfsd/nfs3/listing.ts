/**
 * READDIR and READDIRPLUS.
 *
 * `fit` is pure; the rest asks the cluster. A cookie is the hash of its entry's name, so that a listing resumes right
 * after it whatever was created or removed meanwhile; `.` and `..` have cookies 1 and 2, below every hash. The cookie
 * verifier is constant (zero): no cookie ever becomes invalid. Replies are counted in XDR bytes, exactly.
 *
 * Source: RFC 1813 §3.3.16 and §3.3.17.
 */
import type { Page } from '../../client/operations.ts'
import { Failure } from '../../protocol/failures.ts'
import type { Fid } from '../../protocol/ids.ts'
import type { Attributes } from '../../protocol/messages/attributes.ts'
import type { Encode } from '../rpc/program.ts'
import type { XdrReader } from '../xdr/reader.ts'
import type { XdrWriter } from '../xdr/writer.ts'
import {
  postAttributesBytes,
  postHandleBytes,
  writeFileid,
  writePostAttributes,
  writePostHandle,
} from './attributes.ts'
import { type Definition, type Gateway, open, readHandleArgument, type Target } from './procedure.ts'
import { StatusFailure, status } from './status.ts'

/** Largest reply, whatever the client has room for. */
const replyBytesMax = 1024 * 1024
const entriesMax = 4096
/** A usual name, to guess how many entries a reply may take. */
const usualNameBytes = 16

const verifier = new Uint8Array(8)
/** dir_attributes, verifier, the end of the list, eof. */
const headBytes = postAttributesBytes + verifier.length + 4 + 4

export type Item = {
  readonly name: Uint8Array
  readonly cookie: number
  readonly fid: Fid
  /** With READDIRPLUS. */
  readonly attributes?: Attributes | undefined
}

/** fileid, name and cookie: what `dircount` counts. */
const informationBytes = (name: Uint8Array): number => 8 + 4 + ((name.length + 3) & ~3) + 8

const entryBytes = (item: Item, plus: boolean): number =>
  4 +
  informationBytes(item.name) +
  (plus ? (item.attributes === undefined ? 4 : postAttributesBytes) + postHandleBytes : 0)

/**
 * How many of `items` a reply takes: as many as stay within `bytesMax` (the whole READDIR3resok or READDIRPLUS3resok)
 * and `informationBytesMax`, which however always lets one through.
 * @throws Failure (TOOSMALL) when not even the first has room.
 */
export function fit(items: readonly Item[], plus: boolean, bytesMax: number, informationBytesMax: number): number {
  let bytes = headBytes
  let information = 0
  let count = 0
  for (const item of items) {
    bytes += entryBytes(item, plus)
    information += informationBytes(item.name)
    if (bytes > bytesMax || (count > 0 && information > informationBytesMax)) break
    count++
  }
  if (bytesMax < headBytes || (count === 0 && items.length > 0))
    throw new StatusFailure(status.toosmall, `no entry fits in ${bytesMax} bytes`)
  return count
}

type Listing = { readonly handle: Uint8Array; readonly cookie: number; readonly verifier: Uint8Array }

const readListing = (xdr: XdrReader): Listing => ({
  handle: readHandleArgument(xdr),
  cookie: xdr.u64(),
  verifier: xdr.fixed(verifier.length),
})

export function readdir(gateway: Gateway): Definition<Listing & { readonly count: number }> {
  return {
    name: 'READDIR',
    repetition: 'run',
    emptyOnFailure: 1,
    decode: (xdr) => ({ ...readListing(xdr), count: xdr.u32() }),
    run: async (args, caller) => {
      const target = open(gateway, args.handle, caller, false)
      return list(gateway, target, args, false, args.count, args.count)
    },
  }
}

type ListingPlus = Listing & { readonly directoryCount: number; readonly maxCount: number }

export function readdirplus(gateway: Gateway): Definition<ListingPlus> {
  return {
    name: 'READDIRPLUS',
    repetition: 'run',
    emptyOnFailure: 1,
    decode: (xdr) => ({ ...readListing(xdr), directoryCount: xdr.u32(), maxCount: xdr.u32() }),
    run: async (args, caller) => {
      const target = open(gateway, args.handle, caller, false)
      return list(gateway, target, args, true, args.maxCount, args.directoryCount)
    },
  }
}

async function list(
  { operations }: Gateway,
  target: Target,
  { cookie, verifier: given }: Listing,
  plus: boolean,
  count: number,
  informationBytesMax: number,
): Promise<Encode> {
  if (cookie !== 0 && given.some((byte) => byte !== 0)) throw new Failure('BAD_COOKIE', 'a foreign cookie verifier')
  if (!Number.isSafeInteger(cookie)) throw new Failure('BAD_COOKIE', 'a cookie that no entry has')
  const bytesMax = Math.min(count, replyBytesMax)
  const wanted = entriesFor(plus, bytesMax, informationBytesMax)
  const page = await operations.readdir(target.credentials, target.fid, cookie, wanted, plus)
  const items = [...dots(target.fid, page, cookie, plus), ...page.entries]
  const taken = fit(items, plus, bytesMax, informationBytesMax)
  const end = page.end && taken === items.length
  return (xdr) => {
    writePostAttributes(xdr, page.directory, target)
    xdr.fixed(verifier)
    for (let i = 0; i < taken; i++) writeEntry(xdr, items[i]!, plus, target)
    xdr.boolean(false)
    xdr.boolean(end)
  }
}

/** A guess from usual names: too few cost another call, too many are thrown away. */
function entriesFor(plus: boolean, bytesMax: number, informationBytesMax: number): number {
  const information = 20 + usualNameBytes
  const entry = 4 + information + (plus ? postAttributesBytes + postHandleBytes : 0)
  const guess = Math.min((bytesMax - headBytes) / entry, informationBytesMax / information)
  return Math.min(Math.max(Math.ceil(guess), 1), entriesMax)
}

function dots(fid: Fid, page: Page, cookie: number, plus: boolean): Item[] {
  const self = { name: Buffer.from('.'), cookie: 1, fid, attributes: plus ? page.directory : undefined }
  const parent = { name: Buffer.from('..'), cookie: 2, fid: page.parent }
  return cookie === 0 ? [self, parent] : cookie === 1 ? [parent] : []
}

function writeEntry(xdr: XdrWriter, item: Item, plus: boolean, target: Target): void {
  xdr.boolean(true)
  writeFileid(xdr, item.fid, target.volume)
  xdr.opaque(item.name)
  xdr.u64(item.cookie)
  if (!plus) return
  writePostAttributes(xdr, item.attributes, target)
  writePostHandle(xdr, item.fid, target)
}
