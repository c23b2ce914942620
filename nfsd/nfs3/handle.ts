/**
 * NFS file handles: 44 bytes that name an object and the export by which the client reached it.
 *
 * Pure. Nothing in a handle belongs to one gateway or one start of it, so it is valid on every gateway, for ever.
 * All integers are big-endian; 64-bit ones are safe integers.
 *
 *   0  version, 1          1  three zero bytes      4  id of the export (exports.ts)
 *   12 volume: the container of its root            20 container    28 inode    36 generation
 */
import { Failure } from '../../protocol/failures.ts'
import { type ContainerId, containerId, type Fid, inode } from '../../protocol/ids.ts'

export const handleBytes = 44
/** NFS3_FHSIZE. */
export const handleBytesMax = 64
const handleVersion = 1

export type Handle = {
  readonly exportId: number
  /** Container of the volume's root: tells volumes apart. */
  readonly volume: ContainerId
  readonly fid: Fid
}

export function writeHandle(handle: Handle): Uint8Array {
  const bytes = Buffer.allocUnsafe(handleBytes)
  bytes.writeUInt32BE(handleVersion * 2 ** 24, 0)
  write64(bytes, handle.exportId, 4)
  write64(bytes, handle.volume, 12)
  write64(bytes, handle.fid.container, 20)
  write64(bytes, handle.fid.inode, 28)
  write64(bytes, handle.fid.generation, 36)
  return bytes
}

/** @throws Failure BAD_HANDLE when no gateway can have made it. */
export function readHandle(bytes: Uint8Array): Handle {
  if (bytes.length !== handleBytes) throw new Failure('BAD_HANDLE', `a handle of ${bytes.length} bytes`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, handleBytes)
  if (view.getUint32(0) !== handleVersion * 2 ** 24) throw new Failure('BAD_HANDLE', 'a handle of another version')
  return {
    exportId: read64(view, 4),
    volume: containerId(read64(view, 12)),
    fid: {
      container: containerId(read64(view, 20)),
      inode: inode(read64(view, 28)),
      generation: read64(view, 36),
    },
  }
}

function write64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32BE(Math.floor(value / 2 ** 32), at)
  bytes.writeUInt32BE(value % 2 ** 32, at + 4)
}

function read64(view: DataView, at: number): number {
  const value = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4)
  if (!Number.isSafeInteger(value)) throw new Failure('BAD_HANDLE', 'a number in a handle is too large')
  return value
}
