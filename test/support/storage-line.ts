import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** The way to a storage account, which can be taken away in the middle of what comes along it. */
export type StorageLine = {
  readonly connectionString: string
  /** What came from storage since the line was made or mended last. */
  passedBytes(): number
  /** When so much more has come, all connections break and nobody listens any more; `silent`: nothing moves any more. */
  loseAfter(bytes: number, how?: 'refused' | 'silent'): void
  isLost(): boolean
  mend(): Promise<void>
  stop(): Promise<void>
}

export async function storageLine(connectionString: string): Promise<StorageLine> {
  const sockets = new Set<Socket>()
  const servers: { readonly server: Server; readonly port: number }[] = []
  let passedBytes = 0
  let loseAt = Infinity
  let loseHow: 'refused' | 'silent' = 'refused'
  let isLost = false

  function lose(): void {
    isLost = true
    if (loseHow === 'silent') return
    for (const { server } of servers) server.close()
    for (const socket of sockets) socket.destroy()
  }

  function passOn(from: Socket, to: Socket, count: (bytes: number) => void): void {
    from.on('data', (chunk: Buffer) => {
      count(chunk.length)
      if (isLost) return
      if (to.write(chunk)) return
      from.pause()
      to.once('drain', () => from.resume())
    })
    from.on('end', () => {
      if (!isLost) to.end()
    })
    from.on('error', () => to.destroy())
    from.on('close', () => {
      sockets.delete(from)
      if (!isLost || loseHow === 'refused') to.destroy()
    })
    sockets.add(from)
  }

  function lineTo(target: number): Server {
    return createServer((near) => {
      const far = connect(target, '127.0.0.1')
      passOn(near, far, () => {})
      passOn(far, near, (bytes) => {
        passedBytes += bytes
        if (!isLost && passedBytes >= loseAt) lose()
      })
    })
  }

  let lined = connectionString
  for (const [, name, port] of connectionString.matchAll(/(\w+Endpoint)=http:\/\/127\.0\.0\.1:(\d+)\//g)) {
    const server = lineTo(Number(port))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (typeof address !== 'object' || address === null) throw new Error('the line has no port')
    servers.push({ server, port: address.port })
    lined = lined.replace(`${name}=http://127.0.0.1:${port}/`, `${name}=http://127.0.0.1:${address.port}/`)
  }

  return {
    connectionString: lined,
    passedBytes: () => passedBytes,
    loseAfter(bytes, how = 'refused') {
      loseHow = how
      loseAt = passedBytes + bytes
      if (bytes === 0) lose()
    },
    isLost: () => isLost,
    async mend() {
      for (const socket of sockets) socket.destroy()
      for (const { server, port } of servers) {
        if (server.listening) continue
        server.listen(port, '127.0.0.1')
        await once(server, 'listening')
      }
      passedBytes = 0
      loseAt = Infinity
      isLost = false
    },
    async stop() {
      for (const socket of sockets) socket.destroy()
      await Promise.all(
        servers.map(async ({ server }) => {
          if (!server.listening) return
          server.close()
          await once(server, 'close')
        }),
      )
    },
  }
}
