/**
 * What the workload's operations mean: directories of few names with their files, and a register.
 *
 * Pure. Names are `<number of the directory>/<name>`: what moves between directories is one step of all of them, so they are
 * checked together. A file is named by the number under which it was created, which is also its first value. `outcome` is absent
 * while it is not known.
 */
import type { Model } from './linearizable.ts'

export type DirectoryOperation =
  | {
      readonly type: 'create' | 'remove'
      readonly name: string
      readonly id: number
      outcome?: 'ok' | 'EXISTS' | 'NOT_FOUND'
    }
  | { readonly type: 'lookup'; readonly name: string; outcome?: number | 'NOT_FOUND' }
  | { readonly type: 'rename'; readonly name: string; readonly to: string; outcome?: 'ok' | 'NOT_FOUND' }
  | { readonly type: 'link'; readonly id: number; readonly name: string; outcome?: 'ok' | 'EXISTS' | 'STALE' }
  | { readonly type: 'read'; readonly id: number; outcome?: number | 'STALE' }
  | { readonly type: 'write'; readonly id: number; readonly value: number; outcome?: 'ok' | 'STALE' }
  | { readonly type: 'list'; readonly directory: number; outcome?: string }

type Names = Readonly<Record<string, number>>
type Directory = { readonly names: Names; readonly values: Readonly<Record<number, number>> }

const holds = ({ names }: Directory, id: number): boolean => Object.values(names).includes(id)

/** A directory's names as the outcome of `list`. */
export const listed = (names: readonly string[]): string => [...names].sort().join(' ')

function namesIn(names: Names, directory: number): string[] {
  const prefix = `${directory}/`
  const within = Object.keys(names).filter((name) => name.startsWith(prefix))
  return within.map((name) => name.slice(prefix.length))
}

/** Forgets the values of files that no name leads to. */
function settled(names: Names, values: Directory['values']): Directory {
  const live: Record<number, number> = {}
  for (const id of Object.values(names)) live[id] = values[id]!
  return { names, values: live }
}

function without(names: Names, name: string): Names {
  const { [name]: _, ...rest } = names
  return rest
}

const keyOf = (names: Readonly<Record<string | number, number>>): string =>
  Object.keys(names)
    .sort()
    .map((name) => `${name}=${names[name]}`)
    .join()

/** What the operation does and answers. */
function run(state: Directory, what: DirectoryOperation): { readonly next: Directory; readonly outcome: unknown } {
  const { names, values } = state
  const unchanged = (outcome: unknown) => ({ next: state, outcome })
  switch (what.type) {
    case 'create': {
      if (names[what.name] !== undefined) return unchanged('EXISTS')
      const next = settled({ ...names, [what.name]: what.id }, { ...values, [what.id]: what.id })
      return { next, outcome: 'ok' }
    }
    case 'remove':
      if (names[what.name] === undefined) return unchanged('NOT_FOUND')
      return { next: settled(without(names, what.name), values), outcome: 'ok' }
    case 'lookup':
      return unchanged(names[what.name] ?? 'NOT_FOUND')
    case 'rename': {
      const id = names[what.name]
      if (id === undefined) return unchanged('NOT_FOUND')
      // Two names of one file: POSIX has rename do nothing.
      if (names[what.to] === id) return unchanged('ok')
      return { next: settled({ ...without(names, what.name), [what.to]: id }, values), outcome: 'ok' }
    }
    case 'link':
      if (!holds(state, what.id)) return unchanged('STALE')
      if (names[what.name] !== undefined) return unchanged('EXISTS')
      return { next: settled({ ...names, [what.name]: what.id }, values), outcome: 'ok' }
    case 'read':
      return unchanged(values[what.id] ?? 'STALE')
    case 'write':
      if (!holds(state, what.id)) return unchanged('STALE')
      return { next: { names, values: { ...values, [what.id]: what.value } }, outcome: 'ok' }
    case 'list':
      return unchanged(listed(namesIn(names, what.directory)))
  }
}

export const directoryModel: Model<Directory, DirectoryOperation> = {
  initial: { names: {}, values: {} },
  step: (state, what, known) => {
    const { next, outcome } = run(state, what)
    return !known || what.outcome === outcome ? next : undefined
  },
  key: ({ names, values }) => `${keyOf(names)};${keyOf(values)}`,
}

export type RegisterOperation =
  | { readonly type: 'read'; outcome?: number }
  | { readonly type: 'write'; readonly value: number; outcome?: 'ok' }

/** 0 before the first write. */
export const registerModel: Model<number, RegisterOperation> = {
  initial: 0,
  step: (state, what, known) => {
    if (what.type === 'write') return what.value
    return !known || what.outcome === state ? state : undefined
  },
  key: String,
}
