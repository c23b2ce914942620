/**
 * The NFS program, version 3: its 22 procedures in the order of their numbers.
 *
 * Not pure.
 *
 * Source: RFC 1813 §3.
 */
import { nullProcedure, type Procedure, type Program } from '../rpc/program.ts'
import { commit, read, write } from './data.ts'
import { readdir, readdirplus } from './listing.ts'
import { create, link, lookup, mkdir, mknod, remove, rename, rmdir, symlink } from './names.ts'
import { access, fsinfo, fsstat, getattr, pathconf, readlink, setattr } from './objects.ts'
import { type Definition, type Gateway, procedure } from './procedure.ts'

export function nfs3(gateway: Gateway): Program {
  const made = <A>(define: (gateway: Gateway) => Definition<A>): Procedure<unknown> =>
    procedure(define(gateway), gateway.log)
  return {
    name: 'NFS',
    number: 100003,
    version: 3,
    procedures: [
      nullProcedure,
      made(getattr),
      made(setattr),
      made(lookup),
      made(access),
      made(readlink),
      made(read),
      made(write),
      made(create),
      made(mkdir),
      made(symlink),
      made(mknod),
      made(remove),
      made(rmdir),
      made(rename),
      made(link),
      made(readdir),
      made(readdirplus),
      made(fsstat),
      made(fsinfo),
      made(pathconf),
      made(commit),
    ],
  }
}
