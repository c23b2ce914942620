/**
 * What a run prints at its end.
 *
 * Pure.
 */
import type { Outcome } from './run.ts'

const sum = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((total, count) => total + count, 0)
const listed = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, count]) => `${name} ${count}`)
    .join(', ') || 'none'

export function report({ counts, faults, problems, notes }: Outcome): string[] {
  return [
    `operations acknowledged: ${listed(counts.operations)}`,
    `operations failed: ${listed(counts.failures)}`,
    `faults: ${listed(faults)}`,
    `longest operation: ${Math.round(counts.longest.tookMs)} ms (${counts.longest.kind})`,
    ...notes.map((line) => `note: ${line}`),
    ...problems.map((line) => `PROBLEM ${line}`),
  ]
}

export const summary = ({ counts, faults, changes, problems }: Outcome): string =>
  [
    `torture: ${sum(counts.operations)} operations`,
    `${sum(faults)} faults`,
    `${changes.masters} changes of master`,
    `${changes.configurations} changes of configuration`,
    `${problems.length} problems`,
  ].join(', ')
