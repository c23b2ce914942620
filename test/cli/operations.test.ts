/**
 * docs/operations.md lists every setting of every server as the code has it.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { cldbSettings } from '../../cldb/config.ts'
import { fileserverSettings } from '../../fileserver/config.ts'
import { nfsdSettings } from '../../nfsd/config.ts'
import type { Settings } from '../../protocol/config.ts'

const text = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8')

/** What stands below `## heading` up to the next one, of it only the rows of the table. */
function rowsUnder(heading: string): string[] {
  const section = text.split(/^## /m).find((section) => section.startsWith(`${heading}\n`)) ?? ''
  return section.split('\n').filter((line) => line.startsWith('| `'))
}

const rowsOf = (settings: Settings): string[] =>
  Object.entries(settings).map(([key, { doc, expected, fallback }]) => {
    const value = fallback === undefined ? 'required' : `\`${JSON.stringify(fallback)}\``
    return `| \`${key}\` | ${value} | ${expected} | ${doc} |`
  })

for (const [part, settings] of Object.entries({
  cldb: cldbSettings,
  fileserver: fileserverSettings,
  nfsd: nfsdSettings,
}))
  t.strictSame(rowsUnder(`Settings of ${part}`), rowsOf(settings), `the settings of ${part}`)
