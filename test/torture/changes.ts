/**
 * How often containers changed hands: what the fileservers' logs say of it.
 *
 * Not pure: reads the logs. A server says `master` when it has become able to serve a container in an epoch; a master
 * that was chosen and was gone before is not counted.
 */
import { readFileSync } from 'node:fs'

export type Changes = {
  /** Configurations under which a container was served, beyond its first: with another master, or with other members. */
  readonly configurations: number
  /** Times a container was served by another server than before. */
  readonly masters: number
}

/** @param logFiles one for each fileserver. */
export function changesOf(logFiles: readonly string[]): Changes {
  const mastersOf = new Map<number, { epoch: number; server: string }[]>()
  for (const server of logFiles) {
    for (const line of readFileSync(server, 'utf8').split('\n')) {
      if (!line.includes('"msg":"master"')) continue
      const { container, epoch } = JSON.parse(line) as { container: number; epoch: number }
      mastersOf.set(container, [...(mastersOf.get(container) ?? []), { epoch, server }])
    }
  }
  let configurations = 0
  let masters = 0
  for (const said of mastersOf.values()) {
    said.sort((one, other) => one.epoch - other.epoch)
    configurations += said.length - 1
    masters += said.filter(({ server }, index) => index > 0 && server !== said[index - 1]!.server).length
  }
  return { configurations, masters }
}
