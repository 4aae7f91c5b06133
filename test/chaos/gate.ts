import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { AzuritePorts } from '../../src/local/azurite.ts'
import { connectionStringFor } from '../../src/local/azurite.ts'

/** Stands before Azurite, and can be closed: storage is out of reach then, and has lost nothing. */
export type Gate = {
  readonly connectionString: string
  close(): Promise<void>
  open(): Promise<void>
}

export async function startGate(connectionString: string): Promise<Gate> {
  const portOf = (service: string): number =>
    Number(new URL(new RegExp(`${service}Endpoint=([^;]*)`).exec(connectionString)?.[1] ?? '').port)
  const doors = await Promise.all(
    ['Blob', 'Queue', 'Table'].map(async (service) => startDoor(portOf(service))),
  )
  const [blob, queue, table] = doors.map(({ port }) => port)
  const ports: AzuritePorts = { blob: blob!, queue: queue!, table: table! }
  return {
    connectionString: connectionStringFor(ports),
    close: async () => void (await Promise.all(doors.map(async (door) => door.close()))),
    open: async () => void (await Promise.all(doors.map(async (door) => door.open()))),
  }
}

async function startDoor(target: number) {
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    const onward = connect(target, '127.0.0.1')
    for (const [one, other] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      sockets.add(one)
      one.on('error', () => {})
      one.on('close', () => {
        sockets.delete(one)
        other.destroy()
      })
      one.pipe(other)
    }
  })
  const listen = async (port: number): Promise<number> => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }
  const port = await listen(0)
  return {
    port,
    async open() {
      await listen(port)
    },
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
