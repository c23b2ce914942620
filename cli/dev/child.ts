/**
 * One server process of the embedded cluster: started, watched, started again when it dies unexpectedly.
 *
 * The child runs in a process group of its own, so that Ctrl-C reaches only the parent, which stops its children in
 * order. Over the IPC channel the child says that it is ready; when the parent dies, the channel's end stops the child.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

export type Child = {
  readonly name: string
  /** Of the running process, if there is one. */
  readonly pid: () => number | undefined
  /** Where it listens; empty until it was ready once. */
  readonly address: () => string
  /** Starts it and waits until it is ready. */
  readonly start: () => Promise<void>
  /** SIGKILL, with no restart until `start`. */
  readonly kill: () => Promise<void>
  /** SIGTERM, then SIGKILL for one that does not end. */
  readonly stop: () => Promise<void>
}

export type ChildOptions = {
  readonly name: string
  /** Arguments of the `holdfast` command. */
  readonly command: readonly string[]
  /** Where its log goes, appended. */
  readonly logFile: string
  /** Told to the person at the terminal. */
  readonly say: (line: string) => void
}

/** What a server says over IPC once it serves. */
export type Ready = { readonly ready: string }

const self = fileURLToPath(import.meta.url)
const main = fileURLToPath(new URL(`../main${extname(self)}`, import.meta.url))

const readyWithinMs = 60_000
const endsWithinMs = 15_000
const firstDelayMs = 250
const longestDelayMs = 8_000
/** A child that has run this long starts again with the first delay. */
const steadyMs = 10_000

export function child({ name, command, logFile, say }: ChildOptions): Child {
  let running: ChildProcess | undefined
  let wanted = false
  let address = ''
  let delayMs = firstDelayMs
  let restart: NodeJS.Timeout | undefined

  function launch(): Promise<void> {
    const log = openSync(logFile, 'a')
    const process_ = spawn(process.execPath, [...process.execArgv, main, ...command], {
      stdio: ['ignore', 'ignore', log, 'ipc'],
      detached: true,
    })
    closeSync(log)
    running = process_
    const startedMs = performance.now()
    return new Promise((resolve, reject) => {
      let ready = false
      const late = setTimeout(() => {
        reject(new Error(`${name} was not ready after ${readyWithinMs / 1000} s; its log is ${logFile}`))
      }, readyWithinMs)
      process_.once('message', (message: Ready) => {
        ready = true
        address = message.ready
        clearTimeout(late)
        resolve()
      })
      process_.once('error', reject)
      process_.once('exit', (code, signal) => {
        clearTimeout(late)
        if (running === process_) running = undefined
        if (!ready) reject(new Error(`${name} did not start: ${lastLine(logFile)}`))
        if (!wanted || !ready) return
        if (performance.now() - startedMs > steadyMs) delayMs = firstDelayMs
        again(`${name} died (${signal ?? `exit code ${code}`})`)
      })
    })
  }

  function again(why: string): void {
    say(`${why}; starting it again in ${delayMs / 1000} s`)
    restart = setTimeout(() => {
      launch().then(
        () => say(`${name} is back at ${address}`),
        (error: Error) => wanted && again(error.message),
      )
    }, delayMs)
    delayMs = Math.min(delayMs * 2, longestDelayMs)
  }

  async function end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    wanted = false
    clearTimeout(restart)
    const process_ = running
    if (process_ === undefined) return
    const ended = new Promise((resolve) => process_.once('exit', resolve))
    process_.kill(signal)
    const late = setTimeout(() => process_.kill('SIGKILL'), endsWithinMs)
    await ended
    clearTimeout(late)
  }

  return {
    name,
    pid: () => running?.pid,
    address: () => address,
    start: () => {
      wanted = true
      return launch()
    },
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
  }
}

/** Of a log file: what the child said last, as a person would read it. */
function lastLine(logFile: string): string {
  const line = readFileSync(logFile, 'utf8').trimEnd().split('\n').at(-1)
  return line === undefined || line === '' ? `it said nothing in ${logFile}` : line.replace(/^holdfast: /, '')
}
