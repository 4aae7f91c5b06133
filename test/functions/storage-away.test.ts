import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { storageLine, type StorageLine } from '../support/storage-line.ts'
import { read, startLibrary, type Library } from './library.ts'

let line: StorageLine
let library: Library

beforeAll(async () => {
  line = await storageLine(inject('azurite'))
  vi.stubEnv('AzureWebJobsStorage', line.connectionString)
  vi.stubEnv('AZURE_OPENAI_ENDPOINT', 'http://127.0.0.1:1')
  vi.stubEnv('AZURE_OPENAI_API_KEY', 'key')
  vi.stubEnv('IMAGE_RPM', '60')
  library = await startLibrary(async () => import('../../src/functions/index.ts'))
})

afterAll(async () => {
  await library.stop()
  await line.stop()
  vi.unstubAllEnvs()
})

test('an instance that starts without storage says so, and works when it is back', async () => {
  line.loseAfter(0)
  const startedAt = Date.now()
  const post = { method: 'POST', path: '/v1/jobs', body: '{"prompt":"a fox"}' }
  const calls = [library.call('get-health', { path: '/healthz' }), library.call('post-job', post)]
  for (const call of calls) {
    const answer = await call.response
    expect(answer.statusCode).toBe(503)
    // Nothing was begun, so a client may send it again by itself.
    expect(answer.headers).toMatchObject({ 'retry-after': '10', 'x-request-id': call.id })
    expect(answer.headers).not.toHaveProperty('x-should-retry')
    expect(JSON.parse((await read(answer)).text)).toMatchObject({ error: { code: 'storage_unavailable' } })
    expect(await call.invocation).toBe(true)
  }
  if (process.env['FIGURES'] !== undefined) console.log(Date.now() - startedAt, library.lines)
  await line.mend()
  const health = await library.call('get-health', { path: '/healthz' }).response
  expect(health.statusCode).toBe(200)
  health.resume()
}, 120_000)
