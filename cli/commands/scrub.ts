/**
 * `holdfast scrub`: has the fileservers read and check their replicas now, and says what they found.
 *
 * Every in-sync replica of each container is read by the server that holds it. Exit code 1 when damage is left, or when a
 * replica could not be checked. Each server numbers what it was asked for; `--status` tells of all that they know, whoever
 * asked.
 */
import { type Command, InvalidArgumentError } from 'commander'
import type { Client } from '../../client/index.ts'
import { systemClock } from '../../protocol/clock.ts'
import { pause } from '../../protocol/cluster/backoff.ts'
import { Connections } from '../../protocol/cluster/connections.ts'
import { Failure, isFailure } from '../../protocol/failures.ts'
import { type ContainerId, containerId, type ServerId } from '../../protocol/ids.ts'
import type { Location } from '../../protocol/messages/attributes.ts'
import { control } from '../../protocol/messages/control.ts'
import { maintenance, type ScrubReport, scrubContainersMax } from '../../protocol/messages/maintenance.ts'
import { tcpTransport } from '../../protocol/transport/tcp.ts'
import { containersOf } from '../containers.ts'
import { explain, UsageError } from '../failure.ts'
import { formatBytes, print, table } from '../output.ts'
import { type Progress, progress } from '../progress.ts'
import { callMs, withClient } from '../session.ts'

const { scrub, scrubbed, scrubs } = maintenance.calls

const pollMs = 250
/** A server that is silent for this long is given up. */
const silentMs = 15_000

type Options = {
  readonly container?: ContainerId
  readonly volume?: string
  readonly all?: boolean
  readonly wait?: boolean
  readonly status?: boolean
}

/** What one server is asked for, in one call. */
type Part = { readonly server: ServerId; readonly address: string; readonly containers: readonly ContainerId[] }
type Named = Pick<Part, 'server' | 'address'>
type Result = Named & Partial<ScrubReport> & { readonly run?: number; readonly failure?: string }
type Manner = 'start' | 'wait' | 'status'

function idOf(text: string): ContainerId {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value > 0) return containerId(value)
  throw new InvalidArgumentError('A container is a number from 1.')
}

export function scrubCommand(program: Command): void {
  program
    .command('scrub')
    .description('read and check every copy of containers now, and repair what is damaged')
    .option('--container <number>', 'one container', idOf)
    .option('--volume <name>', 'all containers of a volume')
    .option('--all', 'all containers of the cluster')
    .option('--wait', 'wait until it is done, and say what was found')
    .option('--status', 'say how far the scrubs are that were asked for, and what the latest found')
    .action((options: Options, command: Command) =>
      withClient(command, async (client, { json }) => {
        const { status = false, wait = false } = options
        const connections = new Connections(tcpTransport({ role: 'client', cluster: () => '', clock: systemClock }))
        const bar = progress('scrub', 0)
        try {
          const results = status
            ? await known(connections, await serversOf(client, options))
            : await Promise.all(
                partsOf(await locationsOf(client, options)).map((part) => run(connections, part, wait, bar)),
              )
          bar.done()
          print(json, { servers: results }, () => textOf(results, status ? 'status' : wait ? 'wait' : 'start'))
          // What an earlier scrub found may have been repaired since.
          if (results.some((result) => (status ? result.failure !== undefined : isWrong(result)))) process.exitCode = 1
        } finally {
          bar.done()
          connections.close()
        }
      }),
    )
}

async function locationsOf(client: Client, { container, volume, all }: Options): Promise<readonly Location[]> {
  if ([container, volume, all].filter((option) => option !== undefined).length !== 1)
    throw new UsageError('one of --container, --volume and --all says what to scrub')
  if (container === undefined) return containersOf(client, volume === undefined ? {} : { volume })
  const { locations } = await client.cldb.call(control.calls.locate, { containers: [container] }, callMs)
  if (locations.length === 0) throw new Failure('NOT_FOUND', `no container ${container}`)
  return locations
}

function partsOf(locations: readonly Location[]): Part[] {
  const held = new Map<ServerId, { address: string; containers: ContainerId[] }>()
  for (const { container, inSync, servers } of locations) {
    for (const server of inSync) {
      const address = servers.find((other) => other.server === server)?.address ?? ''
      const known = held.get(server)
      if (known === undefined) held.set(server, { address, containers: [container] })
      else known.containers.push(container)
    }
  }
  return [...held].flatMap(([server, { address, containers }]) =>
    Array.from({ length: Math.ceil(containers.length / scrubContainersMax) }, (_, i) => ({
      server,
      address,
      containers: containers.slice(i * scrubContainersMax, (i + 1) * scrubContainersMax),
    })),
  )
}

type Bar = Progress & { readonly grow: (bytes: number) => void }

async function run(connections: Connections, part: Part, wait: boolean, bar: Bar): Promise<Result> {
  const { server, address, containers } = part
  const who = { server, address }
  let latest: (ScrubReport & { readonly run: number }) | undefined
  try {
    const connection = await connections.open(address, callMs)
    const { reply } = await connection.call(scrub, { containers }, { timeoutMs: callMs })
    bar.grow(reply.report.totalBytes)
    latest = { run: reply.run, ...reply.report }
    let heardMs = performance.now()
    while (wait && !latest.done) {
      await pause(systemClock, pollMs)
      try {
        const again = await connections.open(address, callMs)
        const answer = await again.call(scrubbed, { run: reply.run }, { timeoutMs: callMs })
        bar.add(answer.reply.report.checkedBytes - latest.checkedBytes)
        latest = { run: reply.run, ...answer.reply.report }
        heardMs = performance.now()
      } catch (error) {
        const lasting = !isFailure(error, 'UNAVAILABLE', 'DEADLINE') || performance.now() - heardMs > silentMs
        if (lasting) throw error
      }
    }
    return { ...who, ...latest }
  } catch (error) {
    if (!isFailure(error)) throw error
    return { ...who, ...latest, failure: explain(error) }
  }
}

/** Those that may answer: whatever a dead one was asked for is over. */
async function serversOf(client: Client, { container, volume, all, wait }: Options): Promise<readonly Named[]> {
  if ([container, volume, all, wait].some((option) => option !== undefined))
    throw new UsageError('--status goes with no other option')
  const { servers } = await client.cldb.call(control.calls.status, {}, callMs)
  return servers.filter(({ state }) => state !== 'dead')
}

async function known(connections: Connections, servers: readonly Named[]): Promise<readonly Result[]> {
  const results = servers.map(async ({ server, address }): Promise<readonly Result[]> => {
    try {
      const connection = await connections.open(address, callMs)
      const { runs } = (await connection.call(scrubs, {}, { timeoutMs: callMs })).reply
      const all: Result[] = []
      for (const run of runs) {
        const { report } = (await connection.call(scrubbed, { run }, { timeoutMs: callMs })).reply
        all.push({ server, address, run, ...report })
      }
      return all
    } catch (error) {
      if (!isFailure(error)) throw error
      return [{ server, address, failure: explain(error) }]
    }
  })
  return (await Promise.all(results)).flat()
}

const isWrong = ({ failure, remaining = 0, unchecked = 0 }: Result): boolean =>
  failure !== undefined || remaining > 0 || unchecked > 0

const columns: Readonly<Record<Manner, readonly string[]>> = {
  start: ['>containers', '>to read'],
  wait: ['>containers', '>read', '>found', '>repaired', '>remaining', '>unchecked'],
  status: ['>checked', '>of', '>read', '>to read', '>found', '>repaired', '>remaining', '>unchecked'],
}

function textOf(results: readonly Result[], manner: Manner): string {
  if (results.length === 0) return manner === 'status' ? 'No scrub was asked for.' : 'No container.'
  const rows = results.map(({ server, address, run = '-', containers = 0, totalBytes = 0, ...report }) => {
    const { containersChecked = 0, checkedBytes = 0, found = 0, repaired = 0, remaining = 0, unchecked = 0 } = report
    const [read, toRead] = [formatBytes(checkedBytes), formatBytes(totalBytes)]
    const findings = [found, repaired, remaining, unchecked]
    const cells = {
      start: [containers, toRead],
      wait: [containers, read, ...findings],
      status: [containersChecked, containers, read, toRead, ...findings],
    }
    return [server, address, run, ...cells[manner]]
  })
  const problems = results.flatMap(({ address, failure, problems = [] }) => [
    ...(failure === undefined ? [] : [`${address}: ${failure}`]),
    ...problems.map(({ container, problem }) => `${address}: container ${container}: ${problem}`),
  ])
  const all = table(['server', 'address', '>run', ...columns[manner]], rows)
  return [all, ...(problems.length > 0 ? [problems.join('\n')] : [])].join('\n\n')
}
