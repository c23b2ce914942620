/**
 * What all commands that talk to a cluster share: the global options, and a client for the time of one command.
 */
import type { Command } from 'commander'
import { type Client, connect } from '../client/index.ts'

export type Globals = { readonly json: boolean; readonly cldb: readonly string[] }

/** How long a call is retried before the command gives up. */
export const callMs = 15_000

export function globalsOf(command: Command): Globals {
  const { json, cldb } = command.optsWithGlobals<{ json?: boolean; cldb: string }>()
  return { json: json === true, cldb: cldb.split(',').map((address) => address.trim()) }
}

/** Connects, runs, and closes whatever happens. */
export async function withClient(command: Command, run: (client: Client, globals: Globals) => Promise<void>) {
  const globals = globalsOf(command)
  const client = await connect({ cldb: globals.cldb, timeoutMs: callMs, umask: process.umask() })
  try {
    await run(client, globals)
  } finally {
    await client.close()
  }
}
