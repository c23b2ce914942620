/**
 * What a test needs of the machine: it skips and says why where that is missing, but fails in CI (CI=true).
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { umlModules } from './kernel-client.ts'

export type Need = 'root' | 'loop' | 'namespaces' | 'kernel client'

const onPath = (command: string): boolean => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0

function lacks(need: Need): string | undefined {
  switch (need) {
    case 'root':
      return process.getuid?.() === 0 ? undefined : 'needs root'
    case 'loop':
      if (!existsSync('/dev/loop-control')) return 'needs loop devices'
      return ['mkfs.ext4', 'mount', 'umount', 'perl'].every(onPath) ? undefined : 'needs mkfs.ext4, mount and perl'
    case 'namespaces':
      if (!existsSync('/dev/net/tun')) return 'needs /dev/net/tun'
      return onPath('ip') ? undefined : 'needs iproute2'
    case 'kernel client':
      if (!['linux.uml', 'modprobe', 'mount.nfs'].every(onPath)) return 'needs user-mode-linux, kmod and nfs-common'
      return existsSync(umlModules) && readdirSync(umlModules).length > 0 ? undefined : `needs modules in ${umlModules}`
  }
}

/** @returns the options of a tap test: a reason to skip it, or none. Throws in CI instead of skipping. */
export function needs(...all: readonly Need[]): { readonly skip?: string } {
  const reason = all.map(lacks).find((lack) => lack !== undefined)
  if (reason === undefined) return {}
  if (process.env.CI === 'true') throw new Error(`${reason}: in CI it must be there`)
  return { skip: reason }
}
