/**
 * A directory outside the repository for a test's data, logs and sockets; removed at the end (HOLDFAST_KEEP=1 keeps it).
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { atExit } from './cleanup.ts'

export type Scratch = { readonly directory: string; readonly remove: () => void }

export function makeScratch(name: string): Scratch {
  const directory = mkdtempSync(join(tmpdir(), `holdfast-${name}-`))
  const remove = atExit(() => {
    if (process.env.HOLDFAST_KEEP !== '1') rmSync(directory, { recursive: true, force: true })
  })
  return { directory, remove }
}
