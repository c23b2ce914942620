/**
 * Makes a replica anew from the master's segments (DESIGN §4, rule 8).
 *
 * Driver. Segments that are here already and end with the same chain are kept; the others are fetched. While that goes
 * on a marker file stands in the directory: a replica with it counts as having nothing.
 */
import { Failure } from '../../protocol/failures.ts'
import type { Sequence } from '../../protocol/ids.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import { type Disk, segmentPath } from '../disk.ts'
import type { SegmentInfo } from '../log/log.ts'

const pieceBytes = 4 * 1024 * 1024
const markerName = 'installing'

export const isInstalling = (disk: Disk, directory: string): boolean => disk.list(directory).includes(markerName)

/**
 * @param ours what this replica has; its log must be closed.
 * @param fetch bytes of a segment of the master's.
 * @throws Failure when a segment cannot be had whole; the marker stays.
 */
export async function installSegments(
  disk: Disk,
  directory: string,
  wanted: readonly SegmentInfo[],
  ours: readonly SegmentInfo[],
  fetch: (first: Sequence, offset: number, length: number) => Promise<Payload>,
): Promise<void> {
  disk.makeDirectory(directory)
  disk.save(`${directory}/${markerName}`, Buffer.alloc(0))
  const equal = (a: SegmentInfo, b: SegmentInfo): boolean =>
    a.first === b.first && a.sizeBytes === b.sizeBytes && a.chain === b.chain
  const kept = ours.filter((own) => wanted.some((other) => equal(own, other)))
  const names = new Set(kept.map((own) => segmentPath(directory, own.first)))
  for (const name of disk.list(directory))
    if (name.endsWith('.segment') && !names.has(`${directory}/${name}`)) disk.remove(`${directory}/${name}`)
  for (const segment of wanted)
    if (!kept.some((own) => equal(own, segment))) await copySegment(disk, directory, segment, fetch)
  disk.syncDirectory(directory)
}

export function installed(disk: Disk, directory: string): void {
  disk.remove(`${directory}/${markerName}`)
  disk.syncDirectory(directory)
}

async function copySegment(
  disk: Disk,
  directory: string,
  segment: SegmentInfo,
  fetch: (first: Sequence, offset: number, length: number) => Promise<Payload>,
): Promise<void> {
  const file = disk.open(segmentPath(directory, segment.first), true)
  const ask = (offset: number): Promise<Payload> =>
    fetch(segment.first, offset, Math.min(pieceBytes, segment.sizeBytes - offset))
  try {
    let next = ask(0)
    for (let offset = 0; offset < segment.sizeBytes; ) {
      const payload = await next
      const bytes = payload.reduce((sum, piece) => sum + piece.length, 0)
      if (bytes === 0)
        throw new Failure('CORRUPT', `segment ${segment.first} is shorter than ${segment.sizeBytes} bytes`)
      // The next piece is on its way while this one is written.
      if (offset + bytes < segment.sizeBytes) next = ask(offset + bytes)
      file.write(payload, offset)
      offset += bytes
    }
    await file.sync(segment.sizeBytes)
  } finally {
    file.close()
  }
}
