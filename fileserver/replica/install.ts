/**
 * Makes a replica anew from the master's segments (DESIGN §4, rule 8).
 *
 * Driver. Segments that are here already, end with the same chain and are read whole are kept; the others are fetched.
 * While that goes on a marker file stands in the directory: a replica with it counts as having nothing.
 */
import { Failure, isFailure } from '../../protocol/failures.ts'
import type { ContainerId, Sequence } from '../../protocol/ids.ts'
import type { Payload } from '../../protocol/transport/transport.ts'
import { type Disk, segmentPath } from '../disk.ts'
import type { SegmentInfo } from '../log/log.ts'
import { openSegment, type Segment, scan } from '../log/segment.ts'

const pieceBytes = 4 * 1024 * 1024
const markerName = 'installing'

/** From now on the replica counts as having nothing, also after a restart. */
export const disown = (disk: Disk, directory: string): void => disk.save(`${directory}/${markerName}`, Buffer.alloc(0))

export const isInstalling = (disk: Disk, directory: string): boolean => disk.list(directory).includes(markerName)

/**
 * @param ours what this replica has; its log must be closed.
 * @param fetch bytes of a segment of the master's.
 * @param soon runs its argument after the events that are at hand.
 * @throws Failure when a segment cannot be had whole; the marker stays.
 */
export async function installSegments(
  disk: Disk,
  directory: string,
  container: ContainerId,
  wanted: readonly SegmentInfo[],
  ours: readonly SegmentInfo[],
  fetch: (first: Sequence, offset: number, length: number) => Promise<Payload>,
  soon: (run: () => void) => void,
): Promise<void> {
  disk.makeDirectory(directory)
  disk.save(`${directory}/${markerName}`, Buffer.alloc(0))
  const equal = (a: SegmentInfo, b: SegmentInfo): boolean =>
    a.first === b.first && a.sizeBytes === b.sizeBytes && a.chain === b.chain
  const kept: SegmentInfo[] = []
  for (const own of ours) {
    if (!wanted.some((other) => equal(own, other))) continue
    // Reading a segment takes tens of milliseconds: others have their turn in between.
    await new Promise<void>((resolve) => soon(resolve))
    if (isWhole(disk, directory, container, own)) kept.push(own)
  }
  const names = new Set(kept.map((own) => segmentPath(directory, own.first)))
  for (const name of disk.list(directory))
    if (name.endsWith('.segment') && !names.has(`${directory}/${name}`)) disk.remove(`${directory}/${name}`)
  for (const segment of wanted)
    if (!kept.some((own) => equal(own, segment))) await copySegment(disk, directory, segment, fetch)
  disk.syncDirectory(directory)
}

/** Whether every record of the segment can be read, up to the chain that it is said to end with. */
function isWhole(
  disk: Disk,
  directory: string,
  container: ContainerId,
  { first, sizeBytes, chain }: SegmentInfo,
): boolean {
  let segment: Segment
  try {
    segment = openSegment(disk, directory, container, first)
  } catch (error) {
    if (!isFailure(error, 'CORRUPT', 'VERSION_MISMATCH')) throw error
    return false
  }
  try {
    let last = segment.end.chain
    const records = scan(segment, segment.end, sizeBytes, true)
    let step = records.next()
    for (; !step.done; step = records.next()) last = step.value.header.chain
    return step.value === 'end' && last === chain
  } finally {
    segment.file.close()
  }
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
