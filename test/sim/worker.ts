/**
 * A process that runs seeds for another one (jobs.ts): takes their numbers and answers their outcomes.
 */
import { run, type Settings } from './run.ts'

/** Failures are thrown by the thousand. Whoever looks into a seed runs it in one process, and has their stacks. */
Error.stackTraceLimit = 0

process.on('message', ({ seed, settings }: { readonly seed: number; readonly settings: Settings }) => {
  void run(seed, settings).then((outcome) => process.send!(outcome))
})
process.on('disconnect', () => process.exit())
