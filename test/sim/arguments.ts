/**
 * What the simulator's commands take: a word that is wrong must not look like a run that found nothing.
 */
import { type ParseArgsConfig, parseArgs } from 'node:util'

function refuse(why: string): never {
  console.error(why)
  process.exit(2)
}

/** The command's options, as `parseArgs` gives them; one that is not known ends the process with 2. */
export function given<const T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>>['values'] {
  try {
    return parseArgs(config).values
  } catch (error) {
    return refuse((error as Error).message)
  }
}

export function number(name: string, text: string, least: number): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isSafeInteger(value) || value < least)
    refuse(`--${name} is a whole number of at least ${least}, not ${text}`)
  return value
}

export function fraction(name: string, text: string): number {
  const value = Number(text)
  if (!(value > 0 && Number.isFinite(value))) refuse(`--${name} is a number above 0, not ${text}`)
  return value
}

export const one = <T extends string>(name: string, text: string, known: readonly T[]): T =>
  known.find((other) => other === text) ?? refuse(`--${name}: ${text} is none of ${known.join(', ')}`)

/** The same of a list with commas. */
export const some = <T extends string>(name: string, text: string, known: readonly T[]): readonly T[] =>
  text.split(',').map((part) => one(name, part, known))
