import functions from '@azure/functions'
import { beforeEach, describe, expect, it } from 'vitest'
import { localCaller } from '../../src/core/caller.ts'
import { stopped } from '../../src/core/budget/ledger.ts'
import { claimed, failed, retried, succeeded } from '../../src/core/jobs/transitions.ts'
import { failure } from '../../src/core/jobs/failure.ts'
import { limits } from '../../src/core/limits.ts'
import { getBatch, patchBatch } from '../../src/http/api/batches/batches.ts'
import { postCancel, postPause, postResume } from '../../src/http/api/batches/batch-decisions.ts'
import { getBudget, getHealth } from '../../src/http/api/budget.ts'
import { postEstimate } from '../../src/http/api/estimate.ts'
import { getImage, getJob, postCancelJob, postJob } from '../../src/http/api/jobs.ts'
import { asReply, exactSeconds, seconds, usd, type Call, type Reply } from '../../src/http/reply.ts'
import type { Context } from '../../src/pipeline/context.ts'
import { changeLedger } from '../../src/pipeline/pacing/ledgers.ts'
import { SettingsError } from '../../src/settings.ts'
import { dataUrl, png } from '../support/png.ts'
import { deployment, newWorld, contextIn, type World, setInUse } from '../support/context.ts'

let world: World
let context: Context

beforeEach(() => {
  world = newWorld(Date.UTC(2026, 10, 23, 12, 0, 0))
  context = contextIn(world)
})

async function ask(
  handle: (call: Call) => Promise<Reply>,
  request: {
    path: string
    params?: Record<string, string>
    body?: string
    method?: 'GET' | 'POST' | 'PATCH'
    headers?: Record<string, string>
  },
): Promise<Reply & { json: any }> {
  const { path, params = {}, body, headers = {}, method = body === undefined ? 'GET' : 'POST' } = request
  // Storage lets changes of one batch wait for each other.
  const work = handle({
    request: new functions.HttpRequest({
      url: `https://darkroom.example.com${path}`,
      method,
      params,
      headers,
      ...(body === undefined ? {} : { body: { string: body } }),
    }),
    context,
    id: '6f0f9d5e-request',
    caller: localCaller,
  })
  const reply = await world.clock.run(work)
  return { ...reply, json: reply.jsonBody }
}

async function post(body: object | string, headers: Record<string, string> = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return ask(postJob, { path: '/v1/jobs', body: text, headers })
}

async function job(id: string) {
  return ask(getJob, { path: `/v1/jobs/${id}`, params: { id } })
}

/** What a person does to a batch. */
async function change(handle: (call: Call) => Promise<Reply>, name: string, body?: object | string) {
  const method = handle === patchBatch ? 'PATCH' : 'POST'
  const text = typeof body === 'object' ? JSON.stringify(body) : body
  return ask(handle, {
    path: `/v1/batches/${name}`,
    params: { name },
    method,
    ...(text === undefined ? {} : { body: text }),
  })
}

async function batchNow(name: string) {
  return (await ask(getBatch, { path: `/v1/batches/${name}`, params: { name } })).json
}

async function cancelJob(id: string) {
  return ask(postCancelJob, { path: `/v1/jobs/${id}/cancel`, params: { id }, method: 'POST' })
}

/** The job as a worker has it in a call. */
async function runningJob(key: string) {
  const slotted = (await context.jobs.get({ batch: 'animals', key }))!
  const now = world.clock.now()
  const claim = claimed(slotted.job, { slotAt: now, deployment, leaseUntil: now + 90_000 })!
  return (await context.jobs.change(slotted, claim))!
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
      priority: null,
      cost_usd: null,
      possible_cost_usd: 0,
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

  it('takes an edit, and tells what it starts from as it was told', async () => {
    await world.inputs.keep('fox.png', png())
    await world.inputs.keep('hat.png', png())
    const edit = { prompt: 'a hat', batch: 'animals', custom_id: 'hat', image: ['fox.png'], mask: 'hat.png' }
    const { status, json } = await post(edit)
    expect(status).toBe(202)
    expect(json.request).toEqual({ prompt: 'a hat', image: ['fox.png'], mask: 'hat.png' })
    const whole = await post({ prompt: 'a hat', batch: 'animals', custom_id: 'own', image: dataUrl(png()) })
    expect(whole.json.request.image).toEqual([expect.stringMatching(/^~kept\/animals\/own-in-0-/)])
  })

  it('refuses an edit from the file of another key as from one that is not there', async () => {
    const facts = { owner: 'anna', filename: 'a.png', purpose: 'vision', expiresAfterMs: null } as const
    const content = (async function* bytes() {
      yield png()
    })()
    const saved = await world.clock.run(context.files.save({ ...facts, sizeBytesMax: 1e6, content }))
    const image = saved.kind === 'saved' ? saved.file.id : ''
    const askAs = async (key: string) =>
      ask(async (call) => postJob({ ...call, caller: { key, isAdmin: false, isReadOnly: false } }), {
        path: '/v1/jobs',
        body: JSON.stringify({ prompt: 'a hat', image }),
      })
    expect((await askAs('ben')).json.error).toMatchObject({ code: 'input_not_found', param: 'image' })
    expect((await askAs('anna')).status).toBe(202)
  })

  it('answers 413 to more than a job can be, told by its length or found out', async () => {
    const long = 'x'.repeat(limits.jobBodyBytesMax + 1)
    expect((await post(long)).status).toBe(413)
    expect((await post('{}', { 'content-length': String(long.length) })).status).toBe(413)
  })

  it('answers 400 to what might be base64, but is too long for a queue', async () => {
    const { status, json } = await post(`e${'A'.repeat(12 * 2 ** 20 - 1)}`)
    expect([status, json.error.code]).toEqual([400, 'invalid_json'])
  })

  it('holds what comes only while it comes, and answers 503 when there is no room for it', async () => {
    const image = `data:image/png;base64,${'A'.repeat(2 * limits.requestBodyBytesMax)}`
    expect((await post({ prompt: 'a hat', image })).status).toBe(400)
    expect(context.capacity.uploads.inUse()).toBe(0)
    setInUse(context.capacity.uploads, limits.uploadsInHandBytesMax)
    await expect(post({ prompt: 'a hat', image })).rejects.toMatchObject({
      answer: { status: 503, code: 'instance_full' },
    })
    expect((await post({ prompt: 'a fox' })).status).toBe(202)
    expect(context.capacity.uploads.inUse()).toBe(limits.uploadsInHandBytesMax)
  })

  it.each(['', 'x'.repeat(257), 'schlüssel'])('answers 400 to the Idempotency-Key %j', async (key) => {
    const { status, json } = await post({ prompt: 'a fox' }, { 'idempotency-key': key })
    expect([status, json.error.param]).toEqual([400, 'Idempotency-Key'])
  })
})

describe('a finished job', () => {
  beforeEach(async () => {
    await post({ prompt: 'a fox', batch: 'animals', custom_id: 'fox' })
    const before = (await context.jobs.get({ batch: 'animals', key: 'fox' }))!
    const usage = { inputTokens: 3, outputTokens: 272, inputTextTokens: 3, inputImageTokens: 0 }
    const images = await context.images.save({
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
    const answer = { finishedAt, images, usage, costMicroUsd: 8_235, requestId: 'r1' }
    await context.jobs.change(before, succeeded(before.job, answer)!)
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
          blob: expect.stringMatching(/fox/),
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
      cost_usd: 0.008235,
      possible_cost_usd: 0,
    })
  })

  it('gives its image, and none that it has not', async () => {
    const image = (k: string) =>
      ask(getImage, { path: `/v1/jobs/animals.fox/images/${k}`, params: { id: 'animals.fox', k } })
    expect(await image('0')).toMatchObject({
      status: 200,
      headers: { 'content-type': 'image/png', 'content-length': '3', etag: expect.stringMatching(/^"\w+"$/) },
      body: new Uint8Array([1, 2, 3]),
    })
    const { etag } = (await image('0')).headers
    const again = { path: '/v1/jobs/animals.fox/images/0', params: { id: 'animals.fox', k: '0' } }
    expect(await ask(getImage, { ...again, headers: { 'if-none-match': etag! } })).toMatchObject({
      status: 304,
      headers: { etag },
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
      pool: 'pool',
      priority: 'normal',
      paused: null,
      last_decision: null,
      cap_usd: null,
      cost_usd: 0.008235,
      possible_cost_usd: 0,
      reserved_usd: 0,
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

describe('PATCH /v1/batches/{name}', () => {
  it('sets priority and cap before the first job, which goes by them', async () => {
    const { status, json } = await change(patchBatch, 'animals', { priority: 'high', cap_usd: 0.015 })
    expect(status).toBe(200)
    expect(json).toMatchObject({
      id: 'animals',
      object: 'batch',
      pool: 'pool',
      created_at: 1_795_435_200,
      priority: 'high',
      cap_usd: 0.015,
      cost_usd: 0,
      paused: null,
      counts: { total: 0 },
    })
    await post({ prompt: 'a fox', batch: 'animals', custom_id: 'fox' })
    expect(await batchNow('animals')).toMatchObject({ priority: 'high', cap_usd: 0.015, reserved_usd: 0.01 })
  })

  it('changes one and leaves the other, and takes the cap away with null', async () => {
    await post({ prompt: 'a fox', batch: 'animals', custom_id: 'fox' })
    await change(patchBatch, 'animals', { cap_usd: 12.345678 })
    expect((await change(patchBatch, 'animals', { priority: 'low' })).json).toMatchObject({
      priority: 'low',
      cap_usd: 12.345678,
    })
    expect((await change(patchBatch, 'animals', { cap_usd: null })).json).toMatchObject({
      priority: 'low',
      cap_usd: null,
    })
  })

  it.each([
    [{ priority: 'urgent' }, 'priority', 'invalid_value', 'allowed: low, normal, high'],
    [{ priority: null }, 'priority', 'invalid_value', 'allowed: low, normal, high'],
    [{ cap_usd: 0 }, 'cap_usd', 'invalid_value', 'got 0'],
    [{ cap_usd: -5 }, 'cap_usd', 'invalid_value', 'got -5'],
    [{ cap_usd: '5' }, 'cap_usd', 'invalid_value', 'got "5"'],
    [{ cap_usd: 0.0000001 }, 'cap_usd', 'invalid_value', 'decimals'],
    [{ cap_usd: limits.capUsdMax * 2 }, 'cap_usd', 'invalid_value', 'allowed:'],
    [{ cap_usd: 0.009999 }, 'cap_usd', 'invalid_value', 'got 0.009999; allowed: at least 0.01'],
    [{}, null, 'missing_required_parameter', 'allowed: priority, cap_usd'],
    [{ paused: true }, 'paused', 'unknown_parameter', 'allowed: model, priority, cap_usd'],
    ['{"priority":', null, 'invalid_json', 'wanted one JSON object'],
    ['[]', '', 'invalid_value', 'an object'],
  ])('answers 400 to %j, and changes nothing', async (body, param, code, message) => {
    const { status, json } = await change(patchBatch, 'animals', body)
    expect(status).toBe(400)
    expect(json.error).toMatchObject({ type: 'invalid_request_error', code })
    expect(json.error.param ?? null).toBe(param === '' ? (json.error.param ?? null) : param)
    expect(json.error.message).toContain(message)
    expect(world.jobs.partitions()).toEqual([])
  })

  it('answers 413 to a long body, and 404 to what is no name', async () => {
    expect((await change(patchBatch, 'animals', 'x'.repeat(300_000))).status).toBe(413)
    for (const name of ['a b', 'a.b', '', 'x'.repeat(65)]) {
      expect(await change(patchBatch, name, {})).toMatchObject({
        status: 404,
        json: { error: { code: 'not_found' } },
      })
    }
  })

  it('says that the cap is reached, and goes on when it is raised', async () => {
    await change(patchBatch, 'animals', { cap_usd: 0.01 })
    for (const id of ['fox', 'wolf']) await post({ prompt: `a ${id}`, batch: 'animals', custom_id: id })
    await world.clock.runUntil(world.clock.now() + 1_000)
    await post({ prompt: 'a hare', batch: 'animals', custom_id: 'hare' })
    expect(await batchNow('animals')).toMatchObject({
      status: 'in_progress',
      cap_usd: 0.01,
      reserved_usd: 0.01,
      paused: {
        by: 'cap',
        reason: expect.stringContaining('raise cap_usd to go on'),
        at: expect.any(Number),
      },
      last_decision: { decision: 'paused', by: 'cap' },
      estimated_finish_at: null,
    })
    const { json } = await change(patchBatch, 'animals', { cap_usd: 1 })
    expect(json).toMatchObject({ paused: null, last_decision: { decision: 'resumed', by: 'cap' } })
  })
})

describe('POST /v1/batches/{name}/pause, /resume and /cancel', () => {
  beforeEach(async () => {
    for (const id of ['fox', 'wolf']) await post({ prompt: `a ${id}`, batch: 'animals', custom_id: id })
  })

  it('pause with a reason, and resume, with a body or without', async () => {
    const paused = await change(postPause, 'animals', { reason: '  look at the wolf ' })
    expect(paused).toMatchObject({
      status: 200,
      json: {
        status: 'in_progress',
        paused: { by: 'user', reason: 'look at the wolf', at: 1_795_435_200 },
        last_decision: { decision: 'paused', by: 'user', reason: 'look at the wolf' },
      },
    })
    const resumed = await change(postResume, 'animals')
    expect(resumed).toMatchObject({
      status: 200,
      json: { paused: null, last_decision: { decision: 'resumed', reason: 'resumed by request' } },
    })
    expect((await change(postPause, 'animals', {})).json.paused.reason).toBe('paused by request')
    expect((await change(postPause, 'animals', '  ')).json.paused.reason).toBe('paused by request')
  })

  it('cancel what waits, keep what is called, and say when all is over', async () => {
    const running = await runningJob('fox')
    const { status, json } = await change(postCancel, 'animals', { reason: 'enough' })
    expect(status).toBe(200)
    expect(json).toMatchObject({
      status: 'cancelling',
      cancelling_at: 1_795_435_200,
      counts: { total: 2, running: 1, cancelled: 1, waiting: 0 },
      paused: null,
      last_decision: { decision: 'cancelled', by: 'user', reason: 'enough' },
    })
    for (const name of ['cancelled_at', 'completed_at']) expect(json).not.toHaveProperty(name)
    const usage = { inputTokens: 3, outputTokens: 272, inputTextTokens: 3, inputImageTokens: 0 }
    const finishedAt = 1_795_435_210_000
    const done = succeeded(running.job, { finishedAt, images: [], usage, costMicroUsd: 5_000 })!
    await context.jobs.change(running, done)
    expect(await batchNow('animals')).toMatchObject({
      status: 'cancelled',
      cancelling_at: 1_795_435_200,
      cancelled_at: 1_795_435_210,
      request_counts: { total: 2, completed: 1, failed: 0 },
    })
    expect((await job('animals.wolf')).json).toMatchObject({
      status: 'cancelled',
      finished_at: 1_795_435_200,
      estimated_start_at: null,
    })
  })

  it('answer 409 to a batch that was cancelled', async () => {
    await change(postCancel, 'animals')
    for (const handle of [postPause, postResume]) {
      expect(await change(handle, 'animals')).toMatchObject({
        status: 409,
        json: { error: { code: 'batch_cancelled', message: expect.stringContaining('another name') } },
      })
    }
    expect((await change(postCancel, 'animals')).status).toBe(200)
  })

  it('answer 404 to what does not exist, and 400 to a body that is not as wanted', async () => {
    for (const handle of [postPause, postResume, postCancel]) {
      expect((await change(handle, 'nobody')).status).toBe(404)
      expect((await change(handle, 'a b')).status).toBe(404)
      const long = { reason: 'x'.repeat(limits.reasonCharsMax + 1) }
      expect(await change(handle, 'animals', long)).toMatchObject({
        status: 400,
        json: { error: { param: 'reason', code: 'invalid_value' } },
      })
      expect(await change(handle, 'animals', { why: 'x' })).toMatchObject({
        status: 400,
        json: { error: { param: 'why', code: 'unknown_parameter' } },
      })
    }
    expect(await batchNow('animals')).toMatchObject({ paused: null, last_decision: null })
  })
})

describe('POST /v1/jobs/{id}/cancel', () => {
  beforeEach(async () => {
    await post({ prompt: 'a fox', batch: 'animals', custom_id: 'fox', priority: 'low' })
  })

  it('cancels what is queued, also when it is asked twice', async () => {
    for (let times = 0; times < 2; times += 1) {
      const { status, json } = await cancelJob('animals.fox')
      expect(status).toBe(200)
      expect(json).toMatchObject({
        id: 'animals.fox',
        status: 'cancelled',
        priority: 'low',
        finished_at: 1_795_435_200,
        estimated_start_at: null,
        images: [],
        failure: null,
        cost_usd: null,
      })
    }
    expect(await batchNow('animals')).toMatchObject({
      status: 'completed',
      counts: { cancelled: 1, total: 1 },
    })
  })

  it('answers 409 to one whose call is under way, and to one that is finished', async () => {
    const running = await runningJob('fox')
    expect(await cancelJob('animals.fox')).toMatchObject({
      status: 409,
      json: {
        error: {
          code: 'job_running',
          message: 'job animals.fox is running; allowed: to cancel what is queued',
        },
      },
    })
    const end = { finishedAt: world.clock.now(), failure: failure('refused', 'moderation_blocked', 'no') }
    await context.jobs.change(running, failed(running.job, end)!)
    expect(await cancelJob('animals.fox')).toMatchObject({
      status: 409,
      json: { error: { code: 'job_failed' } },
    })
    expect((await job('animals.fox')).json).toMatchObject({ possible_cost_usd: 0.01, cost_usd: null })
  })

  it('cancels one that is tried again, and keeps what its lost call may have cost', async () => {
    const running = await runningJob('fox')
    await context.jobs.change(
      running,
      retried(running.job, { dueAt: world.clock.now(), possiblyPaid: true })!,
    )
    expect((await cancelJob('animals.fox')).json).toMatchObject({
      status: 'cancelled',
      attempts: 1,
      possibly_repeated_calls: 1,
      possible_cost_usd: 0.01,
    })
    expect(await batchNow('animals')).toMatchObject({ possible_cost_usd: 0.01 })
  })

  it.each(['nobody', 'animals.nobody', 'a b.c'])('answers 404 to %j', async (id) => {
    expect(await cancelJob(id)).toMatchObject({ status: 404, json: { error: { code: 'not_found' } } })
  })
})

describe('POST /v1/estimate', () => {
  async function estimate(body: string) {
    return ask(postEstimate, { path: '/v1/estimate', body })
  }

  it('says what jobs would come to, and stores nothing', async () => {
    const lines = Array.from({ length: 60 }, (_, index) => JSON.stringify({ prompt: `fox ${index}`, n: 2 }))
    const { status, json } = await estimate(lines.join('\n'))
    expect(status).toBe(200)
    expect(json).toEqual({
      object: 'estimate',
      jobs: 60,
      images: 120,
      input_tokens: 600,
      output_tokens: 120_000,
      cost_usd: 0.6,
      cost_usd_max: 1.2,
      minutes: 1.4,
      estimated_start_at: 1_795_435_202,
      estimated_finish_at: 1_795_435_282,
      prices: [{ model: 'gpt-image-1', as_of: '2026-01-01', source: 'the test' }],
    })
    expect(world.jobs.partitions()).toEqual([])
  })

  it('answers 400 to a line that is no job, and 413 to more than it takes', async () => {
    expect(await estimate('{"prompt":"a fox"}\n{"prompt":"a wolf","n":0}')).toMatchObject({
      status: 400,
      json: { error: { param: 'n', message: expect.stringContaining('line 2') } },
    })
    expect((await estimate('x'.repeat(limits.estimateBodyBytesMax + 1))).status).toBe(413)
  })
})

describe('the budget', () => {
  it('shows a deployment before its first tick, and after', async () => {
    const before = (await ask(getBudget, { path: '/v1/budget' })).json.deployments[0]
    expect(before).toMatchObject({
      deployment,
      pool: 'pool',
      quota: deployment,
      rpm: 60,
      pace: 0.98,
      limit_rpm: 60,
      starts_per_minute: 58.8,
      opinion: { kind: 'steady' },
      spacing_seconds: 1.02,
      starts_last_minute: 0,
      paused_until: null,
      stopped: null,
    })
    await post({ prompt: 'a fox' })
    const after = (await ask(getBudget, { path: '/v1/budget' })).json.deployments[0]
    expect(after.next_free_slot_at).toBeGreaterThan(before.next_free_slot_at)
  })

  it('says why a deployment is stopped; so does the health', async () => {
    await post({ prompt: 'a fox' })
    expect((await ask(getHealth, { path: '/healthz' })).json).toEqual({ status: 'ok', stopped: [] })
    const now = world.clock.now()
    const stop = { deployment, slotAt: now, now, code: '401', message: 'the key was refused' }
    await changeLedger(context, { pool: 'pool', quota: deployment }, (ledger) => stopped(ledger, stop))
    expect((await ask(getHealth, { path: '/healthz' })).json).toEqual({
      status: 'degraded',
      stopped: [{ deployment, code: '401' }],
    })
    const { json } = await ask(getBudget, { path: '/v1/budget' })
    expect(json.deployments[0].stopped).toMatchObject({
      code: '401',
      since: 1_795_435_200,
      message: 'the key was refused',
    })
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

  it('money is in dollars', () => {
    expect([usd(1_234_567), usd(1), usd(null)]).toEqual([1.234567, 0.000001, null])
  })
})
