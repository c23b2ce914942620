#!/usr/bin/env node
/**
 * `holdfast`: the one command. Runs the servers, an embedded cluster, and what administrators and users ask of a cluster.
 *
 * A failure is one line on stderr and exit code 1; a mistake in the call is exit code 2.
 */
import { Command, CommanderError, Option } from 'commander'
import { containerCommand } from './commands/container.ts'
import { devCommand } from './commands/dev.ts'
import { fsCommand } from './commands/fs.ts'
import { nodeCommand } from './commands/node.ts'
import { scrubCommand } from './commands/scrub.ts'
import { serveCommands } from './commands/serve.ts'
import { statusCommand } from './commands/status.ts'
import { volumeCommand } from './commands/volume.ts'
import { report } from './failure.ts'

const version = '0.1.0'

const program = new Command('holdfast')
  .description('A container-based distributed filesystem.')
  .version(version)
  .option('--json', 'print JSON for programs')
  .addOption(
    new Option('--cldb <host:port,...>', 'where the CLDB answers').env('HOLDFAST_CLDB').default('127.0.0.1:7400'),
  )
  .configureHelp({ showGlobalOptions: true })
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'holdfast: ')) })
  .exitOverride()

for (const add of [
  devCommand,
  serveCommands,
  statusCommand,
  volumeCommand,
  containerCommand,
  nodeCommand,
  scrubCommand,
  fsCommand,
])
  add(program)

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})

try {
  await program.parseAsync()
} catch (error) {
  // Commander has said what is wrong by itself; help and version are no errors.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
  else process.exitCode = report(error)
}
