/**
 * The filesystem by paths, in the shape of Node.js's `fs.promises`.
 *
 * Paths are absolute, in the one tree that the volumes' mount paths make. Failures are `PathFailure`s, whose `code`,
 * `syscall` and `path` are as Node.js has them. What changes names or attributes is durable when it returns, and so
 * is a file of at most 64 KiB that `writeFile` wrote; other bytes are after `sync`, or with `flush`.
 */
import { constants } from 'node:fs'
import { Failure } from '../../protocol/failures.ts'
import { sameFid } from '../../protocol/ids.ts'
import { type Changes, type Credentials, inlineBytesMax } from '../../protocol/messages/attributes.ts'
import { access as accessBits } from '../../protocol/messages/files.ts'
import { type Data, encodingOf } from '../handle/data.ts'
import type { FileHandle } from '../handle/file-handle.ts'
import { ReadStream, type ReadStreamOptions, WriteStream, type WriteStreamOptions } from '../handle/streams.ts'
import type { Operations } from '../operations.ts'
import { changes, modeOf, ownerOf, type TimeLike, timeOf } from './changes.ts'
import { Dir, entriesOf, type Listing } from './directory.ts'
import { parseFlags } from './flags.ts'
import { open, writeWhole } from './opening.ts'
import { named } from './path-failure.ts'
import { byteString, bytesOf, type Path, target, textOf } from './paths.ts'
import { Appends, type Session } from './session.ts'
import { Dirent, type StatFs, Stats, statFs } from './stats.ts'
import { copyBytes, makeDirectories, makeDirectory, removeTree } from './trees.ts'
import { Walk } from './walk.ts'

const fileMode = 0o666
const directoryMode = 0o777

type Flag = { readonly flag?: string | number | undefined }
type AsText = BufferEncoding | ({ readonly encoding: BufferEncoding } & Flag)
type AsBytes = ({ readonly encoding?: null } & Flag) | null
export type ReadFileOptions = BufferEncoding | ({ readonly encoding?: BufferEncoding | null } & Flag) | null
export type WriteFileOptions =
  | BufferEncoding
  | ({
      readonly encoding?: BufferEncoding | null
      readonly mode?: number | string
      /** Durable when it returns, whatever its size. */
      readonly flush?: boolean
    } & Flag)
  | null
export type RemoveOptions = { readonly recursive?: boolean; readonly force?: boolean }
type Opening = { readonly flags?: string | number; readonly mode?: number | string }

const objectOf = <T>(options: T): Exclude<T, string | null | undefined> | Record<string, never> =>
  typeof options === 'object' && options !== null ? (options as Exclude<T, string | null | undefined>) : {}

export class Filesystem {
  readonly #session: Session

  constructor(operations: Operations, caller: Credentials, umask: number) {
    this.#session = { operations, caller, umask, walk: new Walk(operations, caller), appends: new Appends() }
  }

  /** `flags` as in Node.js: 'r' unless told. `mode`: 0o666 less the umask. */
  async open(path: Path, flags: string | number = 'r', mode: number | string = fileMode): Promise<FileHandle> {
    return await named('open', path, async () => open(this.#session, path, parseFlags(flags), modeOf(mode)))
  }

  async readFile(path: Path, options: AsText): Promise<string>
  async readFile(path: Path, options?: AsBytes): Promise<Buffer>
  async readFile(path: Path, options?: ReadFileOptions): Promise<string | Buffer>
  async readFile(path: Path, options?: ReadFileOptions): Promise<string | Buffer> {
    const { flag = 'r' } = objectOf(options)
    return await named('open', path, async () => {
      await using handle = await open(this.#session, path, parseFlags(flag), fileMode)
      return await handle.readFile(options)
    })
  }

  /** Replaces the file, or makes it. At most 64 KiB are one atomic, durable record. */
  async writeFile(path: Path, data: Data, options?: WriteFileOptions): Promise<void> {
    const { mode = fileMode, flag = 'w', flush = false } = objectOf(options)
    await named('open', path, async () => {
      const flags = parseFlags(flag)
      const bytes = typeof data === 'string' ? Buffer.from(data, encodingOf(options) ?? 'utf8') : data
      const small = bytes instanceof Uint8Array && bytes.length <= inlineBytesMax && flags.create && flags.truncate
      if (small && !target(path).slash && (await writeWhole(this.#session, path, bytes, flags, modeOf(mode)))) return
      await using handle = await open(this.#session, path, flags, modeOf(mode))
      await handle.writeFile(bytes, options)
      if (flush) await handle.sync()
    })
  }

  async appendFile(path: Path, data: Data, options?: WriteFileOptions): Promise<void> {
    const given = typeof options === 'string' ? { encoding: options } : objectOf(options)
    await this.writeFile(path, data, { flag: 'a', ...given })
  }

  createReadStream(path: Path, options: ReadStreamOptions & Opening = {}): ReadStream {
    const { flags = 'r', mode } = options
    return new ReadStream(() => this.open(path, flags, mode), options)
  }

  createWriteStream(path: Path, options: WriteStreamOptions & Opening = {}): WriteStream {
    const { flags = 'w', mode } = options
    return new WriteStream(() => this.open(path, flags, mode), parseFlags(flags).append, options)
  }

  /** `recursive`: also the directories before it; @returns then the first that was made, if any. */
  async mkdir(
    path: Path,
    options?: number | string | { readonly recursive?: boolean; readonly mode?: number | string } | null,
  ): Promise<string | undefined> {
    const given = typeof options === 'object' && options !== null ? options : { mode: options ?? directoryMode }
    const { recursive = false, mode = directoryMode } = { recursive: false, ...given }
    return await named('mkdir', path, async () => {
      if (recursive) return await makeDirectories(this.#session, path, modeOf(mode))
      if (target(path).name === '') throw new Failure('EXISTS', 'it is the root')
      await makeDirectory(this.#session, path, modeOf(mode))
      return undefined
    })
  }

  async readdir(path: Path, options?: { readonly encoding?: 'utf8'; readonly withFileTypes?: false }): Promise<string[]>
  async readdir(path: Path, options: { readonly encoding: 'buffer'; readonly withFileTypes?: false }): Promise<Buffer[]>
  async readdir(path: Path, options: { readonly encoding?: 'utf8'; readonly withFileTypes: true }): Promise<Dirent[]>
  async readdir(
    path: Path,
    options: { readonly encoding: 'buffer'; readonly withFileTypes: true },
  ): Promise<Dirent<Buffer>[]>
  async readdir(
    path: Path,
    options: { readonly encoding?: 'utf8' | 'buffer'; readonly withFileTypes?: boolean } = {},
  ): Promise<(string | Buffer | Dirent | Dirent<Buffer>)[]> {
    return await named('scandir', path, async () => {
      const found: (string | Buffer | Dirent | Dirent<Buffer>)[] = []
      const parent = textOf(bytesOf(byteString(path)))
      for await (const { name, kind } of entriesOf(this.#session, await this.#listing(path))) {
        const shown = options.encoding === 'buffer' ? name : textOf(name)
        found.push(
          options.withFileTypes === true ? (new Dirent<string | Buffer>(shown, parent, kind) as Dirent) : shown,
        )
      }
      return found
    })
  }

  /** An async iterator over the directory, which is read page by page. */
  async opendir(path: Path): Promise<Dir> {
    const listing = await named('opendir', path, () => this.#listing(path))
    return new Dir(textOf(bytesOf(byteString(path))), entriesOf(this.#session, listing))
  }

  async #listing(path: Path): Promise<Listing> {
    const { walk } = this.#session
    const found = await walk.find(path, true)
    const { attributes } = found
    if (attributes === undefined) throw new Failure('NOT_FOUND', 'no such directory')
    if (attributes.kind !== 'directory') throw new Failure('NOT_DIRECTORY', 'it is no directory')
    return attributes.fid.inode === 0 ? (walk.above(found) ?? new Set()) : attributes.fid
  }

  /** Atomic, over what has the new name. Within one volume. */
  async rename(path: Path, newPath: Path): Promise<void> {
    const { operations, caller, walk } = this.#session
    const move = async (): Promise<void> => {
      if (target(path).slash || target(newPath).slash) await this.#demandDirectory(path)
      await walk.at(path, (source, sourceName) =>
        walk.at(newPath, async (directory, name) => {
          await operations.rename(caller, source, sourceName, directory, name, true)
          walk.forget(source, sourceName)
          walk.forget(directory, name)
        }),
      )
    }
    await named('rename', path, move, newPath)
  }

  async #demandDirectory(path: Path): Promise<void> {
    const { parent, name } = target(path)
    const { kind } = await this.#session.walk.existing(bytesOf(parent + name), false)
    if (kind !== 'directory') throw new Failure('NOT_DIRECTORY', 'a path that ends in a slash must be a directory')
  }

  /** `recursive`: a directory with all that is in it; `force`: nothing there is no failure. */
  async rm(path: Path, { recursive = false, force = false }: RemoveOptions = {}): Promise<void> {
    await named('rm', path, async () => {
      const { attributes } = await this.#session.walk.find(path, false)
      if (attributes === undefined) {
        if (force) return
        throw new Failure('NOT_FOUND', 'no such file or directory')
      }
      if (attributes.kind !== 'directory') return await this.#remove(path, 'file')
      if (!recursive) throw new Failure('IS_DIRECTORY', 'it is a directory, and the removal not recursive')
      await this.#session.walk.at(path, (holder, name) => removeTree(this.#session, holder, name, attributes.fid))
    })
  }

  async rmdir(path: Path): Promise<void> {
    await named('rmdir', path, () => this.#remove(path, 'directory'))
  }

  async unlink(path: Path): Promise<void> {
    await named('unlink', path, async () => {
      if (target(path).slash) await this.#demandDirectory(path)
      await this.#remove(path, 'file')
    })
  }

  async #remove(path: Path, kind: 'file' | 'directory'): Promise<void> {
    const { operations, caller, walk } = this.#session
    await walk.at(path, async (directory, name) => {
      await operations.remove(caller, directory, name, kind)
      walk.forget(directory, name)
    })
  }

  async stat(path: Path): Promise<Stats> {
    return await named('stat', path, async () => new Stats(await this.#session.walk.existing(path, true)))
  }

  async lstat(path: Path): Promise<Stats> {
    return await named('lstat', path, async () => new Stats(await this.#session.walk.existing(path, false)))
  }

  async symlink(to: Path, path: Path): Promise<void> {
    const { operations, caller, walk } = this.#session
    const make = (): Promise<unknown> =>
      walk.at(path, (directory, name) =>
        operations.create(caller, directory, name, {
          kind: 'symlink',
          how: 'guarded',
          changes: changes({ mode: 0o777 }),
          target: bytesOf(byteString(to)),
        }),
      )
    await named('symlink', to, make, path)
  }

  async readlink(path: Path): Promise<string>
  async readlink(path: Path, options: { readonly encoding: 'buffer' }): Promise<Buffer>
  async readlink(path: Path, options?: { readonly encoding: 'buffer' }): Promise<string | Buffer> {
    const { operations, caller, walk } = this.#session
    return await named('readlink', path, async () => {
      const { fid } = await walk.existing(path, false)
      const { target } = await operations.readlink(caller, fid)
      return options?.encoding === 'buffer' ? Buffer.from(target) : textOf(target)
    })
  }

  /** A hard link; a symlink is linked itself. Within one volume. */
  async link(path: Path, newPath: Path): Promise<void> {
    const { operations, caller, walk } = this.#session
    const make = async (): Promise<unknown> => {
      const { fid } = await walk.existing(path, false)
      return await walk.at(newPath, (directory, name) => operations.link(caller, fid, directory, name))
    }
    await named('link', path, make, newPath)
  }

  async chmod(path: Path, mode: number | string): Promise<void> {
    await this.#set('chmod', path, true, () => ({ mode: modeOf(mode) }))
  }

  /** -1 leaves the owner or the group as it is. */
  async chown(path: Path, uid: number, gid: number): Promise<void> {
    await this.#set('chown', path, true, () => ({ uid: ownerOf(uid), gid: ownerOf(gid) }))
  }

  async lchown(path: Path, uid: number, gid: number): Promise<void> {
    await this.#set('lchown', path, false, () => ({ uid: ownerOf(uid), gid: ownerOf(gid) }))
  }

  async utimes(path: Path, accessed: TimeLike, modified: TimeLike): Promise<void> {
    await this.#set('utime', path, true, () => ({ accessed: timeOf(accessed), modified: timeOf(modified) }))
  }

  async lutimes(path: Path, accessed: TimeLike, modified: TimeLike): Promise<void> {
    await this.#set('lutime', path, false, () => ({ accessed: timeOf(accessed), modified: timeOf(modified) }))
  }

  /** Cuts the file off, or lengthens it by a hole. */
  async truncate(path: Path, length = 0): Promise<void> {
    await this.#set('truncate', path, true, () => ({ sizeBytes: sizeOf(length) }))
  }

  async #set(syscall: string, path: Path, follow: boolean, some: () => Partial<Changes>): Promise<void> {
    const { operations, caller, walk } = this.#session
    await named(syscall, path, async () => {
      const wanted = changes(some())
      const { fid } = await walk.existing(path, follow)
      await operations.setattr(caller, fid, wanted)
    })
  }

  /** `mode`: bits of `fs.constants` (R_OK, W_OK, X_OK); only existence unless told. */
  async access(path: Path, mode: number = constants.F_OK): Promise<void> {
    const { operations, caller, walk } = this.#session
    await named('access', path, async () => {
      const { fid } = await walk.existing(path, true)
      if (mode === constants.F_OK) return
      const { attributes, allowed } = await operations.access(caller, fid)
      const executable = attributes.kind === 'directory' ? accessBits.lookup : accessBits.execute
      const wanted =
        ((mode & constants.R_OK) !== 0 ? accessBits.read : 0) |
        ((mode & constants.W_OK) !== 0 ? accessBits.modify : 0) |
        ((mode & constants.X_OK) !== 0 ? executable : 0)
      if ((allowed & wanted) !== wanted) throw new Failure('ACCESS', 'permission denied')
    })
  }

  /** Bytes and permission bits. `mode`: COPYFILE_EXCL fails where `newPath` is. */
  async copyFile(path: Path, newPath: Path, mode = 0): Promise<void> {
    const copy = async (): Promise<void> => {
      await using source = await this.open(path)
      const flags = (mode & constants.COPYFILE_EXCL) === 0 ? 'w' : 'wx'
      const stats = await source.stat()
      if (!stats.isFile()) throw new Failure('NOT_SUPPORTED', 'only files can be copied')
      const { attributes } = await this.#session.walk.find(newPath, true)
      if (attributes !== undefined && flags === 'w' && sameFid(attributes.fid, source.fid)) return
      await using copied = await this.open(newPath, flags, stats.mode & 0o777)
      await copyBytes(source, copied)
    }
    await named('copyfile', path, copy, newPath)
  }

  async statfs(path: Path): Promise<StatFs> {
    return await named('statfs', path, async () => {
      const { fid } = await this.#session.walk.existing(path, true)
      return statFs(await this.#session.operations.space(fid))
    })
  }
}

/** As Node.js, a negative length is none. */
const sizeOf = (length: number): number => {
  if (!Number.isSafeInteger(length)) throw new Failure('INVALID', `not a length: ${length}`)
  return Math.max(0, length)
}
