/**
 * A real Linux kernel mounts the cluster over NFSv3 and works on it while servers are killed.
 *
 * Scenario: one CLDB, five fileservers, one gateway, and a User-Mode Linux in a network namespace. It unpacks a source
 * tree of more than 5,000 files; half-way the master of the names gets SIGKILL. Nothing fails in the client; after a
 * new mount the tree is equal to the original; git commits it and checks its objects; TypeScript compiles a program in
 * it. 1 GiB is written while another server is killed, and read back after a new mount; git finds its tree unchanged.
 * After each loss, every container has three copies again within a minute of the dead-server grace time.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { killMasterOfNames, withCluster } from '../harness/cluster.ts'
import { bootKernelClient } from '../harness/kernel-client.ts'
import { makeNamespace } from '../harness/namespace.ts'
import { needs } from '../harness/needs.ts'
import { until } from '../harness/processes.ts'
import { makeScratch } from '../harness/scratch.ts'
import { makeTree } from './tree.ts'

t.setTimeout(580_000)

const bigMB = 1024
const rereplicateAfterMs = 3000
const withinMs = 60_000 + rereplicateAfterMs
const stepMs = 240_000

t.test(
  'a kernel works on the cluster and sees no error when servers die',
  needs('root', 'namespaces', 'kernel client'),
  async (t) => {
    const { directory, remove } = makeScratch('kernel')
    t.teardown(remove)
    const tree = makeTree(directory)
    const namespace = makeNamespace()
    t.teardown(namespace.remove)
    const options = { directory, namespace, fileservers: 5, cldb: { rereplicateAfterMs } }
    await withCluster(t, options, async (cluster) => {
      await cluster.command('volume', 'create', 'main', '--mount', '/', '--chunk-size', '64M')
      const machine = await bootKernelClient({ namespace, directory })
      t.teardown(machine.close)
      const [host, port] = cluster.gateways[0]!.split(':')
      const mount = `mount -t nfs -o vers=3,proto=tcp,port=${port},mountport=${port},mountproto=tcp,nolock ${host}:/ /mnt/holdfast`
      const remount = `cd /; umount /mnt/holdfast; ${mount}; cd /mnt/holdfast`

      const step = async (claim: string, script: string): Promise<string> => {
        const begin = performance.now()
        const { status, output } = await machine.run(`cd /mnt/holdfast 2>/dev/null || true\n${script}`, stepMs)
        const seconds = ((performance.now() - begin) / 1000).toFixed(1)
        t.equal(status, 0, `${claim} (${seconds} s)`)
        if (status !== 0) throw new Error(output.slice(-3000))
        return output
      }

      await step('it mounts', `mkdir /mnt/holdfast; ${mount}; df /mnt/holdfast`)
      const half = join(directory, 'half')
      const unpacking = meanwhile(
        step(
          `it unpacks a tree of ${tree.files} files, and half-way the master of the names is killed`,
          `mkdir tree; cd tree; ${unpack(tree.tars.slice(0, 4))}; touch ${half}; ${unpack(tree.tars.slice(4))}`,
        ),
      )
      await until('half of the tree is there', stepMs, () => existsSync(half))
      await sleep(300)
      const first = await killMasterOfNames(cluster)
      const healed = meanwhile(cluster.waitHealthy(withinMs))
      await unpacking
      await step(
        'after a new mount, which remembers nothing, the tree is equal to the original',
        `${remount}; diff -r --no-dereference ${tree.directory} tree`,
      )
      await step(
        'git makes a repository of it, and finds it sound',
        `cd tree; git init -q; git add .; git -c user.name=t -c user.email=t@example.org commit -qm tree; git fsck --full`,
      )
      const printed = await step(
        'the compiler in the tree builds a program in the tree',
        `cd tree; echo 'const words: string[] = ["built", "here"]; console.log(words.join(" "))' > program.ts
       node typescript/bin/tsc --target es2020 --module nodenext --skipLibCheck --types node --typeRoots @types program.ts; node program.js`,
      )
      t.equal(printed.trim().split('\n').at(-1), 'built here')
      t.comment(`three copies of everything ${Math.round(await healed)} ms after ${first} was killed`)

      await cluster.start(first)
      const big = join(directory, 'big')
      execFileSync('dd', ['if=/dev/urandom', `of=${big}`, 'bs=1M', `count=${bigMB}`, 'status=none'])
      const sum = execFileSync('sha256sum', [big]).toString().split(' ')[0]!
      const writing = meanwhile(
        step(
          `it writes ${bigMB} MiB, and half-way another server is killed`,
          `dd if=${big} of=big bs=1M conv=fsync status=none`,
        ),
      )
      await sleep(3000)
      const second = await killMasterOfNames(cluster)
      const healedAgain = meanwhile(cluster.waitHealthy(withinMs))
      await writing
      const read = await step('it mounts again and reads', `${remount}; sha256sum big`)
      t.match(read, sum, 'the bytes are the same')
      const changed = await step('git finds the tree as it was', 'cd tree; rm program.*; git status --porcelain')
      t.equal(changed, '')
      t.comment(`three copies of everything ${Math.round(await healedAgain)} ms after ${second} was killed`)
    })
  },
)

/** Unpacks at the same time, as `make -j` would; fails when one fails. */
const unpack = (tars: readonly string[]): string =>
  `echo ${tars.join(' ')} | xargs -n 1 -P ${tars.length} tar --no-same-owner -xf`

/** What goes on beside other steps is awaited later: its failure counts then. */
function meanwhile<T>(work: Promise<T>): Promise<T> {
  work.catch(() => undefined)
  return work
}
