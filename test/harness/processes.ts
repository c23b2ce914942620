/**
 * Real processes, each in a process group of its own, with its output in a file.
 *
 * Not pure. A process never outlives the test: it is killed at exit, and by the kernel (`setpriv --pdeathsig`) when
 * the test itself is killed. Only processes that were started here are ever signalled.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { atExit } from './cleanup.ts'
import { entering, type Namespace } from './namespace.ts'

export type Exit = { readonly status: number | null; readonly signal: NodeJS.Signals | null }

export type Started = {
  readonly name: string
  readonly pid: number
  readonly child: ChildProcess
  readonly running: () => boolean
  readonly exited: Promise<Exit>
  /** Signals the whole process group; nothing when it is gone. */
  readonly signal: (signal: NodeJS.Signals) => void
  /** SIGKILL, and waits until the process is gone. */
  readonly kill: () => Promise<void>
  readonly logFile: string
}

export type Launch = {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** Standard output and error are appended here. */
  readonly logFile: string
  readonly namespace?: Pick<Namespace, 'name'> | undefined
  readonly environment?: Readonly<Record<string, string>>
  /** Leaves standard input and output to the caller as pipes; the log then holds standard error alone. */
  readonly piped?: boolean
}

export function start(launch: Launch): Started {
  const log = openSync(launch.logFile, 'a')
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', ...entering(launch.namespace), launch.command, ...launch.args],
    {
      detached: true,
      stdio: launch.piped === true ? ['pipe', 'pipe', log] : ['ignore', log, log],
      env: { ...process.env, ...launch.environment },
    },
  )
  closeSync(log)
  let running = true
  const exited = new Promise<Exit>((resolve) => {
    child.on('error', () => resolve({ status: null, signal: null }))
    child.on('exit', (status, signal) => resolve({ status, signal }))
  })
  const signal = (name: NodeJS.Signals): void => {
    if (!running || child.pid === undefined) return
    try {
      process.kill(-child.pid, name)
    } catch {
      // Gone already: its exit is on the way to us.
    }
  }
  const kill = atExit(() => signal('SIGKILL'))
  void exited.then(() => {
    running = false
    kill()
  })
  return {
    name: launch.name,
    pid: child.pid ?? 0,
    child,
    running: () => running,
    exited,
    signal,
    kill: async () => {
      signal('SIGKILL')
      await exited
    },
    logFile: launch.logFile,
  }
}

/** Last lines of what a process said. */
export function tail(logFile: string, lines = 30): string {
  const text = readFileSync(logFile, 'utf8')
  return text.trimEnd().split('\n').slice(-lines).join('\n')
}

/** Whether the process's network namespace has a listener on the TCP port; false when the process is gone. */
export function listening(pid: number, port: number): boolean {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return ['tcp', 'tcp6'].some((table) =>
    tableOf(pid, table)
      .split('\n')
      .some((line) => {
        const [, local, , state] = line.trim().split(/\s+/)
        return state === '0A' && local?.endsWith(wanted) === true
      }),
  )
}

function tableOf(pid: number, table: string): string {
  try {
    return readFileSync(`/proc/${pid}/net/${table}`, 'utf8')
  } catch {
    return ''
  }
}

/** Asks every `everyMs` until `holds`; throws with `what` after `timeoutMs`. */
export async function until(
  what: string,
  timeoutMs: number,
  holds: () => boolean | Promise<boolean>,
  everyMs = 50,
): Promise<void> {
  const end = performance.now() + timeoutMs
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`)
    await sleep(everyMs)
  }
}
