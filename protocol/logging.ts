/**
 * Structured logging to stderr: JSON lines for machines, short lines where a person is looking.
 *
 * Not pure. The level comes from HOLDFAST_LOG (error, warn, info, debug or silent; `info` unless told). Code takes a
 * `Log` as an argument, so that pure code and tests can pass `silentLog`.
 */
import { Writable } from 'node:stream'
import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from 'pino'

type Write = (fields: Readonly<Record<string, unknown>>, message: string) => void

/** `fields` are what a machine searches by (`container`, `server`, `error`); `message` is a sentence for people. */
export type Log = { readonly error: Write; readonly warn: Write; readonly info: Write; readonly debug: Write }

const ignore: Write = () => {}
export const silentLog: Log = { error: ignore, warn: ignore, info: ignore, debug: ignore }

const names = ['error', 'warn', 'info', 'debug', 'silent']
let root: Logger | undefined

/** @param part who speaks: `cldb`, `fileserver`, `nfsd`, `client`. */
export function logger(part: string): Log {
  root ??= makeRoot()
  const child = root.child({ part })
  return {
    error: (fields, message) => child.error(plain(fields), message),
    warn: (fields, message) => child.warn(plain(fields), message),
    info: (fields, message) => child.info(plain(fields), message),
    debug: (fields, message) => child.debug(plain(fields), message),
  }
}

function makeRoot(): Logger {
  const wanted = process.env.HOLDFAST_LOG ?? 'info'
  const options = {
    level: names.includes(wanted) ? wanted : 'info',
    base: { pid: process.pid },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (level: string) => ({ level }) },
  }
  return pino(options, process.stderr.isTTY ? people() : destination({ fd: 2, sync: true }))
}

/** An error anywhere in the fields becomes its message (its stack at level debug); nothing else is changed. */
function plain(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const result: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(fields))
    result[key] = value instanceof Error ? (root?.level === 'debug' ? value.stack : value.message) : value
  return result
}

/** `12:00:00.123 warn  cldb: message key=value`. */
function people(): DestinationStream {
  return new Writable({
    decodeStrings: false,
    write(line: string, _encoding, done) {
      const { time, level, part, msg, pid, ...fields } = JSON.parse(line) as Record<string, unknown>
      const rest = Object.entries(fields).map(
        ([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
      )
      process.stderr.write(`${String(time).slice(11, 23)} ${String(level).padEnd(5)} ${part}: ${msg}${rest.join('')}\n`)
      done()
    },
  })
}
