/**
 * Settings of an NFS gateway: every default with its unit and its reason.
 *
 * Pure. `nfsdConfig` parses a configuration file's JSON; the relations between settings are checked there.
 */
import { address, addresses, type ConfigOf, natural, parseConfig, text } from '../protocol/config.ts'
import { Failure } from '../protocol/failures.ts'
import { transferBytesMax } from './nfs3/data.ts'

export const nfsdSettings = {
  listen: address('where NFS is served; and MOUNT too, unless mountListen says otherwise', { default: '0.0.0.0:2049' }),
  mountListen: text(
    'where MOUNT is served, host:port; empty: on the port of NFS, which needs no second hole in a firewall',
    {
      default: '',
    },
  ),
  cldb: addresses('the CLDB servers'),
  exports: text('the exports file (nfsd/README.md)'),
  callMs: natural(
    'how long a call waits for servers that fail over before the client is told to ask again later: less than the 60 s after which Linux takes the gateway for dead, and long, since a change that is asked again is a new one to the cluster',
    { default: 50_000, min: 1000, max: 3_600_000 },
  ),
  connectionsMax: natural('connections at a time; a kernel opens one for each mount or server', {
    default: 1024,
    min: 1,
    max: 65_536,
  }),
  callsMax: natural('calls of one connection that run at a time: enough to keep every fileserver busy', {
    default: 128,
    min: 1,
    max: 65_536,
  }),
  connectionBytesMax: natural('bytes of calls and replies of one connection in flight: 32 transfers of 1 MiB', {
    default: 32 * 2 ** 20,
    min: 2 * 2 ** 20,
  }),
  memoryBytesMax: natural('bytes of calls and replies in flight over all connections', {
    default: 512 * 2 ** 20,
    min: 2 * 2 ** 20,
  }),
  stallMs: natural('a client that takes no replies, or stops within a call, for this long is cut off', {
    default: 60_000,
    min: 100,
    max: 3_600_000,
  }),
  repliesMax: natural('answers kept for calls that come again after a lost connection; about 500 bytes each', {
    default: 16_384,
    min: 16,
  }),
  unsyncedFilesMax: natural('files with writes that wait for a COMMIT; beyond that the oldest are synced', {
    default: 16_384,
    min: 1,
  }),
  accessMs: natural('how long the answer to "may this caller read or write this file" holds', {
    default: 2000,
    max: 60_000,
  }),
  accessFilesMax: natural('files for which such answers are kept', { default: 16_384, min: 1 }),
} as const

export type NfsdConfig = ConfigOf<typeof nfsdSettings>

/** One WRITE with its head; larger records end the connection. */
export const recordBytesMax = transferBytesMax + 64 * 1024
/** Linux sends one fragment for each record; others some more. */
export const fragmentsMax = 1024

/** @param json a parsed configuration file. @throws Failure INVALID naming the setting that does not fit. */
export function nfsdConfig(json: unknown): NfsdConfig {
  const config = parseConfig(nfsdSettings, json)
  if (config.memoryBytesMax < config.connectionBytesMax)
    throw new Failure('INVALID', 'memoryBytesMax must be at least connectionBytesMax')
  return config
}
