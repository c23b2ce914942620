/**
 * Ports for the embedded cluster: the wanted one where it can be had, else any free one.
 */
import { createServer } from 'node:net'

/** @returns `wanted`, or a free port when that is taken or not permitted to us. */
export async function freePort(host: string, wanted: number): Promise<number> {
  try {
    return await bind(host, wanted)
  } catch (error) {
    if (!['EADDRINUSE', 'EACCES'].includes(String((error as NodeJS.ErrnoException).code))) throw error
    return bind(host, 0)
  }
}

function bind(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen({ host, port, exclusive: true }, () => {
      const bound = server.address()
      server.close(() => resolve(typeof bound === 'object' && bound !== null ? bound.port : port))
    })
  })
}
