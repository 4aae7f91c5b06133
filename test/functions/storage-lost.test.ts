import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { openContext, log } from '../../src/app.ts'
import { claimed, succeeded } from '../../src/core/jobs/transitions.ts'
import { rejectedJob, type Job } from '../../src/core/jobs/job.ts'
import { jobId, keyOf } from '../../src/core/jobs/keys.ts'
import { limits } from '../../src/core/limits.ts'
import { timing } from '../../src/core/timing.ts'
import { localCaller } from '../../src/core/caller.ts'
import { startAzurite, type Azurite } from '../../src/local/azurite/azurite.ts'
import type { Context } from '../../src/pipeline/context.ts'
import { requestRef } from '../../src/pipeline/intake/intake.ts'
import { usage } from '../contract/jobs.ts'
import { storageLine, type StorageLine } from '../support/storage-line.ts'
import { read, startLibrary, type Asked, type Library } from './library.ts'

/** What a reply may take to end once storage is gone: its clients try for some 20 s. Far below the host's 242 s. */
const boundMs = 60_000

const imageBytes = 4 * 1024 * 1024
const pictures = 3
/** More than one page of records, and of index rows. */
const rejected = limits.recordsAtOnce + 300

let azurite: Azurite
let line: StorageLine
let library: Library
let context: Context
let fileId: string
let first: Job

beforeAll(async () => {
  azurite = await startAzurite({})
  line = await storageLine(azurite.connectionString)
  vi.stubEnv('AzureWebJobsStorage', line.connectionString)
  vi.stubEnv('AZURE_OPENAI_ENDPOINT', 'http://127.0.0.1:1')
  vi.stubEnv('AZURE_OPENAI_API_KEY', 'key')
  vi.stubEnv('IMAGE_RPM', '60')
  library = await startLibrary(async () => import('../../src/functions/index.ts'))
  context = await openContext()
  for (let index = 0; index < pictures; index += 1) {
    const customId = `fox-${index}`
    await posted('post-job', '/v1/jobs', { prompt: 'a fox', batch: 'toys', custom_id: customId })
    await finish({ batch: 'toys', key: keyOf({ kind: 'custom-id', id: customId }) })
  }
  first = (await context.jobs.get({ batch: 'toys', key: 'fox-0' }))!.job
  const failure = { kind: 'invalid', code: 'invalid_value', message: 'no' } as const
  await posted('post-job', '/v1/jobs', { prompt: 'a fox', batch: 'many', custom_id: 'fox' })
  await finish({ batch: 'many', key: 'fox' })
  await Promise.all(
    Array.from({ length: rejected }, async (_, index) => {
      const names = { batch: 'many', key: `bad-${index}`, pool: first.pool, customId: null, metadata: {} }
      await context.jobs.add(rejectedJob({ ...names, now: Date.now(), failure, input: 'x'.repeat(1_000) }))
    }),
  )
  const call = library.call('post-generation', replayed)
  const parsed = context.parse(replayed.body, 'call')
  if (parsed.kind === 'invalid') throw new Error(parsed.fault.message)
  const asked = { idempotencyKey: 'fox', requestId: '', caller: localCaller, line: 'sync' } as const
  const ref = requestRef(context, parsed.submission, asked)
  await vi.waitUntil(async () => context.jobs.get(ref), { timeout: 20_000 })
  await finish(ref)
  expect((await read(await call.response)).isWhole).toBe(true)
  const form = new FormData()
  form.append('purpose', 'vision')
  form.append('file', new File([randomBytes(2 * imageBytes)], 'fox.png'))
  const encoded = new Response(form)
  const headers = { 'content-type': encoded.headers.get('content-type') ?? '' }
  const body = new Uint8Array(await encoded.arrayBuffer())
  const upload = library.call('post-file', { method: 'POST', path: '/v1/files', headers, body })
  fileId = JSON.parse((await read(await upload.response)).text).id
}, 120_000)

afterAll(async () => {
  await library.stop()
  await line.stop()
  await azurite.stop()
  vi.unstubAllEnvs()
})

beforeEach(async () => {
  log.flush()
  await line.mend()
})

async function posted(name: string, path: string, body: object): Promise<void> {
  const asked = {
    method: 'POST',
    path,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  }
  const answer = await library.call(name, asked).response
  expect([(await read(answer)).text, answer.statusCode]).toEqual([expect.any(String), 202])
}

/** As a worker does, with a picture of some megabytes. */
async function finish(ref: { batch: string; key: string }): Promise<void> {
  const waiting = (await context.jobs.get(ref))!
  const { priority, upperMicroUsd, phase, createdAt } = waiting.job
  const now = Date.now()
  const dueAt = phase.kind === 'waiting' ? phase.dueAt : createdAt
  const deployment = context.pools[0]!.quotas[0]!.deployments[0]!.deployment
  const grant = { ...ref, dueAt, priority, upperMicroUsd, slotAt: now, quota: deployment, deployment }
  await context.jobs.slot({ grants: [grant], capMicroUsd: null })
  const slotted = (await context.jobs.get(ref))!
  const claim = claimed(slotted.job, { slotAt: now, deployment, leaseUntil: now + 90_000 })!
  const running = (await context.jobs.change(slotted, claim))!
  const images = await context.images.save({
    job: running.job,
    facts: { attempt: 1, usage, requestId: 'r', finishedAt: now },
    images: [
      {
        bytes: randomBytes(imageBytes),
        contentType: 'image/png',
        extension: 'png',
        width: 1_024,
        height: 1_024,
      },
    ],
  })
  const end = succeeded(running.job, { finishedAt: now, images, usage, costMicroUsd: 1 })!
  await context.jobs.change(running, end)
}

type Case = {
  readonly name: string
  readonly asked: () => Asked
  /** Where in all that comes from storage it is lost. */
  readonly at: number
  readonly isBegun?: boolean
}

const results = (query: string, batch = 'toys'): Pick<Case, 'name' | 'asked'> => ({
  name: 'get-results',
  asked: () => ({ path: `/v1/batches/${batch}/results?${query}`, params: { name: batch } }),
})

/** A call that was made before under the same key, so that it is answered with what came of it. */
const replayed = {
  method: 'POST',
  path: '/v1/images/generations',
  headers: { 'content-type': 'application/json', 'idempotency-key': 'fox' },
  body: JSON.stringify({ prompt: 'a fox' }),
} as const

const cases: readonly (readonly [string, Case])[] = [
  ['a ZIP', { ...results('format=zip'), at: 0.6 }],
  ['JSON lines', { ...results('format=jsonl', 'many'), at: 0.95 }],
  ['JSON lines with images', { ...results('format=jsonl&images=b64'), at: 0.6 }],
  ['CSV', { ...results('format=csv', 'many'), at: 0.95 }],
  [
    'events',
    {
      name: 'get-events',
      asked: () => ({ path: '/v1/batches/many/events', params: { name: 'many' } }),
      at: 0.8,
    },
  ],
  [
    'the content of a file',
    {
      name: 'get-file-content',
      asked: () => ({ path: `/v1/files/${fileId}/content`, params: { id: fileId } }),
      at: 0.6,
    },
  ],
  ['the answer of a call', { name: 'post-generation', asked: () => replayed, at: 0.6 }],
  [
    'an image, which is read before it is sent',
    {
      name: 'get-image',
      asked: () => ({
        path: `/v1/jobs/${jobId(first)}/images/0`,
        params: { id: jobId(first), k: '0' },
      }),
      at: 0.6,
      isBegun: false,
    },
  ],
]

describe('storage that is lost in the middle of', () => {
  test.each(cases)(
    '%s ends the reply',
    async (what, { name, asked, at, isBegun = true }) => {
      const whole = library.call(name, asked())
      const sent = await read(await whole.response)
      expect([sent.isWhole, await whole.invocation]).toEqual([true, true])
      const neededBytes = line.passedBytes()
      const before = library.lines.length
      line.loseAfter(neededBytes * at)
      const startedAt = Date.now()
      const call = library.call(name, asked())
      const answer = await call.response
      const { text, isWhole } = await read(answer)
      const tookMs = Date.now() - startedAt
      const told = library.lines
        .slice(before)
        .filter((each) => each.includes('"doing":"answer"') || each.includes('"status":500'))
      if (process.env['FIGURES'] !== undefined) console.log(what, tookMs, told)
      expect(line.isLost()).toBe(true)
      if (isBegun) {
        expect([answer.statusCode, isWhole]).toEqual([200, false])
        expect(text.length).toBeLessThan(sent.text.length)
      } else {
        expect([answer.statusCode, isWhole]).toEqual([500, true])
        expect(JSON.parse(text)).toMatchObject({ error: { code: 'internal_error' } })
      }
      expect(tookMs).toBeLessThan(boundMs)
      expect(told).toEqual([expect.stringContaining(call.id)])
      expect(await call.invocation).toBe(true)
    },
    2 * boundMs,
  )
})

test('storage that falls silent in the middle of a ZIP is waited for no longer than a quiet request may be', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  try {
    const { name, asked } = results('format=zip')
    line.loseAfter(imageBytes, 'silent')
    const call = library.call(name, asked())
    const answer = await call.response
    const sent = read(answer)
    let isOver = false
    const over = call.invocation.then(() => (isOver = true))
    await vi.waitUntil(() => line.isLost(), { timeout: 20_000 })
    // What had come until then is on its way for a moment more.
    await new Promise((resolve) => void setTimeout(resolve, 500))
    await vi.advanceTimersByTimeAsync(timing.quietMs - timing.quietLookMs)
    expect([isOver, answer.destroyed]).toEqual([false, false])
    await vi.advanceTimersByTimeAsync(2 * timing.quietLookMs)
    await over
    expect(await sent).toMatchObject({ isWhole: false })
    expect(library.lines.at(-1)).toContain(`"request":"${call.id}"`)
    expect(library.lines.at(-1)).toContain('"code":"nothing_moved"')
  } finally {
    vi.useRealTimers()
  }
})

test('what meets storage that is gone is answered within the bound', async () => {
  line.loseAfter(0)
  const startedAt = Date.now()
  const body = '{"prompt":"a fox"}'
  const asked: readonly (readonly [string, Asked])[] = [
    ['get-health', { path: '/healthz' }],
    ['post-job', { method: 'POST', path: '/v1/jobs', body }],
    ['post-generation', { method: 'POST', path: '/v1/images/generations', body }],
  ]
  await Promise.all(
    asked.map(async ([name, each]) => {
      const call = library.call(name, each)
      const answer = await call.response
      const { text, isWhole } = await read(answer)
      const tookMs = Date.now() - startedAt
      if (process.env['FIGURES'] !== undefined) console.log(name, tookMs, answer.statusCode, text)
      expect([isWhole, JSON.parse(text)]).toMatchObject([true, { error: { code: expect.any(String) } }])
      expect(answer.statusCode).toBeGreaterThanOrEqual(500)
      expect(tookMs).toBeLessThan(boundMs)
      expect(await call.invocation).toBe(true)
    }),
  )
}, 120_000)
