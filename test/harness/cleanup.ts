/**
 * What a test has to undo on the machine (processes, mounts, namespaces, directories), undone even when the test dies.
 *
 * Not pure: one list per process, run last in, first out, at exit or by a signal. Only what was registered here is
 * touched. Undoing is synchronous because nothing else runs at exit.
 */
type Undo = { readonly run: () => void }

const pending: Undo[] = []

/** @returns a function that undoes it now; a second call does nothing. */
export function atExit(run: () => void): () => void {
  const undo: Undo = { run }
  pending.push(undo)
  return () => {
    const place = pending.indexOf(undo)
    if (place < 0) return
    pending.splice(place, 1)
    run()
  }
}

function undoAll(): void {
  while (pending.length > 0) {
    try {
      pending.pop()!.run()
    } catch (error) {
      process.stderr.write(`clean-up: ${error}\n`)
    }
  }
}

process.on('exit', undoAll)
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => process.exit(1))
