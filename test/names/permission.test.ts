/**
 * What POSIX and Linux ask of modes, owners and groups, as scripts.
 *
 * The language is in script.ts; the whole state is checked after every line.
 */
import t from 'tap'
import { differences } from './script.ts'
import { World } from './world.ts'

const claims: readonly (readonly [claim: string, script: string])[] = [
  [
    'changes in a directory need write and search permission',
    `root mkdir d 755
     root create d/f 644
     alice create d/g 644 -> ACCESS
     alice mkdir d/g 755 -> ACCESS
     alice remove d/f -> ACCESS
     alice link d/f d/g -> ACCESS
     alice rename d/f d/g -> ACCESS
     alice create d/f 644 -> EXISTS
     root chmod d 776
     alice create d/g 644 -> ACCESS
     alice find d/f -> ACCESS
     alice ls d -> f
     root chmod d 773
     alice create d/g 644
     alice ls d -> ACCESS
     alice find d/f
     root chmod d 772
     alice remove d/g -> ACCESS`,
  ],
  [
    'rename needs write permission on both directories',
    `root mkdir open 777
     root mkdir closed 755
     root create closed/f 644
     root create open/g 644
     alice rename closed/f open/f -> ACCESS
     alice rename open/g closed/g -> ACCESS
     alice rename open/g closed/f -> ACCESS
     alice rename open/g open/f`,
  ],
  [
    'the first class that fits decides: owner, group, others',
    `root create f 077
     root chown f 1000 50
     alice access f ->
     carol access f -> read modify extend execute
     root chown f 1000 1000
     alice access f ->
     carol access f -> read modify extend execute
     root chmod f 707
     carol access f ->
     bob access f -> read modify extend execute
     root chmod f 000
     root access f -> read modify extend
     root chmod f 001
     root access f -> read modify extend execute`,
  ],
  [
    'access on directories speaks of entries',
    `root mkdir d 751
     root access d -> read lookup modify extend delete
     alice access d -> lookup
     root chmod d 754
     alice access d -> read
     root chmod d 756
     alice access d -> read
     root chmod d 757
     alice access d -> read lookup modify extend delete`,
  ],
  [
    'in a sticky directory only owners take away',
    `root mkdir tmp 1777
     alice create tmp/f 666
     alice mkdir tmp/d 777
     bob remove tmp/f -> NOT_OWNER
     bob rmdir tmp/d -> NOT_OWNER
     bob rename tmp/f tmp/g -> NOT_OWNER
     bob create tmp/mine 644
     bob rename tmp/mine tmp/f -> NOT_OWNER
     bob link tmp/f tmp/g
     bob remove tmp/g -> NOT_OWNER
     alice rename tmp/f tmp/h
     root remove tmp/h
     alice rmdir tmp/d
     root chown tmp 1001
     alice create tmp/f 644
     bob remove tmp/f`,
  ],
  [
    'a directory that gets another parent must be writable itself',
    `root chmod / 777
     root mkdir d 755
     root mkdir e 777
     alice rename d dd
     alice rename dd e/d -> ACCESS
     root chmod dd 777
     alice rename dd e/d`,
  ],
  [
    'new objects are the callers, in its group or that of a setgid directory',
    `root chmod / 777
     alice create f 644
     root stat f -> file 644 links=1 1000:1000 0
     root mkdir g 2777
     root chown g - 50
     root stat g -> directory 2777 links=2 0:50 4096
     alice create g/f 644
     root stat g/f -> file 644 links=1 1000:50 0
     alice mkdir g/d 755
     root stat g/d -> directory 2755 links=2 1000:50 4096
     alice create g/s 2755
     root stat g/s -> file 755 links=1 1000:50 0
     carol create g/t 2755
     root stat g/t -> file 2755 links=1 1002:50 0
     alice create-as h 1001 1000 -> NOT_OWNER
     alice create-as h 1000 50 -> NOT_OWNER
     carol create-as h 1002 50
     root create-as i 7 8
     root stat i -> file 644 links=1 7:8 0`,
  ],
  [
    'only the owner and root change the mode',
    `root create f 644
     root chown f 1000 1000
     bob chmod f 777 -> NOT_OWNER
     carol chmod f 777 -> NOT_OWNER
     alice chmod f 4711
     root stat f -> file 4711 links=1 1000:1000 0
     root chown f 1000 50
     alice chmod f 2755
     root stat f -> file 755 links=1 1000:50 0
     root chmod f 2755
     root stat f -> file 2755 links=1 1000:50 0`,
  ],
  [
    'only root gives away; the owner picks among its groups',
    `root create f 644
     root chown f 1002 1002
     carol chown f 1000 -> NOT_OWNER
     carol chown f 1002
     carol chown f - 50
     carol chown f - 1000
     carol chown f - 77 -> NOT_OWNER
     alice chown f - 1000 -> NOT_OWNER
     root stat f -> file 644 links=1 1002:1000 0`,
  ],
  [
    'a new owner loses setuid and setgid, but not on directories',
    `root create f 6755
     root chown f 1000 1000
     root stat f -> file 755 links=1 1000:1000 0
     root chmod f 6745
     root chown f 1000 1000
     root stat f -> file 2745 links=1 1000:1000 0
     root mkdir d 6755
     root chown d 1000 1000
     root stat d -> directory 6755 links=2 1000:1000 4096`,
  ],
  [
    'times to choose are the owners, now is any writers',
    `root create f 646
     root chown f 1000 1000
     bob touch f 77 -> NOT_OWNER
     carol touch f now -> ACCESS
     bob touch f now
     alice touch f 77
     root chmod f 000
     alice touch f now
     bob touch f now -> ACCESS`,
  ],
  [
    'truncate needs write permission or the owner',
    `root create f 644 guarded content
     root chown f 1000 1000
     bob truncate f 3 -> ACCESS
     root chmod f 444
     alice truncate f 3
     root read f 0 9 -> con
     root truncate f 6
     root read f 0 9 -> con...
     root mkdir d 777
     root truncate d 0 -> IS_DIRECTORY
     root mknod p fifo 666
     root truncate p 0 -> INVALID`,
  ],
]

for (const [claim, script] of claims) {
  t.test(claim, async (t) => t.strictSame(await differences(World.formatted(), script), []))
}
