/**
 * The process of the application: runs the workloads through the SDK, one at a time, as its parent asks.
 *
 * Not pure.
 */
import { type Client, connect, type Filesystem } from '../../client/index.ts'
import type { Sample } from '../measure.ts'
import { serve } from '../worker.ts'
import { creates, type Directory, stats, unlinks } from './workloads/metadata.ts'
import { type Accesses, prepareRandom, randomRead, randomWrite } from './workloads/random.ts'
import { read, remove, type Streams, write } from './workloads/sequential.ts'

let client: Client | undefined

function fs(): Filesystem {
  if (client === undefined) throw new Error('connect first')
  return client.fs
}

const tasks = {
  connect: async ({ cldb }: { readonly cldb: string }): Promise<void> => {
    client = await connect({ cldb: [cldb] })
  },
  write: (streams: Streams): Promise<Sample> => write(fs(), streams),
  read: (streams: Streams): Promise<Sample> => read(fs(), streams),
  remove: (streams: Streams): Promise<void> => remove(fs(), streams),
  prepareRandom: (file: { readonly bytes: number }): Promise<void> => prepareRandom(fs(), file),
  randomRead: (accesses: Accesses): Promise<Sample> => randomRead(fs(), accesses),
  randomWrite: (accesses: Accesses & { readonly synced: boolean }): Promise<Sample> => randomWrite(fs(), accesses),
  creates: (directory: Directory): Promise<Sample> => creates(fs(), directory),
  stats: (directory: Directory): Promise<Sample> => stats(fs(), directory),
  unlinks: (directory: Directory): Promise<Sample> => unlinks(fs(), directory),
}

export type ClientTasks = typeof tasks

serve(tasks)
