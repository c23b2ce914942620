/**
 * The model of the replication core (docs/model) holds in every state of a small scope, and finds mistakes.
 *
 * Runs `docs/model/check --short`; `npm run model` runs the larger scopes and all mutations.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

t.setTimeout(600_000)

const check = fileURLToPath(new URL('../../docs/model/check', import.meta.url))
const missing = ['spin', 'gcc'].filter((command) => spawnSync('sh', ['-c', `command -v ${command}`]).status !== 0)
const reason = `needs ${missing.join(' and ')}`
if (missing.length > 0 && process.env.CI === 'true') throw new Error(`${reason}: in CI it must be there`)

t.test(
  'no state of the model breaks a rule of replication, and each mistake put into it does',
  missing.length > 0 ? { skip: reason } : {},
  async (t) => {
    const { status, stdout, stderr } = spawnSync(check, ['--short'], { encoding: 'utf8' })
    for (const line of stdout.trimEnd().split('\n')) t.comment(line)
    t.equal(status, 0, `the check ends well${stderr === '' ? '' : `: ${stderr}`}`)
    t.match(
      stdout,
      /no error; 0 of its lines not reached/,
      'the scope was searched to its end, and every step was taken',
    )
    t.match(stdout, /\b0 wrong\n$/, 'every mutation is caught')
  },
)
