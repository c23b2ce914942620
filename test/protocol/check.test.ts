/**
 * The checks at the edge: what does not fit its shape is BAD_MESSAGE, what is too long is TOO_LARGE.
 */
import t from 'tap'
import {
  addressShape,
  boolean,
  bytes,
  fidShape,
  integer,
  list,
  message,
  natural,
  nothing,
  oneOf,
  optional,
  real,
  type Shape,
  serverShape,
  text,
} from '../../protocol/check.ts'
import { files } from '../../protocol/messages/files.ts'
import { replication } from '../../protocol/messages/replication.ts'
import { failureOf } from './outcome.ts'

const pair = message({ first: natural(), second: optional(text(3)) })

for (const [shape, wire, expected, why] of [
  [natural(), 0, 'none', 'zero'],
  [natural(), 2 ** 53 - 1, 'none', 'the largest safe integer'],
  [natural(), 2 ** 53, 'BAD_MESSAGE', 'beyond the safe integers'],
  [natural(), 9_007_199_254_740_993n, 'BAD_MESSAGE', 'a bigint'],
  [natural(), -1, 'BAD_MESSAGE', 'a negative number'],
  [natural(), 1.5, 'BAD_MESSAGE', 'a fraction'],
  [natural(), '1', 'BAD_MESSAGE', 'a text for a number'],
  [natural(5), 6, 'BAD_MESSAGE', 'beyond its own maximum'],
  [integer, -(2 ** 40), 'none', 'an integer may be negative'],
  [integer, Number.NaN, 'BAD_MESSAGE', 'not a number'],
  [real, Number.POSITIVE_INFINITY, 'BAD_MESSAGE', 'infinity'],
  [boolean, 1, 'BAD_MESSAGE', 'one for true'],
  [text(3), 'abc', 'none', 'a text of its maximum'],
  [text(3), 'abcd', 'TOO_LARGE', 'a text beyond its maximum'],
  [text(3), Buffer.from('abc'), 'BAD_MESSAGE', 'bytes for a text'],
  [bytes(2), Buffer.alloc(2), 'none', 'bytes of their maximum'],
  [bytes(2), Buffer.alloc(3), 'TOO_LARGE', 'bytes beyond their maximum'],
  [bytes(2), 'ab', 'BAD_MESSAGE', 'a text for bytes'],
  [oneOf('a', 'b'), 1, 'none', 'the last of the names'],
  [oneOf('a', 'b'), 2, 'BAD_MESSAGE', 'no name has this number'],
  [oneOf('a', 'b'), 'a', 'BAD_MESSAGE', 'the name itself'],
  [oneOf('a', 'b'), '__proto__', 'BAD_MESSAGE', 'a property that every array has'],
  [list(natural(), 2), [1, 2], 'none', 'a list of its maximum'],
  [list(natural(), 2), [1, 2, 3], 'TOO_LARGE', 'a list beyond its maximum'],
  [list(natural(), 2), [1, 'x'], 'BAD_MESSAGE', 'a wrong item'],
  [list(natural(), 2), { length: 1 }, 'BAD_MESSAGE', 'what only looks like a list'],
  [pair, [1, 'abc'], 'none', 'a whole message'],
  [pair, [1], 'none', 'its last, optional field is missing'],
  [pair, [1, null], 'none', 'its last, optional field is null'],
  [pair, [1, 'abc', 'more', 'fields'], 'none', 'fields that a later version added'],
  [pair, [], 'BAD_MESSAGE', 'a field that must be there is missing'],
  [pair, { first: 1 }, 'BAD_MESSAGE', 'a map for a message'],
  [pair, [1, 'abcd'], 'TOO_LARGE', 'a field beyond its maximum'],
  [nothing, [], 'none', 'an empty message'],
  [fidShape, [1, 2, 3], 'none', 'a fid'],
  [fidShape, [1, 2], 'BAD_MESSAGE', 'half a fid'],
  [serverShape, '0123456789abcdef', 'none', 'a server id'],
  [serverShape, '0123456789ABCDEF', 'BAD_MESSAGE', 'capitals in a server id'],
  [addressShape, '10.0.0.1:7001', 'none', 'an address'],
  [addressShape, '10.0.0.1', 'BAD_MESSAGE', 'no port'],
  [addressShape, ':7001', 'BAD_MESSAGE', 'no host'],
] as const satisfies readonly (readonly [Pick<Shape<unknown>, 'read'>, unknown, string, string])[])
  t.equal(
    failureOf(() => shape.read(wire, 'it')),
    expected,
    why,
  )

t.test('a failure says which field it was', async (t) => {
  try {
    message({ outer: message({ inner: natural() }) }).read([['x']], 'call')
    t.fail('nothing was thrown')
  } catch (error) {
    t.match(String(error), /call\.outer\.inner must be a natural number/)
  }
})

t.test('no call takes what another sends: wrong, missing and swapped fields are refused', async (t) => {
  for (const [wire, why] of [
    [null, 'nothing'],
    ['text', 'a text'],
    [[], 'no fields'],
    [[[]], 'an empty first field'],
    [Array.from({ length: 16 }, () => 'x'), 'texts everywhere'],
  ] as const)
    for (const service of [files, replication])
      for (const [name, call] of Object.entries(service.calls))
        t.equal(
          failureOf(() => call.request.read(wire, name)),
          'BAD_MESSAGE',
          `${name}: ${why}`,
        )
})

t.test('lists stop at their stated maximum', async (t) => {
  const sequences = Array.from({ length: 65 }, (_, i) => i)
  t.equal(
    failureOf(() => replication.calls.chains.request.read([1, 1, sequences], 'chains')),
    'TOO_LARGE',
  )
  t.equal(
    failureOf(() => replication.calls.chains.request.read([1, 1, sequences.slice(1)], 'chains')),
    'none',
  )
})
