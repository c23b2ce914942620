/**
 * The bare Node.js chain: what three processes reach that only receive, hash, write and forward.
 *
 * Not pure. Client -> A -> B -> C over plain TCP on loopback, in messages of 1 MiB; each stage hashes every 16 KiB of a
 * message (protocol/hash.ts), writes it to its file and passes it on; it acknowledges a message once its own write and
 * the next stage's acknowledgement are there. That is the least that replicating a write costs in Node.js, so it is
 * the ceiling which replicated writes are compared with. No stage waits for the disk, unless `sync` is set: then each
 * ends with an fdatasync before it acknowledges the last message. Every run writes over the same files, so that only the
 * first one pays for their page cache: it is a ceiling, and without that it differs by half from run to run (memory.ts).
 */
import { join } from 'node:path'
import { cpuSeconds, type Profiling, programPath, startWorker, type Worker } from '../worker.ts'
import type { StageTasks } from './process.ts'

export type ChainSample = { readonly bytes: number; readonly seconds: number; readonly cpuSeconds: number }

export type Chain = {
  /** Moves `messages` of 1 MiB through the chain; `sync`: onto the disk. */
  readonly run: (messages: number, sync: boolean) => Promise<ChainSample>
  readonly stop: () => Promise<void>
}

/** Starts the client and the three stages, which write files in `directory`. */
export async function startChain(directory: string, profiling?: Profiling): Promise<Chain> {
  const path = programPath('./process', import.meta.url)
  const start = (name: string): Worker<StageTasks> => startWorker<StageTasks>(`chain-${name}`, path, profiling)
  const stages = [start('A'), start('B'), start('C')]
  const client = start('client')
  const programs = [client, ...stages]

  /** Listeners first, then from the last stage to the first: nothing is sent before all are connected. */
  async function connect(sync: boolean): Promise<void> {
    const ports = await Promise.all([client, ...stages.slice(0, -1)].map((program) => program.call('listen', {})))
    for (const [i, stage] of [...stages.entries()].toReversed())
      await stage.call('start', { source: ports[i]!, file: join(directory, stage.name), sync })
  }

  return {
    run: async (messages, sync) => {
      await connect(sync)
      const before = cpuSeconds(programs)
      const { bytes, seconds } = await client.call('send', { messages })
      return { bytes, seconds, cpuSeconds: cpuSeconds(programs) - before }
    },
    stop: async () => {
      await Promise.all(programs.map((program) => program.stop()))
    },
  }
}
