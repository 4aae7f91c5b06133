import { once } from 'node:events'
import { createServer, request, type Server, type ServerResponse } from 'node:http'
import { setImmediate } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { timing } from '../../src/core/timing.ts'
import { atClientsPace, clientGone } from '../../src/functions/client.ts'
import { watchExchanges } from '../../src/functions/exchange.ts'

const chunkBytes = 64 * 1024
const chunks = 2_000

let server: Server
let url: string
let onRequest: (id: string, response: ServerResponse) => Promise<void>

beforeAll(async () => {
  watchExchanges()
  server = createServer((incoming, response) => {
    void onRequest(String(incoming.headers['x-ms-invocation-id']), response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the server has no port')
  url = `http://127.0.0.1:${address.port}`
})

afterAll(async () => {
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
})

afterEach(() => {
  vi.useRealTimers()
})

/** Time stands still for what is tested, not for the sockets. */
function holdTime(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
}

async function turns(count = 200): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await setImmediate()
}

/** Writes as the library does: without waiting, and to its end. */
async function write(body: AsyncIterable<Uint8Array>, response: ServerResponse): Promise<void> {
  for await (const chunk of body) response.write(chunk)
  response.end()
}

test('a body goes no faster than its client reads, and ends when the client leaves', async () => {
  let made = 0
  let hasEnded = false
  let gone: AbortSignal | undefined
  async function* body() {
    try {
      for (; made < chunks; made += 1) {
        yield Buffer.alloc(chunkBytes)
        await setImmediate()
      }
    } finally {
      hasEnded = true
    }
  }
  onRequest = async (id, response) => {
    gone = clientGone(id)
    await write(atClientsPace(body(), id), response)
  }
  const client = request(url, { headers: { 'x-ms-invocation-id': 'slow' } }).end()
  const [response] = await once(client, 'response')
  response.pause()
  // What the sockets of both sides hold is some megabytes.
  const stands = await vi.waitUntil(
    async () => {
      const before = made
      for (let turn = 0; turn < 200; turn += 1) await setImmediate()
      return before > 0 && before === made ? made : undefined
    },
    { timeout: 20_000 },
  )
  expect(stands * chunkBytes).toBeLessThan(32 * 1024 * 1024)
  expect(gone?.aborted).toBe(false)
  client.destroy()
  await vi.waitUntil(() => hasEnded)
  expect(made).toBeLessThan(stands + 3)
  expect(gone?.aborted).toBe(true)
})

test('a client that reads gets all of it, and is not gone when it has', async () => {
  let gone: AbortSignal | undefined
  async function* body() {
    for (let made = 0; made < 200; made += 1) yield Buffer.alloc(chunkBytes)
  }
  onRequest = async (id, response) => {
    gone = clientGone(id)
    await write(atClientsPace(body(), id), response)
  }
  const response = await fetch(url, { headers: { 'x-ms-invocation-id': 'quick' } })
  expect((await response.arrayBuffer()).byteLength).toBe(200 * chunkBytes)
  expect(gone?.aborted).toBe(false)
})

test('without a client of its own a body comes as it is', async () => {
  async function* body() {
    yield Buffer.from('a')
  }
  const seen: string[] = []
  for await (const chunk of atClientsPace(body(), 'nobody')) seen.push(chunk.toString())
  expect(seen).toEqual(['a'])
  expect(clientGone('nobody').aborted).toBe(false)
})

test('a client that takes nothing for a minute is cut off, and sees that it was', async () => {
  holdTime()
  let hasEnded = false
  let made = 0
  async function* body() {
    try {
      for (; made < chunks; made += 1) yield Buffer.alloc(chunkBytes)
    } finally {
      hasEnded = true
    }
  }
  onRequest = async (id, response) => write(atClientsPace(body(), id), response)
  const client = request(url, { headers: { 'x-ms-invocation-id': 'stalled' } }).end()
  const [response] = await once(client, 'response')
  response.pause()
  let before = -1
  while (before !== made) {
    before = made
    // On a busy machine the sockets may do nothing for some turns.
    await turns(2_000)
  }
  await vi.advanceTimersByTimeAsync(timing.streamStallMs - 1)
  await turns()
  expect(hasEnded).toBe(false)
  const broken = once(response, 'error')
  await vi.advanceTimersByTimeAsync(1)
  await vi.waitUntil(() => hasEnded, { timeout: 20_000 })
  response.resume()
  expect((await broken)[0]).toMatchObject({ code: 'ECONNRESET' })
  expect(response.complete).toBe(false)
})

test('a client that takes a little now and then is not cut off before a function must end', async () => {
  holdTime()
  async function* body() {
    yield Buffer.alloc(20 * 1024 * 1024)
    await new Promise(() => {})
  }
  onRequest = async (id, response) => write(atClientsPace(body(), id), response)
  const client = request(url, { headers: { 'x-ms-invocation-id': 'slow reader' } }).end()
  const [response] = await once(client, 'response')
  let read = 0
  let sinceMs = 0
  response.pause()
  while (read < 20 * 1024 * 1024) {
    const chunk: Buffer | null = response.read()
    read += chunk?.length ?? 0
    await turns(50)
    await vi.advanceTimersByTimeAsync(1_000)
    sinceMs += 1_000
  }
  const broken = once(response, 'error')
  response.resume()
  await vi.advanceTimersByTimeAsync(timing.streamMs - sinceMs - 1)
  await turns()
  expect(response.destroyed).toBe(false)
  // The body itself has stopped, and is not waited for.
  await vi.advanceTimersByTimeAsync(1_000)
  expect((await broken)[0]).toMatchObject({ code: 'ECONNRESET' })
  expect(response.complete).toBe(false)
})

test('a body of which nothing came is never taken for an empty one', async () => {
  holdTime()
  async function* body() {
    await new Promise(() => {})
    yield Buffer.from('')
  }
  let fault: unknown
  let isClean = false
  onRequest = async (id, response) => {
    try {
      await write(atClientsPace(body(), id), response)
      isClean = true
    } catch (error) {
      fault = error
      response.destroy()
    }
  }
  const client = request(url, { headers: { 'x-ms-invocation-id': 'patient' } }).end()
  const broken = once(client, 'error').catch((error: unknown) => error)
  await turns()
  await vi.advanceTimersByTimeAsync(timing.streamMs)
  await broken
  expect([isClean, String(fault)]).toEqual([false, 'Error: a streamed answer was cut off'])
})
