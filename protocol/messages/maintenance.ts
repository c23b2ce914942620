/**
 * Calls to a fileserver beside its work: scrubbing on request, and a replica that was given up.
 *
 * Pure table. A scrub goes on when its caller has gone; its report is kept until later ones push it out, or the server ends.
 */
import {
  boolean,
  containerShape,
  epochShape,
  list,
  message,
  natural,
  nothing,
  type Of,
  serverShape,
  text,
} from '../check.ts'
import { call } from './service.ts'

const container = containerShape

/** Containers of one scrub. */
export const scrubContainersMax = 10_000
export const scrubProblemsMax = 64
/** Reports that a server keeps; as many scrubs may be under way or wait. */
export const scrubRunsMax = 64

export const scrubReportShape = message({
  done: boolean,
  containers: natural(),
  containersChecked: natural(),
  totalBytes: natural(),
  checkedBytes: natural(),
  /** Damaged heads, blocks and headers of segments, and logs that differ from what most replicas hold. */
  found: natural(),
  repaired: natural(),
  /** Damage that is still there: no replica has the bytes whole, the disk refuses them, or nobody could be asked. */
  remaining: natural(),
  /** Containers of which there is no whole replica here that could be checked. */
  unchecked: natural(),
  problems: list(message({ container, problem: text(1024) }), scrubProblemsMax),
})
export type ScrubReport = Of<typeof scrubReportShape>

export const maintenance = {
  name: 'maintenance',
  calls: {
    /** Checks this server's replicas of these containers, at once. OVERLOADED when many such scrubs wait already. */
    scrub: call(
      0x0401,
      message({ containers: list(container, scrubContainersMax) }),
      message({ run: natural(), report: scrubReportShape }),
    ),
    /** How far it is. NOT_FOUND when the server does not know (any more). */
    scrubbed: call(0x0402, message({ run: natural() }), message({ report: scrubReportShape })),
    /** To a container's master: the replica of `server`, a member, has to be made anew. CONFLICT unless `epoch` is the master's. */
    damaged: call(0x0403, message({ container, epoch: epochShape, server: serverShape }), nothing),
    /** The scrubs that the server knows, oldest first: those under way, and the latest that are done. */
    scrubs: call(0x0404, nothing, message({ runs: list(natural(), scrubRunsMax) })),
  },
} as const
