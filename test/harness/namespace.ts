/**
 * A network namespace with a loopback and one tap device: a network of our own for servers and a virtual machine.
 *
 * Not pure: needs root, `ip` and /dev/net/tun. The host's network is not touched.
 */
import { execFileSync } from 'node:child_process'
import { atExit } from './cleanup.ts'

export type Namespace = {
  readonly name: string
  readonly tap: string
  /** Address of the servers' side on the tap device, and the one left for the machine behind it. */
  readonly hostAddress: string
  readonly guestAddress: string
  readonly remove: () => void
}

/**
 * The command, up to its own, that runs another inside. Not `ip netns exec`, which also takes a copy of all mounts: a
 * filesystem that a test unmounts meanwhile would live on in there.
 */
export const entering = (namespace: Pick<Namespace, 'name'> | undefined): readonly string[] =>
  namespace === undefined ? [] : ['nsenter', `--net=/run/netns/${namespace.name}`]

let made = 0

export function makeNamespace(): Namespace {
  const name = `holdfast-${process.pid}-${++made}`
  const tap = 'tap0'
  const hostAddress = '192.0.2.1'
  const ip = (...args: readonly string[]): void => void execFileSync('ip', args)
  ip('netns', 'add', name)
  const remove = atExit(() => ip('netns', 'del', name))
  ip('-n', name, 'link', 'set', 'lo', 'up')
  ip('-n', name, 'tuntap', 'add', tap, 'mode', 'tap')
  ip('-n', name, 'addr', 'add', `${hostAddress}/24`, 'dev', tap)
  ip('-n', name, 'link', 'set', tap, 'up')
  return { name, tap, hostAddress, guestAddress: '192.0.2.2', remove }
}
