/**
 * Configuration files: what they may say, and how a mistake in them is told.
 */
import t from 'tap'
import { address, addresses, flag, natural, parseConfig, text } from '../../protocol/config.ts'

const settings = {
  directory: text('where'),
  listen: address('at', { default: '127.0.0.1:7400' }),
  cldb: addresses('who', { default: ['127.0.0.1:7400'] }),
  leaseMs: natural('how long', { default: 1500, min: 100, max: 60_000 }),
  sync: flag('whether', { default: true }),
}

t.test('what is left out has its default, and nothing can be changed later', async (t) => {
  const config = parseConfig(settings, { directory: '/srv', leaseMs: 200 })
  t.strictSame(config, {
    directory: '/srv',
    listen: '127.0.0.1:7400',
    cldb: ['127.0.0.1:7400'],
    leaseMs: 200,
    sync: true,
  })
  t.ok(Object.isFrozen(config))
})

for (const [json, expected] of [
  [{ directory: '/srv', leasMs: 5 }, 'unknown setting "leasMs"; the nearest known one is "leaseMs"'],
  [{ directory: '/srv', CLDB: [] }, 'unknown setting "CLDB"; the nearest known one is "cldb"'],
  [{}, '"directory" is missing: a text'],
  [{ directory: '' }, '"directory" must be a text, not ""'],
  [{ directory: '/srv', leaseMs: '1s' }, '"leaseMs" must be a whole number from 100 to 60000, not "1s"'],
  [{ directory: '/srv', leaseMs: 1.5 }, '"leaseMs" must be a whole number from 100 to 60000, not 1.5'],
  [{ directory: '/srv', listen: '127.0.0.1' }, '"listen" must be "host:port", not "127.0.0.1"'],
  [{ directory: '/srv', listen: 'a:70000' }, '"listen" must be "host:port", not "a:70000"'],
  [{ directory: '/srv', cldb: 'a:1' }, '"cldb" must be a list of "host:port", not "a:1"'],
  [{ directory: '/srv', cldb: [] }, '"cldb" must be a list of "host:port", not []'],
  [{ directory: '/srv', sync: 1 }, '"sync" must be true or false, not 1'],
  [[], 'a configuration must be a JSON object, not []'],
  [null, 'a configuration must be a JSON object, not null'],
] as const)
  t.throws(() => parseConfig(settings, json), { message: `INVALID: ${expected}` }, expected)

t.test('a key that every object has is unknown like any other', async (t) => {
  t.throws(() => parseConfig(settings, JSON.parse('{"directory":"/srv","__proto__":1}')), /unknown setting "__proto__"/)
  t.throws(() => parseConfig(settings, { directory: '/srv', toString: 1 }), /unknown setting "toString"/)
})
