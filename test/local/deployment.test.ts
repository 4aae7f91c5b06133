import { spawn } from 'node:child_process'
import { hash } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { createCanvas, loadImage } from '@napi-rs/canvas'
import { imageSize } from 'image-size'
import { AzureOpenAI, RateLimitError } from 'openai'
import { afterEach, expect, onTestFinished, test } from 'vitest'
import type { DeploymentOptions, SimulatedDeployment } from '../../src/local/deployment/deployment.ts'
import { startDeployment } from '../../src/local/deployment/deployment.ts'
import { createRateWindows, windowLimit } from '../../src/local/deployment/windows.ts'

type Body = {
  created: number
  data: { b64_json: string; prompt_filter_results?: object; content_filter_results?: object }[]
  usage: { total_tokens: number; input_tokens: number; output_tokens: number; input_tokens_details: object }
  size: string
  quality: string
  background: string
  output_format: string
  error: { code: string; message: string; param: string | null; type: string; inner_error?: { code: string } }
}

const running: SimulatedDeployment[] = []

afterEach(async () => {
  await Promise.all(running.splice(0).map((deployment) => deployment.stop()))
})

async function start(options: DeploymentOptions = {}): Promise<SimulatedDeployment> {
  const deployment = await startDeployment({
    rpm: 6_000,
    latencyMs: { min: 0, max: 0 },
    pictures: 'plain',
    ...options,
  })
  running.push(deployment)
  return deployment
}

const deploymentsPath = '/openai/deployments/gpt-image-1/images/generations?api-version=2025-04-01-preview'
const v1Path = '/openai/v1/images/generations?api-version=preview'

async function post(
  deployment: SimulatedDeployment,
  body: unknown,
  { path = deploymentsPath, headers }: { path?: string; headers?: Record<string, string> } = {},
): Promise<Response> {
  return fetch(deployment.endpoint + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(headers ?? { 'api-key': deployment.apiKey }) },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
}

async function ask(
  deployment: SimulatedDeployment,
  body: unknown,
  how?: { path?: string; headers?: Record<string, string> },
): Promise<{ status: number; headers: Headers; body: Body }> {
  const response = await post(deployment, body, how)
  const parsed: Body = JSON.parse(await response.text())
  return { status: response.status, headers: response.headers, body: parsed }
}

function bytesOf(body: Body, index = 0): Buffer {
  return Buffer.from(body.data[index]!.b64_json, 'base64')
}

function ascending(one: number, other: number): number {
  return one - other
}

// Pictures

test('a PNG of the asked size comes with usage, ids and the decided parameters', async () => {
  const deployment = await start({ pictures: 'drawn' })
  const { status, headers, body } = await ask(deployment, {
    prompt: 'A lighthouse',
    size: '1024x1536',
    quality: 'medium',
  })
  expect(status).toBe(200)
  expect(imageSize(bytesOf(body))).toMatchObject({ type: 'png', width: 1024, height: 1536 })
  expect(body).toMatchObject({
    size: '1024x1536',
    quality: 'medium',
    background: 'opaque',
    output_format: 'png',
    usage: { total_tokens: 1_587, input_tokens: 3, output_tokens: 1_584 },
  })
  expect(Math.abs(body.created - Date.now() / 1_000)).toBeLessThan(5)
  const [entry] = deployment.log()
  expect(headers.get('apim-request-id')).toBe(entry!.requestId)
  expect(headers.get('x-request-id')).toBe(entry!.requestId)
  expect(entry).toMatchObject({
    status: 200,
    code: null,
    prompt: 'A lighthouse',
    outcome: 'succeeded',
    billed: true,
    images: 1,
    totalTokens: 1_587,
  })
  expect(entry!.answeredAt).toBeGreaterThanOrEqual(entry!.receivedAt)
})

test.each(['drawn', 'plain'] as const)('a %s JPEG has the asked size', async (pictures) => {
  const deployment = await start({ pictures })
  const { body } = await ask(deployment, {
    prompt: 'A teapot',
    size: '1536x1024',
    output_format: 'jpeg',
    output_compression: 80,
  })
  expect(imageSize(bytesOf(body))).toMatchObject({ type: 'jpg', width: 1536, height: 1024 })
})

test('plain pictures look alike, differ in their bytes, and are known to the log by their hash', async () => {
  const deployment = await start()
  const one = await ask(deployment, { prompt: 'A fox', n: 2 })
  const other = await ask(deployment, { prompt: 'A fox', output_format: 'jpeg' })
  const pictures = [bytesOf(one.body, 0), bytesOf(one.body, 1), bytesOf(other.body)]
  const shas = pictures.map((bytes) => hash('sha256', bytes))
  expect(new Set(shas).size).toBe(3)
  expect(deployment.log().map(({ sha256 }) => sha256)).toEqual([shas.slice(0, 2), shas.slice(2)])
  for (const bytes of pictures) expect(await loadImage(bytes)).toMatchObject({ width: 1024, height: 1024 })
})

test('n pictures come from one request, each another, and are billed n times', async () => {
  const deployment = await start({ pictures: 'drawn' })
  const { body } = await ask(deployment, {
    prompt: 'Three boats',
    n: 3,
    output_format: 'jpeg',
    quality: 'low',
  })
  expect(new Set(body.data.map((one) => one.b64_json)).size).toBe(3)
  expect(body.usage.output_tokens).toBe(3 * 272)
  expect(deployment.log()).toMatchObject([{ images: 3 }])
})

test('pictures follow prompt and seed, and nothing else', async () => {
  const [one, twin, other] = await Promise.all([
    start({ pictures: 'drawn' }),
    start({ pictures: 'drawn' }),
    start({ pictures: 'drawn', seed: 2 }),
  ])
  const draw = async (deployment: SimulatedDeployment, prompt: string) =>
    (await ask(deployment, { prompt, output_format: 'jpeg' })).body.data[0]!.b64_json
  const fox = await draw(one, 'A fox')
  expect(await draw(one, 'A fox')).toBe(fox)
  expect(await draw(twin, 'A fox')).toBe(fox)
  expect(await draw(other, 'A fox')).not.toBe(fox)
  expect(await draw(one, 'A cat')).not.toBe(fox)
})

test('a transparent picture is clear at its corners and painted in its middle', async () => {
  const deployment = await start({ pictures: 'drawn' })
  const { body } = await ask(deployment, { prompt: 'A sticker', background: 'transparent' })
  const context = createCanvas(1024, 1024).getContext('2d')
  context.drawImage(await loadImage(bytesOf(body)), 0, 0)
  expect(body.background).toBe('transparent')
  expect(context.getImageData(2, 2, 1, 1).data[3]).toBe(0)
  expect(context.getImageData(512, 512, 1, 1).data[3]).toBe(255)
})

test('the words of the prompt are in the picture, its markers are not', async () => {
  const deployment = await start({ pictures: 'drawn' })
  const inkOf = async (prompt: string) => {
    const { body } = await ask(deployment, { prompt })
    const context = createCanvas(1024, 1024).getContext('2d')
    context.drawImage(await loadImage(bytesOf(body)), 0, 0)
    // The last line of the words; ink is light and the ground dark in every palette.
    const { data } = context.getImageData(70, 850, 800, 70)
    return data.filter((value, index) => index % 4 === 1 && value > 200).length
  }
  const short = await inkOf('Owl')
  const long = await inkOf('Owls in the old oak')
  expect(short).toBeGreaterThan(300)
  expect(long).toBeGreaterThan(3 * short)
  const marked = await inkOf('Owl [fault:slow:0.01]')
  expect(marked).toBe(short)
})

test('any prompt can be drawn: long words, no spaces, other scripts, a marker alone', async () => {
  const deployment = await start({ pictures: 'drawn' })
  const prompts = ['x'.repeat(32_000), 'word '.repeat(6_000), '灯台 🗼👩‍🚀', '[fault:slow:0]', '   ']
  for (const prompt of prompts) {
    const { status } = await ask(deployment, { prompt, output_format: 'jpeg' })
    expect(status).toBe(200)
  }
})

// Doors

test('the v1 path takes the name of the deployment as model and promises filter results', async () => {
  const deployment = await start({ deployment: 'my-images' })
  const right = await ask(
    deployment,
    { prompt: 'A', model: 'my-images', moderation: 'low', n: null },
    { path: v1Path },
  )
  expect(right.status).toBe(200)
  expect(right.body.data[0]).toHaveProperty('prompt_filter_results.jailbreak')
  expect(right.body.data[0]).toHaveProperty('content_filter_results.violence')
  const wrong = await ask(deployment, { prompt: 'A', model: 'gpt-image-1' }, { path: v1Path })
  expect(wrong).toMatchObject({ status: 404, body: { error: { code: 'DeploymentNotFound' } } })
  const missing = await ask(deployment, { prompt: 'A' }, { path: v1Path })
  expect(missing).toMatchObject({ status: 400, body: { error: { param: 'model' } } })
})

test('the deployments path takes no model but the real one', async () => {
  const deployment = await start({ deployment: 'my-images', model: 'gpt-image-2' })
  const path = '/openai/deployments/my-images/images/generations?api-version=2025-04-01-preview'
  expect((await ask(deployment, { prompt: 'A', model: 'gpt-image-2' }, { path })).status).toBe(200)
  const wrong = await ask(deployment, { prompt: 'A', model: 'my-images' }, { path })
  expect(wrong.status).toBe(400)
  expect(wrong.body.error).toEqual({
    message: "The model 'my-images' does not exist.",
    type: 'image_generation_user_error',
    param: 'model',
    code: 'invalid_value',
  })
})

test.each([
  ['a wrong path', '/openai/deployments/gpt-image-1/images?api-version=2025-04-01-preview', '404'],
  ['a wrong api-version', '/openai/deployments/gpt-image-1/images/generations?api-version=2023-01-01', '404'],
  ['no api-version', '/openai/deployments/gpt-image-1/images/generations', '404'],
  ['a dated api-version on v1', '/openai/v1/images/generations?api-version=2025-04-01-preview', '404'],
  [
    'an unknown deployment',
    '/openai/deployments/other/images/generations?api-version=2025-04-01-preview',
    'DeploymentNotFound',
  ],
])('%s is a 404', async (_, path, code) => {
  const deployment = await start()
  const { status, body } = await ask(deployment, { prompt: 'A' }, { path })
  expect(status).toBe(404)
  expect(body.error.code).toBe(code)
  if (code === '404') expect(body).toEqual({ error: { code: '404', message: 'Resource not found' } })
})

test('a key or a bearer token lets in, anything else is a 401', async () => {
  const deployment = await start({ apiKey: 'right' })
  const statusWith = async (headers: Record<string, string>) =>
    (await ask(deployment, { prompt: 'A' }, { headers })).status
  expect(await statusWith({ 'api-key': 'right' })).toBe(200)
  expect(await statusWith({ authorization: 'Bearer some.entra.token' })).toBe(200)
  expect(await statusWith({ authorization: 'Bearer' })).toBe(401)
  expect(await statusWith({ 'api-key': 'wrong' })).toBe(401)
  expect(await statusWith({ 'api-key': 'wrong', authorization: 'Bearer some.entra.token' })).toBe(401)
  const { body } = await ask(deployment, { prompt: 'A' }, { headers: {} })
  expect(body.error.code).toBe('401')
  expect(body.error.message).toContain('Access denied')
})

// Parameters

const refusals: [string, Record<string, unknown>, string, string][] = [
  ['gpt-image-1', { prompt: 'A', response_format: 'b64_json' }, 'unknown_parameter', 'response_format'],
  ['gpt-image-1', { prompt: 'A', style: 'vivid' }, 'unknown_parameter', 'style'],
  ['gpt-image-1', { prompt: 'A', stream: true }, 'unknown_parameter', 'stream'],
  ['gpt-image-1', { prompt: 'A', moderation: 'low' }, 'unknown_parameter', 'moderation'],
  ['gpt-image-1', {}, 'missing_required_parameter', 'prompt'],
  ['gpt-image-1', { prompt: '' }, 'invalid_value', 'prompt'],
  ['gpt-image-1', { prompt: 7 }, 'invalid_value', 'prompt'],
  ['gpt-image-1', { prompt: 'x'.repeat(32_001) }, 'invalid_value', 'prompt'],
  ['gpt-image-1', { prompt: 'A', n: 0 }, 'invalid_value', 'n'],
  ['gpt-image-1', { prompt: 'A', n: 11 }, 'invalid_value', 'n'],
  ['gpt-image-1', { prompt: 'A', n: '1' }, 'invalid_value', 'n'],
  ['gpt-image-1', { prompt: 'A', n: null }, 'invalid_value', 'n'],
  ['gpt-image-1', { prompt: 'A', size: '1792x1024' }, 'invalid_value', 'size'],
  ['gpt-image-1', { prompt: 'A', quality: 'hd' }, 'invalid_value', 'quality'],
  ['gpt-image-1', { prompt: 'A', quality: 'max' }, 'invalid_value', 'quality'],
  ['gpt-image-1', { prompt: 'A', background: 'white' }, 'invalid_value', 'background'],
  ['gpt-image-1', { prompt: 'A', output_format: 'webp' }, 'invalid_value', 'output_format'],
  [
    'gpt-image-1',
    { prompt: 'A', output_format: 'jpeg', background: 'transparent' },
    'invalid_value',
    'background',
  ],
  ['gpt-image-1', { prompt: 'A', output_compression: 50 }, 'invalid_value', 'output_compression'],
  [
    'gpt-image-1',
    { prompt: 'A', output_format: 'jpeg', output_compression: 101 },
    'invalid_value',
    'output_compression',
  ],
  ['gpt-image-1', { prompt: 'A', user: 5 }, 'invalid_value', 'user'],
  ['gpt-image-1', { prompt: 'A [fault:typo]' }, 'invalid_value', 'prompt'],
  ['gpt-image-2', { prompt: 'A', size: '1000x1000' }, 'invalid_value', 'size'],
  ['gpt-image-2', { prompt: 'A', size: '3840x1024' }, 'invalid_value', 'size'],
  ['gpt-image-2', { prompt: 'A', size: '512x512' }, 'invalid_value', 'size'],
]

test.each(refusals)('%s refuses %o with %s', async (model, request, code, param) => {
  const deployment = await start({ model })
  const { status, body } = await ask(deployment, request)
  expect({ status, code: body.error.code, param: body.error.param }).toEqual({ status: 400, code, param })
  expect(body.error.message.length).toBeLessThan(300)
  expect(deployment.log()).toMatchObject([{ status: 400, code, outcome: 'invalid', billed: false }])
})

test.each([
  ['gpt-image-1', { size: 'auto', quality: 'auto' }, '1024x1024', 'high'],
  ['gpt-image-1', { output_format: 'png', output_compression: 100, user: 'me' }, '1024x1024', 'high'],
  ['gpt-image-1-mini', {}, '1024x1024', 'medium'],
  ['gpt-image-2', { size: '2048x1152', quality: 'low' }, '2048x1152', 'low'],
  ['gpt-image-2.5-flare', { quality: 'max' }, '1024x1024', 'max'],
])('%s takes %o', async (model, request, size, quality) => {
  const deployment = await start({ model })
  const { status, body } = await ask(deployment, { prompt: 'A', ...request })
  expect({ status, size: body.size, quality: body.quality }).toEqual({ status: 200, size, quality })
  const { width, height } = imageSize(bytesOf(body))
  expect(`${width}x${height}`).toBe(size)
})

test('output tokens of gpt-image-2 follow the published prices', async () => {
  const deployment = await start({ model: 'gpt-image-2' })
  const tokens = async (size: string, quality: string) =>
    (await ask(deployment, { prompt: 'A', size, quality })).body.usage.output_tokens
  expect(await tokens('1024x1024', 'low')).toBe(196)
  expect(await tokens('1024x1536', 'high')).toBe(5_488)
  expect(await tokens('2048x2048', 'medium')).toBe(3_568)
})

test('a body that is no JSON object is a 400, one too large a 413', async () => {
  const deployment = await start()
  for (const body of ['{"prompt":', '[]', '']) {
    expect((await ask(deployment, body)).body.error.code).toBe('invalid_request_error')
  }
  const large = await ask(deployment, { prompt: 'x'.repeat(1_100_000) })
  expect(large).toMatchObject({ status: 413, body: { error: { code: '413' } } })
})

// The rate

const minuteRule = { rpm: 9, windowsMs: [10_000, 60_000], countRejected: true }

test('a window holds its share of the rate, rounded up, and never less than one', () => {
  expect(windowLimit(9, 10_000)).toBe(2)
  expect(windowLimit(9, 60_000)).toBe(9)
  expect(windowLimit(1, 1_000)).toBe(1)
  expect(windowLimit(600, 1_000)).toBe(10)
})

test('every admitted request, and no other, finds room in both windows', () => {
  const windows = createRateWindows()
  const seen: number[] = []
  let throttled = 0
  for (let at = 0; at < 600_000; at += 4_700) {
    const judgement = windows.arrive({ arrivedAt: at, rule: minuteRule })
    seen.push(at)
    const countIn = (windowMs: number) => seen.filter((one) => one > at - windowMs).length
    expect(judgement.kind).toBe(countIn(10_000) > 2 || countIn(60_000) > 9 ? 'throttled' : 'admitted')
    throttled += judgement.kind === 'throttled' ? 1 : 0
  }
  expect(throttled).toBeGreaterThan(50)
})

test('requests evenly spaced at the rate are never throttled', () => {
  const windows = createRateWindows()
  for (let slot = 0; slot < 1_000; slot += 1) {
    const arrivedAt = slot * (60_000 / 9)
    expect(windows.arrive({ arrivedAt, rule: minuteRule })).toEqual({ kind: 'admitted' })
  }
})

test('the wait told is the shortest that finds room', () => {
  const burst = () => {
    const windows = createRateWindows()
    for (const arrivedAt of [0, 1_000, 2_000]) windows.arrive({ arrivedAt, rule: minuteRule })
    return windows
  }
  expect(burst().arrive({ arrivedAt: 2_500, rule: minuteRule })).toEqual({
    kind: 'throttled',
    retryAfterMs: 9_500,
  })
  expect(burst().arrive({ arrivedAt: 11_000, rule: minuteRule })).toEqual({ kind: 'admitted' })
  expect(burst().arrive({ arrivedAt: 10_999, rule: minuteRule }).kind).toBe('throttled')
})

test('rejected requests push the room further away, unless they do not count', () => {
  const hammer = (countRejected: boolean) => {
    const windows = createRateWindows()
    const rule = { ...minuteRule, countRejected }
    let admitted = 0
    for (let at = 0; at < 120_000; at += 500) {
      admitted += windows.arrive({ arrivedAt: at, rule }).kind === 'admitted' ? 1 : 0
    }
    return admitted
  }
  expect(hammer(true)).toBe(2)
  expect(hammer(false)).toBe(18)
})

test('a changed quota judges the arrivals already seen', () => {
  const windows = createRateWindows()
  for (let at = 0; at < 5; at += 1) windows.arrive({ arrivedAt: at, rule: { ...minuteRule, rpm: 60 } })
  expect(windows.arrive({ arrivedAt: 10, rule: minuteRule }).kind).toBe('throttled')
  expect(windows.arrive({ arrivedAt: 20, rule: { ...minuteRule, rpm: 60 } }).kind).toBe('admitted')
})

test('a burst gets what its window holds; the rest is told in the text when to come back', async () => {
  const deployment = await start({ rpm: 18 })
  const answers = await Promise.all(Array.from({ length: 5 }, () => ask(deployment, { prompt: 'A' })))
  expect(answers.map((answer) => answer.status).sort(ascending)).toEqual([200, 200, 200, 429, 429])
  const throttled = answers.find((answer) => answer.status === 429)!
  expect(throttled.body.error.code).toBe('RateLimitReached')
  expect(throttled.body.error.message).toMatch(
    /exceeded the call rate limit .* Please retry after (9|10) seconds\./,
  )
  expect(throttled.headers.get('retry-after')).toBeNull()
  expect(deployment.log().filter((entry) => entry.outcome === 'throttled' && !entry.billed)).toHaveLength(2)
})

test('400 and 401 use up the rate, requests for other deployments do not', async () => {
  const deployment = await start({ rpm: 18 })
  await ask(deployment, { prompt: 'A' }, { path: deploymentsPath.replace('gpt-image-1', 'other') })
  expect((await ask(deployment, { prompt: '' })).status).toBe(400)
  expect((await ask(deployment, { prompt: 'A' }, { headers: {} })).status).toBe(401)
  expect((await ask(deployment, { prompt: 'A' })).status).toBe(200)
  expect((await ask(deployment, { prompt: 'A' })).status).toBe(429)
})

test('room comes back after the window, and headers tell it when asked to', async () => {
  const deployment = await start({ rpm: 60, windowsMs: [1_000], retryAfter: 'headers' })
  expect((await ask(deployment, { prompt: 'A' })).status).toBe(200)
  const throttled = await ask(deployment, { prompt: 'A' })
  expect(throttled.status).toBe(429)
  expect(throttled.headers.get('retry-after')).toBe('1')
  expect(throttled.headers.get('retry-after-ms')).toBe('1000')
  expect(throttled.headers.get('x-ratelimit-limit-requests')).toBe('60')
  await new Promise((resolve) => setTimeout(resolve, 1_050))
  expect((await ask(deployment, { prompt: 'A' })).status).toBe(200)
})

// Several deployments

function pathOf(name: string): string {
  return deploymentsPath.replace('gpt-image-1', name)
}

test('further deployments have their own names, models and rates', async () => {
  const deployment = await start({
    rpm: 6,
    others: [
      { deployment: 'second', model: 'gpt-image-2', rpm: 12 },
      { deployment: 'third', rpm: 18 },
    ],
  })
  const statuses = async (name: string, body: object) => {
    const found: number[] = []
    for (let count = 0; count < 4; count += 1) {
      found.push((await ask(deployment, { prompt: name, ...body }, { path: pathOf(name) })).status)
    }
    return found
  }
  const free = { size: '1536x512', model: 'gpt-image-2' }
  expect(await statuses('second', free)).toEqual([200, 200, 429, 429])
  expect(await statuses('gpt-image-1', {})).toEqual([200, 429, 429, 429])
  expect(await statuses('third', free)).toEqual([400, 400, 400, 429])
  expect(await statuses('fourth', {})).toEqual([404, 404, 404, 404])
  const log = deployment.log()
  expect(log.every(({ deployment, prompt }) => deployment === (prompt === 'fourth' ? null : prompt))).toBe(
    true,
  )
  const wrongPath = await ask(deployment, {}, { path: '/elsewhere' })
  expect(wrongPath.status).toBe(404)
  expect(deployment.log().at(-1)!.deployment).toBeNull()
})

test('deployments of one quota are judged together, also with the first', async () => {
  const deployment = await start({
    rpm: 12,
    retryAfter: 'headers',
    others: [
      { deployment: 'beside-first', quota: 'gpt-image-1' },
      { deployment: 'a', rpm: 18, quota: 'shared' },
      { deployment: 'b', rpm: 18, quota: 'shared' },
    ],
  })
  const found: [string, number, string | null][] = []
  for (const name of ['gpt-image-1', 'beside-first', 'gpt-image-1', 'beside-first', 'a', 'b', 'a', 'b']) {
    const { status, headers } = await ask(deployment, { prompt: 'A' }, { path: pathOf(name) })
    found.push([name, status, headers.get('x-ratelimit-limit-requests')])
  }
  expect(found).toEqual([
    ['gpt-image-1', 200, '12'],
    ['beside-first', 200, '12'],
    ['gpt-image-1', 429, '12'],
    ['beside-first', 429, '12'],
    ['a', 200, '18'],
    ['b', 200, '18'],
    ['a', 200, '18'],
    ['b', 429, '18'],
  ])
})

test('the v1 path knows the first deployment only', async () => {
  const deployment = await start({ others: [{ deployment: 'second' }] })
  const askFor = async (model: string) => ask(deployment, { prompt: 'A', model }, { path: v1Path })
  expect((await askFor('gpt-image-1')).status).toBe(200)
  expect((await askFor('second')).body.error.code).toBe('DeploymentNotFound')
})

// Faults

test.each([
  ['moderation_blocked', 400, 'moderation_blocked', 'safety_violations=[violence]', true],
  ['content_policy_violation', 400, 'content_policy_violation', 'safety system', true],
  ['contentFilter', 400, 'contentFilter', 'Your task failed as a result of our safety system.', true],
  ['contentFilterOutput', 400, 'contentFilter', 'Generated image was filtered', true],
  ['401', 401, '401', 'Access denied', false],
  ['403', 403, 'Forbidden', 'temporarily blocked', false],
  ['404', 404, 'DeploymentNotFound', 'does not exist', false],
  ['408', 408, 'Timeout', 'timeout', true],
  ['500', 500, 'server_error', 'The server had an error', false],
  ['503', 503, 'ServiceUnavailable', 'unavailable', false],
  ['capacity', 429, '429', 'high demand. Please retry after 5 seconds', false],
])('the marker %s gives %i %s', async (marker, status, code, text, billed) => {
  const deployment = await start()
  const answer = await ask(deployment, { prompt: `A cat [fault:${marker}]` })
  expect(answer.status).toBe(status)
  expect(answer.body.error.code).toBe(code)
  expect(answer.body.error.message).toContain(text)
  expect(deployment.log()).toMatchObject([{ status, code, billed, images: 0, totalTokens: 0 }])
})

test('a content policy violation says which category was found', async () => {
  const deployment = await start()
  const { body } = await ask(deployment, { prompt: '[fault:content_policy_violation]' })
  expect(body.error.inner_error).toMatchObject({
    code: 'ResponsibleAIPolicyViolation',
    content_filter_results: { violence: { filtered: true }, hate: { filtered: false } },
  })
})

test('a dropped answer is billed and never comes', async () => {
  const deployment = await start()
  await expect(post(deployment, { prompt: '[fault:dropped]' })).rejects.toThrow('fetch failed')
  expect(deployment.log()).toMatchObject([{ status: 'dropped', outcome: 'dropped', billed: true, images: 0 }])
})

test('a truncated answer breaks off in its body', async () => {
  const deployment = await start()
  const response = await post(deployment, { prompt: '[fault:truncated]' })
  expect(response.status).toBe(200)
  await expect(response.json()).rejects.toThrow('terminated')
  expect(deployment.log()).toMatchObject([{ status: 200, outcome: 'truncated', billed: true, images: 0 }])
})

test('short and garbage answers look like success', async () => {
  const deployment = await start()
  const short = await ask(deployment, { prompt: '[fault:short]', n: 3 })
  expect(short.body.data).toHaveLength(2)
  expect((await ask(deployment, { prompt: '[fault:short]' })).body.data).toEqual([])
  const garbage = await ask(deployment, { prompt: '[fault:garbage]' })
  expect(garbage.status).toBe(200)
  expect(() => imageSize(bytesOf(garbage.body))).toThrow()
  expect(deployment.log().map((entry) => entry.outcome)).toEqual(['short', 'short', 'garbage'])
})

test('a marker with a count acts on so many requests with that prompt, markers act in turn', async () => {
  const deployment = await start()
  const statuses = async (prompt: string, times: number) => {
    const seen: number[] = []
    for (let time = 0; time < times; time += 1) seen.push((await ask(deployment, { prompt })).status)
    return seen
  }
  expect(await statuses('A [fault:500:x2]', 4)).toEqual([500, 500, 200, 200])
  expect(await statuses('B [fault:500:x2]', 1)).toEqual([500])
  expect(await statuses('C [fault:503:x1] [fault:moderation_blocked:x1]', 3)).toEqual([503, 400, 200])
})

test('throttled requests do not use up a marker', async () => {
  const deployment = await start({ rpm: 6 })
  await ask(deployment, { prompt: 'fill' })
  expect((await ask(deployment, { prompt: '[fault:500:x1]' })).status).toBe(429)
  deployment.set({ rpm: 6_000 })
  expect((await ask(deployment, { prompt: '[fault:500:x1]' })).status).toBe(500)
})

test('a slow answer comes late, and goes together with another fault', async () => {
  const deployment = await start()
  const startedAt = performance.now()
  expect((await ask(deployment, { prompt: '[fault:slow:0.3:x1][fault:500:x1]' })).status).toBe(500)
  expect(performance.now() - startedAt).toBeGreaterThan(295)
  const [entry] = deployment.log()
  expect(entry!.answeredAt! - entry!.receivedAt).toBeGreaterThan(295)
})

test('fault rates come true, and fall on the same prompts for the same seed', async () => {
  const outcomes = async (seed: number) => {
    const deployment = await start({ seed, faults: { serverError: 0.3, garbage: 0.2 } })
    await Promise.all(
      Array.from({ length: 100 }, (_, index) => ask(deployment, { prompt: `prompt ${index}` })),
    )
    return new Map(deployment.log().map((entry) => [entry.prompt, entry.outcome]))
  }
  const [first, again, other] = await Promise.all([outcomes(1), outcomes(1), outcomes(2)])
  const count = (name: string) => [...first.values()].filter((outcome) => outcome === name).length
  expect(count('server_error')).toBeGreaterThan(15)
  expect(count('server_error')).toBeLessThan(45)
  expect(count('garbage')).toBeGreaterThan(5)
  expect(count('garbage')).toBeLessThan(35)
  // Maps are equal whatever the order in which the requests came.
  expect(again).toEqual(first)
  expect(other).not.toEqual(first)
})

// States

test('set changes what the next request meets', async () => {
  const deployment = await start()
  const next = async () => {
    const { status, body } = await ask(deployment, { prompt: 'A' })
    return status === 200 ? 200 : `${status} ${body.error.code}`
  }
  deployment.set({ blocked: true })
  expect(await next()).toBe('403 Forbidden')
  deployment.set({ blocked: false, retired: true })
  expect(await next()).toBe('404 DeploymentNotFound')
  deployment.set({ retired: false, wrongKey: true })
  expect(await next()).toBe('401 401')
  deployment.set({ wrongKey: false, capacity: 0 })
  expect(await next()).toBe('429 429')
  deployment.set({ capacity: null, faults: { unavailable: 1 } })
  expect(await next()).toBe('503 ServiceUnavailable')
  deployment.set({ faults: {} })
  expect(await next()).toBe(200)
  expect(() => deployment.set({ rpm: 0 })).toThrow(/rpm/)
})

test('more requests at once than the capacity meet high demand', async () => {
  const deployment = await start({ capacity: 2, latencyMs: { min: 150, max: 150 } })
  const answers = await Promise.all(['A', 'B', 'C'].map((prompt) => ask(deployment, { prompt })))
  expect(answers.map((answer) => answer.status).sort(ascending)).toEqual([200, 200, 429])
  expect((await ask(deployment, { prompt: 'D' })).status).toBe(200)
})

test('a caller who leaves is logged as abandoned, and billed', async () => {
  const deployment = await start({ latencyMs: { min: 200, max: 200 } })
  const leaving = fetch(deployment.endpoint + deploymentsPath, {
    method: 'POST',
    headers: { 'api-key': deployment.apiKey },
    body: JSON.stringify({ prompt: 'A' }),
    signal: AbortSignal.timeout(60),
  })
  await expect(leaving).rejects.toThrow()
  expect(deployment.log()).toMatchObject([{ status: 'pending' }])
  await expect
    .poll(() => deployment.log())
    .toMatchObject([{ status: 'dropped', outcome: 'abandoned', billed: true, images: 0 }])
})

test('stop ends requests that are still waited for', async () => {
  const deployment = await startDeployment({ latencyMs: { min: 60_000, max: 60_000 } })
  const waiting = post(deployment, { prompt: 'A' })
  const ended = expect(waiting).rejects.toThrow()
  await expect.poll(() => deployment.log()).toHaveLength(1)
  await deployment.stop()
  await ended
})

test('the log and the settings are there over HTTP too', async () => {
  const deployment = await start()
  await ask(deployment, { prompt: 'A' })
  const log = await (await fetch(`${deployment.endpoint}/__log`)).json()
  expect(log).toEqual(JSON.parse(JSON.stringify(deployment.log())))
  const set = async (changes: unknown) =>
    fetch(`${deployment.endpoint}/__set`, { method: 'POST', body: JSON.stringify(changes) })
  expect((await set({ blocked: true })).status).toBe(200)
  expect((await ask(deployment, { prompt: 'A' })).status).toBe(403)
  const wrong = await set({ bloked: false })
  expect(wrong.status).toBe(400)
  expect(await wrong.text()).toContain('bloked')
})

// Through other doors

test('the official client works with it', async () => {
  const deployment = await start({ rpm: 6 })
  const client = new AzureOpenAI({
    endpoint: deployment.endpoint,
    apiKey: deployment.apiKey,
    apiVersion: '2025-04-01-preview',
    deployment: 'gpt-image-1',
    maxRetries: 0,
  })
  const made = await client.images.generate({ prompt: 'A pear', size: '1024x1024', output_format: 'jpeg' })
  expect(imageSize(Buffer.from(made.data![0]!.b64_json!, 'base64'))).toMatchObject({
    type: 'jpg',
    width: 1024,
  })
  expect(made._request_id).toBe(deployment.log()[0]!.requestId)
  const refused = await client.images.generate({ prompt: 'A pear' }).catch((error: unknown) => error)
  expect(refused).toBeInstanceOf(RateLimitError)
  expect(refused).toMatchObject({ status: 429, code: 'RateLimitReached' })
})

test('the command runs one from its environment and ends on a signal', async () => {
  const child = spawn(process.execPath, ['src/local/deployment-command.ts'], {
    env: {
      ...process.env,
      DEPLOYMENT_NAME: 'bench',
      DEPLOYMENT_API_KEY: 'k',
      DEPLOYMENT_PICTURES: 'plain',
      DEPLOYMENT_LATENCY_MS: '0-5',
      DEPLOYMENT_WINDOWS_MS: '1000,60000',
      DEPLOYMENT_FAULTS: 'serverError=1',
      DEPLOYMENT_OTHERS: '[{"deployment":"second","rpm":6}]',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  const line = String((await once(createInterface(child.stdout), 'line'))[0])
  expect(line).toMatch(/^deployment: ready on http:\/\/127\.0\.0\.1:\d+$/)
  const endpoint = line.slice('deployment: ready on '.length)
  const response = await fetch(endpoint + deploymentsPath.replace('gpt-image-1', 'bench'), {
    method: 'POST',
    headers: { 'api-key': 'k' },
    body: JSON.stringify({ prompt: 'A' }),
  })
  expect(response.status).toBe(500)
  const second = { method: 'POST', headers: { 'api-key': 'k' }, body: '{}' }
  const statuses = [1, 2].map(async () => (await fetch(endpoint + pathOf('second'), second)).status)
  expect((await Promise.all(statuses)).sort(ascending)).toEqual([400, 429])
  child.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
})

test.each([
  ['DEPLOYMENT_RPM', 'fast', 'DEPLOYMENT_RPM'],
  ['DEPLOYMENT_OTHERS', 'second', 'not JSON'],
  ['DEPLOYMENT_OTHERS', '[{"deployment":"second","rpm":0}]', 'others'],
  ['DEPLOYMENT_OTHERS', '[{"deployment":"second"},{"deployment":"second"}]', 'two of one name'],
])('a command with the wrong option %s=%s says which and fails', async (name, value, complaintOf) => {
  const child = spawn(process.execPath, ['src/local/deployment-command.ts'], {
    env: { ...process.env, [name]: value },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  const complaint: string[] = []
  for await (const line of createInterface(child.stderr)) complaint.push(line)
  expect(complaint.join('\n')).toContain(complaintOf)
  expect(await ended).toEqual([1, null])
})
