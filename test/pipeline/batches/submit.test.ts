import { beforeEach, describe, expect, test } from 'vitest'
import type { Caller } from '../../../src/core/caller.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { submitBatch, type AskedBatch } from '../../../src/pipeline/batches/submit.ts'
import type { FilePurpose } from '../../../src/ports/files.ts'
import { contextIn, costs, newWorld, quota, type World } from '../../support/context.ts'

/** What any caller of the pipeline gets, a timer as well as HTTP. */

const shop: Caller = { key: 'shop', isAdmin: false, isReadOnly: false }
const studio: Caller = { key: 'studio', isAdmin: false, isReadOnly: false }
const admin: Caller = { key: 'office', isAdmin: true, isReadOnly: false }

let world: World
let context: Context

beforeEach(() => {
  world = newWorld()
  context = contextIn(world)
})

async function fileOf(owner: string | null, purpose: FilePurpose = 'batch'): Promise<string> {
  async function* content(): AsyncIterable<Uint8Array> {
    const url = '/v1/images/generations'
    yield Buffer.from(JSON.stringify({ custom_id: 'one', method: 'POST', url, body: { prompt: 'an owl' } }))
  }
  const facts = { owner, filename: 'in.jsonl', purpose, expiresAfterMs: null, sizeBytesMax: 1e6 }
  const saved = await context.files.save({ ...facts, content: content() })
  if (saved.kind !== 'saved') throw new Error('too large')
  return saved.file.id
}

function asked(inputFileId: string, order: Partial<AskedBatch['order']> = {}): AskedBatch {
  return {
    order: {
      inputFileId,
      endpoint: '/v1/images/generations',
      completionWindow: '24h',
      name: null,
      metadata: { season: 'autumn' },
      outputExpiresAfterMs: null,
      onUnknown: null,
      outputPrefix: null,
      webhook: null,
      origin: 'https://darkroom.example.com',
      ...order,
    },
    terms: {},
  }
}

/** No batch is there, none is listed, and nobody is told of one. */
async function assertNothingTaken(): Promise<void> {
  expect(world.jobs.partitions()).toEqual([])
  expect(world.messages.batchTasks).toEqual([])
  const page = await context.batchList.page({ owner: undefined, limit: 9, isSubmittedOnly: false })
  expect(page.batches).toEqual([])
}

describe('a batch that is submitted', () => {
  test('is taken, and its lines become jobs without another call', async () => {
    const submitted = await submitBatch(context, asked(await fileOf(null)))
    expect(submitted).toMatchObject({ kind: 'taken', batch: { owner: null, order: { filesOf: null } } })
    if (submitted.kind !== 'taken') return
    const { batch } = submitted.batch
    await world.clock.runUntil(world.clock.now() + 1_000)
    expect((await context.batches.readBatch(batch))?.progress).toMatchObject({ kind: 'registered', total: 1 })
    expect(await context.jobs.get({ batch, key: 'one' })).toBeDefined()
  })

  test.each<[Caller, string | null, string]>([
    [shop, 'shop', '~shop/autumn/'],
    [admin, null, 'autumn/'],
  ])('belongs to its sender (%j), whose files its lines may name', async (caller, filesOf, outputPrefix) => {
    const order = { outputPrefix: 'autumn/' }
    const submitted = await submitBatch(context, asked(await fileOf('shop'), order), caller)
    expect(submitted).toMatchObject({
      kind: 'taken',
      batch: { owner: caller.key, order: { filesOf, outputPrefix } },
    })
  })

  test('is told of in the log when its check cannot begin, and stays with the queue', async () => {
    const events: unknown[] = []
    const log = { event: (...event: unknown[]) => void events.push(event) }
    const changeBatch = async () => Promise.reject(Object.assign(new Error('away'), { code: 'ECONNRESET' }))
    const lame = { ...context, log, batches: { ...context.batches, changeBatch } }
    const submitted = await submitBatch(lame, asked(await fileOf(null)))
    if (submitted.kind !== 'taken') throw new Error(submitted.kind)
    const { batch } = submitted.batch
    await world.clock.runUntil(world.clock.now() + 1_000)
    expect(events).toEqual([['batch_put_off', { batch, code: 'ECONNRESET' }]])
    expect(world.messages.batchTasks.map(({ message }) => message)).toEqual([{ task: 'register', batch }])
  })

  test('again under its key is the one that was taken before', async () => {
    const order = asked(await fileOf('shop'), { outputPrefix: 'autumn/', webhook: null })
    const send = async (caller: Caller, change: Partial<AskedBatch['order']> = {}) =>
      submitBatch(
        context,
        { ...order, order: { ...order.order, ...change }, idempotencyKey: 'order-17' },
        caller,
      )
    const first = await send(shop)
    if (first.kind !== 'taken') throw new Error(first.kind)
    const { batch } = first.batch
    expect(await send(shop)).toMatchObject({ kind: 'taken-before', batch: { batch } })
    expect(await send(shop, { name: 'another' })).toMatchObject({ kind: 'key-taken', batch: { batch } })
    // A key of another sender's is another one.
    expect(await send(admin)).toMatchObject({ kind: 'taken' })
  })
})

describe('a batch is not taken', () => {
  test('of a file that is not there, or somebody else’s', async () => {
    const fileId = await fileOf('shop')
    expect(await submitBatch(context, asked('file-none'))).toEqual({ kind: 'no-file', fileId: 'file-none' })
    expect(await submitBatch(context, asked(fileId), studio)).toEqual({ kind: 'no-file', fileId })
    await assertNothingTaken()
  })

  test('of a file for something else', async () => {
    const id = await fileOf(null, 'vision')
    expect(await submitBatch(context, asked(id))).toMatchObject({
      kind: 'wrong-purpose',
      file: { id, purpose: 'vision' },
    })
    await assertNothingTaken()
  })

  test('under a cap that is less than the cheapest call of all pools', async () => {
    const cheap = { name: 'cheap', quotas: [quota], costs: { ...costs, leastMicroUsd: 4_000 } }
    const both = { ...context, pools: [...context.pools, cheap] }
    const capped = async (capMicroUsd: number) =>
      submitBatch(both, { ...asked(await fileOf(null)), terms: { capMicroUsd } })
    expect(await capped(3_999)).toEqual({ kind: 'cap-too-low', leastMicroUsd: 4_000 })
    await assertNothingTaken()
    expect(await capped(4_000)).toMatchObject({ kind: 'taken', batch: { terms: { capMicroUsd: 4_000 } } })
  })

  test('with a webhook at an address that nobody may be sent to', async () => {
    const webhooks = { ...context.webhooks, fault: (url: string) => `${url} is not public` }
    const order = { webhook: { url: 'https://10.0.0.1/', perJob: false } }
    expect(await submitBatch({ ...context, webhooks }, asked(await fileOf(null), order))).toEqual({
      kind: 'bad-webhook',
      fault: 'https://10.0.0.1/ is not public',
    })
    await assertNothingTaken()
  })
})
