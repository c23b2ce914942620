/**
 * Which bad places of this server's disk are known: each is one error of the disk, however often it is read.
 *
 * Pure. A place that nobody can mend is met at every read and by every scrub: only new ones tell that the disk gets worse.
 */
import type { ContainerId, Sequence } from '../../protocol/ids.ts'

/** A disk with more bad places than these is counted as failing in any case: the oldest is forgotten. */
const placesMax = 16_384

export class BadPlaces {
  readonly #known = new Set<string>()

  /** A record, by where it begins in its segment. @returns whether it was not known. */
  addRecord(container: ContainerId, segment: Sequence, offset: number): boolean {
    return this.#add(`${container}/${segment}+${offset}`)
  }

  /** A file that the disk does not read: all of it is one place. @returns whether it was not known. */
  addFile(path: string): boolean {
    return this.#add(path)
  }

  #add(place: string): boolean {
    if (this.#known.has(place)) return false
    this.#known.add(place)
    if (this.#known.size > placesMax) this.#known.delete(this.#known.values().next().value!)
    return true
  }
}
