/**
 * The filesystem by fid: what nfsd and the path-based API are built on.
 *
 * Types only. Every operation retries by the failure table until `CallerOptions.timeoutMs`, exactly once in effect,
 * and otherwise throws a `Failure`. Mutations of names and attributes are durable when they return; data is durable after `sync`.
 */

import type { Fid } from '../protocol/ids.ts'
import type {
  Attributes,
  Before,
  Changes,
  Credentials,
  Kind,
  Time,
  Token,
  Volume,
} from '../protocol/messages/attributes.ts'
import type { Payload } from '../protocol/transport/transport.ts'

export type DirectoryChange = { readonly directoryBefore: Before; readonly directory: Attributes }

export type Creation = {
  readonly kind: Kind
  readonly how: 'unchecked' | 'guarded' | 'exclusive'
  readonly changes: Changes
  /** 8 bytes; with `exclusive` only. */
  readonly verifier?: Uint8Array
  /** With a symlink only. */
  readonly target?: Uint8Array
  readonly major?: number
  readonly minor?: number
  /** First bytes of a file, at most `inlineBytesMax`. */
  readonly data?: Uint8Array
}

export type Entry = {
  readonly name: Uint8Array
  readonly cookie: number
  readonly fid: Fid
  readonly kind: Kind
  readonly attributes?: Attributes | undefined
}

export type Page = {
  readonly directory: Attributes
  readonly parent: Fid
  readonly end: boolean
  readonly entries: readonly Entry[]
}

export type Read = {
  readonly payload: Payload
  readonly end: boolean
  readonly attributes?: Attributes | undefined
}

export type Written = {
  readonly before: Before
  readonly attributes: Attributes
  /** Where the bytes stand that are not yet durable: give them to `sync`. Empty after a `stable` write. */
  readonly tokens: readonly Token[]
}

export type Operations = {
  readonly volumes: () => Promise<readonly Volume[]>
  /** Bytes in the volume's reach, after replication. */
  readonly space: (fid: Fid) => Promise<{ readonly totalBytes: number; readonly freeBytes: number }>
  readonly getattr: (fid: Fid) => Promise<Attributes>
  readonly setattr: (
    caller: Credentials,
    fid: Fid,
    changes: Changes,
    guard?: Time,
  ) => Promise<{ readonly before: Before; readonly attributes: Attributes }>
  readonly lookup: (
    caller: Credentials,
    directory: Fid,
    name: Uint8Array,
  ) => Promise<{ readonly attributes: Attributes; readonly directory: Attributes }>
  /** `allowed`: bits of `access` in protocol/messages/files.ts. */
  readonly access: (
    caller: Credentials,
    fid: Fid,
  ) => Promise<{ readonly attributes: Attributes; readonly allowed: number }>
  readonly readlink: (
    caller: Credentials,
    fid: Fid,
  ) => Promise<{ readonly attributes: Attributes; readonly target: Uint8Array }>
  readonly create: (
    caller: Credentials,
    directory: Fid,
    name: Uint8Array,
    creation: Creation,
  ) => Promise<DirectoryChange & { readonly attributes: Attributes; readonly created: boolean }>
  readonly remove: (
    caller: Credentials,
    directory: Fid,
    name: Uint8Array,
    kind: 'file' | 'directory',
  ) => Promise<DirectoryChange>
  readonly rename: (
    caller: Credentials,
    source: Fid,
    sourceName: Uint8Array,
    target: Fid,
    targetName: Uint8Array,
    replace: boolean,
  ) => Promise<{
    readonly sourceBefore: Before
    readonly source: Attributes
    readonly targetBefore: Before
    readonly target: Attributes
  }>
  readonly link: (
    caller: Credentials,
    fid: Fid,
    directory: Fid,
    name: Uint8Array,
  ) => Promise<DirectoryChange & { readonly attributes: Attributes }>
  readonly readdir: (
    caller: Credentials,
    directory: Fid,
    cookie: number,
    entriesMax: number,
    withAttributes: boolean,
  ) => Promise<Page>
  /**
   * Holes read as zeros; the payload is cut at the file's end. Permission is the caller's affair (`access`).
   * `attributes` are there when the read had to look at them: always below `inlineBytesMax` and at the file's end.
   * `end` without them is false: bytes that end just where the file does may not say so. With `into` (of `length` bytes)
   * pieces of the payload may be parts of it, each in its place, which saves a copy.
   */
  readonly read: (fid: Fid, offset: number, length: number, into?: Uint8Array) => Promise<Read>
  /** Any length up to `payloadBytesMax`, over inline bytes and chunks alike. Permission is the caller's affair (`access`). */
  readonly write: (fid: Fid, offset: number, payload: Payload, stable: boolean) => Promise<Written>
  /** @throws Failure UNSYNCED_LOST when bytes behind one of the tokens are gone. */
  readonly sync: (tokens: readonly Token[]) => Promise<void>
}
