/**
 * The embedded cluster as a newcomer meets it: start, use, crash, stop, start again.
 */
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { holdfast } from '../harness/cluster.ts'
import { type Started, start, tail, until } from '../harness/processes.ts'

type Outcome = { readonly status: number; readonly stdout: string; readonly stderr: string }
type Welcome = { readonly directory: string; readonly cldb: string; readonly nfs: string; readonly mount: string }

const startsWithinMs = 60_000

function run(args: readonly string[], input?: Uint8Array): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { encoding: 'buffer', maxBuffer: 2 ** 26, timeout: 90_000 } as const
    const child = execFile(process.execPath, [holdfast, ...args], options, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ status, stdout: stdout.toString('latin1'), stderr: stderr.toString() })
    })
    child.stdin?.end(input)
  })
}

async function dev(directory: string, name: string): Promise<{ server: Started; welcome: Welcome }> {
  const logFile = join(directory, `${name}.log`)
  const args = [holdfast, 'dev', '--json', '--directory', join(directory, 'data'), '--port', '20490']
  const server = start({ name, command: process.execPath, args, logFile })
  const said = (): string | undefined =>
    readFileSync(logFile, 'utf8')
      .split('\n')
      .find((line) => line.startsWith('{"directory"'))
  await until('the cluster is up', startsWithinMs, () => {
    if (!server.running()) throw new Error(tail(logFile))
    return said() !== undefined
  })
  return { server, welcome: JSON.parse(said()!) as Welcome }
}

const sha256 = (bytes: string | Uint8Array): string =>
  createHash('sha256')
    .update(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
    .digest('hex')

t.test('an embedded cluster is used, crashes, stops and comes back with its data', async (t) => {
  const directory = t.testdir()
  const first = await dev(directory, 'first')
  t.teardown(() => first.server.kill())
  const { cldb, mount } = first.welcome
  t.match(mount, /^mount -t nfs -o vers=3,proto=tcp,port=\d+,mountport=\d+,nolock 127\.0\.0\.1:\/ \/mnt$/)
  const ask = (...args: string[]): Promise<Outcome> => run([...args, '--cldb', cldb])
  const json = async (...args: string[]) => JSON.parse((await ask(...args, '--json')).stdout)

  await t.test('a second one in the same directory is refused', async (t) => {
    const second = await run(['dev', '--directory', join(directory, 'data')])
    t.equal(second.status, 1)
    t.match(second.stderr, /^holdfast: .*already running in .*data \(process \d+\)\n$/)
  })

  await t.test('it says what it is made of', async (t) => {
    const status = await json('status', '--containers')
    t.equal(status.servers.length, 4)
    t.match(status, { underReplicated: 0, unavailable: 0, volumes: [{ volume: { name: 'main', mountPath: '/' } }] })
    t.ok(status.list.every((location: { master?: string }) => location.master !== undefined))
    t.match((await ask('status')).stdout, /every container has all its copies/)
    t.match(await json('volume', 'info', 'main'), { volume: { replication: 3, minimum: 2 } })
    t.match(await json('container', 'info', '1'), { container: 1, kind: 'name', volume: 'main' })
    t.match((await ask('container', 'list')).stdout, /CONTAINER +VOLUME +KIND/)
  })

  await t.test('volumes come and go', async (t) => {
    t.match(await json('volume', 'create', 'second', '--replication', '2'), { name: 'second', mountPath: '/second' })
    t.equal((await ask('fs', 'mkdir', '/second/full')).status, 0)
    t.match((await ask('volume', 'remove', 'second')).stderr, /not empty/)
    t.equal((await ask('volume', 'remove', 'second', '--force')).status, 0)
    t.strictSame(
      (await json('volume', 'list')).map(({ volume }: { volume: { name: string } }) => volume.name),
      ['main'],
    )
  })

  const large = randomBytes(9 * 1024 * 1024 + 5)
  await t.test('files go in and come out as they were', (t) => files(t, directory, large, cldb))

  await t.test('a fileserver that is killed comes back by itself', async (t) => {
    const victim = childOf(first.server.pid, 'fileserver-2.json')
    process.kill(victim, 'SIGKILL')
    const { stdout } = await ask('fs', 'cat', '/large')
    t.equal(sha256(stdout), sha256(large), 'what it held can be read meanwhile')
    await until('it is back', 20_000, () => /fileserver-2 is back/.test(readFileSync(first.server.logFile, 'utf8')))
    t.match(readFileSync(first.server.logFile, 'utf8'), /fileserver-2 died \(SIGKILL\); starting it again in/)
    await until('all copies are there', 30_000, async () => (await json('status')).underReplicated === 0, 500)
  })

  await t.test('Ctrl-C stops everything, and the next start finds the data', async (t) => {
    first.server.signal('SIGINT')
    t.strictSame(await first.server.exited, { status: 0, signal: null })
    const again = await dev(directory, 'again')
    t.teardown(() => again.server.kill())
    t.strictSame(again.welcome.nfs, first.welcome.nfs, 'at the same port, for those who have it mounted')
    const { stdout } = await run(['fs', 'cat', '/large', '--cldb', again.welcome.cldb])
    t.equal(sha256(stdout), sha256(large))
    again.server.signal('SIGTERM')
    t.strictSame(await again.server.exited, { status: 0, signal: null })
  })
})

async function files(t: Test, directory: string, large: Buffer, cldb: string): Promise<void> {
  const ask = (...args: string[]): Promise<Outcome> => run(['fs', ...args, '--cldb', cldb])
  const at = (name: string): string => join(directory, name)
  const ok = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await ask(...args)
    t.equal(status, 0, `fs ${args.join(' ')} ${stderr}`)
    return stdout
  }
  writeFileSync(at('large'), large)
  await ok('put', at('large'), '/')
  await ok('get', '/large', at('copy'))
  t.equal(sha256(readFileSync(at('copy'))), sha256(large))
  t.equal(sha256(await ok('cat', '/large')), sha256(large))
  t.match(JSON.parse(await ok('stat', '/large', '--json')), [{ path: '/large', kind: 'file', sizeBytes: large.length }])

  const piped = await run(['fs', 'put', '-', '/piped', '--cldb', cldb], Buffer.from('through a pipe'))
  t.equal(piped.status, 0, piped.stderr)
  t.equal(await ok('get', '/piped', '-'), 'through a pipe')

  mkdirSync(at('tree/below/empty'), { recursive: true })
  for (let i = 0; i < 40; i++) writeFileSync(at(`tree/below/${i}`), randomBytes(i * 3000), { mode: 0o640 })
  symlinkSync('below/7', at('tree/link'))
  t.match((await ask('put', at('tree'), '/tree')).stderr, /is a directory: -r copies it/)
  await ok('put', '-r', at('tree'), '/tree')
  await ok('get', '-r', '/tree', at('tree-copy'))
  await new Promise<void>((resolve) =>
    execFile('diff', ['-r', '--no-dereference', at('tree'), at('tree-copy')], (error, stdout) => {
      t.equal(error, null, `the tree comes back the same ${stdout}`)
      resolve()
    }),
  )
  t.strictSame((await ok('ls', '/tree')).trim().split('\n'), ['below', 'link'])
  t.match(await ok('ls', '-l', '/tree/below'), /-rw-r----- +1 .* 7\n/)
  t.match(JSON.parse(await ok('du', '/tree', '--json')), [{ files: 41, directories: 3 }])

  await ok('mkdir', '-p', '/a/b/c')
  await ok('mv', '/piped', '/a/b')
  t.equal(await ok('cat', '/a/b/piped'), 'through a pipe')
  t.match(await ask('rm', '/a'), { status: 1, stderr: /^holdfast: .*\/a/ })
  await ok('rm', '-r', '/a', '/tree')
  t.match(await ask('cat', '/a/b/piped'), { status: 1, stderr: /^holdfast: ENOENT.*\/a\/b\/piped/ })
  await ok('rm', '-f', '/a')
}

/** The child of `parent` that was started with the configuration file. */
function childOf(parent: number, config: string): number {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim().split(' ')
  const child = children.find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(config))
  if (child === undefined) throw new Error(`no child runs with ${config}`)
  return Number(child)
}

t.test('the demonstration kills a server and finds the file whole', async (t) => {
  const { status, stdout, stderr } = await run(['dev', '--demo', '--json'])
  t.equal(status, 0, stderr)
  t.match(JSON.parse(stdout), { bytes: Number, sha256: /^[0-9a-f]{64}$/, killed: /^fileserver-\d$/ })
  t.match(stderr, /killed fileserver-\d/)
})
