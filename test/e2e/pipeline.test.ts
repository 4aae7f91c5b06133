import { imageSize } from 'image-size'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { limits } from '../../src/core/limits.ts'
import { assertNeverFasterThan } from '../support/never-faster-than.ts'
import { run, type Running } from './running.ts'

const rpm = 600
let room: Running

beforeAll(async () => {
  room = await run({ rpm, instances: 2 })
})

afterAll(async () => {
  await room.stop()
})

async function send(message: unknown): Promise<void> {
  await room.queue('image-jobs').sendMessage(typeof message === 'string' ? message : JSON.stringify(message))
}

async function finished(id: string): Promise<any> {
  return vi.waitUntil(
    async () => {
      const { status, body } = await room.get(`/v1/jobs/${id}`)
      return status === 200 && body.finished_at !== null ? body : undefined
    },
    { timeout: 50_000, interval: 200 },
  )
}

const sample = {
  prompt: 'A photograph of a red fox in an autumn forest',
  size: '1024x1024',
  quality: 'medium',
  output_compression: 100,
  output_format: 'png',
  n: 1,
}

describe('a prompt on the queue', () => {
  it('comes out as an image, under the id that its sender gave', async () => {
    await send({ ...sample, custom_id: 'fox', batch: 'first' })
    const job = await finished('first.fox')
    expect(job).toMatchObject({
      object: 'image.job',
      status: 'succeeded',
      batch: 'first',
      custom_id: 'fox',
      request: sample,
      attempts: 1,
      possibly_repeated_calls: 0,
      failure: null,
      usage: { output_tokens: 1056 },
    })
    expect(job.slot_at).toBeGreaterThan(job.created_at)
    expect(job.request_ids).toEqual([
      room.deployment.log().find(({ prompt }) => prompt === sample.prompt)?.requestId,
    ])
    const image = await room.get(new URL(job.images[0].url).pathname)
    expect(image.headers.get('content-type')).toBe('image/png')
    expect(imageSize(image.body)).toMatchObject({ type: 'png', width: 1024, height: 1024 })
    expect(image.body.length).toBe(job.images[0].bytes)
  })

  it('may be the line of a batch file, base64, or several images as jpeg', async () => {
    const line = {
      custom_id: 'line',
      method: 'POST',
      url: '/v1/images/generations',
      batch: 'forms',
      body: { prompt: 'a line' },
    }
    await send(line)
    await send(btoa(JSON.stringify({ prompt: 'encoded', custom_id: 'encoded', batch: 'forms' })))
    await send({ prompt: 'three', n: 3, output_format: 'jpeg', custom_id: 'three', batch: 'forms' })
    expect(await finished('forms.line')).toMatchObject({ status: 'succeeded', request: { prompt: 'a line' } })
    expect(await finished('forms.encoded')).toMatchObject({ status: 'succeeded' })
    const three = await finished('forms.three')
    expect(three.images.map((image: { content_type: string }) => image.content_type)).toEqual(
      Array(3).fill('image/jpeg'),
    )
    expect((await room.get('/v1/jobs/forms.three/images/3')).status).toBe(404)
    expect((await room.get('/v1/batches/forms')).body).toMatchObject({
      status: 'completed',
      counts: { total: 3, waiting: 0, running: 0, succeeded: 3, failed: 0, cancelled: 0 },
      request_counts: { total: 3, completed: 3, failed: 0 },
      images: 5,
    })
  })

  it('sent twice is one job and one call; without an id each is a job of the day', async () => {
    await send({ prompt: 'only once', custom_id: 'twin', batch: 'twins' })
    await send({ prompt: 'only once', custom_id: 'twin', batch: 'twins' })
    await finished('twins.twin')
    await send({ prompt: 'nameless' })
    await send({ prompt: 'nameless' })
    await vi.waitUntil(
      () => room.deployment.log().filter(({ prompt }) => prompt === 'nameless').length === 2,
      30_000,
    )
    expect(room.deployment.log().filter(({ prompt }) => prompt === 'only once')).toHaveLength(1)
    const inbox = await room.get(`/v1/batches/inbox-${new Date().toISOString().slice(0, 10)}`)
    expect(inbox.body.counts.total).toBeGreaterThanOrEqual(2)
  })
})

describe('a message that is no valid job', () => {
  it('becomes a failed job that says what is wrong, and never reaches the model', async () => {
    await send({ prompt: 'too small', size: '512x512', batch: 'wrong', custom_id: 'size' })
    await send({
      prompt: 'misspelt',
      siez: '1024x1024',
      batch: 'wrong',
      custom_id: 'field',
      id: 'x',
      dequeueCount: 99,
    })
    const counts = async () => (await room.get('/v1/batches/wrong')).body.counts
    await vi.waitUntil(async () => (await counts())?.failed === 2, 30_000)
    expect(await counts()).toEqual({
      total: 2,
      waiting: 0,
      running: 0,
      succeeded: 0,
      failed: 2,
      cancelled: 0,
    })
    expect(room.deployment.log().filter(({ prompt }) => /too small|misspelt/.test(prompt ?? ''))).toEqual([])
    for (const instance of room.instances) expect(instance.lines.join('\n')).not.toMatch(/too small|misspelt/)
  })

  it('that is not even JSON, or lies on a poison queue, fails in the inbox of the day', async () => {
    const inbox = async () =>
      (await room.get(`/v1/batches/inbox-${new Date().toISOString().slice(0, 10)}`)).body
    const before = (await inbox()).counts?.failed ?? 0
    await send('this is not JSON')
    const poison = room.queue('image-jobs-poison')
    await poison.createIfNotExists()
    await poison.sendMessage(JSON.stringify({ prompt: 'given up' }))
    await room.queue('image-work').sendMessage('none of ours')
    await vi.waitUntil(async () => (await inbox()).counts?.failed >= before + 2, 30_000)
  })
})

describe('POST /v1/jobs', () => {
  it('accepts, and is polled', async () => {
    const { status, headers, body } = await room.post('/v1/jobs', {
      prompt: 'by http',
      custom_id: 'http',
      batch: 'post',
    })
    expect(status).toBe(202)
    expect(headers.get('location')).toBe('/v1/jobs/post.http')
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    expect(body).toMatchObject({ id: 'post.http', status: 'queued' })
    expect(body.estimated_start_at).toBeGreaterThanOrEqual(body.created_at)
    expect(await finished('post.http')).toMatchObject({ status: 'succeeded' })
  })

  it('honours Idempotency-Key, and refuses the key for another request', async () => {
    const key = { 'idempotency-key': 'order 1' }
    const first = await room.post('/v1/jobs', { prompt: 'an order' }, key)
    const again = await room.post('/v1/jobs', { prompt: 'an order' }, key)
    expect(again.status).toBe(202)
    expect(again.body.id).toBe(first.body.id)
    expect(again.headers.get('idempotent-replayed')).toBe('true')
    const other = await room.post('/v1/jobs', { prompt: 'another order' }, key)
    expect(other.status).toBe(409)
    await finished(first.body.id)
    expect(room.deployment.log().filter(({ prompt }) => prompt === 'an order')).toHaveLength(1)
  })

  it.each([
    ['{"prompt":"x","size":"1x1"}', 400, 'size'],
    ['{"prompt":"x","n":0}', 400, 'n'],
    ['{"size":"1024x1024"}', 400, 'prompt'],
    ['nonsense', 400, null],
    [`{"prompt":"${'x'.repeat(300_000)}"}`, 400, 'prompt'],
    [`{"image":"${'x'.repeat(limits.jobBodyBytesMax)}"}`, 413, null],
  ])('answers bad input in the shape of the API (%#)', async (body, status, param) => {
    const answer = await room.post('/v1/jobs', body)
    expect(answer.status).toBe(status)
    expect(answer.body.error).toMatchObject({ type: 'invalid_request_error', param })
    expect(answer.body.error.message).toBeTypeOf('string')
    expect(answer.headers.get('x-request-id')).toBeTruthy()
  })
})

describe('what does not exist', () => {
  it.each([
    '/v1/jobs/first.none',
    '/v1/jobs/none',
    '/v1/jobs/first.fox/images/9',
    '/v1/batches/none',
    '/v1/batches/a%20b',
  ])('%s is a 404 in the shape of the API', async (path) => {
    const { status, body } = await room.get(path)
    expect(status).toBe(404)
    expect(body.error.code).toBe('not_found')
  })
})

describe('each kind of failure', () => {
  const kinds = [
    ['[fault:moderation_blocked]', 'failed', 'refused', 1],
    ['[fault:content_policy_violation]', 'failed', 'refused', 1],
    ['[fault:500:x1]', 'succeeded', null, 2],
    ['[fault:408:x1]', 'succeeded', null, 2],
    ['[fault:dropped:x1]', 'succeeded', null, 2],
    ['[fault:truncated:x1]', 'succeeded', null, 2],
    ['[fault:short:x1]', 'succeeded', null, 2],
    ['[fault:garbage]', 'failed', 'unknown', 2],
    ['[fault:capacity:x1]', 'succeeded', null, 1],
  ] as const
  const idOf = (marker: string): string => marker.replaceAll(/[^a-z0-9]+/g, '_')

  beforeAll(async () => {
    for (const [marker] of kinds)
      await send({ prompt: `a fox ${marker}`, custom_id: idOf(marker), batch: 'faults' })
  })

  it.each(kinds)('%s ends as %s (%s) after %d attempts', async (marker, status, kind, attempts) => {
    const job = await finished(`faults.${idOf(marker)}`)
    expect(job).toMatchObject({ status, attempts, failure: kind === null ? null : { kind } })
    const isPaidTwice = /408|dropped|truncated|short|garbage/.test(marker)
    expect(job.possibly_repeated_calls).toBe(isPaidTwice ? 1 : 0)
    const calls = room.deployment.log().filter(({ prompt }) => prompt === `a fox ${marker}`)
    expect(calls).toHaveLength(marker.includes('capacity') ? 2 : attempts)
  })
})

describe('the whole', () => {
  it('keeps to the budget, and says so', async () => {
    const starts = room.deployment.log().map(({ receivedAt }) => receivedAt)
    assertNeverFasterThan(starts, { rpm })
    expect(room.deployment.log().filter(({ outcome }) => outcome === 'throttled')).toEqual([])
    const { body } = await room.get('/v1/budget')
    expect(body).toMatchObject({
      object: 'budget',
      deployments: [{ deployment: 'gpt-image-1', rpm, pace: 0.98 }],
    })
    expect((await room.get('/healthz')).body).toEqual({ status: 'ok', stopped: [] })
  })
})
