/**
 * `holdfast dev`, as a newcomer meets it.
 *
 * Scenario: the demonstration ends well and says what it did. An embedded cluster is started, given a file, stopped with
 * Ctrl-C and started again at the same addresses, and has the file. It also has it after SIGKILL of all its processes.
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { holdfast } from '../harness/cluster.ts'
import { type Started, start, tail, until } from '../harness/processes.ts'
import { makeScratch } from '../harness/scratch.ts'

t.setTimeout(120_000)

const startMs = 30_000
const run = promisify(execFile)

t.test('the demonstration kills a server, loses nothing and says so', async (t) => {
  const begin = performance.now()
  const { stdout } = await run(process.execPath, [holdfast, 'dev', '--demo'], { timeout: 60_000 })
  for (const line of [/wrote .*MiB/, /kill/i, /read .*same/i]) t.match(stdout, line)
  t.comment(`the demonstration took ${Math.round(performance.now() - begin)} ms`)
})

t.test('an embedded cluster survives Ctrl-C and a crash with its data and addresses', async (t) => {
  const { directory, remove } = makeScratch('dev')
  t.teardown(remove)
  const source = join(directory, 'source')
  writeFileSync(source, randomBytes(3 * 1024 * 1024))
  const first = await launch(1)
  const cldb = ['--cldb', first.cldb]
  await run(process.execPath, [holdfast, ...cldb, 'fs', 'put', source, '/file'])
  first.server.signal('SIGINT')
  t.equal((await first.server.exited).status, 0, 'Ctrl-C ends it well')
  const second = await launch(2)
  await same('after Ctrl-C')

  await second.server.kill()
  const third = await launch(3)
  await same('after SIGKILL')
  third.server.signal('SIGTERM')
  t.equal((await third.server.exited).status, 0, 'SIGTERM ends it well')
  t.strictSame(
    [second, third].map(({ cldb, nfs }) => ({ cldb, nfs })),
    [1, 2].map(() => ({ cldb: first.cldb, nfs: first.nfs })),
  )

  async function launch(count: number): Promise<{ server: Started; cldb: string; nfs: string }> {
    const logFile = join(directory, `dev-${count}.log`)
    const args = [holdfast, '--json', 'dev', '--directory', join(directory, 'data')]
    const server = start({ name: 'dev', command: process.execPath, args, logFile })
    const said = (): string | undefined =>
      readFileSync(logFile, 'utf8')
        .split('\n')
        .find((line) => line.startsWith('{"directory"'))
    await until('holdfast dev runs', startMs, () => {
      if (!server.running()) throw new Error(`holdfast dev ended:\n${tail(logFile)}`)
      return said() !== undefined
    })
    return { server, ...(JSON.parse(said()!) as { cldb: string; nfs: string }) }
  }

  async function same(when: string): Promise<void> {
    const target = join(directory, 'target')
    await run(process.execPath, [holdfast, ...cldb, 'fs', 'get', '/file', target])
    t.ok(readFileSync(source).equals(readFileSync(target)), `the file is there ${when}`)
  }
})
