/**
 * Claims about where new replicas go.
 */
import t from 'tap'
import { choosePlaces, isUnder, type Place, pathOf, randomFrom } from '../../cldb/placement.ts'
import { server } from './world.ts'

const place = (number: number, topology: string, freeBytes = 1e9, load = 0): Place => ({
  server: server(number),
  path: pathOf(topology),
  freeBytes,
  load: [load],
})
const topologies = (places: readonly Place[]): readonly string[] =>
  places.map(({ path }) => `/${path.join('/')}`).sort()
const seeds = Array.from({ length: 200 }, (_, index) => index / 200)

t.test('replicas stand as far apart as can be', async (t) => {
  const places = ['/a/1', '/a/1', '/a/2', '/a/3', '/b/1', '/b/2'].map((topology, index) => place(index, topology))
  for (const seed of seeds) {
    const two = topologies(choosePlaces(places, 2, [], randomFrom(seed), 2))
    if (two.map((topology) => topology[1]).join() !== 'a,b') t.fail(`two racks, not ${two}`)
    const four = topologies(choosePlaces(places, 4, [], randomFrom(seed), 2))
    if (new Set(four).size !== 4) t.fail(`four nodes, not ${four}`)
    const [third] = choosePlaces(places, 1, ['/b/1', '/a/1'].map(pathOf), randomFrom(seed), 2)
    if (third!.path[1] === '1') t.fail(`a node without a replica, not ${third!.path}`)
  }
})

t.test('each server at most once, and fewer than wanted where there are no more', async (t) => {
  const places = [place(1, '/a'), place(2, '/a'), place(3, '/a')]
  for (const seed of seeds) {
    const chosen = choosePlaces(places, 5, [], randomFrom(seed), 2)
    if (new Set(chosen.map((one) => one.server)).size !== 3) t.fail('three distinct servers')
  }
  t.strictSame(choosePlaces([], 3, [], randomFrom(0), 2), [])
})

t.test('free space attracts, and so does a small load', async (t) => {
  const first = (places: readonly Place[]): number =>
    seeds.filter((seed) => choosePlaces(places, 1, [], randomFrom(seed), 2)[0]!.server === places[0]!.server).length
  t.ok(first([place(1, '/a', 9e9), place(2, '/b', 1e9)]) > 150, 'nine times the space')
  t.ok(first([place(1, '/a', 9e9), place(2, '/b', 1e9)]) < 200, 'but the other is used as well')
  t.ok(first([place(1, '/a', 1e9, 5), place(2, '/b', 1e9, 50)]) > 130, 'a tenth of the replicas')
  t.ok(first([place(1, '/a', 0), place(2, '/b', 0)]) > 50, 'without known space any will do')
})

t.test('a topology lies under its prefixes', async (t) => {
  for (const [topology, prefix, expected] of [
    ['/rack1/node3', '/rack1', true],
    ['/rack1/node3', '/rack1/', true],
    ['/rack1/node3', '/rack1/node3', true],
    ['/rack1/node3', '/', true],
    ['/rack1/node3', '', true],
    ['/rack10/node3', '/rack1', false],
    ['/rack1', '/rack1/node3', false],
  ] as const)
    t.equal(isUnder(topology, prefix), expected, `${topology} under ${prefix}`)
})
