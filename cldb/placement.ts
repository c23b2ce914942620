/**
 * Where new replicas go: distinct servers, as far apart in the topology as can be, more often where space is free.
 *
 * Pure: randomness comes in as a source of numbers.
 */
import type { ServerId } from '../protocol/ids.ts'

/** A server that may be chosen. `load`: what it has to do already, figures that count more before those that count less. */
export type Place = {
  readonly server: ServerId
  readonly path: readonly string[]
  readonly freeBytes: number
  readonly load: readonly number[]
}

/** @returns the next number in [0, 1). */
export type Random = () => number

/** @param seed in [0, 1). A stream of numbers from the one that an event brings (mulberry32). */
export function randomFrom(seed: number): Random {
  let state = Math.floor(seed * 2 ** 32) >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export function pick<T>(random: Random, items: readonly T[]): T | undefined {
  return items[Math.floor(random() * items.length)]
}

/** Whether `topology` is `prefix` or lies under it; '' and '/' hold everything. */
export function isUnder(topology: string, prefix: string): boolean {
  const trimmed = prefix.replace(/\/+$/, '')
  return trimmed === '' || topology === trimmed || topology.startsWith(`${trimmed}/`)
}

/** The components of a topology. */
export const pathOf = (topology: string): readonly string[] => topology.split('/').filter((part) => part !== '')

/** How close a server is to the closest of others. */
export const closeness = (path: readonly string[], others: readonly (readonly string[])[]): number =>
  others.reduce((most, other) => Math.max(most, shared(path, other)), 0)

/**
 * @param near paths of the replicas that exist already.
 * @returns at most `count` of `places`, fewer only when there are no more. Each is, among those left, one of the
 * farthest from all chosen so far: another rack before another node of the same rack before the same node; and of
 * `draws` drawn by free space the one with the least to do.
 */
export function choosePlaces(
  places: readonly Place[],
  count: number,
  near: readonly (readonly string[])[],
  random: Random,
  draws: number,
): readonly Place[] {
  const left = [...places]
  const paths = [...near]
  const chosen: Place[] = []
  while (chosen.length < count && left.length > 0) {
    const close = left.map((place) => closeness(place.path, paths))
    const least = close.reduce((a, b) => Math.min(a, b))
    const far = left.filter((_, index) => close[index] === least)
    const drawn = Array.from({ length: draws }, () => draw(far, random))
    const place = drawn.reduce((least, other) => (isLess(other.load, least.load) ? other : least))
    chosen.push(place)
    paths.push(place.path)
    left.splice(left.indexOf(place), 1)
  }
  return chosen
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((figure, index) => figure !== b[index])
  return at !== -1 && a[at]! < b[at]!
}

/** Number of leading components that two paths share; one more when they are the same, as on one node. */
function shared(left: readonly string[], right: readonly string[]): number {
  let depth = 0
  while (depth < left.length && depth < right.length && left[depth] === right[depth]) depth++
  return depth === left.length && depth === right.length ? depth + 1 : depth
}

/** Draws in proportion to free bytes. */
function draw(places: readonly Place[], random: Random): Place {
  const total = places.reduce((sum, place) => sum + place.freeBytes, 0)
  let rest = random() * total
  for (const place of places) {
    rest -= place.freeBytes
    if (rest < 0) return place
  }
  return places[Math.floor(random() * places.length)]! // no free bytes are known
}
