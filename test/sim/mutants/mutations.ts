/**
 * Mistakes that the simulator must find: each wraps what the simulation wires together, and leaves production code alone.
 *
 * They stand for the rules of DESIGN §4: who finds none of them can't be trusted to find others.
 */

import { type Container, members, type State } from '../../../cldb/state.ts'
import type { Store } from '../../../cldb/store.ts'
import type { Change } from '../../../fileserver/index/changes.ts'
import { decodeChanges } from '../../../fileserver/log/changes-codec.ts'
import { changesOf } from '../../../fileserver/log/record.ts'
import { rootInode } from '../../../fileserver/names/create.ts'
import { decodeInode, encodeInode } from '../../../fileserver/names/inode.ts'
import { entryKey, inodeKey, lengthsAfter } from '../../../fileserver/names/keys.ts'
import type { Addition } from '../../../fileserver/replica/addition.ts'
import type { Environment } from '../../../fileserver/replica/environment.ts'
import type { ContainerReplica } from '../../../fileserver/replica/replica.ts'
import type { Replicas } from '../../../fileserver/replicas.ts'
import { type ContainerId, type Epoch, sequence } from '../../../protocol/ids.ts'
import type { files } from '../../../protocol/messages/files.ts'
import type { replication } from '../../../protocol/messages/replication.ts'
import type { Handlers } from '../../../protocol/transport/transport.ts'
import type { FaultName } from '../faults.ts'

type Following = Handlers<typeof replication.calls>
type Files = Handlers<typeof files.calls>

export type Mutation = {
  /** What is wrong, in a few words. */
  readonly means: string
  /** The faults that bring it to light, where others would only hide it. */
  readonly faults?: readonly FaultName[]
  readonly environment?: (environment: Environment) => Environment
  readonly following?: (handlers: Following, replicas: Replicas) => Following
  /** The CLDB's. */
  readonly store?: (store: Store) => Store
  readonly state?: (state: State) => void
  readonly files?: (handlers: Files, replicas: Replicas) => Files
  /** Run on each replica before each of its calls and ticks: it must not mind being run again. */
  readonly replica?: (replica: ContainerReplica) => void
}

const answersAtOnce =
  (isHasty: (addition: Addition) => boolean) =>
  (replica: ContainerReplica): void => {
    if (Object.hasOwn(replica, 'append')) return
    const { append } = replica
    replica.append = (addition) => {
      const appended = append.call(replica, addition)
      if (!isHasty(addition)) return appended
      appended.acknowledged.catch(() => {})
      return { ...appended, acknowledged: Promise.resolve() }
    }
  }

/** Records with other changes than their calls made. */
const changed =
  (mutate: (changes: readonly Change[], replica: ContainerReplica) => readonly Change[]) =>
  (replica: ContainerReplica): void => {
    if (Object.hasOwn(replica, 'append')) return
    const { append } = replica
    replica.append = (addition) => append.call(replica, { ...addition, changes: mutate(addition.changes, replica) })
  }

const hasTag = (key: Uint8Array, of: Uint8Array): boolean => key[0] === of[0]
const isEntry = (key: Uint8Array): boolean => hasTag(key, entryKey(rootInode, 0))
const isInode = (key: Uint8Array): boolean => hasTag(key, inodeKey(rootInode))

export const mutations = {
  'skip-epoch-check': {
    means: 'a follower takes records of masters whose epoch is over',
    following: (handlers, replicas) => {
      const lifted = <Q extends { readonly container: ContainerId; readonly epoch: Epoch }>(request: Q): Q => {
        const [replica] = [...replicas.all()].filter(({ container }) => container === request.container)
        const epoch = replica?.core.epoch ?? request.epoch
        return epoch > request.epoch ? { ...request, epoch } : request
      }
      return {
        ...handlers,
        append: (request, ...rest) => handlers.append(lifted(request), ...rest),
        rollback: (request, ...rest) => handlers.rollback(lifted(request), ...rest),
        chains: (request, ...rest) => handlers.chains(lifted(request), ...rest),
        follow: (request, ...rest) => handlers.follow(lifted(request), ...rest),
      }
    },
  },
  'early-acknowledgement': {
    means: 'a follower says that records are durable when they are only appended',
    following: (handlers) => ({
      ...handlers,
      append: async (request, ...rest) => {
        const answer = await handlers.append({ ...request, durable: false }, ...rest)
        return { reply: { ...answer.reply, durable: answer.reply.appended } }
      },
    }),
  },
  'stale-member': {
    means: 'a replica is put in the in-sync set before it has caught up',
    environment: (environment) => ({
      ...environment,
      reconfigure: async (container, epoch, remove, add) => {
        const location = await environment.reconfigure(container, epoch, remove, add)
        if (location.resyncing.length === 0) return location
        return environment.reconfigure(container, location.epoch, [], location.resyncing)
      },
    }),
  },
  'stale-master': {
    means: 'the CLDB lets a replica that is not in sync become master',
    state: ({ containers, elections }) => {
      const { get } = containers
      const all = new WeakMap<Container, Container>()
      Object.assign(containers, {
        get: (id: ContainerId) => {
          const container = get.call(containers, id)
          if (container === undefined || !elections.has(id)) return container
          if (!all.has(container)) all.set(container, { ...container, inSync: members(container), resyncing: [] })
          return all.get(container)
        },
      })
    },
  },
  'rollback-too-little': {
    means: 'a follower keeps a record beyond the divergence point',
    following: (handlers, replicas) => ({
      ...handlers,
      rollback: async (request) => {
        const replica = replicas.get(request.container)
        await replica.rollback(sequence(Math.min(request.after + 1, replica.storage.log.last)), () => {})
        return { reply: {} }
      },
    }),
  },
  'rollback-too-much': {
    means: 'a follower cuts a record that it shares with the master',
    following: (handlers, replicas) => ({
      ...handlers,
      rollback: async (request) => {
        await replicas.get(request.container).rollback(sequence(Math.max(0, request.after - 1)), () => {})
        return { reply: {} }
      },
    }),
  },
  'forget-retries': {
    means: 'a repeated call is done again',
    replica: ({ storage }) => {
      storage.index.retries.find = () => undefined
    },
  },
  'apply-uncommitted': {
    means: 'the index takes records that are not committed',
    replica: ({ storage }) => {
      if (Object.hasOwn(storage, 'flush')) return
      const { flush } = storage
      storage.flush = () => flush.call(storage, storage.log.last)
    },
  },
  'endless-lease': {
    means: 'a master answers although its lease is over',
    faults: ['partition', 'pause'],
    environment: (environment) => ({ ...environment, leased: () => true }),
  },
  'answer-at-once': {
    means: 'a master answers a write before any other replica has it',
    replica: answersAtOnce(() => true),
  },
  'answer-unsynced-at-once': {
    means: 'the same, of a write that need not be synced',
    replica: answersAtOnce(({ stable }) => !stable),
  },
  'dirty-read': {
    means: 'a read shows what may still be undone',
    replica: (replica) => {
      replica.settled = () => undefined
    },
  },
  'forget-epoch': {
    means: 'a replica does not store the highest epoch that it has seen',
    environment: (environment) => ({
      ...environment,
      disk: {
        ...environment.disk,
        save: (path, content) => {
          const stored = path.endsWith('/state') && environment.disk.load(path) !== undefined
          if (!stored) environment.disk.save(path, content)
        },
      },
    }),
  },
  'hasty-cldb': {
    means: 'the CLDB tells of changes before they are durable',
    faults: ['crashCldb', 'crashCldbAtEffect', 'partition', 'crash'],
    store: (store) => ({
      ...store,
      commit: async (changes) => {
        void store.commit(changes)
      },
    }),
  },
  'ignore-failed-sync': {
    means: 'a sync that failed counts as done',
    faults: ['diskErrors', 'crashAll', 'crash'],
    environment: (environment) => ({
      ...environment,
      disk: {
        ...environment.disk,
        open: (path, create) => {
          const file = environment.disk.open(path, create)
          return { ...file, sync: (dirtyBytes) => file.sync(dirtyBytes)?.catch(() => {}) }
        },
      },
    }),
  },
  'revive-overwritten': {
    means: 'cleaning takes for live what a segment says of a key, and not what the index says',
    replica: ({ storage: { log, index } }) => {
      if (Object.hasOwn(log, 'entriesOf')) return
      const { entriesOf } = log
      const { sequenceOf } = index
      const put = new Map<string, number>()
      log.entriesOf = function* (first) {
        put.clear()
        for (const entry of entriesOf.call(log, first)) {
          for (const change of decodeChanges(changesOf(entry.head, entry.header)))
            if (change.type === 'put') put.set(Buffer.from(change.key).toString('latin1'), entry.header.sequence)
          yield entry
        }
      }
      index.sequenceOf = (key) => put.get(Buffer.from(key).toString('latin1')) ?? sequenceOf.call(index, key)
    },
  },
  'mend-nothing': {
    means: 'what is found damaged is not written again',
    faults: ['rot'],
    replica: ({ storage: { log } }) => {
      log.repair = () => {}
    },
  },
  'keep-abandoned': {
    means: 'nobody looks for chunks that were written after their file was gone',
    replica: (replica) => {
      if (Object.hasOwn(replica, 'view')) return
      const { view } = replica
      const chunks = lengthsAfter().from[0]
      Object.defineProperty(replica, 'view', {
        value: {
          ...view,
          scan: async (...range: Parameters<typeof view.scan>) => (range[0][0] === chunks ? [] : view.scan(...range)),
        },
      })
    },
  },
  'half-a-rename': {
    means: 'a rename to another directory leaves the name where it was',
    replica: changed((changes) => {
      const entries = changes.filter((change) => 'key' in change && isEntry(change.key))
      const from = entries.find(({ type }) => type === 'delete')
      return entries.some(({ type }) => type === 'put') ? changes.filter((change) => change !== from) : changes
    }),
  },
  'uncounted-link': {
    means: 'a second name of a file is not counted',
    replica: changed((changes, replica) =>
      changes.map((change) => {
        const before = change.type === 'put' && isInode(change.key) ? replica.view.get(change.key) : undefined
        if (change.type !== 'put' || before === undefined) return change
        const { links, kind } = decodeInode(before)
        const after = decodeInode(change.value)
        return kind === 'directory'
          ? change
          : { ...change, value: encodeInode({ ...after, links: Math.min(after.links, links) }) }
      }),
    ),
  },
} as const satisfies Readonly<Record<string, Mutation>>

export type MutationName = keyof typeof mutations
