/**
 * `holdfast cldb|fileserver|nfsd --config FILE`: one server until a signal ends it.
 *
 * Only the server that is asked for is loaded. Started by `holdfast dev`, it tells its parent over IPC where it
 * listens, and ends when its parent does.
 */
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { Failure } from '../../protocol/failures.ts'
import { logger } from '../../protocol/logging.ts'
import type { Ready } from '../dev/child.ts'
import { type GraceTime, graceSettings, rereplicateAfterOption } from '../duration.ts'
import { explain } from '../failure.ts'

type Server = { readonly address: string; readonly close: () => Promise<void> }
/** Checks the configuration at once, so that what it throws is about the file. */
type Prepare = (json: unknown) => Promise<() => Promise<Server>>

const parts: Readonly<Record<string, { readonly description: string; readonly prepare: Prepare }>> = {
  cldb: {
    description: 'run the Container Location Database',
    prepare: async (json) => {
      const { cldbConfig } = await import('../../cldb/config.ts')
      const { startCldb } = await import('../../cldb/main.ts')
      const config = cldbConfig(json)
      return () => startCldb(config)
    },
  },
  fileserver: {
    description: 'run a fileserver: one storage pool',
    prepare: async (json) => {
      const { fileserverConfig } = await import('../../fileserver/config.ts')
      const { startFileserver } = await import('../../fileserver/main.ts')
      const config = fileserverConfig(json)
      return () => startFileserver(config)
    },
  },
  nfsd: {
    description: 'run an NFS gateway',
    prepare: async (json) => {
      const { nfsdConfig } = await import('../../nfsd/config.ts')
      const { startNfsd } = await import('../../nfsd/main.ts')
      const config = nfsdConfig(json)
      return () => startNfsd(config)
    },
  },
}

export function serveCommands(program: Command): void {
  for (const [part, { description, prepare }] of Object.entries(parts)) {
    const command = program
      .command(part)
      .description(description)
      .requiredOption('--config <file>', 'its configuration (JSON; docs/operations.md lists the settings)')
      .action((options: { config: string } & GraceTime) => serve(part, prepare, options.config, graceSettings(options)))
    if (part === 'cldb') command.addOption(rereplicateAfterOption())
  }
}

/** @param overrides settings that the call gives in place of the file's. */
async function serve(part: string, prepare: Prepare, file: string, overrides: object): Promise<void> {
  const log = logger(part)
  const start = await prepareFrom(file, prepare, overrides)
  const server = await start()
  const ended = new Promise<string>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal))
    process.once('disconnect', () => resolve('the end of its parent'))
  })
  log.info({ address: server.address }, 'ready')
  process.send?.({ ready: server.address } satisfies Ready)
  log.info({}, `stopping at ${await ended}`)
  await server.close()
  log.info({}, 'stopped')
  process.exit(0)
}

async function prepareFrom(file: string, prepare: Prepare, overrides: object): Promise<() => Promise<Server>> {
  try {
    const json = parseJson(await readFile(file, 'utf8'))
    // What is no object is refused as it is.
    return await prepare(
      json !== null && !Array.isArray(json) && typeof json === 'object' ? { ...json, ...overrides } : json,
    )
  } catch (error) {
    throw new Failure('INVALID', `${file}: ${explain(error)}`, { cause: error })
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Failure('INVALID', `not JSON: ${explain(error)}`, { cause: error })
  }
}
