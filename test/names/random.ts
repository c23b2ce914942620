/**
 * Random numbers from a seed, so that a failing test can be had again.
 *
 * Source: the linear congruential generator of Numerical Recipes, of which only the high bits are used.
 */
export type Random = (below: number) => number

/** @returns natural numbers below the argument of each call */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
