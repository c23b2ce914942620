/**
 * docs/operations.md lists every setting of every server as the code has it, and README.md's configuration files are valid.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { cldbConfig, cldbSettings } from '../../cldb/config.ts'
import { fileserverConfig, fileserverSettings } from '../../fileserver/config.ts'
import { nfsdConfig, nfsdSettings } from '../../nfsd/config.ts'
import type { Settings } from '../../protocol/config.ts'

const textOf = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const text = textOf('docs/operations.md')

/** The rows of the table below `## heading`, without the blanks that align its columns. */
function rowsUnder(heading: string): string[] {
  const section = text.split(/^## /m).find((section) => section.startsWith(`${heading}\n`)) ?? ''
  const rows = section.split('\n').filter((line) => line.startsWith('| `'))
  return rows.map((row) => row.replace(/ +\|/g, ' |'))
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

t.test('the configuration files in README.md can be used as they are', async (t) => {
  const files = [...textOf('README.md').matchAll(/```json\n([^`]*)```/g)].map(([, json]) => JSON.parse(json!))
  t.equal(files.length, 3)
  t.match(cldbConfig(files[0]), files[0])
  t.match(fileserverConfig(files[1]), files[1])
  t.match(nfsdConfig(files[2]), files[2])
})
