/**
 * What every measurement gets, and what it gives back.
 *
 * Types only.
 */
export type Scene = {
  /** Its own, on a disk; removed at the end. */
  readonly directory: string
  /** Smaller and shorter: to see whether it works at all. */
  readonly quick: boolean
  /** Tells what goes on. */
  readonly say: (line: string) => void
  /** Runs at the end, however that comes; last in, first out. */
  readonly undo: (run: () => Promise<unknown>) => void
}

/** A page for people, and figures for programs. */
export type Findings = { readonly text: string; readonly figures: object }
