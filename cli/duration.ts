/**
 * Durations as arguments of commands.
 */
import { InvalidArgumentError, Option } from 'commander'
import { parseDuration } from './output.ts'

/** For commander. @returns milliseconds. */
export function durationOf(text: string): number {
  const ms = parseDuration(text)
  if (ms === undefined) throw new InvalidArgumentError('A duration is a number and a unit, as 90s, 10m, 2h or 1d.')
  return ms
}

export type GraceTime = { readonly rereplicateAfter?: number }

export const rereplicateAfterOption = (): Option =>
  new Option(
    '--rereplicate-after <duration>',
    'how long a server may be silent before its copies are made anew, as 10m; over the configuration',
  ).argParser(durationOf)

/** The CLDB's settings that the option stands for. */
export const graceSettings = ({ rereplicateAfter }: GraceTime): Readonly<Record<string, number>> =>
  rereplicateAfter === undefined ? {} : { rereplicateAfterMs: rereplicateAfter }
