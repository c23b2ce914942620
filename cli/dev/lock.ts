/**
 * One embedded cluster to a directory: a lock file that names the process holding it.
 *
 * The file holds the process id and when that process started (clock ticks since boot, from /proc), so that a
 * number which the system has given to another process since does not hold the lock for ever.
 */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { isAbsent } from '../failure.ts'

export type Lock = { readonly release: () => Promise<void> }

/** @returns undefined with the id of the process that holds the lock where another does. */
export async function acquire(path: string): Promise<Lock | { readonly heldBy: number }> {
  const ours = `${process.pid} ${await startOf(process.pid)}\n`
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      await writeFile(path, ours, { flag: 'wx' })
      return { release: () => rm(path, { force: true }) }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const heldBy = await holder(path)
    if (heldBy !== undefined) return { heldBy }
    await rm(path, { force: true })
  }
  throw new Error(`${path} keeps coming back: remove it by hand`)
}

async function holder(path: string): Promise<number | undefined> {
  const [pid, start] = (await readFile(path, 'utf8').catch(() => '')).trim().split(' ')
  const running = pid === undefined || pid === '' ? undefined : await startOf(Number(pid))
  return running !== undefined && running === start ? Number(pid) : undefined
}

/** Field 22 of /proc/PID/stat (proc(5)); the command's name before it may hold blanks and brackets. */
async function startOf(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}
