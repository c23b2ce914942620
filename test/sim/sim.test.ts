/**
 * Claims about the simulator, and a fixed set of its seeds: each run is a process of its own, for it takes over the timers.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { isLinearizable, type Operation } from './checker/linearizable.ts'
import { type RegisterOperation, registerModel } from './checker/model.ts'
import { faults } from './faults.ts'

const main = new URL('./main.ts', import.meta.url).pathname
const mutants = new URL('./mutants/main.ts', import.meta.url).pathname

/** @returns the exit code, and what it complains of. */
const refused = (script: string, ...given: string[]): Promise<readonly [code: number | null, complaint: string]> =>
  new Promise((resolve) => {
    execFile(process.execPath, ['--import=tsx', script, ...given], (error, _, stderr) =>
      resolve([error === null ? 0 : Number(error.code), stderr.trimEnd()]),
    )
  })

async function output(script: string, ...given: string[]): Promise<readonly string[]> {
  const run = promisify(execFile)(process.execPath, ['--import=tsx', script, ...given], { maxBuffer: 2 ** 26 })
  const { stdout } = await run.catch((failed: { stdout: string }) => failed)
  return stdout.trimEnd().split('\n')
}

const write = (called: number, returned: number, value: number): Operation<RegisterOperation> => ({
  called,
  returned,
  what: { type: 'write', value, outcome: 'ok' },
})
const read = (called: number, returned: number, outcome: number): Operation<RegisterOperation> => ({
  called,
  returned,
  what: { type: 'read', outcome },
})

t.test('histories of a register', async (t) => {
  const never = Number.POSITIVE_INFINITY
  for (const [history, expected, why] of [
    [[write(0, 1, 1), read(2, 3, 1)], true, 'one after the other'],
    [[write(0, 1, 1), read(2, 3, 0)], false, 'an acknowledged write is not seen'],
    [[write(0, 3, 1), read(1, 2, 0)], true, 'a write that is under way need not be seen'],
    [[write(0, 5, 1), read(1, 2, 1), read(3, 4, 0)], false, 'what was seen stays'],
    [[write(0, never, 1), read(1, 2, 0), read(3, 4, 1)], true, 'an unanswered write may come late'],
    [[write(0, 1, 1), write(2, 3, 2), read(4, 5, 1)], false, 'the older of two writes comes back'],
    [[write(0, 3, 1), write(1, 2, 2), read(4, 5, 1)], true, 'of two at once either may be the last'],
  ] as const)
    t.equal(isLinearizable(registerModel, history), expected, why)
})

t.test('words that are wrong are refused', async (t) => {
  for (const [script, given, complaint] of [
    [main, ['--seeds', 'abc'], /^--seeds is a whole number of at least 1, not abc$/],
    [main, ['--seed', '1e99'], /^--seed is a whole number/],
    [main, ['--seconds', '0'], /^--seconds is a number above 0, not 0$/],
    [main, ['--mutation', 'forget-epohc'], /^--mutation: forget-epohc is none of .*forget-epoch/],
    [main, ['--only', 'crash,crsh'], /^--only: crsh is none of crash, /],
    [main, ['--keep', '1,x'], /^--keep is a whole number/],
    [main, ['--sede', '1'], /--sede/],
    [mutants, ['--only', 'forget-epohc'], /^--only: forget-epohc is none of /],
  ] as const) {
    const [code, told] = await refused(script, ...given)
    t.equal(code, 2, given.join(' '))
    t.match(told, complaint)
  }
})

t.test('the same seed gives the same trace', async (t) => {
  const once = (): Promise<readonly string[]> => output(main, '--seed', '7', '--seconds', '3', '--trace')
  const [first, second] = await Promise.all([once(), once()])
  t.ok(first.length > 100, `${first.length} lines`)
  t.strictSame(first.slice(0, -2), second.slice(0, -2))
})

t.test('so it does in another process', async (t) => {
  const traces = async (jobs: string): Promise<readonly string[]> =>
    (await output(main, '--seed', '2', '--seeds', '4', '--seconds', '1', '--jobs', jobs)).slice(0, -2)
  t.strictSame(await traces('2'), await traces('1'))
})

/** What the cluster must have met and done in the seeds below, beside every kind of fault. */
const wanted = [
  'rollbacks',
  'replicas copied',
  'failovers',
  'logs shortened',
  'segments dropped',
  'bytes cleaned',
  'blocks repaired',
  'bits turned',
  'sectors spoiled',
  'writes torn',
  'unsynced changes lost',
  'index batches lost',
  'CLDB batches lost',
  'writes that failed',
  'syncs that failed',
  'reads that failed',
  'writes without room',
  'ends at an effect',
  'ends of the CLDB at an effect',
  'times draining',
  'times maintenance',
  'messages held',
  'messages held one way',
  'messages overtaken',
  'messages lost',
  'messages repeated',
]

t.test('a fixed set of seeds finds nothing wrong, and meets everything', async (t) => {
  const lines = await output(main, '--seed', '361', '--seeds', '40', '--seconds', '6', '--jobs', '1')
  t.equal(lines.at(-1), '40 seeds, 0 failures', lines.slice(-30).join('\n'))
  const counts = new Map(
    lines
      .at(-2)!
      .split(/[,;] /)
      .map((part) => /^(\d+) (.*)$/.exec(part))
      .map((found) => [found?.[2], Number(found?.[1])]),
  )
  for (const name of [...Object.keys(faults), ...wanted]) t.ok((counts.get(name) ?? 0) > 0, name)
})

t.test('a mistake is found, and the run that finds it made smaller', async (t) => {
  const lines = await output(mutants, '--only', 'stale-member,forget-retries', '--seeds', '40')
  t.equal(lines.at(-1), '2 mutations, 0 not caught', lines.join('\n'))
  const shrunk = await output(main, '--seed', '1', '--mutation', 'forget-epoch', '--shrink')
  const command = shrunk.find((line) => line.startsWith('  npm run sim -- '))!
  t.match(command, /--seed 1 --seconds 0.5 --clients 1 --mutation forget-epoch --keep none/, shrunk.join('\n'))
})
