/**
 * Answers clients' calls (protocol/messages/files.ts): what they mean is in names/, that it lasts in replica/.
 *
 * Driver. A query is answered when nothing that it saw can be undone; a mutation when its record may be acknowledged;
 * a repeated one is answered from the retry table.
 */
import type { Cldb } from '../protocol/cluster/cldb.ts'
import { Failure, isFailure } from '../protocol/failures.ts'
import { verifyPayload } from '../protocol/hash.ts'
import { type ContainerId, formatFid, type Sequence, sequence } from '../protocol/ids.ts'
import type { Attributes, Ticket } from '../protocol/messages/attributes.ts'
import { control } from '../protocol/messages/control.ts'
import type { files } from '../protocol/messages/files.ts'
import { type Handlers, type Payload, payloadBytes, type Reply } from '../protocol/transport/transport.ts'
import type { Reclaim } from './cleaning/reclaim.ts'
import { type MapContext, mutations, type NameContext, orphanOf, queries } from './names/operations.ts'
import type { Environment } from './replica/environment.ts'
import type { ContainerReplica } from './replica/replica.ts'
import type { Replicas } from './replicas.ts'

/** How long the CLDB's list of containers for new chunks is used. */
const dataContainersMs = 2000
const cldbTimeoutMs = 5000
const noSums = new Uint8Array()

type Performed<R> = { readonly reply: R; readonly at: Sequence }
type Operation<Q, R, C> = {
  readonly perform: (
    view: ContainerReplica['view'],
    request: Q,
    bytes: number,
    context: C,
  ) => {
    readonly changes: Parameters<ContainerReplica['append']>[0]['changes']
    readonly reply: R
    readonly result: number
  }
  readonly repeat: (view: ContainerReplica['view'], request: Q, result: number, context: C) => R
}
type Options = {
  readonly stable: boolean
  readonly payload?: Payload
  readonly sums?: Uint8Array
  readonly grows: boolean
}

/** @throws what it was given; where bytes are lost it says of what. */
function lost(
  error: unknown,
  { offset, length }: { readonly offset: number; readonly length: number },
  what: string,
): never {
  if (!isFailure(error, 'CORRUPT')) throw error
  const detail = error.message.slice('CORRUPT: '.length)
  throw new Failure('CORRUPT', `${detail}, for bytes ${offset} to ${offset + length} of ${what}`, { cause: error })
}

export function fileHandlers(
  environment: Environment,
  replicas: Replicas,
  cldb: Cldb,
  reclaim: Reclaim,
): Handlers<typeof files.calls> {
  const volumes = new DataContainers(environment, cldb)

  const contextOf = (replica: ContainerReplica): NameContext => ({
    container: replica.container,
    volume: { chunkBytes: replica.location!.chunkBytes },
    now: environment.clock.now(),
  })

  const query = <Q, R>(
    container: ContainerId,
    run: (view: ContainerReplica['view'], request: Q, context: NameContext) => R,
    request: Q,
  ): Reply<R> | Promise<Reply<R>> => {
    const replica = replicas.get(container)
    replica.demandMaster()
    environment.resyncs.foreground(0)
    const reply = replica.query(() => run(replica.view, request, contextOf(replica)))
    return reply instanceof Promise ? reply.then((value) => ({ reply: value })) : { reply }
  }

  /** A query that says which bytes to read, and what to answer beside them. `what`: whose bytes, where they are lost. */
  const bytes = <Q, F extends { object: Uint8Array; offset: number; length: number }, R>(
    container: ContainerId,
    run: (view: ContainerReplica['view'], request: Q, context: NameContext) => F,
    request: Q,
    replyOf: (found: F) => R,
    what: () => string,
  ): Reply<R> | Promise<Reply<R>> => {
    const replica = replicas.get(container)
    replica.demandMaster()
    const context = contextOf(replica)
    const both = replica.query(() => {
      const found = run(replica.view, request, context)
      environment.resyncs.foreground(found.length)
      const read = replica.read(found.object, found.offset, found.length)
      const reading = read instanceof Promise ? read.catch((error) => lost(error, found, what())) : read
      // Where what was seen is undone, nobody waits for the bytes.
      if (reading instanceof Promise) reading.catch(() => {})
      return { reply: replyOf(found), reading }
    })
    if (both instanceof Promise) return both.then(async ({ reply, reading }) => ({ reply, ...(await reading) }))
    const { reply, reading } = both
    return reading instanceof Promise ? reading.then((read) => ({ reply, ...read })) : { reply, ...reading }
  }

  /** Runs a mutation exactly once, and waits until it may be acknowledged. */
  const mutate = <Q extends { readonly ticket: Ticket }, R, C extends NameContext>(
    replica: ContainerReplica,
    operation: Operation<Q, R, C>,
    request: Q,
    context: C,
    options: Options,
  ): Promise<Performed<R>> => {
    const { ticket } = request
    replica.demandWritable(ticket.epoch)
    const { retries } = replica.storage.index
    const done = retries.find(ticket)
    if (done !== undefined) return again(replica, operation, request, context, done)
    if (retries.isOver(ticket) || replica.unrecorded.isOver(ticket))
      throw new Failure('INVALID', 'the client does not wait for this call any more')
    const answered = replica.unrecorded.find(ticket)
    if (answered !== undefined) return answered as Promise<Performed<R>>
    const { payload = [], sums = noSums, stable } = options
    const size = payloadBytes(payload)
    environment.resyncs.foreground(size)
    verifyPayload(payload, size, sums)
    replica.storage.index.look()
    try {
      if (options.grows && replica.full)
        throw new Failure('NO_SPACE', 'a fileserver of this container has no space left')
      const { changes, reply, result } = operation.perform(replica.view, request, size, context)
      if (changes.length === 0)
        return replica.unrecorded.add(ticket, settled(replica, { reply, at: replica.core.committed }))
      if (replica.roomBytes === 0)
        throw new Failure('NO_SPACE', 'a fileserver of this container has no space left, not even for deletions')
      const addition = {
        kind: 'operation',
        stable,
        ticket,
        result,
        changes,
        sums,
        payload,
        payloadBytes: size,
      } as const
      const added = replica.append(addition)
      return added.acknowledged.then(() => ({ reply, at: added.sequence }))
    } catch (error) {
      const failed = settled(replica, undefined).then(() => {
        throw error
      })
      const final = !isFailure(error) || error.row.retry === 'never'
      return final ? replica.unrecorded.add(ticket, failed) : failed
    }
  }

  /** What a call is about may itself not be settled yet when it leaves no record: its answer waits for that. */
  const settled = async <T>(replica: ContainerReplica, answer: T): Promise<T> => {
    await replica.settled()
    return answer
  }

  /** The answer of a call that was done before. */
  const again = async <Q extends { readonly ticket: Ticket }, R, C extends NameContext>(
    replica: ContainerReplica,
    operation: Operation<Q, R, C>,
    request: Q,
    context: C,
    done: { readonly result: number; readonly sequence: number; readonly stable: boolean },
  ): Promise<Performed<R>> => {
    const at = sequence(done.sequence)
    await replica.acknowledged(at, done.stable)
    return { reply: await replica.query(() => operation.repeat(replica.view, request, done.result, context)), at }
  }

  /** A mutation without a token in its reply, in the container of `container`. */
  const change = async <Q extends { readonly ticket: Ticket }, R>(
    container: ContainerId,
    operation: Operation<Q, R, NameContext>,
    request: Q,
    options: Options,
  ): Promise<Reply<R>> => {
    const replica = replicas.get(container)
    replica.demandWritable()
    return { reply: (await mutate(replica, operation, request, contextOf(replica), options)).reply }
  }

  /** The same with a token. */
  const write = async <Q extends { readonly ticket: Ticket }, R>(
    container: ContainerId,
    operation: Operation<Q, R, NameContext>,
    request: Q,
    options: Options,
  ): Promise<Reply<R & { token: ReturnType<ContainerReplica['token']> }>> => {
    const replica = replicas.get(container)
    replica.demandWritable()
    const { reply, at } = await mutate(replica, operation, request, contextOf(replica), options)
    return { reply: { ...reply, token: replica.token(at) } }
  }

  const kept = { stable: true, grows: false } as const
  const growing = { stable: true, grows: true } as const

  return {
    getattr: (request) => query(request.fid.container, queries.getattr, request),
    lookup: (request) => query(request.directory.container, queries.lookup, request),
    access: (request) => query(request.fid.container, queries.access, request),
    readlink: (request) => query(request.fid.container, queries.readlink, request),

    readdir: async (request) => {
      const replica = replicas.get(request.directory.container)
      replica.demandMaster()
      const { epoch } = replica.core
      try {
        return { reply: await queries.readdir(replica.view, request, contextOf(replica)) }
      } finally {
        replica.demandMaster(epoch)
        await replica.settled(replica.storage.index.latest)
      }
    },

    read: (request) => {
      const what = () => `file ${formatFid(request.fid)}`
      return bytes(request.fid.container, queries.read, request, ({ reply }) => reply, what)
    },
    readChunk: (request) => {
      const { container, index, owner } = request.chunk
      const what = () => `chunk ${index} of file ${formatFid(owner)}`
      return bytes(container, queries.readChunk, request, ({ cut }) => ({ cut }), what)
    },

    setattr: async (request) => {
      const answer = await change(request.fid.container, mutations.setattr, request, kept)
      return request.changes.sizeBytes === undefined ? answer : trimmed(answer)
    },

    create: async (request, payload) => {
      const options = { ...growing, payload, sums: request.sums }
      const answer = await change(request.directory.container, mutations.create, request, options)
      return answer.reply.created || request.changes.sizeBytes === undefined ? answer : trimmed(answer)
    },

    remove: (request) => change(request.directory.container, mutations.remove, request, kept),
    rename: (request) => change(request.source.container, mutations.rename, request, kept),
    link: (request) => change(request.fid.container, mutations.link, request, growing),

    write: (request, payload) => {
      const options = { stable: request.stable, grows: true, payload, sums: request.sums }
      return write(request.fid.container, mutations.write, request, options)
    },

    extend: (request) =>
      write(request.fid.container, mutations.extend, request, { stable: request.stable, grows: false }),

    map: async (request) => {
      if (!request.allocate) {
        const { perform } = mutations.map
        const context = { dataContainers: [], random: 0 }
        return query(
          request.fid.container,
          (view, asked, own) => perform(view, asked, 0, { ...own, ...context }).reply,
          request,
        )
      }
      const replica = replicas.get(request.fid.container)
      replica.demandMaster()
      const dataContainers = await volumes.of(replica.location!.volume)
      replica.demandWritable()
      const context: MapContext = { ...contextOf(replica), dataContainers, random: environment.random() }
      return { reply: (await mutate(replica, mutations.map, request, context, growing)).reply }
    },

    writeChunk: (request, payload) => {
      const options = { stable: request.stable, grows: true, payload, sums: request.sums }
      return write(
        request.chunk.container,
        mutations.writeChunk as Operation<typeof request, object, NameContext>,
        request,
        options,
      )
    },

    trimChunk: (request) => change(request.chunk.container, mutations.trimChunk, request, kept),

    sync: async ({ token }) => {
      await replicas.get(token.container).syncTo(token)
      return { reply: {} }
    },
  }

  /** What a file was cut by is forgotten before the cut is answered: it must not come back when the file grows again. */
  async function trimmed<R extends { readonly attributes: Attributes }>(answer: Reply<R>): Promise<Reply<R>> {
    const { attributes } = answer.reply
    const replica = replicas.get(attributes.fid.container)
    for (;;) {
      const { epoch } = replica.core
      const orphan = await orphanOf(replica.view, attributes.fid)
      if (orphan === undefined)
        return { ...answer, reply: { ...answer.reply, attributes: { ...attributes, trimmed: attributes.cut } } }
      await reclaim.work(replica, orphan, epoch)
    }
  }
}

/** The data containers of each volume that take new chunks, as the CLDB said lately. */
class DataContainers {
  readonly #environment: Environment
  readonly #cldb: Cldb
  readonly #known = new Map<
    string,
    { readonly untilMs: number; readonly containers: Promise<readonly ContainerId[]> }
  >()

  constructor(environment: Environment, cldb: Cldb) {
    this.#environment = environment
    this.#cldb = cldb
  }

  of(volume: string): Promise<readonly ContainerId[]> {
    const now = this.#environment.clock.monotonicMs()
    const known = this.#known.get(volume)
    if (known !== undefined && now < known.untilMs) return known.containers
    const containers = this.#cldb
      .call(control.calls.allocate, { volume }, cldbTimeoutMs)
      .then((reply) => reply.containers)
    this.#known.set(volume, { untilMs: now + dataContainersMs, containers })
    containers.catch(() => this.#known.delete(volume))
    return containers
  }
}
