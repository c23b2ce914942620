/**
 * Configuration files: a table of settings says every key, its check, its default and what it is for.
 *
 * Pure. Each server has one such table in its `config.ts`; the parsed result is typed by it, complete and frozen.
 * Durations and sizes are plain numbers with the unit at the end of the key (`leaseMs`, `reserveBytes`). What does
 * not fit is a Failure INVALID that names the key: an unknown one with the nearest that is known.
 */
import { Failure } from './failures.ts'

/** One key of a configuration file. A setting without a `fallback` must be given. */
export type Setting<T> = {
  readonly doc: string
  readonly expected: string
  readonly fallback: T | undefined
  /** @returns the value, or `undefined` when it is not what `expected` says. */
  readonly read: (value: unknown) => T | undefined
}
export type Settings = { readonly [name: string]: Setting<unknown> }
export type ConfigOf<S extends Settings> = {
  readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never
}

type Default<T> = { readonly default?: T }
type Range = Default<number> & { readonly min?: number; readonly max?: number }

function setting<T>(
  doc: string,
  options: Default<T>,
  expected: string,
  read: (value: unknown) => T | undefined,
): Setting<T> {
  return { doc, expected, fallback: options.default, read }
}

/** A whole number from `min` (0) to `max` (2^53 - 1). */
export function natural(doc: string, options: Range = {}): Setting<number> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = options
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`
  return setting(doc, options, `a whole number ${range}`, (value) =>
    Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max ? (value as number) : undefined,
  )
}

export function flag(doc: string, options: Default<boolean> = {}): Setting<boolean> {
  return setting(doc, options, 'true or false', (value) => (typeof value === 'boolean' ? value : undefined))
}

/** A text that is not empty; only a default may be. */
export function text(doc: string, options: Default<string> = {}): Setting<string> {
  return setting(doc, options, 'a text', (value) => (typeof value === 'string' && value !== '' ? value : undefined))
}

const addressOf = (value: unknown): string | undefined => {
  const port = typeof value === 'string' ? /^[^\s,]+:(\d{1,5})$/.exec(value)?.[1] : undefined
  return port !== undefined && Number(port) <= 65535 ? (value as string) : undefined
}

/** `host:port`. */
export function address(doc: string, options: Default<string> = {}): Setting<string> {
  return setting(doc, options, '"host:port"', addressOf)
}

/** A list of at least one `host:port`. */
export function addresses(doc: string, options: Default<readonly string[]> = {}): Setting<readonly string[]> {
  return setting(doc, options, 'a list of "host:port"', (value) =>
    Array.isArray(value) && value.length > 0 && value.every((item) => addressOf(item) !== undefined)
      ? Object.freeze([...(value as string[])])
      : undefined,
  )
}

/** @param json a parsed configuration file. @throws Failure INVALID naming the key, its value and what was expected. */
export function parseConfig<const S extends Settings>(settings: S, json: unknown): ConfigOf<S> {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new Failure('INVALID', `a configuration must be a JSON object, not ${shown(json)}`)
  const config: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(json)) {
    const setting = Object.hasOwn(settings, key) ? settings[key] : undefined
    if (setting === undefined)
      throw new Failure('INVALID', `unknown setting "${key}"; the nearest known one is "${nearest(key, settings)}"`)
    config[key] = setting.read(value)
    if (config[key] === undefined)
      throw new Failure('INVALID', `"${key}" must be ${setting.expected}, not ${shown(value)}`)
  }
  for (const [key, { expected, fallback }] of Object.entries(settings)) {
    if (config[key] === undefined) config[key] = fallback
    if (config[key] === undefined) throw new Failure('INVALID', `"${key}" is missing: ${expected}`)
  }
  return Object.freeze(config) as ConfigOf<S>
}

function shown(value: unknown): string {
  const json = JSON.stringify(value) ?? String(value)
  return json.length > 80 ? `${json.slice(0, 77)}...` : json
}

function nearest(key: string, settings: Settings): string {
  const names = Object.keys(settings)
  const distances = names.map((name) => distance(key.toLowerCase(), name.toLowerCase()))
  return names[distances.indexOf(Math.min(...distances))] ?? ''
}

/** Levenshtein distance of two short texts. */
function distance(source: string, target: string): number {
  let row = Array.from({ length: target.length + 1 }, (_, i) => i)
  for (let i = 1; i <= source.length; i++) {
    const next = [i]
    for (let j = 1; j <= target.length; j++)
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (source[i - 1] === target[j - 1] ? 0 : 1))
    row = next
  }
  return row[target.length]!
}
