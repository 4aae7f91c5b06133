import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { afterEach, expect, inject, test, vi } from 'vitest'
import { timing } from '../src/core/timing.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllEnvs()
})

/** Takes connections, and says nothing. */
async function silentStorage() {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    connectionString: inject('azurite').replaceAll(
      /http:\/\/127\.0\.0\.1:\d+\//g,
      `http://127.0.0.1:${port}/`,
    ),
    isAsked: () => sockets.size > 0,
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

test('storage that is silent while an instance opens is given up in time, and asked anew by the next call', async () => {
  const silent = await silentStorage()
  vi.stubEnv('AzureWebJobsStorage', silent.connectionString)
  vi.stubEnv('AZURE_OPENAI_ENDPOINT', 'https://studio.openai.azure.com')
  vi.stubEnv('AZURE_OPENAI_API_KEY', 'k')
  vi.resetModules()
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const { openContext } = await import('../src/app.ts')
  const opened = openContext().then(
    () => 'opened',
    (error: unknown) => error,
  )
  await vi.waitUntil(() => silent.isAsked(), { timeout: 10_000 })
  await vi.advanceTimersByTimeAsync(timing.openMs)
  expect(await opened).toMatchObject({ code: 'NO_ANSWER' })
  const again = openContext().catch((error: unknown) => error)
  await silent.stop()
  await vi.advanceTimersByTimeAsync(timing.openMs)
  // Another try of its own: the connection that it lost was not the first one's.
  expect(await again).not.toBe(await opened)
})
