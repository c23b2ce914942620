/**
 * Claims about logs that differ: most replicas are right, and without a majority nothing is done.
 */
import t from 'tap'
import { samples, verdict } from '../../../fileserver/scrub/verdict.ts'
import { sequence, serverId } from '../../../protocol/ids.ts'

/** Servers by letter, chains by letter; `-` where a log does not hold the sequence. */
const told = (text: string) =>
  text.split(' ').map((one) => {
    const [server, chains] = one.split('=') as [string, string]
    return {
      server: serverId(server.repeat(16)),
      chains: [...chains].map((chain) => (chain === '-' ? undefined : BigInt(chain.charCodeAt(0)))),
    }
  })
const at = [10, 20, 30].map(sequence)

for (const [text, expected, why] of [
  ['a=xyz b=xyz c=xyz', 'agree', 'all have the same'],
  ['a=xyz', 'agree', 'nobody else could be asked'],
  ['a=xyz b=--z c=-yz', 'agree', 'what was dropped says nothing'],
  ['a=xyz b=xqq c=xyz', 'outvoted b at 20', 'one differs from two'],
  ['a=xyz b=xqq c=xqq', 'outvoted a at 20', 'also when it is the one that asks'],
  ['a=xyz b=xqz', 'undecided at 20', 'one against one'],
  ['a=xyz b=xqz c=xrz', 'undecided at 20', 'each another'],
  ['a=xyz b=xyz c=xqz d=xqz', 'undecided at 20', 'two against two'],
  ['a=xyz b=xyz c=xyz d=xqz e=xrz', 'outvoted d e at 20', 'two differ from three, and from each other'],
  ['a=xyz b=-yz c=xqz', 'outvoted c at 20', 'the first place that tells decides'],
] as const) {
  const found = verdict(at, told(text))
  const servers = found.type === 'outvoted' ? ` ${found.servers.map((server) => server[0]).join(' ')}` : ''
  t.equal(`${found.type}${servers}${found.type === 'agree' ? '' : ` at ${found.at}`}`, expected, why)
}

const segments = (...firsts: number[]) =>
  firsts.map((first) => ({ first: sequence(first), sizeBytes: 100, chain: BigInt(first) }))
t.strictSame(samples(segments(1, 11, 21), sequence(25)), [10, 20, 25], 'the ends of segments, and what is committed')
t.strictSame(samples(segments(1, 11, 21), sequence(15)), [10, 15], 'nothing beyond that')
t.strictSame(samples([], sequence(0)), [], 'an empty log has nothing to compare')
const many = samples(segments(...Array.from({ length: 1000 }, (_, i) => 1 + 10 * i)), sequence(10_000))
t.ok(
  many.length <= 64 && many.at(-1) === 10_000 && many.includes(sequence(9990)),
  'some of many, the newest among them',
)
