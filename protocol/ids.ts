/**
 * The numbers and names that identify things, branded so that two kinds cannot be mixed up.
 *
 * Pure. All numbers are safe integers (below 2^53); `bigint` appears only inside NFS's XDR.
 */
import { assert } from './assert.ts'

declare const brand: unique symbol
type Branded<T, B extends string> = T & { readonly [brand]: B }

/** Number of a container's configuration; 0 before the first. */
export type Epoch = Branded<number, 'Epoch'>
/** Place of a record in a container's log, from 1; 0 stands before the first record. */
export type Sequence = Branded<number, 'Sequence'>
/** Given out by the CLDB, from 1, and never given twice. */
export type ContainerId = Branded<number, 'ContainerId'>
/** Number of an object in its container, from 1 (the root of a volume) and never given twice. */
export type Inode = Branded<number, 'Inode'>
/** Name of one storage pool and the fileserver process that owns it: 16 hexadecimal digits, made at the pool's format. */
export type ServerId = Branded<string, 'ServerId'>
/** One instance of the SDK: 48 random bits. */
export type ClientId = Branded<number, 'ClientId'>

export const epoch = (value: number): Epoch => natural(value, 'epoch') as Epoch
export const sequence = (value: number): Sequence => natural(value, 'sequence') as Sequence
export const containerId = (value: number): ContainerId => natural(value, 'container') as ContainerId
export const inode = (value: number): Inode => natural(value, 'inode') as Inode
export const clientId = (value: number): ClientId => natural(value, 'client') as ClientId

export function serverId(value: string): ServerId {
  assert(/^[0-9a-f]{16}$/.test(value), `a server id is 16 hexadecimal digits, not ${value}`)
  return value as ServerId
}

function natural(value: number, what: string): number {
  assert(Number.isSafeInteger(value) && value >= 0, `${what} must be a natural number, not ${value}`)
  return value
}

/** Names any object for ever: `container.inode.generation`. */
export type Fid = { readonly container: ContainerId; readonly inode: Inode; readonly generation: number }

export const formatFid = (fid: Fid): string => `${fid.container}.${fid.inode}.${fid.generation}`
export const sameFid = (a: Fid, b: Fid): boolean =>
  a.inode === b.inode && a.container === b.container && a.generation === b.generation
