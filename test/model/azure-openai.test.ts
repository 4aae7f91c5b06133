import { hash } from 'node:crypto'
import { createServer } from 'node:net'
import { createCanvas } from '@napi-rs/canvas'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Clock } from '../../src/ports/clock.ts'
import { startDeployment, type SimulatedDeployment } from '../../src/local/deployment/deployment.ts'
import { azureImageModel } from '../../src/model/azure-openai.ts'
import { png } from '../support/png.ts'

const clock: Clock = { now: Date.now, sleepUntil: async () => {} }
let deployment: SimulatedDeployment

beforeAll(async () => {
  deployment = await startDeployment({ rpm: 60_000, latencyMs: { min: 0, max: 5 }, pictures: 'plain' })
})

afterAll(async () => {
  await deployment.stop()
})

function model(changes: { endpoint?: string; apiKey?: string; callTimeoutMs?: number; name?: string } = {}) {
  const {
    endpoint = deployment.endpoint,
    apiKey = deployment.apiKey,
    callTimeoutMs = 5_000,
    name = 'gpt-image-1',
  } = changes
  return azureImageModel(
    { endpoint, name, apiVersion: '2025-04-01-preview', credential: { apiKey }, callTimeoutMs },
    clock,
  )
}

async function ask(prompt: string, request: object = {}, changes = {}) {
  return model(changes).generate({ deployment: 'gpt-image-1', request: { prompt, ...request } })
}

describe('an answer with images', () => {
  it('is checked and told by its own bytes', async () => {
    const answer = await ask('two foxes', { n: 2, size: '1024x1536', output_format: 'jpeg', quality: 'low' })
    expect(answer).toMatchObject({
      kind: 'images',
      images: [
        { contentType: 'image/jpeg', extension: '.jpg', width: 1024, height: 1536 },
        { contentType: 'image/jpeg', extension: '.jpg', width: 1024, height: 1536 },
      ],
      usage: { outputTokens: 2 * 408 },
    })
    expect(answer.kind === 'images' && answer.requestId).toBe(deployment.log().at(-1)?.requestId)
  })

  it('is one request, whatever comes back', async () => {
    const before = deployment.log().length
    await ask('once [fault:500]')
    await ask('once [fault:capacity]')
    await ask('once [fault:dropped]')
    expect(deployment.log().length - before).toBe(3)
  })
})

describe('an edit', () => {
  const inputs = {
    images: [{ bytes: new Uint8Array(png()), format: 'png' }],
    mask: { bytes: new Uint8Array(png({ colourType: 4 })), format: 'png' },
  } as const
  const sha256 = (bytes: Uint8Array): string => hash('sha256', bytes)

  it('is one form with its image, its mask and its parameters', async () => {
    const request = {
      prompt: 'a hat “on” it',
      n: 2,
      size: '1024x1536',
      input_fidelity: 'high',
      user: undefined,
    }
    const answer = await model().generate({ deployment: 'gpt-image-1', request, inputs })
    expect(answer).toMatchObject({
      kind: 'images',
      images: [{ height: 1536 }, { height: 1536 }],
      usage: { inputImageTokens: 2 * 323 },
    })
    expect(deployment.log().at(-1)).toMatchObject({
      prompt: 'a hat “on” it',
      outcome: 'succeeded',
      inputSha256: [sha256(inputs.images[0].bytes), sha256(inputs.mask.bytes)],
    })
  })

  it('may start from several images, in their order', async () => {
    const jpeg = new Uint8Array(createCanvas(64, 64).toBuffer('image/jpeg'))
    const images = [inputs.images[0], { bytes: jpeg, format: 'jpeg' as const }]
    const request = { prompt: 'both' }
    const answer = await model().generate({
      deployment: 'gpt-image-1',
      request,
      inputs: { images, mask: null },
    })
    expect(answer.kind).toBe('images')
    expect(deployment.log().at(-1)?.inputSha256).toEqual(images.map(({ bytes }) => sha256(bytes)))
  })

  it('is one request, whatever comes back, and no other in its stead', async () => {
    const before = deployment.log().length
    for (const fault of ['500', 'capacity', 'dropped', 'truncated']) {
      const request = { prompt: `once [fault:${fault}]` }
      await model().generate({ deployment: 'gpt-image-1', request, inputs })
    }
    expect(deployment.log().length - before).toBe(4)
  })

  it('that takes too long is unknown', async () => {
    const request = { prompt: 'a hat [fault:slow:3]' }
    const answer = await model({ callTimeoutMs: 200 }).generate({
      deployment: 'gpt-image-1',
      request,
      inputs,
    })
    expect(answer).toMatchObject({ failure: { kind: 'unknown', code: 'timeout' } })
  })

  it('that the model cannot take is invalid', async () => {
    const mask = { bytes: new Uint8Array(png({ width: 32 })), format: 'png' as const }
    const call = { deployment: 'gpt-image-1', request: { prompt: 'a hat' }, inputs: { ...inputs, mask } }
    const answer = await model().generate(call)
    expect(answer).toMatchObject({ failure: { kind: 'invalid', code: 'invalid_value' } })
    expect(answer.kind === 'failure' && answer.failure.message).toContain('mask size does not match')
  })

  it('is let in by a token of Entra ID as by a key', async () => {
    const keyless = azureImageModel(
      {
        endpoint: deployment.endpoint,
        name: 'gpt-image-1',
        apiVersion: '2025-04-01-preview',
        credential: { token: async () => 'token' },
        callTimeoutMs: 5_000,
      },
      clock,
    )
    const call = { deployment: 'gpt-image-1', request: { prompt: 'a hat' }, inputs }
    expect((await keyless.generate(call)).kind).toBe('images')
  })
})

describe('a failure', () => {
  it.each([
    ['[fault:moderation_blocked]', 'refused', 'moderation_blocked'],
    ['[fault:content_policy_violation]', 'refused', 'content_policy_violation'],
    ['[fault:contentFilter]', 'refused', 'contentFilter'],
    ['[fault:500]', 'transient', 'server_error'],
    ['[fault:503]', 'transient', undefined],
    ['[fault:408]', 'unknown', 'Timeout'],
    ['[fault:dropped]', 'unknown', undefined],
    ['[fault:truncated]', 'unknown', undefined],
    ['[fault:short]', 'unknown', 'bad_answer'],
    ['[fault:garbage]', 'unknown', 'bad_answer'],
    ['[fault:401]', 'unavailable', undefined],
    ['[fault:403]', 'unavailable', undefined],
    ['[fault:404]', 'unavailable', 'DeploymentNotFound'],
    ['[fault:capacity]', 'throttled', undefined],
  ])('%s is of the kind %s', async (marker, kind, code) => {
    const answer = await ask(`a fox ${marker}`)
    expect(answer).toMatchObject({
      kind: 'failure',
      failure: { kind, ...(code === undefined ? {} : { code }) },
    })
    expect(answer.kind === 'failure' && answer.failure.message).not.toContain('a fox')
  })

  it('says how long a throttled deployment wants to rest, though only the text tells', async () => {
    const answer = await ask('a fox [fault:capacity]')
    expect(answer).toMatchObject({ failure: { retryAfterMs: 5_000 } })
  })

  it('of time is unknown: the call may have been paid for', async () => {
    const answer = await ask('a fox [fault:slow:3]', {}, { callTimeoutMs: 200 })
    expect(answer).toMatchObject({ failure: { kind: 'unknown', code: 'timeout' } })
  })

  it('before anything was sent costs no attempt', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    await new Promise((resolve) => server.close(resolve))
    const answer = await ask('a fox', {}, { endpoint: `http://127.0.0.1:${port}` })
    expect(answer).toMatchObject({ failure: { kind: 'unavailable', code: 'ECONNREFUSED' } })
  })

  it('of our request is invalid', async () => {
    expect(await ask('a fox', { size: '17x17' })).toMatchObject({ failure: { kind: 'invalid' } })
  })
})

it('is not disturbed by an OPENAI_BASE_URL in the environment', async () => {
  process.env['OPENAI_BASE_URL'] = 'http://127.0.0.1:1/'
  try {
    expect(await ask('a calm fox')).toMatchObject({ kind: 'images' })
  } finally {
    delete process.env['OPENAI_BASE_URL']
  }
})

it('without a token of Entra ID sends nothing, and says that the deployment is out of reach', async () => {
  const before = deployment.log().length
  const keyless = azureImageModel(
    {
      endpoint: deployment.endpoint,
      name: 'gpt-image-1',
      apiVersion: '2025-04-01-preview',
      credential: {
        token: async () => {
          throw new Error('no managed identity was found\nand a long trace')
        },
      },
      callTimeoutMs: 5_000,
    },
    clock,
  )
  const answer = await keyless.generate({ deployment: 'gpt-image-1', request: { prompt: 'a fox' } })
  expect(answer).toMatchObject({ failure: { kind: 'unavailable', code: 'no_token' } })
  expect(answer.kind === 'failure' && answer.failure.message).toBe(
    'Entra ID gave no token for the deployment: no managed identity was found',
  )
  expect(deployment.log()).toHaveLength(before)
})
