import functions from '@azure/functions'
import { beforeEach, describe, expect, it } from 'vitest'
import { stopped } from '../../src/core/budget.ts'
import { succeeded } from '../../src/core/job.ts'
import { getBatch } from '../../src/http/batches.ts'
import { getBudget, getHealth } from '../../src/http/budget.ts'
import { getImage, getJob, postJob } from '../../src/http/jobs.ts'
import { asReply, exactSeconds, seconds, type Call, type Reply } from '../../src/http/reply.ts'
import type { Darkroom } from '../../src/pipeline/darkroom.ts'
import { changeLedger } from '../../src/pipeline/ledgers.ts'
import { SettingsError } from '../../src/settings.ts'
import { deployment, newWorld, roomIn, type World } from '../support/room.ts'

let world: World
let room: Darkroom

beforeEach(() => {
  world = newWorld(Date.UTC(2026, 10, 23, 12, 0, 0))
  room = roomIn(world)
})

async function ask(
  handle: (call: Call) => Promise<Reply>,
  request: { path: string; params?: Record<string, string>; body?: string; headers?: Record<string, string> },
): Promise<Reply & { json: any }> {
  const { path, params = {}, body, headers = {} } = request
  const reply = await handle({
    request: new functions.HttpRequest({
      url: `https://darkroom.example.com${path}`,
      method: body === undefined ? 'GET' : 'POST',
      params,
      headers,
      ...(body === undefined ? {} : { body: { string: body } }),
    }),
    room,
    id: '6f0f9d5e-request',
  })
  return { ...reply, json: reply.jsonBody }
}

async function post(body: object | string, headers: Record<string, string> = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return ask(postJob, { path: '/v1/jobs', body: text, headers })
}

async function job(id: string) {
  return ask(getJob, { path: `/v1/jobs/${id}`, params: { id } })
}

describe('POST /v1/jobs', () => {
  it('answers 202 with the job, where it is, and when to ask again', async () => {
    const { status, headers, json } = await post({ prompt: 'a fox', batch: 'animals', custom_id: 'fox' })
    expect(status).toBe(202)
    expect(headers).toMatchObject({
      location: '/v1/jobs/animals.fox',
      'retry-after': expect.stringMatching(/^[1-9]\d*$/),
    })
    expect(json).toMatchObject({
      id: 'animals.fox',
      status: 'queued',
      created_at: 1_795_435_200,
      attempts: 0,
    })
    expect(json.estimated_start_at - json.created_at).toBeLessThanOrEqual(4)
  })

  it('puts a nameless one into the inbox of the day, under the request’s own id', async () => {
    expect((await post({ prompt: 'a fox' })).json.id).toBe('inbox-2026-11-23.msg~6f0f9d5e-request')
  })

  it('meets the job of an Idempotency-Key again, also after midnight', async () => {
    const key = { 'idempotency-key': 'order 17' }
    const first = await post({ prompt: 'a fox' }, key)
    await world.clock.runUntil(Date.UTC(2026, 10, 24, 0, 0, 5))
    const again = await post({ prompt: 'a fox' }, key)
    expect(again).toMatchObject({ status: 202, headers: { 'idempotent-replayed': 'true' } })
    expect(again.json.id).toBe(first.json.id)
    expect(await post({ prompt: 'a wolf' }, key)).toMatchObject({
      status: 409,
      json: { error: { param: 'Idempotency-Key' } },
    })
  })

  it.each([
    [{ prompt: 'a fox', size: '17x17' }, 'size', 'invalid_value'],
    [{ prompt: 'a fox', colour: 'red' }, 'colour', 'unknown_parameter'],
    [{}, 'prompt', 'missing_required_parameter'],
    ['{', null, 'invalid_json'],
  ])('answers 400 to %j', async (body, param, code) => {
    const { status, json } = await post(body)
    expect(status).toBe(400)
    expect(json).toEqual({
      error: { message: expect.any(String), type: 'invalid_request_error', param, code },
    })
  })

  it('answers 413 to more than a job can be, told by its length or found out', async () => {
    const long = JSON.stringify({ prompt: 'x'.repeat(300_000) })
    expect((await post(long)).status).toBe(413)
    expect((await post(long, { 'content-length': String(long.length) })).status).toBe(413)
  })

  it.each(['', 'x'.repeat(257), 'schlüssel'])('answers 400 to the Idempotency-Key %j', async (key) => {
    const { status, json } = await post({ prompt: 'a fox' }, { 'idempotency-key': key })
    expect([status, json.error.param]).toEqual([400, 'Idempotency-Key'])
  })
})

describe('a finished job', () => {
  beforeEach(async () => {
    await post({ prompt: 'a fox', batch: 'animals', custom_id: 'fox' })
    const before = (await room.jobs.get({ batch: 'animals', key: 'fox' }))!
    const usage = { inputTokens: 3, outputTokens: 272, inputTextTokens: 3, inputImageTokens: 0 }
    const images = await room.images.save({
      job: before.job,
      facts: { attempt: 1, usage, requestId: 'r1', finishedAt: 0 },
      images: [
        {
          bytes: new Uint8Array([1, 2, 3]),
          contentType: 'image/png',
          extension: '.png',
          width: 16,
          height: 16,
        },
      ],
    })
    const finishedAt = world.clock.now() + 5_600
    await room.jobs.change(before, succeeded(before.job, { finishedAt, images, usage, requestId: 'r1' })!)
  })

  it('shows its images under our own address, and its usage as the API does', async () => {
    const { json } = await job('animals.fox')
    expect(json).toMatchObject({
      status: 'succeeded',
      finished_at: 1_795_435_205,
      estimated_start_at: null,
      images: [
        {
          url: 'https://darkroom.example.com/v1/jobs/animals.fox/images/0',
          content_type: 'image/png',
          bytes: 3,
        },
      ],
      usage: {
        total_tokens: 275,
        input_tokens: 3,
        output_tokens: 272,
        input_tokens_details: { text_tokens: 3, image_tokens: 0 },
      },
      request_ids: ['r1'],
      failure: null,
    })
  })

  it('gives its image, and none that it has not', async () => {
    const image = (k: string) =>
      ask(getImage, { path: `/v1/jobs/animals.fox/images/${k}`, params: { id: 'animals.fox', k } })
    expect(await image('0')).toMatchObject({
      status: 200,
      headers: { 'content-type': 'image/png' },
      body: new Uint8Array([1, 2, 3]),
    })
    for (const k of ['1', '-1', 'x', '000']) expect((await image(k)).status).toBe(404)
  })

  it('is counted in its batch, in OpenAI’s fields and ours', async () => {
    const { json } = await ask(getBatch, { path: '/v1/batches/animals', params: { name: 'animals' } })
    expect(json).toMatchObject({
      id: 'animals',
      object: 'batch',
      endpoint: '/v1/images/generations',
      status: 'completed',
      completed_at: 1_795_435_205,
      request_counts: { total: 1, completed: 1, failed: 0 },
      usage: { input_tokens: 3, output_tokens: 272, total_tokens: 275 },
      counts: { total: 1, waiting: 0, running: 0, succeeded: 1, failed: 0, cancelled: 0 },
      images: 1,
      estimated_finish_at: null,
    })
  })
})

describe('what does not exist', () => {
  it.each(['nobody', 'animals.', '.fox', 'animals.fox/../../x', 'a b.c', `${'x'.repeat(65)}.y`])(
    'job %j is a 404',
    async (id) => {
      expect(await job(id)).toMatchObject({ status: 404, json: { error: { code: 'not_found' } } })
    },
  )

  it.each(['nobody', 'a b', "x' or true", 'x'.repeat(65)])('batch %j is a 404', async (name) => {
    expect((await ask(getBatch, { path: '/v1/batches/x', params: { name } })).status).toBe(404)
  })
})

describe('the budget', () => {
  it('shows a deployment before its first tick, and after', async () => {
    const before = (await ask(getBudget, { path: '/v1/budget' })).json.deployments[0]
    expect(before).toMatchObject({
      deployment,
      rpm: 60,
      pace: 0.98,
      factor: 1,
      starts_last_minute: 0,
      stopped: null,
    })
    await post({ prompt: 'a fox' })
    const after = (await ask(getBudget, { path: '/v1/budget' })).json.deployments[0]
    expect(after.next_free_slot_at).toBeGreaterThan(before.next_free_slot_at)
  })

  it('says why a deployment is stopped; so does the health', async () => {
    await post({ prompt: 'a fox' })
    expect((await ask(getHealth, { path: '/healthz' })).json).toEqual({ status: 'ok', stopped: [] })
    const stop = { now: world.clock.now(), code: '401', message: 'the key was refused' }
    await changeLedger(room, deployment, (ledger) => stopped(ledger, stop))
    expect((await ask(getHealth, { path: '/healthz' })).json).toEqual({
      status: 'degraded',
      stopped: [{ deployment, code: '401', message: 'the key was refused' }],
    })
    const { json } = await ask(getBudget, { path: '/v1/budget' })
    expect(json.deployments[0].stopped).toMatchObject({ code: '401', since: 1_795_435_200 })
  })
})

describe('what goes wrong', () => {
  it('is told without details, which are for the log', () => {
    expect(asReply(new Error('the key abc was refused'))).toMatchObject({
      status: 500,
      jsonBody: { error: { type: 'server_error' } },
    })
    expect(JSON.stringify(asReply(new Error('the key abc was refused')))).not.toContain('abc')
    expect(asReply(new SettingsError('IMAGE_RPM: found x'))).toMatchObject({
      status: 503,
      jsonBody: { error: { code: 'not_configured' } },
    })
  })

  it('times are unix seconds, slots with decimals', () => {
    expect([seconds(1_999), seconds(null)]).toEqual([1, null])
    expect([exactSeconds(1_999.4), exactSeconds(null)]).toEqual([1.999, null])
  })
})
