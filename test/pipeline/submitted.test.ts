import { beforeEach, describe, expect, test } from 'vitest'
import type { BatchOrder } from '../../src/core/batches/batch-order.ts'
import { timing } from '../../src/core/timing.ts'
import { jobsOfBatch, retryJobs } from '../../src/pipeline/batches/batch-jobs.ts'
import { cancelBatch, pauseBatch } from '../../src/pipeline/batches/batches.ts'
import type { Context } from '../../src/pipeline/context.ts'
import { finaliseBatch } from '../../src/pipeline/batches/finalise.ts'
import { deliverHook } from '../../src/pipeline/webhooks/hook-delivery.ts'
import { registerBatch } from '../../src/pipeline/batches/register.ts'
import { rescue } from '../../src/pipeline/running/rescue.ts'
import { resultLines } from '../../src/pipeline/batches/results.ts'
import { batchStatus } from '../../src/pipeline/status/status.ts'
import { storeBatch } from '../../src/pipeline/batches/submit.ts'
import { dataUrl, png } from '../support/png.ts'
import type { BatchTask } from '../../src/ports/messages.ts'
import { newWorld, contextIn, type World } from '../support/context.ts'
import { fails } from '../support/scripted-model.ts'
import { latch, play } from './play.ts'

let world: World
let context: Context

beforeEach(() => {
  world = newWorld()
  context = contextIn(world)
})

const order: Omit<BatchOrder, 'inputFileId'> = {
  filesOf: null,
  endpoint: '/v1/images/generations',
  completionWindow: '24h',
  name: null,
  metadata: null,
  outputExpiresAfterMs: null,
  onUnknown: null,
  outputPrefix: null,
  webhook: null,
  origin: 'https://darkroom.example.com',
}

function line(customId: string, body: object = {}, rest: object = {}): string {
  const url = '/v1/images/generations'
  return JSON.stringify({
    custom_id: customId,
    method: 'POST',
    url,
    body: { prompt: customId, ...body },
    ...rest,
  })
}

function lines(count: number): string {
  return Array.from({ length: count }, (_, index) => line(`line-${String(index).padStart(4, '0')}`)).join(
    '\n',
  )
}

async function submit(text: string | Uint8Array, fields: Partial<BatchOrder> = {}): Promise<string> {
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text
  const saved = await context.files.save({
    owner: null,
    filename: 'in.jsonl',
    purpose: 'batch',
    expiresAfterMs: null,
    sizeBytesMax: 1e9,
    content: piecesOf(bytes),
  })
  if (saved.kind !== 'saved') throw new Error('too large')
  const { batch } = await storeBatch(context, {
    owner: null,
    terms: {},
    order: { ...order, inputFileId: saved.file.id, ...fields },
  })
  return batch.batch
}

async function* piecesOf(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 997) yield bytes.slice(at, at + 997)
}

/** A message whose function failed comes again. */
function finalise(message: BatchTask): void {
  finaliseBatch(context, message.batch).catch(() =>
    world.messages.batchTasks.push({ message, visibleAt: world.clock.now() + 30_000 }),
  )
}

/** Delivers what was sent to the queue of batches, and runs the pipeline, until the time. */
async function playBatches(untilMs: number): Promise<void> {
  const until = world.clock.now() + untilMs
  while (world.clock.now() < until) {
    for (const { message, visibleAt } of world.messages.batchTasks.splice(0)) {
      world.clock.at(visibleAt, () => {
        if (message.task === 'register') void registerBatch(context, message.batch)
        else if (message.task === 'finalise') finalise(message)
        else void retryJobs(context, message)
      })
    }
    await play(world, [context], Math.min(until, world.clock.now() + 1_000))
  }
}

async function faultsOf(text: string | Uint8Array, fields: Partial<BatchOrder> = {}) {
  const batch = await submit(text, fields)
  await world.clock.run(registerBatch(context, batch))
  const status = (await batchStatus(context, batch))!
  const faults = await context.batches.faults(batch)
  return { status, faults: faults.map(({ line: at, code, param }) => [at, code, param]) }
}

async function fileText(id: string | null): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const piece of (await context.files.read(id!))!) text += decoder.decode(piece, { stream: true })
  return text
}

function resultsOf(text: string): any[] {
  return text.trim() === ''
    ? []
    : text
        .trim()
        .split('\n')
        .map((each) => JSON.parse(each))
}

async function liveResults(batch: string): Promise<any[]> {
  const chunks: Uint8Array[] = []
  for await (const chunk of resultLines(context, { batch, part: 'all', origin: '' })) chunks.push(chunk)
  return resultsOf(Buffer.concat(chunks).toString())
}

describe('edits in a submitted batch', () => {
  const url = '/v1/images/edits'
  const fox = png()
  const edit = (customId: string, body: object): string => line(customId, body, { url })
  const endpoint = { endpoint: url } as const

  test('are registered with their images kept as blobs of theirs, and run', async () => {
    await world.inputs.keep('mask.png', png())
    const mask = { mask: 'mask.png' }
    const batch = await submit(
      [
        edit('a', { images: [{ image_url: dataUrl(fox) }], ...mask }),
        edit('b', { image: 'mask.png', ...mask }),
      ].join('\n'),
      endpoint,
    )
    await playBatches(60_000)
    expect(await batchStatus(context, batch)).toMatchObject({ status: 'completed', counts: { succeeded: 2 } })
    expect(world.model.calls.map(({ inputs }) => inputs?.images[0]?.bytes.length)).toEqual([
      fox.length,
      fox.length,
    ])
    expect([...world.inputs.blobs.keys()]).toEqual([
      'mask.png',
      expect.stringMatching(`^~kept/${batch}/a-in-0-`),
    ])
  })

  test('whose images cannot be right fail the file before a cent is spent, each with its line', async () => {
    await world.inputs.keep('small.png', png({ width: 32 }))
    const { status, faults } = await faultsOf(
      [
        edit('a', { image: 'none.png' }),
        edit('b', { image: dataUrl(fox) }),
        edit('c', { image: dataUrl(fox), mask: 'small.png' }),
        edit('d', {}),
        line('e', { image: 'small.png' }),
      ].join('\n'),
      endpoint,
    )
    expect(status.status).toBe('failed')
    expect(faults).toEqual([
      [1, 'invalid_request', 'body.image'],
      [3, 'invalid_request', 'body.mask'],
      [4, 'invalid_request', 'body.image'],
      [5, 'url_mismatch', 'url'],
    ])
    expect(world.inputs.blobs.size).toBe(1)
  })
})

test('an edit whose image is gone by its slot fails unsent, and is told of like any other', async () => {
  await world.inputs.keep('fox.png', png())
  const webhook = { url: 'https://hooks.example.com/', perJob: true }
  const text = line('a', { image: 'fox.png' }, { url: '/v1/images/edits' })
  const batch = await submit(text, { endpoint: '/v1/images/edits', webhook })
  await world.clock.run(registerBatch(context, batch))
  world.inputs.blobs.delete('fox.png')
  await playBatches(60_000)
  expect(await batchStatus(context, batch)).toMatchObject({ status: 'completed', counts: { failed: 1 } })
  expect(world.model.calls).toEqual([])
  expect(world.messages.hooks.map(({ message }) => message.kind)).toContain('job')
})

describe('a submitted batch', () => {
  test('is validated, registered, run, and its results are written', async () => {
    const batch = await submit(lines(5), { outputPrefix: 'summer/' })
    expect(await batchStatus(context, batch)).toMatchObject({ status: 'validating', counts: { total: 0 } })
    await playBatches(60_000)
    const status = (await batchStatus(context, batch))!
    expect(status).toMatchObject({ status: 'completed', counts: { total: 5, succeeded: 5 } })
    const { progress } = status
    if (progress?.kind !== 'finished') throw new Error(`progress ${progress?.kind}`)
    expect(progress).toMatchObject({ total: 5, errorFileId: null })
    const output = resultsOf(await fileText(progress.outputFileId))
    expect(output.map(({ custom_id: id }) => id)).toEqual([0, 1, 2, 3, 4].map((index) => `line-000${index}`))
    expect(output[0]).toMatchObject({
      error: null,
      response: {
        status_code: 200,
        body: {
          data: [{ url: `https://darkroom.example.com/v1/jobs/${batch}.line-0000/images/0` }],
          output_format: 'png',
          size: '1024x1024',
          usage: { total_tokens: 200 },
        },
      },
    })
    const job = (await context.jobs.get({ batch, key: 'line-0003' }))!.job
    expect(job.phase.kind === 'succeeded' && job.phase.images[0]?.blob).toBe('summer/line-0003-0.png')
    // Jobs are called in the order of their lines.
    expect(world.model.calls.map(({ prompt }) => prompt)).toEqual(output.map(({ custom_id: id }) => id))
  })

  test('starts while its lines are still becoming jobs, and survives a death in between', async () => {
    const batch = await submit(lines(4_500))
    let dies = 3
    const dying: Context = {
      ...context,
      batches: {
        ...context.batches,
        changeBatch: async (...change) => {
          if ((dies -= 1) < 0) throw new Error('died')
          return context.batches.changeBatch(...change)
        },
      },
    }
    await expect(world.clock.run(registerBatch(dying, batch))).rejects.toThrow('died')
    const counts = (await batchStatus(context, batch))!.counts
    expect(counts.total).toBe(4_500)
    expect((await context.batches.getBatch(batch))!.counters.waiting).toBeGreaterThan(2_000)
    expect(world.messages.ticks.length).toBeGreaterThan(0)
    // While its lease lasts nobody else begins; then one of two does.
    await world.clock.run(registerBatch(context, batch))
    expect((await context.batches.getBatch(batch))!.counters.waiting).toBeLessThan(4_500)
    await world.clock.runUntil(world.clock.now() + timing.batchLeaseMs)
    await world.clock.run(
      Promise.all([registerBatch(context, batch), registerBatch(contextIn(world), batch)]),
    )
    const after = (await context.batches.getBatch(batch))!
    expect(after.counters.waiting).toBe(4_500)
    expect(after.batch.progress).toMatchObject({ kind: 'registered', total: 4_500 })
  })

  test('takes a byte order mark, CRLF ends, blank lines, and no newline at the end', async () => {
    const { status, faults } = await faultsOf(`\uFEFF${line('a')}\r\n\r\n${line('b')}\r\n\n${line('ü🐈')}`)
    expect(faults).toEqual([])
    expect(status.counts).toMatchObject({ total: 3, waiting: 3 })
  })

  test('fails with every faulty line listed, and nothing of it runs', async () => {
    const text = [
      line('a'),
      '{"custom_id":',
      '[]',
      line('a'),
      line('b', { model: 'dall-e-9' }),
      line('c', {}, { url: '/v1/chat/completions' }),
      line('d', { size: 'huge' }),
      JSON.stringify({ prompt: 'flat' }),
      line('e', {}, { batch: 'x' }),
      line('f', {}, { custom_id: undefined }),
      line('g', { n: 11 }, { method: 'GET' }),
    ].join('\n')
    const { status, faults } = await faultsOf(text)
    expect(faults).toEqual([
      [2, 'invalid_json_line', null],
      [3, 'invalid_json_line', null],
      [4, 'duplicate_custom_id', 'custom_id'],
      [5, 'model_not_found', 'body.model'],
      [6, 'url_mismatch', 'url'],
      [7, 'invalid_request', 'body.size'],
      [8, 'invalid_request', 'body'],
      [9, 'invalid_request', 'batch'],
      [10, 'invalid_request', 'custom_id'],
      [11, 'invalid_request', 'method'],
    ])
    expect(status).toMatchObject({ status: 'failed', counts: { total: 0 }, progress: { faults: 10 } })
    await playBatches(30_000)
    expect(world.model.calls).toEqual([])
    expect((await batchStatus(context, status.batch))!.status).toBe('failed')
    // Nor can anything be decided for it: a flow that was made for it would never go.
    expect(await world.clock.run(pauseBatch(context, status.batch, 'wait'))).toEqual({
      kind: 'finished-before',
    })
    expect((await context.budgets.read('pool')).flows).toEqual([])
  })

  test('fails when it is empty, is no UTF-8, or its file is gone', async () => {
    expect((await faultsOf('\n \r\n')).faults).toEqual([[null, 'empty_file', 'input_file_id']])
    expect((await faultsOf('')).faults).toEqual([[null, 'empty_file', 'input_file_id']])
    expect((await faultsOf(Uint8Array.of(0x7b, 0xff, 0x7d))).faults).toEqual([[1, 'invalid_json_line', null]])
    expect((await faultsOf('', { inputFileId: 'file-0mi8a8a8a0' })).faults).toEqual([
      [null, 'invalid_request', 'input_file_id'],
    ])
  })

  test('keeps the first thousand faults, counts all, and takes no more than 100,000 lines', async () => {
    const { status, faults } = await faultsOf('{\n'.repeat(1_500))
    expect(faults.length).toBe(1_000)
    expect(status.progress).toMatchObject({ kind: 'failed', faults: 1_500 })
    const many = await faultsOf(Array.from({ length: 100_001 }, (_, index) => line(`${index}`)).join('\n'))
    expect(many.faults).toEqual([[null, 'too_many_tasks', null]])
  })

  test('some failed and some cancelled jobs are told in its error file; the counts sum', async () => {
    world.model.script.push(
      fails('refused', { code: 'moderation_blocked' }),
      fails('unknown', { code: 'timeout' }),
    )
    context = contextIn(world, { attemptsMax: 1, refusalShareMax: 1 })
    const batch = await submit(lines(200))
    await playBatches(20_000)
    const cancelled = await world.clock.run(cancelBatch(context, batch, 'enough'))
    expect(cancelled).toEqual({ kind: 'done' })
    expect((await batchStatus(context, batch))!.status).toBe('cancelling')
    await playBatches(60_000)
    const status = (await batchStatus(context, batch))!
    const { counts, progress } = status
    expect(status.status).toBe('cancelled')
    expect(counts).toMatchObject({ total: 200, waiting: 0, running: 0, failed: 2 })
    if (progress?.kind !== 'finished') throw new Error(`progress ${progress?.kind}`)
    expect(resultsOf(await fileText(progress.outputFileId))).toHaveLength(counts.succeeded)
    const errors = resultsOf(await fileText(progress.errorFileId))
    expect(errors).toHaveLength(200 - counts.succeeded)
    expect(errors[0]).toMatchObject({
      response: { status_code: 400, body: { error: { code: 'moderation_blocked', param: null } } },
      error: null,
    })
    expect(errors[1]).toMatchObject({ response: null, error: { code: 'timeout' } })
    expect(errors.at(-1)).toMatchObject({ response: null, error: { code: 'batch_cancelled' } })
  })

  test('all of whose jobs failed has no output file', async () => {
    context = contextIn(world, { refusalShareMax: 1 })
    world.model.script.push(...Array.from({ length: 3 }, () => fails('refused')))
    const batch = await submit(lines(3))
    await playBatches(60_000)
    const status = (await batchStatus(context, batch))!
    expect(status).toMatchObject({ status: 'completed', progress: { kind: 'finished', outputFileId: null } })
    expect(await liveResults(batch)).toHaveLength(3)
  })

  test('takes no change while its file is being checked: its pool is not known yet', async () => {
    const batch = await submit(lines(3))
    expect(await world.clock.run(pauseBatch(context, batch, 'wait'))).toEqual({ kind: 'being-checked' })
    expect((await context.budgets.read('pool')).flows).toEqual([])
    await playBatches(13_000)
    expect(await world.clock.run(pauseBatch(context, batch, 'wait'))).toEqual({ kind: 'done' })
  })

  test('whose results are being written is left alone, until who writes them has died', async () => {
    const batch = await submit(lines(2))
    let writes = 0
    const dying: Context = {
      ...context,
      files: {
        ...context.files,
        save: async () => {
          writes += 1
          throw new Error('died')
        },
      },
    }
    const usual = context
    context = dying
    await playBatches(45_000)
    context = usual
    expect((await batchStatus(context, batch))!.status).toBe('finalizing')
    expect(writes).toBe(1)
    await playBatches(130_000)
    expect((await batchStatus(context, batch))!.status).toBe('completed')
  })

  test('cancelled while its file is being checked never has a job', async () => {
    const batch = await submit(lines(3))
    expect(await world.clock.run(cancelBatch(context, batch, 'oops'))).toEqual({ kind: 'done' })
    await playBatches(10_000)
    expect(await batchStatus(context, batch)).toMatchObject({ status: 'cancelled', counts: { total: 0 } })
    expect(await world.clock.run(cancelBatch(context, batch, 'oops'))).toEqual({ kind: 'done' })
  })

  test('cancelled while its lines become jobs counts the others as cancelled', async () => {
    const batch = await submit(lines(9_000))
    const registering = registerBatch(context, batch)
    await world.clock.run(
      (async () => {
        while ((await context.batches.getBatch(batch))!.counters.waiting < 500) {
          await world.clock.sleepUntil(world.clock.now() + 1)
        }
        await cancelBatch(context, batch, 'enough')
        await registering
      })(),
    )
    await playBatches(90_000)
    const status = (await batchStatus(context, batch))!
    expect(status).toMatchObject({ status: 'cancelled', counts: { total: 9_000, waiting: 0, running: 0 } })
    expect(status.counts.cancelled + status.counts.succeeded).toBe(9_000)
    if (status.progress?.kind !== 'finished') throw new Error(`progress ${status.progress?.kind}`)
    const errors = resultsOf(await fileText(status.progress.errorFileId)).map(({ custom_id: id }) => id)
    expect(new Set(errors).size).toBe(status.counts.cancelled)
  })

  test('is cancelled when its file is deleted while its lines become jobs; the counts sum all the same', async () => {
    const batch = await submit(lines(400))
    let count = 0
    const losing: Context['files'] = {
      ...context.files,
      read: async (id) => ((count += 1) > 1 ? undefined : context.files.read(id)),
    }
    await world.clock.run(registerBatch({ ...context, files: losing }, batch))
    await playBatches(20_000)
    const { counts, status, terms } = (await batchStatus(context, batch))!
    expect(status).toBe('cancelled')
    expect(counts).toMatchObject({ total: 400, cancelled: 400 })
    expect(terms.decision?.reason).toContain('deleted')
  })
})

describe('a retry', () => {
  test('that meets the finaliser leaves no finished batch with jobs that wait', async () => {
    context = contextIn(world, { attemptsMax: 1, refusalShareMax: 1 })
    world.model.script.push(...Array.from({ length: 6 }, () => fails('transient')))
    const batch = await submit(lines(8))
    const failedBefore = Infinity
    let retried: Promise<unknown> | undefined
    const usual = context
    const meeting: Context = {
      ...usual,
      files: {
        ...usual.files,
        // The retry comes while the results are being written.
        save: async (file) => {
          retried ??= retryJobs(usual, { batch, kinds: ['transient'], failedBefore })
          await retried
          return usual.files.save(file)
        },
      },
    }
    context = meeting
    await playBatches(50_000)
    context = usual
    await playBatches(120_000)
    const status = (await batchStatus(context, batch))!
    expect(status).toMatchObject({ status: 'completed', counts: { succeeded: 8, failed: 0, waiting: 0 } })
    if (status.progress?.kind !== 'finished') throw new Error(`progress ${status.progress?.kind}`)
    expect(resultsOf(await fileText(status.progress.outputFileId))).toHaveLength(8)
    const { files } = await context.files.list({ owner: undefined, order: 'asc', limit: 100 })
    expect(files.filter(({ purpose }) => purpose === 'batch_output')).toHaveLength(1)
  })

  test('ends when the batch is cancelled', async () => {
    context = contextIn(world, { attemptsMax: 1, refusalShareMax: 1 })
    world.model.script.push(...Array.from({ length: 3 }, () => fails('transient')))
    const batch = await submit(lines(40))
    await playBatches(40_000)
    await world.clock.run(cancelBatch(context, batch, 'enough'))
    const kinds = ['transient'] as const
    expect(await world.clock.run(retryJobs(context, { batch, kinds, failedBefore: Infinity }))).toEqual({
      retried: 0,
      isAll: true,
    })
  })
})

test('the same Idempotency-Key is the same batch, also for who died before it was there', async () => {
  const terms = {}
  const made = { ...order, inputFileId: 'file-1' }
  const idempotencyKey = 'order-17'
  const dying: Context = {
    ...context,
    batches: {
      ...context.batches,
      openBatch: async () => {
        throw new Error('died')
      },
    },
  }
  const asked = { owner: 'shop', idempotencyKey, order: made, terms }
  await expect(storeBatch(dying, asked)).rejects.toThrow('died')
  const first = await storeBatch(context, asked)
  const again = await storeBatch(context, asked)
  expect([first.isNew, again.isNew]).toEqual([true, false])
  expect(again.batch.batch).toBe(first.batch.batch)
  expect((await storeBatch(context, { ...asked, owner: 'studio' })).batch.batch).not.toBe(first.batch.batch)
  expect((await context.batchList.page({ owner: 'shop', limit: 9, isSubmittedOnly: true })).batches).toEqual([
    first.batch.batch,
  ])
})

describe('jobs of a batch', () => {
  test('are asked for again by the kind of their failure; the batch finishes again, with new results', async () => {
    context = contextIn(world, { attemptsMax: 1, refusalShareMax: 1 })
    world.model.script.push(fails('refused'), fails('unknown'), fails('transient'))
    const batch = await submit(lines(4))
    await playBatches(60_000)
    const before = (await batchStatus(context, batch))!
    expect(before).toMatchObject({ status: 'completed', counts: { failed: 3, succeeded: 1 } })
    const failedBefore = world.clock.now() + 1
    const kinds = ['unknown', 'transient'] as const
    expect(await world.clock.run(retryJobs(context, { batch, kinds, failedBefore }))).toEqual({
      retried: 2,
      isAll: true,
    })
    const open = (await batchStatus(context, batch))!
    expect(open).toMatchObject({ status: 'in_progress', counts: { total: 4, waiting: 2, failed: 1 } })
    await playBatches(60_000)
    const after = (await batchStatus(context, batch))!
    expect(after).toMatchObject({ status: 'completed', counts: { failed: 1, succeeded: 3 } })
    expect(after.counters.possiblyRepeated).toBe(1)
    const [old, made] = [before.progress, after.progress]
    if (old?.kind !== 'finished' || made?.kind !== 'finished') throw new Error('not finished')
    expect(await context.files.get(old.outputFileId!)).toBeUndefined()
    expect(resultsOf(await fileText(made.outputFileId))).toHaveLength(3)
    expect(await world.clock.run(retryJobs(context, { batch, kinds, failedBefore: Infinity }))).toMatchObject(
      {
        retried: 0,
      },
    )
    expect((await batchStatus(context, batch))!.status).toBe('completed')
  })

  test('that were asked for again are called although the instance died before it could tell of them', async () => {
    context = contextIn(world, { attemptsMax: 1 })
    world.model.script.push(fails('transient'))
    const batch = await submit(lines(1))
    await playBatches(300_000)
    expect((await context.budgets.read('pool')).flows).toEqual([])
    const dying: Context = {
      ...context,
      jobs: {
        ...context.jobs,
        async change(before, after) {
          await context.jobs.change(before, after)
          return new Promise(() => {})
        },
      },
    }
    void retryJobs(dying, { batch, kinds: ['transient'], failedBefore: world.clock.now() })
    await playBatches(20_000)
    await world.clock.run(rescue(context))
    await playBatches(60_000)
    expect(await batchStatus(context, batch)).toMatchObject({ status: 'completed', counts: { succeeded: 1 } })
  })

  test('that failed again, otherwise, while somebody asked for them are left alone', async () => {
    context = contextIn(world, { attemptsMax: 1, onUnknown: 'fail' })
    world.model.script.push(fails('transient'), fails('unknown'))
    const batch = await submit(lines(1))
    await playBatches(60_000)
    const retry = { batch, kinds: ['transient'], failedBefore: world.clock.now() } as const
    const { opened, open } = latch()
    const slow: Context = {
      ...context,
      jobs: {
        ...context.jobs,
        async indexed(query) {
          const page = await context.jobs.indexed(query)
          await opened
          return page
        },
      },
    }
    const late = retryJobs(slow, retry)
    expect(await world.clock.run(retryJobs(context, retry))).toMatchObject({ retried: 1 })
    await playBatches(60_000)
    open()
    expect(await world.clock.run(late)).toEqual({ retried: 0, isAll: true })
    await playBatches(60_000)
    expect(await batchStatus(context, batch)).toMatchObject({ status: 'completed', counts: { failed: 1 } })
    expect(world.model.calls).toHaveLength(2)
  })

  test('that wait again only when the batch was finished once more open it again', async () => {
    context = contextIn(world, { attemptsMax: 1 })
    world.model.script.push(fails('transient'))
    const batch = await submit(lines(1))
    await playBatches(60_000)
    const { opened, open } = latch()
    const slow: Context = {
      ...context,
      jobs: {
        ...context.jobs,
        async change(before, after) {
          await opened
          return context.jobs.change(before, after)
        },
      },
    }
    const retried = retryJobs(slow, { batch, kinds: ['transient'], failedBefore: world.clock.now() })
    await playBatches(30_000)
    expect((await batchStatus(context, batch))!.status).toBe('completed')
    open()
    await world.clock.run(retried)
    expect((await batchStatus(context, batch))!.status).toBe('in_progress')
    await playBatches(60_000)
    const { progress, status } = (await batchStatus(context, batch))!
    expect([status, progress]).toMatchObject(['completed', { errorFileId: null }])
    if (progress?.kind !== 'finished') throw new Error('not finished')
    expect(resultsOf(await fileText(progress.outputFileId))).toHaveLength(1)
  })

  test('that wait again while somebody already writes the results are in the results', async () => {
    context = contextIn(world, { attemptsMax: 1 })
    world.model.script.push(fails('transient'))
    const batch = await submit(lines(1))
    await playBatches(60_000)
    const [reopening, writing] = [latch(), latch()]
    const slow: Context = {
      ...context,
      jobs: {
        ...context.jobs,
        async change(before, after) {
          await reopening.opened
          return context.jobs.change(before, after)
        },
      },
      batches: {
        ...context.batches,
        async getBatch(name) {
          const counted = await context.batches.getBatch(name)
          await writing.opened
          return counted
        },
      },
    }
    const retried = retryJobs(slow, { batch, kinds: ['transient'], failedBefore: world.clock.now() })
    await world.clock.runUntil(world.clock.now() + 1)
    const finalised = finaliseBatch(slow, batch)
    await world.clock.runUntil(world.clock.now() + 1)
    reopening.open()
    expect(await world.clock.run(retried)).toMatchObject({ retried: 1 })
    writing.open()
    await world.clock.run(finalised)
    expect((await batchStatus(context, batch))!.status).toBe('in_progress')
    await playBatches(2 * timing.batchLeaseMs)
    const { progress, status } = (await batchStatus(context, batch))!
    expect([status, progress]).toMatchObject(['completed', { errorFileId: null }])
    if (progress?.kind !== 'finished') throw new Error('not finished')
    expect(resultsOf(await fileText(progress.outputFileId))).toHaveLength(1)
  })

  test('are listed by state, a page after the other, each once', async () => {
    context = contextIn(world, { attemptsMax: 1, refusalShareMax: 1 })
    world.model.script.push(fails('refused'), fails('refused'), fails('refused'))
    const batch = await submit(lines(40))
    await playBatches(37_000)
    for (const phases of [
      ['slotted', 'waiting'],
      ['running'],
      ['succeeded'],
      ['failed'],
      undefined,
    ] as const) {
      const all = (await jobsOfBatch(context, { batch, phases, limit: 1_000 }))!.jobs.map(({ key }) => key)
      const paged: string[] = []
      for (let after: string | undefined; ; after = paged.at(-1)) {
        const page = (await jobsOfBatch(context, { batch, phases, after, limit: 3 }))!
        paged.push(...page.jobs.map(({ key }) => key))
        if (!page.hasMore) break
      }
      expect(paged, phases?.join()).toEqual(all)
      expect(new Set(all).size).toBe(all.length)
      if (phases?.[0] !== 'succeeded') expect(all.length, phases?.join()).toBeGreaterThan(0)
    }
    expect(
      await jobsOfBatch(context, { batch, phases: ['failed'], after: 'line-0039', limit: 3 }),
    ).toBeUndefined()
    expect(await jobsOfBatch(context, { batch, phases: ['failed'], after: 'none', limit: 3 })).toBeUndefined()
  })
})

describe('the webhook of a submitted batch', () => {
  const webhook = { url: 'https://hooks.example.com/', perJob: true }

  /** What was sent to the queue of webhooks, in its order. */
  async function told(): Promise<any[]> {
    for (const { message, visibleAt } of world.messages.hooks.splice(0)) {
      await world.clock.runUntil(visibleAt)
      await world.clock.run(deliverHook(context, message))
    }
    return world.webhooks.sent.map(({ body }) => JSON.parse(body))
  }

  test('tells of each job and then of the end, with the files that are there', async () => {
    const batch = await submit(lines(3), { webhook })
    world.model.script.push(fails('refused', { code: 'content_policy' }))
    await playBatches(60_000)
    const { progress } = (await batchStatus(context, batch))!
    if (progress?.kind !== 'finished') throw new Error(`progress ${progress?.kind}`)
    const events = await told()
    expect(events.map(({ type }): string => type).sort()).toEqual([
      'batch.completed',
      'job.failed',
      'job.succeeded',
      'job.succeeded',
    ])
    expect(events.at(-1)).toMatchObject({
      type: 'batch.completed',
      data: {
        id: batch,
        request_counts: { total: 3, completed: 2, failed: 1 },
        output_file_id: progress.outputFileId,
        error_file_id: progress.errorFileId,
      },
    })
    // Failed jobs that are asked for again end again, and so does the batch.
    await retryJobs(context, { batch, kinds: ['refused'], failedBefore: world.clock.now() })
    await playBatches(60_000)
    const again = (await told()).slice(4)
    expect(again.map(({ type }) => type)).toEqual(['job.succeeded', 'batch.completed'])
    expect(again[1].id).not.toBe(events.at(-1).id)
  })

  test('tells that a file is faulty, once however often it is found to be', async () => {
    const batch = await submit('{', { webhook })
    // While its lease lasts nobody else begins; then one of two does.
    await world.clock.run(registerBatch(context, batch))
    expect((await context.batches.getBatch(batch))!.counters.waiting).toBeLessThan(4_500)
    await world.clock.runUntil(world.clock.now() + timing.batchLeaseMs)
    await world.clock.run(
      Promise.all([registerBatch(context, batch), registerBatch(contextIn(world), batch)]),
    )
    const events = await told()
    expect(events[0]).toMatchObject({ type: 'batch.failed', data: { id: batch, status: 'failed' } })
    expect(new Set(events.map(({ id }) => id)).size).toBe(1)
  })

  test('tells of a cancelled batch at its end, and not of its jobs', async () => {
    const batch = await submit(lines(3), { webhook })
    await world.clock.run(registerBatch(context, batch))
    await world.clock.run(cancelBatch(context, batch, 'enough'))
    await playBatches(60_000)
    expect(await told()).toMatchObject([{ type: 'batch.cancelled', data: { cancelled: 3 } }])
  })
})
