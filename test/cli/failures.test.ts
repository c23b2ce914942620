/**
 * What the command says when something is wrong: one line, and the right exit code.
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { holdfast } from '../harness/cluster.ts'

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [holdfast, ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  })
  return { status, stdout, stderr }
}

for (const [args, stderr] of [
  [['nonsense'], /^holdfast: unknown command 'nonsense'/],
  [['status', '--nonsense'], /^holdfast: unknown option '--nonsense'/],
  [['cldb'], /^holdfast: required option '--config <file>' not specified/],
  [['container', 'info', 'x'], /A container is a number from 1/],
  [['dev', '--fileservers', '0'], /whole number from 1 to 64/],
  [['volume', 'create', 'x', '--replication', '9'], /whole number from 1 to 6/],
] as const)
  t.match(run(...args), { status: 2, stdout: '', stderr }, `holdfast ${args.join(' ')}`)

t.match(run('--help'), { status: 0, stdout: /Usage: holdfast/, stderr: '' })
t.match(run('--version'), { status: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' })

t.test('a configuration that cannot be is told in one line', async (t) => {
  const file = join(t.testdir(), 'config.json')
  for (const part of ['cldb', 'fileserver', 'nfsd'])
    for (const [text, expected] of [
      ['{', /^holdfast: .*config\.json: not JSON: .*\n$/],
      ['[]', /^holdfast: .*config\.json: a configuration must be a JSON object.*\n$/],
      ['{"lissten":"127.0.0.1:1"}', /^holdfast: .*config\.json: unknown setting "lissten"; .* "listen"\n$/],
      ['{"listen":5}', /^holdfast: .*config\.json: "listen" must be "host:port", not 5\n$/],
    ] as const) {
      writeFileSync(file, text)
      t.match(run(part, '--config', file), { status: 1, stdout: '', stderr: expected }, `${part}: ${text}`)
    }
  t.match(run('cldb', '--config', '/nowhere'), { status: 1, stderr: /^holdfast: \/nowhere: .*\n$/ })
})

t.test('an address in use is told in one line', async (t) => {
  const directory = t.testdir()
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const file = join(directory, 'config.json')
  writeFileSync(file, JSON.stringify({ listen: `127.0.0.1:${port}`, directory: join(directory, 'cldb') }))
  const { status, stderr } = run('cldb', '--config', file)
  t.equal(status, 1)
  t.match(stderr, new RegExp(`holdfast: .*127\\.0\\.0\\.1:${port}.*\\n$`))
})

t.test('a CLDB that is not there is told in one line', async (t) => {
  t.match(run('status', '--cldb', '127.0.0.1:1'), { status: 1, stdout: '', stderr: /^holdfast: .*\n$/ })
})
