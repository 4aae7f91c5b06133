import functions from '@azure/functions'
import { expect, test } from 'vitest'
import { plainTerms } from '../../src/core/budget/fairness.ts'
import { localCaller } from '../../src/core/caller.ts'
import { getBatch, getBatches } from '../../src/http/api/batches/batches.ts'
import { getResults } from '../../src/http/api/batches/results.ts'
import { newWorld, contextIn } from '../support/context.ts'

test.each(['a/b', 'a#b', 'a?b', 'a\\b', '../b', 'ä'])(
  'an `after` like %s, which no table key may have, is told as the fault that it is',
  async (after) => {
    const context = contextIn(newWorld())
    const jobs = { ...context.jobs, readBatch: async () => Promise.reject(new Error('OutOfRangeInput')) }
    const url = `https://darkroom.example.com/v1/batches?after=${encodeURIComponent(after)}`
    const request = new functions.HttpRequest({ url, method: 'GET' })
    const answer = await getBatches({ request, context: { ...context, jobs }, id: 'r', caller: localCaller })
    expect(answer.status).toBe(400)
    expect(answer.jsonBody).toMatchObject({ error: { param: 'after', code: 'invalid_value' } })
  },
)

test('a batch shows what it was ordered with, and its results refuse images where they cannot stand', async () => {
  const world = newWorld()
  const context = contextIn(world)
  const order = {
    filesOf: null,
    inputFileId: 'file-1',
    endpoint: '/v1/images/generations',
    completionWindow: '24h',
    name: null,
    metadata: null,
    outputExpiresAfterMs: 7_200_000,
    onUnknown: 'fail',
    outputPrefix: 'toys/',
    webhook: null,
    origin: 'https://darkroom.example.com',
  } as const
  await context.batches.openBatch({
    batch: 'batch_1',
    pool: 'pool',
    createdAt: world.clock.now(),
    owner: null,
    terms: plainTerms,
    order,
    progress: { kind: 'validating' },
    workedOnUntil: 0,
  })
  const ask = async (handle: typeof getBatch, query = '') => {
    const url = `https://darkroom.example.com/v1/batches/batch_1${query}`
    const request = new functions.HttpRequest({ url, method: 'GET', params: { name: 'batch_1' } })
    return handle({ request, context, id: 'r', caller: localCaller })
  }
  const batch = await ask(getBatch)
  expect(batch.headers['retry-after']).toBe('2')
  expect(batch.jsonBody).toMatchObject({
    output_prefix: 'toys/',
    on_unknown: 'fail',
    output_expires_after: { anchor: 'created_at', seconds: 7_200 },
  })
  for (const format of ['csv', 'zip']) {
    const refused = await ask(getResults, `/results?format=${format}&images=b64`)
    expect([refused.status, refused.jsonBody]).toMatchObject([400, { error: { param: 'images' } }])
  }
  expect((await ask(getResults, '/results?images=b64')).status).toBe(200)
})
