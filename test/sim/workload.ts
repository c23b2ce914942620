/**
 * Clients of the simulated cluster: the real SDK below paths, doing random things and remembering the answers.
 */

import { remoteOperations } from '../../client/operations/operations.ts'
import { Remote } from '../../client/operations/remote.ts'
import { Tickets } from '../../client/operations/tickets.ts'
import { Volumes } from '../../client/operations/volumes.ts'
import type { Operations } from '../../client/operations.ts'
import { type Cldb, connectCldb } from '../../protocol/cluster/cldb.ts'
import { openContainers } from '../../protocol/cluster/containers.ts'
import { isFailure } from '../../protocol/failures.ts'
import { clientId, type Fid } from '../../protocol/ids.ts'
import type { Changes } from '../../protocol/messages/attributes.ts'
import { control } from '../../protocol/messages/control.ts'
import type { History, Recorded, UnsyncedWrite } from './checker/history.ts'
import { type DirectoryOperation, listed, type RegisterOperation } from './checker/model.ts'
import type { World } from './cluster/server.ts'
import { contentOf, lengthOf, writerOf } from './content.ts'
import type { Random } from './world/random.ts'
import { clockOf, Oscillator, Process } from './world/timeline.ts'

const credentials = { uid: 0, gid: 0, groups: [] }
const noChanges: Changes = {
  mode: undefined,
  uid: undefined,
  gid: undefined,
  sizeBytes: undefined,
  accessed: undefined,
  modified: undefined,
}
/** Of files, each behind the number of its directory: names move from one to the other. */
const names = ['0/a', '0/b', '1/a', '1/b']
const directoriesEach = 2
const slotBytes = 6000
/** Over three chunks, whose first bytes would be inline. */
const slotOffsets = [64 * 1024, 120 * 1024, 128 * 1024, 300 * 1024]
/** That one of a file which is cut: bytes of the chunk before it stay. */
const cutSlot = 1
/** In another chunk than `cutSlot`. */
const lateSlot = 2
export const chunkBytes = 128 * 1024
const timeoutMs = 20_000
/** How often a client gives way to a new one, which knows nothing of where masters are. */
const renewal = 0.1
/** Operations that one client has under way at most. */
const underWayMax = 12
/** With as many under way it changes nothing more. */
const waitingMax = 3

type Connected = { readonly process: Process; readonly operations: Operations; readonly cldb: Cldb }

function connect(world: World, name: string, id: number, random: Random): Connected {
  const process = new Process(name)
  const clock = clockOf(world.network.timeline, process, new Oscillator(world.network.timeline, 1))
  const options = { clock, random: random.next }
  const cldb = connectCldb({ ...options, addresses: ['cldb:7400'], dial: () => world.cldb.dial(process) })
  const containers = openContainers({ ...options, cldb, transport: world.wires.transport(process) })
  const remote = new Remote(containers, new Tickets(clientId(id)), timeoutMs)
  return { process, operations: remoteOperations(remote, new Volumes(cldb, timeoutMs)), cldb }
}

/** Directories of small files, and large files: with durable writes, with writes that are synced later, and one that is cut. */
type Place = {
  readonly directories: readonly Fid[]
  readonly large: Fid
  readonly unsynced: Fid
  /** A large file with one slot, which is written, and cut off again: that counts as a write of zeros. */
  readonly cut: Fid
  /** A directory of large files that are removed. */
  readonly doomed: Fid
  readonly cuts: Recorded<RegisterOperation>[]
  /** Of the files that were made in the directories, by the number of the write that made them. */
  readonly fids: Map<number, Fid>
}

export class Workload {
  stopping = false
  /** Clients at work. */
  running = 0
  readonly #world: World
  readonly #history: History
  readonly #random: Random
  readonly #clients: Connected[]
  readonly #places: Place[] = []
  /** Clients so far. */
  #made = 0
  #value = 0

  constructor(world: World, history: History, random: Random, clients: number) {
    this.#world = world
    this.#history = history
    this.#random = random
    this.#clients = Array.from({ length: clients }, (_, number) => this.#connect(number))
  }

  #connect(number: number): Connected {
    this.#made += 1
    return connect(this.#world, `c${number}`, 1000 + this.#made, this.#random.split())
  }

  /** Makes the volume and what is in it at first. */
  async prepare(replication: number, places: number): Promise<void> {
    const { cldb, operations } = this.#clients[0]!
    const request = { name: 'home', mountPath: '/home', replication, minimum: 2, topology: '/', chunkBytes }
    const { volume } = await cldb.call(control.calls.createVolume, request, timeoutMs)
    const make = async (name: string, kind: 'file' | 'directory'): Promise<Fid> => {
      const creation = { kind, how: 'guarded', changes: noChanges } as const
      return (await operations.create(credentials, volume.root, Buffer.from(name), creation)).attributes.fid
    }
    for (let i = 0; i < places; i++) {
      const directories: Fid[] = []
      for (let j = 0; j < directoriesEach; j++) directories.push(await make(`directory${i}.${j}`, 'directory'))
      const large = await make(`large${i}`, 'file')
      const unsynced = await make(`unsynced${i}`, 'file')
      const cut = await make(`cut${i}`, 'file')
      const doomed = await make(`doomed${i}`, 'directory')
      this.#places.push({ directories, large, unsynced, cut, doomed, cuts: [], fids: new Map() })
      this.#history.directories.push([])
      for (const _ of slotOffsets) {
        this.#history.registers.push([])
        this.#history.unsynced.push({ writes: [], reads: [] })
      }
    }
    for (const { cuts } of this.#places) this.#history.cuts.push(cuts)
  }

  /** Has every client work until `stopping`. */
  start(pauseMs: number): void {
    for (const number of this.#clients.keys()) void this.#loop(number, pauseMs)
  }

  async #loop(number: number, pauseMs: number): Promise<void> {
    let underWay = new Set<Promise<void>>()
    this.running += 1
    while (!this.stopping) {
      const burst = this.#random.chance(0.15) ? 2 + this.#random.below(6) : 1
      for (let i = 0; i < burst && underWay.size < underWayMax; i++) {
        const acts = underWay
        // Who waits for changes goes on reading; the first client never does anything else.
        const reads = number === 0 || underWay.size >= waitingMax
        const act = this.#guarded(() => this.#act(number, reads)).finally(() => acts.delete(act))
        acts.add(act)
      }
      // A client has patience for its answers, but not always.
      const patienceMs = this.#random.between(0, this.#random.chance(0.5) ? 20 : 2000)
      await Promise.race([Promise.all(underWay), this.#pause(patienceMs)])
      await this.#pause(this.#random.between(0, 2 * pauseMs))
      if (!this.#random.chance(renewal)) continue
      // What the old one has under way is left to the servers, and nobody hears of it.
      if (this.#random.chance(0.5)) {
        this.#clients[number]!.process.alive = false
        underWay = new Set()
      }
      this.#clients[number] = this.#connect(number)
    }
    await Promise.all(underWay)
    this.running -= 1
  }

  get #nowMs(): number {
    return this.#world.network.timeline.nowMs
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => void this.#world.network.timeline.after(delayMs, undefined, resolve))
  }

  /** Reads everything there is. */
  async readAll(): Promise<void> {
    for (const [at, { fids, directories }] of this.#places.entries()) {
      for (const directory of directories.keys())
        await this.#guarded(() => this.#directory(0, at, { type: 'list', directory }))
      for (const name of names) await this.#guarded(() => this.#directory(0, at, { type: 'lookup', name }))
      for (const id of fids.keys()) await this.#guarded(() => this.#directory(0, at, { type: 'read', id }))
      for (const slot of slotOffsets.keys()) {
        await this.#guarded(() => this.#register(0, at, slot, { type: 'read' }))
        await this.#guarded(() => this.#readUnsynced(0, at, slot))
      }
      await this.#guarded(() => this.#cut(0, at, { type: 'read' }))
    }
  }

  async #guarded(act: () => Promise<void>): Promise<void> {
    try {
      await act()
    } catch (error) {
      this.#world.report('a client met an unexpected failure', error)
    }
  }

  #act(number: number, onlyReads: boolean): Promise<void> {
    const random = this.#random
    // Half of all goes to one place, so that clients meet.
    const at = random.chance(0.5) ? 0 : random.below(this.#places.length)
    const kind = random.next()
    if (kind < 0.01 && !onlyReads) return this.#removed(number, at)
    if (kind < 0.6) return this.#directory(number, at, this.#choose(this.#places[at]!, onlyReads))
    if (kind < 0.66) {
      const value = random.chance(0.5) ? 0 : ++this.#value
      return this.#cut(number, at, onlyReads || random.chance(0.4) ? { type: 'read' } : { type: 'write', value })
    }
    const slot = random.chance(0.5) ? 0 : random.below(slotOffsets.length)
    const reads = onlyReads || random.chance(0.4)
    if (kind < 0.83)
      return this.#register(number, at, slot, reads ? { type: 'read' } : { type: 'write', value: ++this.#value })
    return reads ? this.#readUnsynced(number, at, slot) : this.#writeUnsynced(number, at, slot)
  }

  #choose({ fids }: Place, onlyReads: boolean): DirectoryOperation {
    const random = this.#random
    const name = random.pick(names)
    const directory = random.below(directoriesEach)
    const id = [...fids.keys()].at(-1 - random.below(3))
    if (onlyReads) {
      const one =
        id === undefined || random.chance(0.5) ? ({ type: 'lookup', name } as const) : ({ type: 'read', id } as const)
      return random.chance(0.1) ? { type: 'list', directory } : one
    }
    switch (random.below(id === undefined ? 5 : 9)) {
      case 0:
      case 1:
        return { type: 'create', name, id: ++this.#value }
      case 2:
        return { type: 'remove', name, id: 0 }
      case 3:
        return { type: 'lookup', name }
      case 4:
        return random.chance(0.3)
          ? { type: 'list', directory }
          : { type: 'rename', name, to: random.pick(names.filter((to) => to !== name)) }
      case 5:
        return { type: 'link', id: id!, name }
      case 6:
      case 7:
        return { type: 'write', id: id!, value: ++this.#value }
      default:
        return { type: 'read', id: id! }
    }
  }

  async #directory(number: number, at: number, what: DirectoryOperation): Promise<void> {
    const list = this.#history.directories[at]!
    await this.#recorded(list, number, what, () => this.#perform(number, this.#places[at]!, what))
  }

  /** Runs the operation, and notes its outcome if there is a definite one. */
  async #recorded<O extends { readonly type: string; outcome?: unknown }>(
    list: Recorded<O>[],
    number: number,
    what: O,
    perform: () => Promise<O['outcome']>,
  ): Promise<void> {
    const recorded = this.#history.begin(list, number, what)
    try {
      what.outcome = await perform()
    } catch (error) {
      if (!isFailure(error)) throw error
      if (error.row.retry !== 'never' || error.failure === 'NO_SPACE') {
        this.#history.unanswered += 1
        return
      }
      if (!['EXISTS', 'NOT_FOUND', 'STALE'].includes(error.failure)) throw error
      what.outcome = error.failure
    }
    recorded.returned = this.#history.place()
    this.#history.answered += 1
    this.#world.network.timeline.note(`c${number} ${JSON.stringify(what)}`)
  }

  async #perform(number: number, place: Place, what: DirectoryOperation): Promise<never> {
    return (await this.#outcome(number, place, what)) as never
  }

  async #outcome(number: number, place: Place, what: DirectoryOperation): Promise<DirectoryOperation['outcome']> {
    const { operations } = this.#clients[number]!
    const { directories, fids } = place
    const placeOf = (path: string): [Fid, Buffer] => {
      const [directory, name] = path.split('/') as [string, string]
      return [directories[Number(directory)]!, Buffer.from(name)]
    }
    switch (what.type) {
      case 'create': {
        const { id } = what
        const data = contentOf(id, lengthOf(id))
        const creation = { kind: 'file', how: 'guarded', changes: { ...noChanges, uid: id }, data } as const
        const { attributes } = await operations.create(credentials, ...placeOf(what.name), creation)
        fids.set(id, attributes.fid)
        return 'ok'
      }
      case 'remove':
        await operations.remove(credentials, ...placeOf(what.name), 'file')
        return 'ok'
      case 'lookup': {
        const { attributes } = await operations.lookup(credentials, ...placeOf(what.name))
        fids.set(attributes.uid, attributes.fid)
        return attributes.uid
      }
      case 'rename':
        await operations.rename(credentials, ...placeOf(what.name), ...placeOf(what.to), true)
        return 'ok'
      case 'link':
        await operations.link(credentials, fids.get(what.id)!, ...placeOf(what.name))
        return 'ok'
      case 'write':
        await operations.write(fids.get(what.id)!, 0, [contentOf(what.value, lengthOf(what.id))], true)
        return 'ok'
      case 'read': {
        const length = lengthOf(what.id)
        const { payload } = await operations.read(fids.get(what.id)!, 0, length)
        return this.#writerOf(payload, length)
      }
      case 'list': {
        const { entries } = await operations.readdir(credentials, directories[what.directory]!, 0, 100, false)
        return listed(entries.map(({ name }) => Buffer.from(name).toString()))
      }
    }
  }

  #writerOf(payload: readonly Uint8Array[], length: number): number {
    const value = writerOf(payload, length)
    if (value === undefined) this.#world.report(`a read of ${length} bytes shows bytes of no one write`)
    return value ?? 0
  }

  async #register(number: number, at: number, slot: number, what: RegisterOperation): Promise<void> {
    const list = this.#history.registers[at * slotOffsets.length + slot]!
    const { large } = this.#places[at]!
    await this.#recorded(list, number, what, async () => {
      if (what.type === 'read') return (await this.#readSlot(number, large, slot)) as never
      const { operations } = this.#clients[number]!
      await operations.write(large, slotOffsets[slot]!, [contentOf(what.value, slotBytes)], true)
      return 'ok' as never
    })
  }

  async #cut(number: number, at: number, what: RegisterOperation): Promise<void> {
    const { cut, cuts } = this.#places[at]!
    await this.#recorded(cuts, number, what, async () => {
      const { operations } = this.#clients[number]!
      if (what.type === 'read') return (await this.#readSlot(number, cut, cutSlot)) as never
      if (what.value === 0)
        await operations.setattr(credentials, cut, { ...noChanges, sizeBytes: slotOffsets[cutSlot]! })
      else await operations.write(cut, slotOffsets[cutSlot]!, [contentOf(what.value, slotBytes)], true)
      return 'ok' as never
    })
  }

  /**
   * A large file that nobody else knows is removed, perhaps while other bytes of it are written: as long as it is there, all of
   * it is, and nothing of it afterwards.
   */
  async #removed(number: number, at: number): Promise<void> {
    const { operations } = this.#clients[number]!
    const { doomed } = this.#places[at]!
    const value = ++this.#value
    const name = Buffer.from(`${value}`)
    try {
      const creation = { kind: 'file', how: 'guarded', changes: noChanges } as const
      const { fid } = (await operations.create(credentials, doomed, name, creation)).attributes
      const write = (slot: number) => operations.write(fid, slotOffsets[slot]!, [contentOf(value, slotBytes)], true)
      await Promise.all([write(cutSlot), write(lateSlot)])
      const removing = operations.remove(credentials, doomed, name, 'file').catch(() => {})
      if (this.#random.chance(0.5))
        this.#pause(this.#random.between(0, 3000))
          .then(() => write(lateSlot))
          .catch(() => {})
      for (let reads = 0; reads < 4; reads++) {
        await this.#pause(this.#random.between(0, 1500))
        if ((await this.#readSlot(number, fid, cutSlot)) !== value)
          this.#world.report(`file ${value} is there and has lost its bytes`)
        this.#history.answered += 1
      }
      await removing
    } catch (error) {
      if (!isFailure(error)) throw error
    }
  }

  async #readSlot(number: number, fid: Fid, slot: number): Promise<number> {
    const { payload } = await this.#clients[number]!.operations.read(fid, slotOffsets[slot]!, slotBytes)
    return this.#writerOf(payload, slotBytes)
  }

  async #writeUnsynced(number: number, at: number, slot: number): Promise<void> {
    const { operations } = this.#clients[number]!
    const value = ++this.#value
    const never = Number.POSITIVE_INFINITY
    const write: UnsyncedWrite = {
      value,
      called: this.#history.place(),
      calledMs: this.#nowMs,
      returned: never,
      synced: never,
      containers: [],
    }
    this.#history.unsynced[at * slotOffsets.length + slot]!.writes.push(write)
    try {
      const content = contentOf(value, slotBytes)
      const { tokens } = await operations.write(this.#places[at]!.unsynced, slotOffsets[slot]!, [content], false)
      write.containers = tokens.map(({ container }) => container)
      write.returned = this.#history.place()
      if (this.#random.chance(0.3)) await this.#pause(this.#random.between(0, 300))
      if (this.#random.chance(0.7)) await operations.sync(tokens)
      else return
      write.synced = this.#history.place()
      this.#history.answered += 1
    } catch (error) {
      if (!isFailure(error) || (error.row.retry === 'never' && !isFailure(error, 'UNSYNCED_LOST', 'NO_SPACE')))
        throw error
      if (isFailure(error, 'UNSYNCED_LOST') && !this.#history.mayBeLost(write, this.#nowMs))
        this.#world.report(`write ${value} is lost, although a replica in sync kept it`, error)
      this.#history.unanswered += 1
    }
  }

  async #readUnsynced(number: number, at: number, slot: number): Promise<void> {
    const called = this.#history.place()
    try {
      const value = await this.#readSlot(number, this.#places[at]!.unsynced, slot)
      this.#history.unsynced[at * slotOffsets.length + slot]!.reads.push({ value, called, answeredMs: this.#nowMs })
      this.#history.answered += 1
    } catch (error) {
      if (!isFailure(error) || error.row.retry === 'never') throw error
      this.#history.unanswered += 1
    }
  }
}
