import { text as textOf } from 'node:stream/consumers'
import functions from '@azure/functions'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Caller } from '../../../src/core/caller.ts'
import { limits } from '../../../src/core/limits.ts'
import { postEdit, postGeneration } from '../../../src/http/api/images.ts'
import { getJob } from '../../../src/http/api/jobs.ts'
import type { Call, Reply } from '../../../src/http/reply.ts'
import { cancelJob } from '../../../src/pipeline/running/cancel-job.ts'
import { changeLedger } from '../../../src/pipeline/pacing/ledgers.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { play } from '../../pipeline/play.ts'
import { deployment, newWorld, contextIn, type World, setInUse } from '../../support/context.ts'
import { dataUrl, png } from '../../support/png.ts'
import { fails, scriptedModel } from '../../support/scripted-model.ts'

const startAt = Date.UTC(2026, 10, 23, 12)
const shop: Caller = { key: 'shop', isAdmin: false, isReadOnly: false }

let world: World
let context: Context

beforeEach(() => {
  world = newWorld(startAt)
  context = contextIn(world)
})

type Answer = Reply & { readonly json: any }

async function ask(
  handle: (call: Call) => Promise<Reply>,
  {
    body,
    headers = {},
    params = {},
  }: { body?: string | Uint8Array; headers?: Record<string, string>; params?: Record<string, string> },
): Promise<Answer> {
  const request = new functions.HttpRequest({
    url: 'https://darkroom.example.com/v1/images/generations',
    method: body === undefined ? 'GET' : 'POST',
    params,
    headers,
    ...(body === undefined ? {} : { body: typeof body === 'string' ? { string: body } : { bytes: body } }),
  })
  const work = handle({ request, context, id: `request-${(requests += 1)}`, caller: shop })
  // Looked at when the time has passed.
  work.catch(() => {})
  await play(world, [context], world.clock.now() + 300_000)
  const reply = await work
  const { body: content } = reply
  const isStream = typeof content === 'object' && !(content instanceof Uint8Array)
  return { ...reply, json: isStream ? JSON.parse(await textOf(content)) : reply.jsonBody }
}

let requests = 0

async function generate(body: object | string, headers: Record<string, string> = {}): Promise<Answer> {
  return ask(postGeneration, { body: typeof body === 'string' ? body : JSON.stringify(body), headers })
}

describe('POST /v1/images/generations', () => {
  test('answers as the model does', async () => {
    const body = {
      model: deployment,
      prompt: 'a fox',
      n: 2,
      quality: 'low',
      background: 'opaque',
      stream: false,
    }
    const { status, headers, json } = await generate(body)
    expect(status).toBe(200)
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'x-darkroom-job': expect.any(String) as unknown,
    })
    expect(json).toEqual({
      created: expect.any(Number) as unknown,
      data: [0, 1].map((index) => ({ b64_json: Buffer.from(`call 1, image ${index}`).toString('base64') })),
      background: 'opaque',
      output_format: 'png',
      quality: 'low',
      size: '1024x1024',
      usage: {
        total_tokens: 200,
        input_tokens: 100,
        output_tokens: 100,
        input_tokens_details: { text_tokens: 100, image_tokens: 0 },
      },
    })
    const id = headers['x-darkroom-job'] ?? ''
    expect(id).toMatch(/^sync-2026-11-23__shop\./)
    expect((await ask(getJob, { params: { id } })).json).toMatchObject({
      status: 'succeeded',
      priority: 'high',
    })
  })

  test('answers the same to the same Idempotency-Key, and 409 to another request with it', async () => {
    const key = { 'idempotency-key': 'order 17' }
    const first = await generate({ prompt: 'a fox' }, key)
    const again = await generate({ prompt: 'a fox' }, key)
    expect(again).toMatchObject({ status: 200, headers: { 'idempotent-replayed': 'true' } })
    expect(again.json).toEqual(first.json)
    expect(await generate({ prompt: 'a wolf' }, key)).toMatchObject({
      status: 409,
      json: { error: { code: 'job_exists', param: 'Idempotency-Key' } },
    })
    expect((await generate({ prompt: 'a fox' }, { 'idempotency-key': 'ü' })).status).toBe(400)
    expect(world.model.calls).toHaveLength(1)
  })

  test.each([
    [{ prompt: 'a fox', stream: true }, 'stream', 'unknown_parameter'],
    [{ prompt: 'a fox', response_format: 'b64_json' }, 'response_format', 'unknown_parameter'],
    [{ prompt: 'a fox', custom_id: 'mine' }, 'custom_id', 'unknown_parameter'],
    [{ prompt: 'a fox', batch: 'mine' }, 'batch', 'unknown_parameter'],
    [{ prompt: 'a fox', priority: 'low' }, 'priority', 'unknown_parameter'],
    [{ prompt: 'a fox', url: '/v1/images/generations' }, 'url', 'unknown_parameter'],
    [{ prompt: 'a fox', image: 'a.png' }, 'image', 'unknown_parameter'],
    [{ prompt: 'a fox', model: 'dall-e-2' }, 'model', 'invalid_value'],
    [{ prompt: 'a fox', size: '17x17' }, 'size', 'invalid_value'],
    [{}, 'prompt', 'missing_required_parameter'],
    ['{', null, 'invalid_json'],
    ['[]', null, 'invalid_type'],
  ])('answers 400 to %j, and calls nobody', async (body, param, code) => {
    expect(await generate(body)).toMatchObject({ status: 400, json: { error: { param, code } } })
    expect(world.jobs.partitions()).toEqual([])
  })

  test('answers 413 to more than a job can be', async () => {
    expect((await generate({ prompt: 'x'.repeat(300_000) })).status).toBe(413)
  })

  test.each([
    ['refused', 400, undefined],
    ['invalid', 400, undefined],
    ['transient', 502, 'false'],
    ['unknown', 502, 'false'],
  ] as const)('answers a call that is %s with %i', async (kind, status, shouldRetry) => {
    for (let tries = 0; tries < 3; tries += 1) world.model.script.push(fails(kind, { code: 'the_code' }))
    const answer = await generate({ prompt: 'a fox' })
    expect(answer).toMatchObject({
      status,
      json: { error: { code: 'the_code', message: 'the model says the_code' } },
    })
    expect(answer.headers['x-should-retry']).toBe(shouldRetry)
  })

  test('answers 503 where nothing starts, and says why', async () => {
    for (let tries = 0; tries < 3; tries += 1) world.model.script.push(fails('unavailable', { code: '401' }))
    expect(await generate({ prompt: 'a fox' })).toMatchObject({
      status: 503,
      json: {
        error: {
          code: 'unavailable',
          message: `nothing starts but probes: ${deployment}: 401: the model says 401`,
        },
      },
    })
  })

  test('answers 429 with a true Retry-After when its turn is too far away', async () => {
    await generate({ prompt: 'a fox' })
    const until = world.clock.now() + 500_000
    await changeLedger(context, { pool: 'pool', quota: deployment }, (ledger) => ({
      ...ledger,
      pausedUntil: until,
    }))
    const { status, headers, json } = await generate({ prompt: 'a wolf' })
    expect([status, json.error.code]).toEqual([429, 'rate_limit_exceeded'])
    const seconds = Number(headers['retry-after'])
    expect(seconds).toBeGreaterThan(295)
    expect(seconds).toBeLessThan(306)
    expect(headers['retry-after-ms']).toBe(String(1_000 * seconds))
  })

  test('answers 504 when the call takes too long, and tells where its images will be', async () => {
    context = contextIn(world, { model: scriptedModel(world.clock, 400_000) })
    const { status, headers, json } = await generate({ prompt: 'a fox' })
    expect([status, headers['x-should-retry']]).toEqual([504, 'false'])
    const id = headers['x-darkroom-job'] ?? ''
    expect(json.error.message).toContain(`/v1/jobs/${id}`)
    await play(world, [context], world.clock.now() + 300_000)
    expect((await ask(getJob, { params: { id } })).json.status).toBe('succeeded')
  })

  test('answers a job that somebody cancelled so that no client sends it again', async () => {
    const work = generate({ prompt: 'a fox' })
    world.clock.at(world.clock.now() + 300, () => {
      void context.jobs
        .list({ batch: 'sync-2026-11-23__shop', limit: 1 })
        .then(async ([job]) => job && cancelJob(context, job))
    })
    const { status, headers, json } = await work
    expect([status, json.error.code, headers['x-should-retry']]).toEqual([409, 'job_cancelled', 'false'])
    expect(headers['x-darkroom-job']).toMatch(/^sync-2026-11-23__shop\./)
  })

  test('answers images that cannot be read now so that no client pays for them again', async () => {
    let faults = 3
    const open: typeof context.images.open = async (image) => {
      faults -= 1
      return faults < 0 ? world.images.open(image) : Promise.reject(new Error('503'))
    }
    context = { ...context, images: { ...context.images, open } }
    expect((await generate({ prompt: 'a fox' })).status).toBe(200)
    faults = 100
    const { status, headers, json } = await generate({ prompt: 'a fox' })
    expect([status, json.error.code, headers['x-should-retry']]).toEqual([503, 'images_unreadable', 'false'])
    expect(json.error.message).toContain(`/v1/jobs/${headers['x-darkroom-job']}`)
    expect(world.model.calls).toHaveLength(2)
  })

  test('answers 503, and names the job, when storage fails so that nobody knows', async () => {
    const away = async (): Promise<never> => Promise.reject(new Error('503'))
    const jobs = context.jobs
    context = { ...context, jobs: { ...jobs, add: away, get: away } }
    const { status, headers, json } = await generate({ prompt: 'a fox' })
    expect([status, json.error.code, headers['x-should-retry']]).toEqual([503, 'unknown_outcome', 'false'])
    expect(headers['x-darkroom-job']).toMatch(/^sync-2026-11-23__shop\.msg~request-/)
  })

  test('answers 404 when the images of a call that was made before are gone', async () => {
    const key = { 'idempotency-key': 'order 17' }
    await generate({ prompt: 'a fox' }, key)
    context = { ...context, images: { ...context.images, open: async () => undefined } }
    expect((await generate({ prompt: 'a fox' }, key)).status).toBe(404)
  })
})

describe('POST /v1/images/edits', () => {
  const image = png({ width: 64, height: 32 })
  const mask = png({ width: 64, height: 32, colourType: 6 })

  type Part = readonly [name: string, value: string | Uint8Array<ArrayBuffer>]

  async function edit(parts: readonly Part[], headers: Record<string, string> = {}): Promise<Answer> {
    const form = new FormData()
    for (const [name, value] of parts) {
      if (typeof value === 'string') form.append(name, value)
      else form.append(name, new File([value], `${name}.png`, { type: 'image/png' }))
    }
    const encoded = new Response(form)
    const type = encoded.headers.get('content-type') ?? ''
    return ask(postEdit, {
      body: new Uint8Array(await encoded.arrayBuffer()),
      headers: { 'content-type': type, ...headers },
    })
  }

  const upload = (bytes: Buffer): Uint8Array<ArrayBuffer> => Uint8Array.from(bytes)
  const prompt: Part = ['prompt', 'add a hat']

  /** What the model was sent, by the job's own record. */
  async function requestOf({ headers }: Answer) {
    const id = headers['x-darkroom-job'] ?? ''
    return (await ask(getJob, { params: { id } })).json.request
  }

  test('takes the form of the portal’s sample', async () => {
    const answer = await edit([
      ['image', upload(image)],
      ['mask', upload(mask)],
      prompt,
      ['n', '2'],
      ['stream', 'false'],
    ])
    expect(answer.status).toBe(200)
    expect(answer.json.data).toHaveLength(2)
    expect(await requestOf(answer)).toMatchObject({ prompt: 'add a hat', n: 2 })
    const kept = [...world.inputs.blobs.entries()].map(([name, bytes]) => [
      /-in-(\d)-/.exec(name)?.[1],
      bytes,
    ])
    expect(kept).toEqual([
      ['0', upload(image)],
      ['1', upload(mask)],
    ])
    expect(context.capacity.uploads.inUse()).toBe(0)
    expect(context.capacity.syncCalls.inUse()).toBe(0)
  })

  test('takes several images as image[], in their order', async () => {
    const images = [1, 2, 3].map((width) => png({ width: width * 16, height: 16 }))
    const answer = await edit([prompt, ...images.map((each): Part => ['image[]', upload(each)])])
    expect(answer.status).toBe(200)
    expect([...world.inputs.blobs.values()]).toEqual(images.map(upload))
  })

  test('takes OpenAI’s JSON', async () => {
    const body = {
      prompt: 'add a hat',
      images: [{ image_url: dataUrl(image) }],
      mask: { image_url: dataUrl(mask) },
      stream: false,
    }
    const answer = await ask(postEdit, {
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    })
    expect(answer.status).toBe(200)
    expect(world.inputs.blobs.size).toBe(2)
    expect(context.capacity.uploads.inUse()).toBe(0)
  })

  test('takes an Idempotency-Key with the same images again, and refuses it with others', async () => {
    const key = { 'idempotency-key': 'order 17' }
    const first = await edit([prompt, ['image', upload(image)]], key)
    expect(first.status).toBe(200)
    expect((await edit([prompt, ['image', upload(image)]], key)).json).toEqual(first.json)
    expect((await edit([prompt, ['image', upload(png({ width: 16 }))]], key)).status).toBe(409)
    expect(world.model.calls).toHaveLength(1)
  })

  test.each<readonly [readonly Part[], string | null, string]>([
    [[prompt], 'image', 'missing_required_parameter'],
    [[['image', upload(image)]], 'prompt', 'missing_required_parameter'],
    [[prompt, ['image', upload(image)], ['n', 'two']], 'n', 'invalid_value'],
    [[prompt, ['image', upload(image)], ['stream', 'true']], 'stream', 'unknown_parameter'],
    [
      [prompt, ['image', upload(image)], ['response_format', 'b64_json']],
      'response_format',
      'unknown_parameter',
    ],
    [[prompt, ['image', upload(image)], ['batch', 'mine']], 'batch', 'unknown_parameter'],
    [[prompt, ['picture', upload(image)]], 'picture', 'unknown_parameter'],
    [[prompt, prompt, ['image', upload(image)]], 'prompt', 'invalid_value'],
    [
      [prompt, ['image', upload(image)], ['mask', upload(mask)], ['mask', upload(mask)]],
      'mask',
      'invalid_value',
    ],
    [[prompt, ['image', upload(image)], ['mask', upload(png({ width: 16 }))]], 'mask', 'invalid_mask'],
    [[prompt, ['image', upload(Buffer.from('no picture'))]], 'image', 'invalid_image'],
    [Array.from({ length: 18 }, (): Part => ['image[]', upload(image)]), null, 'invalid_multipart'],
  ])('answers 400 to the form %#, and calls nobody', async (parts, param, code) => {
    const answer = await edit(parts)
    expect(answer.status).toBe(400)
    expect([answer.json.error.param, answer.json.error.code]).toEqual([param, code])
    expect(world.jobs.partitions()).toEqual([])
    expect(world.inputs.blobs.size).toBe(0)
    expect(context.capacity.uploads.inUse()).toBe(0)
  })

  test('answers 413 to an image that passes its bound', async () => {
    const large = new Uint8Array(limits.inputImageBytesMax + 1)
    const answer = await edit([prompt, ['image', large]])
    expect([answer.status, answer.json.error.code]).toEqual([413, 'image_too_large'])
    expect(context.capacity.uploads.inUse()).toBe(0)
  })

  test('answers 413 to images that pass its bound together, and says how more can be sent', async () => {
    const half = new Uint8Array(limits.requestFilesBytesMax / 2)
    const answer = await edit([prompt, ['image[]', half], ['image[]', half], ['mask', new Uint8Array(1)]])
    expect([answer.status, answer.json.error.code, answer.json.error.param]).toEqual([
      413,
      'image_too_large',
      'mask',
    ])
    expect(answer.json.error.message).toBe(
      'mask: got more than 67108864 bytes of images in one form; allowed: at most that, and more by file id: send each with POST /v1/files, and give its id (file-…) as image',
    )
    // As many are looked at: these are no pictures.
    const all = await edit([prompt, ['image[]', half], ['image[]', half]])
    expect([all.status, all.json.error.code]).toEqual([400, 'invalid_image'])
    expect(context.capacity.uploads.inUse()).toBe(0)
  })

  test('answers 429 while the instance has its hands full of calls', async () => {
    setInUse(context.capacity.syncCalls, limits.syncCallsMax)
    const answer = await edit([prompt, ['image', upload(image)]])
    expect([answer.status, answer.headers['retry-after']]).toEqual([429, '20'])
    expect(world.jobs.partitions()).toEqual([])
  })

  test('answers 503 while the instance has its hands full of what comes', async () => {
    setInUse(context.capacity.uploads, limits.uploadsInHandBytesMax - 10)
    const headers = { 'retry-after': '20', 'retry-after-ms': '20000' }
    expect(await edit([prompt, ['image', upload(image)]])).toMatchObject({ status: 503, headers })
    const body = JSON.stringify({
      prompt: 'add a hat',
      image: dataUrl(Buffer.alloc(limits.requestBodyBytesMax)),
    })
    await expect(ask(postEdit, { body })).rejects.toMatchObject({
      answer: { status: 503, code: 'instance_full' },
    })
    expect(context.capacity.uploads.inUse()).toBe(limits.uploadsInHandBytesMax - 10)
    expect(world.jobs.partitions()).toEqual([])
    // What is small is taken all the same.
    const small = JSON.stringify({ prompt: 'add a hat', image: dataUrl(image) })
    expect((await ask(postEdit, { body: small })).status).toBe(200)
  })

  test('of what comes the workers’ memory is left alone', async () => {
    setInUse(context.capacity.inputs, limits.inputsInHandBytesMax)
    const work = edit([prompt, ['image', upload(png({ width: 512, height: 512 }))]])
    setInUse(context.capacity.inputs, 0)
    expect((await work).status).toBe(200)
    expect([context.capacity.inputs.inUse(), context.capacity.uploads.inUse()]).toEqual([0, 0])
  })
})
