import { hash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { imageSize } from 'image-size'
import OpenAI, { APIUserAbortError, BadRequestError, RateLimitError, toFile } from 'openai'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { assertNeverFasterThan } from '../support/never-faster-than.ts'
import { png } from '../support/png.ts'
import { run, type Running } from './running.ts'

const rpm = 300
let room: Running
let client: OpenAI

beforeAll(async () => {
  room = await run({ rpm, instances: 2 })
  client = new OpenAI({ baseURL: `${room.instances[0]!.url}/v1`, apiKey: 'x', maxRetries: 0 })
})

afterAll(async () => {
  await room.stop()
})

test('images.generate of the openai package answers with images, within the budget that batches share', async () => {
  for (let index = 0; index < 100; index += 1) {
    await room.queue('image-jobs').sendMessage(JSON.stringify({ prompt: `a boat ${index}`, batch: 'boats' }))
  }
  const answers = await Promise.all(
    Array.from({ length: 5 }, async (_, index) =>
      client.images.generate({
        model: 'gpt-image-1',
        prompt: `a fox ${index}`,
        size: '1024x1536',
        quality: 'low',
        n: 2,
      }),
    ),
  )
  for (const { data = [], created, usage, size, quality, output_format: format } of answers) {
    expect(data).toHaveLength(2)
    for (const { b64_json: b64 = '' } of data) {
      expect(imageSize(Buffer.from(b64, 'base64'))).toMatchObject({ type: 'png', width: 1024, height: 1536 })
    }
    expect(Math.abs(created - Date.now() / 1_000)).toBeLessThan(60)
    expect([size, quality, format]).toEqual(['1024x1536', 'low', 'png'])
    expect(usage?.total_tokens).toBe((usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0))
    expect(usage?.output_tokens).toBeGreaterThan(0)
  }
  // They did not wait for the batch.
  const { body } = await room.get('/v1/batches/boats')
  expect(body.counts.succeeded).toBeLessThan(100)
  const starts = room.deployment.log().map(({ receivedAt }) => receivedAt)
  expect(starts.length).toBeGreaterThan(5)
  assertNeverFasterThan(starts, { rpm })
})

test('images.edit of the openai package answers with images, as a form with a mask', async () => {
  const picture = png({ width: 64, height: 32 })
  const image = await toFile(picture, 'room.png', { type: 'image/png' })
  const mask = await toFile(picture, 'mask.png', { type: 'image/png' })
  const one = client.images.edit({ model: 'gpt-image-1', image, mask, prompt: 'a sofa', size: '1024x1024' })
  const two = client.images.edit({ image: [image, image], prompt: 'two sofas', n: 2 })
  const [{ data: first = [] }, { data: second = [] }] = await Promise.all([one, two])
  expect([first.length, second.length]).toEqual([1, 2])
  expect(imageSize(Buffer.from(first[0]?.b64_json ?? '', 'base64'))).toMatchObject({
    width: 1024,
    height: 1024,
  })
  const sent = room.deployment.log().find(({ prompt }) => prompt === 'a sofa')
  const sha256 = hash('sha256', picture)
  expect(sent).toMatchObject({ outcome: 'succeeded', inputSha256: [sha256, sha256] })
  const small = await toFile(png({ width: 16, height: 16 }), 'mask.png', { type: 'image/png' })
  await expect(client.images.edit({ image, mask: small, prompt: 'a sofa' })).rejects.toMatchObject({
    status: 400,
    param: 'mask',
    code: 'invalid_mask',
  })
})

test('faults are the error classes of the openai package', async () => {
  const refused = client.images.generate({ prompt: 'a fox', response_format: 'b64_json' })
  await expect(refused).rejects.toBeInstanceOf(BadRequestError)
  await expect(refused).rejects.toMatchObject({ param: 'response_format', code: 'unknown_parameter' })
  await expect(client.images.generate({ model: 'dall-e-2', prompt: 'a fox' })).rejects.toMatchObject({
    param: 'model',
  })
})

test('what the model refuses is refused, and what it takes back at first is answered', async () => {
  await expect(
    client.images.generate({ prompt: 'a knife [fault:moderation_blocked]' }),
  ).rejects.toMatchObject({
    status: 400,
    code: 'moderation_blocked',
  })
  const { data = [] } = await client.images.generate({ prompt: 'a spoon [fault:500:x1]' })
  expect(data).toHaveLength(1)
})

test('a client that leaves is not called for', async () => {
  const leaving = new AbortController()
  const call = client.images.generate({ prompt: 'too late' }, { signal: leaving.signal })
  const left = call.catch((error: unknown) => error)
  await delay(500)
  leaving.abort()
  expect(await left).toBeInstanceOf(APIUserAbortError)
  const name = `sync-${new Date().toISOString().slice(0, 10)}`
  await vi.waitUntil(async () => (await room.get(`/v1/batches/${name}`)).body.counts.cancelled === 1, {
    timeout: 10_000,
    interval: 100,
  })
  expect(room.deployment.log().filter(({ prompt }) => prompt === 'too late')).toEqual([])
})

// The last one: the deployment stays out of work.
test('when its turn is too far away, the call is a RateLimitError that says when to come again', async () => {
  room.deployment.set({ capacity: 0, capacityRetryAfterSeconds: 3_600 })
  const fault = await client.images.generate({ prompt: 'a wolf' }).catch((error: unknown) => error)
  expect(fault).toBeInstanceOf(RateLimitError)
  if (!(fault instanceof RateLimitError)) return
  expect(fault.code).toBe('rate_limit_exceeded')
  expect(Number(fault.headers.get('retry-after'))).toBeGreaterThan(0)
  expect(Number(fault.headers.get('retry-after-ms'))).toBeGreaterThan(0)
})
