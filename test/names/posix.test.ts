/**
 * What POSIX and Linux ask of names, kinds, links and inline bytes, as scripts.
 *
 * The language is in script.ts; the whole state is checked after every line.
 */
import t from 'tap'
import { differences } from './script.ts'
import { World } from './world.ts'

const claims: readonly (readonly [claim: string, script: string])[] = [
  [
    'the root is a directory that root owns',
    `root stat / -> directory 755 links=2 0:0 4096
     root ls / ->
     alice create /f 644 -> ACCESS`,
  ],
  [
    'each kind of object is made as asked',
    `root create f 640
     root stat f -> file 640 links=1 0:0 0
     root mkdir d 700
     root stat d -> directory 700 links=2 0:0 4096
     root stat / -> directory 755 links=3 0:0 4096
     root symlink s some/where
     root stat s -> symlink 777 links=1 0:0 10
     root readlink s -> some/where
     root readlink f -> INVALID
     root mknod p fifo 600
     root mknod k socket 600
     root mknod b block 600
     root mknod c character 600
     root ls / -> b c d f k p s`,
  ],
  [
    'devices are for root; pipes and sockets for all',
    `root chmod / 1777
     alice mknod b block 600 -> NOT_OWNER
     alice mknod c character 600 -> NOT_OWNER
     alice mknod p fifo 600
     alice mknod k socket 600`,
  ],
  [
    'without a mode nobody else gets in',
    `root create f
     root mkdir d
     root stat f -> file 600 links=1 0:0 0
     root stat d -> directory 700 links=2 0:0 4096`,
  ],
  [
    'names are any bytes but / and NUL, up to 255',
    `root create x*255 644
     root create y*256 644 -> NAME_TOO_LONG
     root find y*256 -> NAME_TOO_LONG
     root mkdir y*256 755 -> NAME_TOO_LONG
     root rename x*255 y*256 -> NAME_TOO_LONG
     root link x*255 y*256 -> NAME_TOO_LONG
     root remove y*256 -> NAME_TOO_LONG
     root create %FF%01%20%0A 644
     root find %FF%01%20%0A
     root create a%00b 644 -> INVALID
     root create a%2Fb 644 -> INVALID
     root create / 644 -> INVALID`,
  ],
  [
    '. and .. are names that every directory has',
    `root mkdir d 755
     root create d/f 644
     root find d/.
     root find d/..
     root find ..
     root create d/. 644 -> EXISTS
     root mkdir d/.. 755 -> EXISTS
     root link d/f d/. -> EXISTS
     root rmdir d/. -> INVALID
     root rmdir d/.. -> NOT_EMPTY
     root remove d/. -> IS_DIRECTORY
     root rename d/. e -> INVALID
     root rename d/f d/.. -> INVALID
     root stat d/.. -> directory 755 links=3 0:0 4096`,
  ],
  [
    'what is not a directory has no entries',
    `root create f 644
     root create f/g 644 -> NOT_DIRECTORY
     root find f/g -> NOT_DIRECTORY
     root ls f -> NOT_DIRECTORY
     root remove f/g -> NOT_DIRECTORY
     root rename f/g h -> NOT_DIRECTORY
     root rename f f/h -> NOT_DIRECTORY
     root link f f/h -> NOT_DIRECTORY`,
  ],
  [
    'a taken name is taken, whatever has it',
    `root create f 644
     root mkdir d 755
     root symlink s f
     root create f 644 -> EXISTS
     root mkdir f 755 -> EXISTS
     root mkdir d 755 -> EXISTS
     root symlink d f -> EXISTS
     root mknod s fifo -> EXISTS
     root link f d -> EXISTS
     root create d 644 unchecked -> EXISTS
     root create s 644 unchecked -> EXISTS
     root mkdir nowhere/d 755 -> NOT_FOUND`,
  ],
  [
    'an unchecked create opens what is there, and truncates only when told',
    `root create f 640 guarded content
     root create f 777 unchecked -> existed
     root stat f -> file 640 links=1 0:0 7
     root open-truncating f -> existed
     root stat f -> file 640 links=1 0:0 0
     root open-truncating f new -> existed
     root read f 0 10 -> new
     root create f 777 unchecked NE -> existed
     root read f 0 10 -> NEw
     root create g 644 unchecked fresh
     root read g 0 10 -> fresh`,
  ],
  [
    'who may not write may open, and not truncate',
    `root create f 644 guarded content
     alice create f 644 unchecked -> existed
     alice open-truncating f -> ACCESS
     root chmod f 666
     alice open-truncating f -> existed
     root stat f -> file 666 links=1 0:0 0`,
  ],
  [
    'an exclusive create is the same again with the same verifier',
    `root exclusive f abcdefgh
     root exclusive f abcdefgh
     root exclusive f hgfedcba -> EXISTS
     root exclusive g short -> INVALID
     root create h 644
     root exclusive h abcdefgh -> EXISTS
     root mkdir d 755
     root exclusive d abcdefgh -> EXISTS`,
  ],
  [
    'remove takes files, rmdir empty directories',
    `root mkdir d 755
     root create d/f 644
     root remove d -> IS_DIRECTORY
     root rmdir d -> NOT_EMPTY
     root rmdir d/f -> NOT_DIRECTORY
     root remove d/g -> NOT_FOUND
     root rmdir d/g -> NOT_FOUND
     root remove d/f
     root rmdir d
     root find d -> NOT_FOUND
     root stat / -> directory 755 links=2 0:0 4096`,
  ],
  [
    'a file lives as long as it has a name',
    `root create f 644 guarded content
     root link f g
     root link f h
     root stat f -> file 644 links=3 0:0 7
     root remove f
     root stat g -> file 644 links=2 0:0 7
     root read h 0 10 -> content
     root remove g
     root remove h
     root ls / ->`,
  ],
  [
    'directories have one name; symlinks and pipes may have more',
    `root mkdir d 755
     root link d e -> NOT_OWNER
     root symlink s d
     root link s t
     root readlink t -> d
     root stat t -> symlink 777 links=2 0:0 1`,
  ],
  [
    'rename moves, and replaces what is of the same sort',
    `root create a 644 guarded A
     root create b 644 guarded B
     root rename a b
     root read b 0 9 -> A
     root ls / -> b
     root mkdir d 755
     root mkdir e 755
     root rename d e
     root ls / -> b e
     root stat / -> directory 755 links=3 0:0 4096
     root rename b e -> IS_DIRECTORY
     root rename e b -> NOT_DIRECTORY
     root rename nothing c -> NOT_FOUND
     root rename b e keep -> EXISTS
     root rename b c keep
     root ls / -> c e`,
  ],
  [
    'a directory with entries is not replaced',
    `root mkdir d 755
     root mkdir e 755
     root create e/f 644
     root rename d e -> NOT_EMPTY
     root remove e/f
     root rename d e`,
  ],
  [
    'rename onto another name of the same object does nothing',
    `root create f 644 guarded content
     root link f g
     root rename f g
     root ls / -> f g
     root rename f f
     root stat f -> file 644 links=2 0:0 7
     root mkdir d 755
     root rename d d
     root stat d -> directory 755 links=2 0:0 4096`,
  ],
  [
    'replacing one of several names takes one link',
    `root create f 644 guarded F
     root create g 644 guarded G
     root link g h
     root rename f g
     root stat h -> file 644 links=1 0:0 1
     root read h 0 9 -> G
     root read g 0 9 -> F`,
  ],
  [
    'a directory does not move into itself',
    `root mkdir a 755
     root mkdir a/b 755
     root mkdir a/b/c 755
     root rename a a/x -> INVALID
     root rename a a/b/c/x -> INVALID
     root rename a/b a/b/c -> INVALID
     root rename a/b/c a/c
     root rename a/b a/c/b
     root rename a/c a/c/b/c -> INVALID
     root ls a/c -> b`,
  ],
  [
    'a directory that moves takes its link to the parent along',
    `root mkdir a 755
     root mkdir b 755
     root mkdir a/d 755
     root stat a -> directory 755 links=3 0:0 4096
     root rename a/d b/d
     root stat a -> directory 755 links=2 0:0 4096
     root stat b -> directory 755 links=3 0:0 4096
     root mkdir a/d 755
     root rename b/d a/d
     root stat a -> directory 755 links=3 0:0 4096
     root stat b -> directory 755 links=2 0:0 4096
     root create here 600
     root find a/d/../../here`,
  ],
  [
    'inline bytes go where they belong, and holes are zeros',
    `root create f 644
     root write f 3 abc
     root read f 0 100 -> ...abc
     root write f 1 xyz
     root read f 0 100 -> .xyzbc
     root truncate f 2
     root truncate f 8
     root read f 0 100 -> .x......
     root read f 5 2 -> ..
     root read f 8 2 ->
     root read f 100 2 ->
     root write f 65535 x
     root stat f -> file 644 links=1 0:0 65536
     root write f 65535 xy -> INVALID
     root write f 65536 x -> INVALID
     root mkdir d 755
     root write d 0 x -> IS_DIRECTORY
     root read d 0 1 -> IS_DIRECTORY
     root symlink s f
     root write s 0 x -> INVALID
     root read s 0 1 -> INVALID`,
  ],
]

for (const [claim, script] of claims) {
  t.test(claim, async (t) => t.strictSame(await differences(World.formatted(), script), []))
}
