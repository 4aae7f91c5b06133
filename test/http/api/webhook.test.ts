import functions from '@azure/functions'
import { expect, test } from 'vitest'
import { localCaller } from '../../../src/core/caller.ts'
import { getBatch, getBatches, postBatch } from '../../../src/http/api/batches/batches.ts'
import type { Call, Reply } from '../../../src/http/reply.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { deliverHook } from '../../../src/pipeline/webhooks/hook-delivery.ts'
import { registerBatch } from '../../../src/pipeline/batches/register.ts'
import { newWorld, contextIn } from '../../support/context.ts'

async function ask(
  handle: (call: Call) => Promise<Reply>,
  context: Context,
  { params = {}, body }: { params?: Record<string, string>; body?: object } = {},
): Promise<{ status: number; json: any }> {
  const request = new functions.HttpRequest({
    url: 'https://darkroom.example.com/v1/batches',
    method: body === undefined ? 'GET' : 'POST',
    params,
    ...(body === undefined ? {} : { body: { string: JSON.stringify(body) } }),
  })
  const { status, jsonBody } = await handle({ request, context, id: 'request', caller: localCaller })
  return { status, json: jsonBody }
}

async function orderIn(context: Context, webhook: unknown): Promise<object> {
  const saved = await context.files.save({
    owner: null,
    filename: 'in.jsonl',
    purpose: 'batch',
    expiresAfterMs: null,
    sizeBytesMax: 100,
    content: faulty(),
  })
  const id = saved.kind === 'saved' ? saved.file.id : ''
  return { input_file_id: id, endpoint: '/v1/images/generations', completion_window: '24h', webhook }
}

async function* faulty(): AsyncIterable<Uint8Array> {
  yield new TextEncoder().encode('{')
}

const url = 'https://hooks.example.com/darkroom?token=1'

test('a batch shows its webhook, and what became of its events', async () => {
  const world = newWorld()
  const context = contextIn(world)
  const { status, json } = await ask(postBatch, context, {
    body: await orderIn(context, { url, per_job: true }),
  })
  expect(status).toBe(200)
  expect(json.webhook).toEqual({ url, per_job: true })
  const params = { name: json.id }
  expect((await ask(getBatch, context, { params })).json.webhook).toEqual({
    url,
    per_job: true,
    deliveries: [],
  })

  world.webhooks.script.push({ kind: 'failed', code: 'timeout' })
  await world.clock.run(registerBatch(context, json.id))
  const { message, visibleAt } = world.messages.hooks[0]!
  await world.clock.runUntil(visibleAt)
  await deliverHook(context, message)
  expect((await ask(getBatch, context, { params })).json.webhook.deliveries).toEqual([
    {
      at: Math.floor(visibleAt / 1_000),
      event: world.webhooks.sent[0]?.eventId,
      type: 'batch.failed',
      try: 1,
      status: null,
      fault: 'timeout',
      next_try_at: Math.floor(visibleAt / 1_000) + 5,
    },
  ])
  expect((await ask(getBatches, context)).json.data[0].webhook).toEqual({ url, per_job: true })
})

test('a batch without one shows none', async () => {
  const context = contextIn(newWorld())
  const { json } = await ask(postBatch, context, { body: await orderIn(context, null) })
  expect(json.webhook).toBeNull()
})

test('a webhook that cannot be sent, or signed, is refused before the batch is taken', async () => {
  const world = newWorld()
  const fault = (asked: string): string | undefined =>
    asked === url ? 'the address is not a public one' : undefined
  const context = contextIn(world, { webhooks: { ...world.webhooks, fault } })
  const { status, json } = await ask(postBatch, context, { body: await orderIn(context, url) })
  expect(status).toBe(400)
  expect(json.error).toMatchObject({
    param: 'webhook',
    code: 'invalid_value',
    message: 'webhook: the address is not a public one',
  })
  expect((await ask(getBatches, context)).json.data).toEqual([])
})
