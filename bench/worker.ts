/**
 * Child processes of the benchmark: started, called, accounted for and stopped here.
 *
 * Not pure. A worker is one of the benchmark's own programs: its parent calls its tasks by name over Node.js's IPC, one
 * message each way. Servers are started by `launch` alone. CPU time is utime + stime of /proc/PID/stat (proc(5)): all
 * threads of the process, its system calls included, without what the kernel writes back on its own.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** USER_HZ of every Linux that Node.js runs on: clock ticks a second in /proc. */
const ticksPerSecond = 100
const stopMs = 20_000

export type Tasks = { readonly [name: string]: (argument: never) => unknown }
export type Argument<T extends Tasks, K extends keyof T> = Parameters<T[K]>[0]
export type Result<T extends Tasks, K extends keyof T> = Awaited<ReturnType<T[K]>>

export type Program = {
  readonly name: string
  readonly pid: number
  readonly cpuSeconds: () => number
  /** SIGTERM, so that a CPU profile is written; SIGKILL and an error after 20 s. */
  readonly stop: () => Promise<void>
  /** SIGKILL; settles when the process is gone. */
  readonly kill: () => Promise<void>
}

export type Worker<T extends Tasks> = Program & {
  readonly call: <K extends keyof T & string>(task: K, argument: Argument<T, K>) => Promise<Result<T, K>>
}

/** Directory for CPU profiles; undefined: none are made. */
export type Profiling = string | undefined

type Request = { readonly id: number; readonly task: string; readonly argument: never }
type Response = { readonly id: number; readonly value?: unknown; readonly failure?: string }

/** Path of a sibling program, compiled or not, as the one that asks (`import.meta.url`) is. */
export function programPath(name: string, from: string): string {
  return fileURLToPath(new URL(`${name}${extname(fileURLToPath(from))}`, from))
}

/** A directory for each process, where each of its threads writes a file. */
const profileFlags = (name: string, profiling: Profiling): string[] =>
  profiling === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${join(profiling, name)}`]

/** @returns utime + stime of the content of a /proc/PID/stat; the command's name may hold any character. */
export function parseCpuSeconds(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
}

export const cpuSeconds = (programs: readonly Program[]): number =>
  programs.reduce((sum, program) => sum + program.cpuSeconds(), 0)

/** Starts a server, `node path ...`, with an IPC channel; its output goes to `output`, a file descriptor. */
export function launch(
  name: string,
  path: string,
  parameters: readonly string[],
  output: number,
  profiling: Profiling,
): Program & { readonly child: ChildProcess } {
  const child = fork(path, parameters, {
    execArgv: [...process.execArgv, ...profileFlags(name, profiling)],
    stdio: ['ignore', output, output, 'ipc'],
  })
  return { ...programOf(name, child), child }
}

export function startWorker<T extends Tasks>(name: string, path: string, profiling: Profiling): Worker<T> {
  const child = fork(path, [], { execArgv: [...process.execArgv, ...profileFlags(name, profiling)] })
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>()
  let calls = 0
  child.on('message', (message) => {
    const response = message as Response
    const caller = waiting.get(response.id)
    waiting.delete(response.id)
    if (response.failure === undefined) caller?.resolve(response.value as never)
    else caller?.reject(new Error(`${name}: ${response.failure}`))
  })
  child.on('exit', (code, signal) => {
    for (const caller of waiting.values()) caller.reject(new Error(`${name} ended: ${signal ?? code}`))
    waiting.clear()
  })
  return {
    ...programOf(name, child),
    call: (task, argument) =>
      new Promise((resolve, reject) => {
        const id = calls++
        waiting.set(id, { resolve, reject })
        child.send({ id, task, argument }, (error) => error !== null && reject(error))
      }),
  }
}

/** In the worker: answers its parent's calls, and ends with it or at SIGTERM. */
export function serve(tasks: Tasks): void {
  process.on('message', async (message) => {
    const { id, task, argument } = message as Request
    try {
      process.send?.({ id, value: await tasks[task]?.(argument) })
    } catch (error) {
      process.send?.({ id, failure: error instanceof Error ? error.stack : String(error) })
    }
  })
  process.on('disconnect', () => process.exit())
  process.on('SIGTERM', () => process.exit())
}

function programOf(name: string, child: ChildProcess): Program {
  const pid = child.pid
  if (pid === undefined) throw new Error(`${name} could not be started`)
  return {
    name,
    pid,
    cpuSeconds: () => parseCpuSeconds(readFileSync(`/proc/${pid}/stat`, 'latin1')),
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exit = once(child, 'exit')
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), stopMs)
      await exit
      clearTimeout(timer)
      if (child.signalCode === 'SIGKILL') throw new Error(`${name} did not end within ${stopMs} ms of SIGTERM`)
    },
    kill: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
    },
  }
}
