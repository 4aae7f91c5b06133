import { hash } from 'node:crypto'
import { createCanvas, loadImage } from '@napi-rs/canvas'
import { AzureOpenAI, toFile } from 'openai'
import { afterEach, expect, test } from 'vitest'
import {
  startDeployment,
  type DeploymentOptions,
  type SimulatedDeployment,
} from '../../src/local/deployment/deployment.ts'
import { png } from '../support/png.ts'

const running: SimulatedDeployment[] = []

afterEach(async () => {
  await Promise.all(running.splice(0).map((deployment) => deployment.stop()))
})

async function start(options: DeploymentOptions = {}): Promise<SimulatedDeployment> {
  const latencyMs = { min: 0, max: 0 }
  const deployment = await startDeployment({ rpm: 6_000, latencyMs, pictures: 'plain', ...options })
  running.push(deployment)
  return deployment
}

type Part = readonly [name: string, value: string | Buffer]

async function edit(
  deployment: SimulatedDeployment,
  parts: readonly Part[],
  { path = editsPath, init = {} }: { path?: string; init?: RequestInit } = {},
) {
  const form = new FormData()
  for (const [name, value] of parts) {
    if (typeof value === 'string') form.append(name, value)
    else form.append(name, new File([new Uint8Array(value)], 'a.png'))
  }
  const response = await fetch(deployment.endpoint + path, {
    method: 'POST',
    headers: { 'api-key': deployment.apiKey },
    body: form,
    ...init,
  })
  const body: any = await response.json()
  return { status: response.status, body }
}

const editsPath = '/openai/deployments/gpt-image-1/images/edits?api-version=2025-04-01-preview'
const fox = png()
const jpeg = createCanvas(64, 64).toBuffer('image/jpeg')
const prompt: Part = ['prompt', 'a hat']

test('an edit brings pictures, a usage that counts its images, and a log of what came', async () => {
  const deployment = await start()
  const { status, body } = await edit(deployment, [
    prompt,
    ['image', fox],
    ['mask', png({ colourType: 4 })],
    ['n', '2'],
    ['size', '1536x1024'],
    ['quality', 'low'],
    ['output_format', 'jpeg'],
    ['output_compression', '80'],
    ['input_fidelity', 'high'],
    ['user', 'u'],
  ])
  expect(status).toBe(200)
  expect(body).toMatchObject({ size: '1536x1024', quality: 'low', output_format: 'jpeg' })
  expect(body.data).toHaveLength(2)
  expect(body.usage.input_tokens_details).toEqual({ text_tokens: 2, image_tokens: 2 * 323 })
  expect(deployment.log()).toMatchObject([
    {
      prompt: 'a hat',
      outcome: 'succeeded',
      images: 2,
      inputSha256: [hash('sha256', fox), expect.any(String)],
    },
  ])
})

test('an edit keeps its picture where the mask is opaque', async () => {
  const deployment = await start({ pictures: 'drawn' })
  const red = canvasOf((context) => {
    context.fillStyle = '#ff0000'
    context.fillRect(0, 0, 64, 64)
  })
  const left = canvasOf((context) => context.fillRect(0, 0, 32, 64))
  const { body } = await edit(deployment, [prompt, ['image', red], ['mask', left], ['size', '1024x1024']])
  const drawn = await loadImage(Buffer.from(body.data[0].b64_json, 'base64'))
  const canvas = createCanvas(1024, 1024)
  const context = canvas.getContext('2d')
  context.drawImage(drawn, 0, 0)
  const at = (x: number) => [...context.getImageData(x, 20, 1, 1).data]
  expect(at(20)).toEqual([255, 0, 0, 255])
  expect(at(1_000)).not.toEqual([255, 0, 0, 255])
})

function canvasOf(
  draw: (context: ReturnType<ReturnType<typeof createCanvas>['getContext']>) => void,
): Buffer {
  const canvas = createCanvas(64, 64)
  draw(canvas.getContext('2d'))
  return canvas.toBuffer('image/png')
}

test('sixteen images are taken', async () => {
  const deployment = await start()
  const images = Array.from({ length: 16 }, (): Part => ['image[]', jpeg])
  expect((await edit(deployment, [prompt, ...images])).status).toBe(200)
  expect(deployment.log()[0]?.inputSha256).toHaveLength(16)
})

test.each<[string, readonly Part[], string, string | null]>([
  ['no image', [prompt], 'missing_required_parameter', 'image'],
  ['no prompt', [['image', fox]], 'missing_required_parameter', 'prompt'],
  ['an image that is a text', [prompt, ['image', 'fox.png']], 'invalid_value', 'image'],
  ['an image that is none', [prompt, ['image', Buffer.from('text')]], 'invalid_value', 'image'],
  ['a webp', [prompt, ['image', createCanvas(64, 64).toBuffer('image/webp')]], 'invalid_value', 'image'],
  ['image twice', [prompt, ['image', fox], ['image', fox]], 'duplicate_parameter', 'image'],
  [
    'seventeen',
    [prompt, ...Array.from({ length: 17 }, (): Part => ['image[]', fox])],
    'invalid_value',
    'image',
  ],
  ['two masks', [prompt, ['image', fox], ['mask', fox], ['mask', fox]], 'duplicate_parameter', 'mask'],
  ['a mask of another size', [prompt, ['image', fox], ['mask', png({ width: 63 })]], 'invalid_value', 'mask'],
  [
    'a mask without alpha',
    [prompt, ['image', fox], ['mask', png({ colourType: 2 })]],
    'invalid_value',
    'mask',
  ],
  ['a mask that is a jpeg', [prompt, ['image', fox], ['mask', jpeg]], 'invalid_value', 'mask'],
  [
    'a mask of 4 MB',
    [prompt, ['image', fox], ['mask', Buffer.concat([fox, Buffer.alloc(4 * 1024 * 1024)])]],
    'invalid_value',
    'mask',
  ],
  ['an unknown file', [prompt, ['image', fox], ['picture', fox]], 'unknown_parameter', 'picture'],
  ['an unknown field', [prompt, ['image', fox], ['colour', 'red']], 'unknown_parameter', 'colour'],
  ['a field twice', [prompt, ['image', fox], ['n', '1'], ['n', '2']], 'duplicate_parameter', 'n'],
  ['a number that is none', [prompt, ['image', fox], ['n', 'two']], 'invalid_value', 'n'],
  [
    'response_format',
    [prompt, ['image', fox], ['response_format', 'b64_json']],
    'unknown_parameter',
    'response_format',
  ],
  ['another model', [prompt, ['image', fox], ['model', 'my-deployment']], 'invalid_value', 'model'],
  [
    'another fidelity',
    [prompt, ['image', fox], ['input_fidelity', 'true']],
    'invalid_value',
    'input_fidelity',
  ],
])('%s is refused', async (_, parts, code, param) => {
  const deployment = await start()
  const { status, body } = await edit(deployment, parts)
  expect({ status, ...body.error }).toMatchObject({ status: 400, code, param })
  expect(deployment.log()[0]).toMatchObject({ status: 400, billed: false })
})

test('fidelity is refused by a model that decides it by itself, and by generations', async () => {
  const deployment = await start({ model: 'gpt-image-2' })
  const { body } = await edit(deployment, [prompt, ['image', fox], ['input_fidelity', 'high']])
  expect(body.error).toMatchObject({ code: 'invalid_value', param: 'input_fidelity' })
  const { body: other } = await edit(deployment, [], {
    path: editsPath.replace('edits', 'generations'),
    init: { body: JSON.stringify({ prompt: 'a hat', input_fidelity: 'high' }) },
  })
  expect(other.error).toMatchObject({ code: 'unknown_parameter' })
})

test.each<[string, { readonly body: string; readonly headers?: Record<string, string> }]>([
  ['JSON', { body: JSON.stringify({ prompt: 'a hat', images: [] }) }],
  ['a form without a boundary', { body: 'x', headers: { 'content-type': 'multipart/form-data' } }],
  [
    'a form that ends early',
    {
      body: '--b\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\nabc',
      headers: { 'content-type': 'multipart/form-data; boundary=b' },
    },
  ],
])('%s is no edit', async (_, init) => {
  const deployment = await start()
  const headers = { 'content-type': 'application/json', ...init.headers, 'api-key': deployment.apiKey }
  const { status, body } = await edit(deployment, [], { init: { ...init, headers } })
  expect({ status, code: body.error.code }).toEqual({ status: 400, code: 'invalid_request_error' })
})

test('a damaged picture is refused, and the next request is served', async () => {
  const deployment = await start({ pictures: 'drawn' })
  const torn = Buffer.from(fox)
  // Sound to its end, but for its pixels.
  torn.fill(7, fox.indexOf('IDAT') + 4, fox.length - 16)
  torn.fill(7, 16, 33)
  torn.set(fox.subarray(16, 26), 16)
  const damaged = [fox.subarray(0, 60), fox.subarray(0, fox.length - 6), jpeg.subarray(0, jpeg.length - 2)]
  for (const image of [...damaged, torn]) {
    const { status, body } = await edit(deployment, [prompt, ['image', image]])
    expect([status, body.error?.param]).toEqual([400, 'image'])
  }
  const { status, body } = await edit(deployment, [prompt, ['image', fox], ['mask', torn]])
  expect([status, body.error?.param]).toEqual([400, 'mask'])
  expect((await edit(deployment, [prompt, ['image', fox]])).status).toBe(200)
})

test('there are no edits on the v1 path', async () => {
  const deployment = await start()
  const { status } = await edit(deployment, [prompt, ['image', fox]], { path: '/openai/v1/images/edits' })
  expect(status).toBe(404)
})

test('edits and generations share the windows of their deployment', async () => {
  const deployment = await start({ rpm: 12, windowsMs: [10_000] })
  const parts = [prompt, ['image', fox]] as const
  expect((await edit(deployment, parts)).status).toBe(200)
  const generation = { path: editsPath.replace('edits', 'generations'), init: { body: '{"prompt":"a fox"}' } }
  expect((await edit(deployment, [], generation)).status).toBe(200)
  expect((await edit(deployment, parts)).status).toBe(429)
})

test('an edit may be larger than a generation', async () => {
  const deployment = await start()
  const large = Buffer.concat([fox, Buffer.alloc(3 * 1024 * 1024)])
  expect((await edit(deployment, [prompt, ['image', large]])).status).toBe(200)
})

test('the openai client edits here', async () => {
  const deployment = await start()
  const client = new AzureOpenAI({
    endpoint: deployment.endpoint,
    apiKey: deployment.apiKey,
    apiVersion: '2025-04-01-preview',
    deployment: 'gpt-image-1',
    maxRetries: 0,
  })
  const image = [await toFile(fox, 'a.png'), await toFile(jpeg, 'b.jpg')]
  const made = await client.images.edit({ prompt: 'a hat', image, size: '1024x1024' })
  expect(made.data).toHaveLength(1)
})
