/**
 * A network of namespaces: one for each node, all on one bridge, in which any way from one node to another can be cut.
 *
 * Not pure: needs root and `ip`. Every node knows the others' hardware addresses by fixed neighbour entries; a cut way
 * leads to an address that nobody has, so that packets are lost without a word, one way or both, and connections feel
 * it as they would feel a cable. Nothing of the host's own network is touched.
 */
import { execFileSync } from 'node:child_process'
import { atExit } from '../harness/cleanup.ts'

/** One way: packets from the first to the second. */
export type Way = readonly [from: string, to: string]

export type Network = {
  readonly namespaceOf: (node: string) => { readonly name: string }
  readonly addressOf: (node: string) => string
  /** Cuts count: a way is open again when each cut of it was healed. */
  readonly cut: (ways: readonly Way[]) => void
  readonly heal: (ways: readonly Way[]) => void
  readonly remove: () => void
}

const link = 'eth0'
const nowhere = '02:00:00:00:ff:ff'

export function makeNetwork(nodes: readonly string[]): Network {
  const prefix = `torture-${process.pid}`
  const place = (node: string): number => {
    const index = nodes.indexOf(node)
    if (index < 0) throw new Error(`${node} is not on the network`)
    return index + 1
  }
  const namespaceOf = (node: string): string => `${prefix}-${node}`
  const hardwareOf = (node: string): string => `02:00:00:00:00:${place(node).toString(16).padStart(2, '0')}`
  const addressOf = (node: string): string => `198.18.0.${place(node)}`
  const ip = (...args: readonly string[]): void => void execFileSync('ip', args)
  const batch = (namespace: string, lines: readonly string[]): void =>
    void execFileSync('ip', ['-n', namespace, '-batch', '-'], { input: lines.map((line) => `${line}\n`).join('') })
  const neighbour = (node: string, hardware: string): string =>
    `neigh replace ${addressOf(node)} lladdr ${hardware} dev ${link} nud permanent`

  const hub = `${prefix}-hub`
  const made: string[] = []
  const add = (namespace: string): void => {
    ip('netns', 'add', namespace)
    made.push(namespace)
  }
  const remove = atExit(() => {
    for (const namespace of made) ip('netns', 'del', namespace)
  })
  add(hub)
  batch(hub, ['link add bridge0 type bridge', 'link set bridge0 up'])
  for (const node of nodes) {
    const namespace = namespaceOf(node)
    const port = `port${place(node)}`
    add(namespace)
    ip('-n', hub, 'link', 'add', port, 'type', 'veth', 'peer', 'name', link, 'netns', namespace)
    batch(hub, [`link set ${port} master bridge0`, `link set ${port} up`])
    batch(namespace, [
      'link set lo up',
      `link set ${link} address ${hardwareOf(node)}`,
      `addr add ${addressOf(node)}/24 dev ${link}`,
      `link set ${link} up`,
      ...nodes.filter((other) => other !== node).map((other) => neighbour(other, hardwareOf(other))),
    ])
  }

  const cuts = new Map<string, number>()
  /** Sets the ways whose count of cuts becomes, or is no longer, zero. */
  function change(ways: readonly Way[], by: 1 | -1): void {
    const changed = new Map<string, string[]>()
    for (const [from, to] of ways) {
      const key = `${from} ${to}`
      const before = cuts.get(key) ?? 0
      cuts.set(key, before + by)
      if (before !== 0 && before + by !== 0) continue
      const lines = changed.get(from) ?? []
      changed.set(from, [...lines, neighbour(to, by === 1 ? nowhere : hardwareOf(to))])
    }
    for (const [from, lines] of changed) batch(namespaceOf(from), lines)
  }
  return {
    namespaceOf: (node) => ({ name: namespaceOf(node) }),
    addressOf,
    cut: (ways) => change(ways, 1),
    heal: (ways) => change(ways, -1),
    remove,
  }
}
