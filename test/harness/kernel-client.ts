/**
 * A real Linux kernel as a client: User-Mode Linux, booted in a second, with the kernel's own NFS client.
 *
 * Not pure: needs root and Debian's user-mode-linux, kmod and nfs-common. The machine sees the host's files (hostfs),
 * so scripts and what they print travel as files; its mounts and processes are its own. It takes its orders, one
 * script at a time, on its console.
 */
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Namespace } from './namespace.ts'
import { start, tail } from './processes.ts'

export const umlModules = '/usr/lib/uml/modules'

export type Outcome = { readonly status: number; readonly output: string }

export type KernelClient = {
  /** Runs a shell script as root (`sh -e`), one at a time; standard output and error together. Throws after `timeoutMs`. */
  readonly run: (script: string, timeoutMs: number) => Promise<Outcome>
  readonly close: () => Promise<void>
}

export type KernelClientOptions = {
  readonly namespace: Namespace
  /** An existing directory for its scripts and logs. */
  readonly directory: string
  readonly memoryMB?: number
}

const bootMs = 30_000

/** Boots a machine with the guest's address on eth0, the NFS modules loaded and an empty /mnt. */
export async function bootKernelClient(options: KernelClientOptions): Promise<KernelClient> {
  const { namespace, directory } = options
  const version = readdirSync(umlModules).sort().at(-1)
  const modules = join(directory, 'lib/modules')
  mkdirSync(modules, { recursive: true })
  symlinkSync(`${umlModules}/${version}`, join(modules, `${version}`))
  const init = join(directory, 'init.sh')
  writeFileSync(init, initScript(directory, namespace), { mode: 0o755 })
  const machine = start({
    name: 'kernel client',
    command: 'linux.uml',
    args: [
      ...['rootfstype=hostfs', 'rootflags=/', 'rw', `init=${init}`, `mem=${options.memoryMB ?? 768}M`],
      ...[`eth0=tuntap,${namespace.tap}`, `uml_dir=${directory}/uml/`, 'con=null', 'con0=fd:0,fd:1', 'quiet'],
    ],
    logFile: join(directory, 'machine.log'),
    namespace,
    piped: true,
  })

  const { stdin, stdout } = machine.child
  if (stdin === null || stdout === null) throw new Error('the machine has no console')
  stdin.on('error', () => undefined) // It powered off: `exited` tells.
  let said = ''
  let heard: () => void = () => undefined
  stdout.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-64 * 1024)
    heard()
  })

  /** Waits until the console says `line`. */
  async function hear(line: string, timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), timeoutMs)
    })
    const gone = machine.exited.then(() => 'gone' as const)
    try {
      while (!said.split(/\r?\n/).includes(line)) {
        const news = new Promise<'news'>((resolve) => {
          heard = () => resolve('news')
        })
        const what = await Promise.race([news, late, gone])
        if (what !== 'news') {
          throw new Error(`kernel client: ${what} before "${line}"\n${said.slice(-4000)}\n${tail(machine.logFile)}`)
        }
      }
    } finally {
      clearTimeout(timer)
    }
  }

  await hear('ready', bootMs)
  let jobs = 0
  return {
    run: async (script, timeoutMs) => {
      const job = join(directory, `job-${++jobs}`)
      writeFileSync(job, script)
      stdin.write(`${job}\n`)
      await hear(`done ${job}`, timeoutMs)
      return { status: Number(readFileSync(`${job}.status`, 'utf8')), output: readFileSync(`${job}.output`, 'utf8') }
    },
    close: machine.kill,
  }
}

const initScript = (directory: string, namespace: Namespace): string => `#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/mnt
stty -echo
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /mnt
ip link set lo up
ip addr add ${namespace.guestAddress}/24 dev eth0
ip link set eth0 up
cd /mnt
modprobe -a -d ${directory} nfs nfsv3 && echo ready
while read -r job; do
  sh -e "$job" > "$job.output" 2>&1 < /dev/null
  echo $? > "$job.status"
  echo "done $job"
done
`
