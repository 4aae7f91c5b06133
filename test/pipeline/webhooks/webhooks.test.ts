import { beforeEach, describe, expect, it } from 'vitest'
import { limits } from '../../../src/core/limits.ts'
import { plainTerms } from '../../../src/core/budget/fairness.ts'
import { claimed, retried, succeeded } from '../../../src/core/jobs/transitions.ts'
import { newJob } from '../../../src/core/jobs/job.ts'
import { retryDelaysMs, type WebhookAnswer } from '../../../src/core/batches/webhook.ts'
import { retryJobs } from '../../../src/pipeline/batches/batch-jobs.ts'
import { cancelBatch } from '../../../src/pipeline/batches/batches.ts'
import { cancelJob } from '../../../src/pipeline/running/cancel-job.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { deliverHook, putOffHook, type HookOutcome } from '../../../src/pipeline/webhooks/hook-delivery.ts'
import { rescue } from '../../../src/pipeline/running/rescue.ts'
import { tellBatchEnd, tellJobEnd } from '../../../src/pipeline/webhooks/webhooks.ts'
import { wake } from '../../../src/pipeline/pacing/announce.ts'
import { play } from '../play.ts'
import { deployment, newWorld, contextIn, type World } from '../../support/context.ts'
import { fails } from '../../support/scripted-model.ts'

const batch = 'batch_with_hook'
const url = 'https://hooks.example.com/darkroom'

let world: World
let context: Context

beforeEach(async () => {
  world = newWorld()
  context = contextIn(world)
  await open(batch, { url, perJob: true })
})

async function open(name: string, webhook: { url: string; perJob: boolean } | null): Promise<void> {
  await context.batches.openBatch({
    batch: name,
    pool: 'pool',
    owner: null,
    createdAt: world.clock.now(),
    terms: plainTerms,
    order: {
      inputFileId: 'file-1',
      filesOf: null,
      endpoint: '/v1/images/generations',
      completionWindow: '24h',
      name: null,
      metadata: null,
      outputExpiresAfterMs: null,
      onUnknown: null,
      outputPrefix: null,
      webhook,
      origin: 'https://darkroom.example',
    },
    progress: null,
    workedOnUntil: 0,
  })
}

async function addJob(key: string, name = batch): Promise<void> {
  const job = newJob({
    batch: name,
    key,
    pool: 'pool',
    customId: key,
    metadata: null,
    request: { prompt: `a picture of ${key}` },
    priority: null,
    upperMicroUsd: 10_000,
    now: world.clock.now(),
  })
  await world.clock.run(wake(context, job))
  await world.clock.run(context.jobs.add(job))
}

/** Hands over what is visible, and what becomes so, up to a time. */
async function deliverUntil(until: number, rooms: readonly Context[] = [context]): Promise<HookOutcome[]> {
  const outcomes: HookOutcome[] = []
  const { hooks } = world.messages
  for (let turn = 0; ; turn += 1) {
    const next = [...hooks].sort((a, b) => a.visibleAt - b.visibleAt)[0]
    if (next === undefined || next.visibleAt > until) break
    hooks.splice(hooks.indexOf(next), 1)
    await world.clock.runUntil(next.visibleAt)
    outcomes.push(await world.clock.run(deliverHook(rooms[turn % rooms.length]!, next.message)))
  }
  await world.clock.runUntil(until)
  return outcomes
}

const soon = () => world.clock.now() + 10_000
const day = 86_400_000

function told(): { type: string; data: { id: string } }[] {
  return world.webhooks.sent.map(({ body }) => JSON.parse(body))
}

function answers(...script: readonly WebhookAnswer[]): void {
  world.webhooks.script.push(...script)
}

const status = (code: number, retryAfterMs: number | null = null): WebhookAnswer => ({
  kind: 'status',
  status: code,
  retryAfterMs,
})

const end = {
  batch,
  status: 'completed',
  endedAt: 1_000,
  outputFileId: 'file-2',
  errorFileId: null,
  counts: { total: 2, waiting: 0, running: 0, succeeded: 1, failed: 1, cancelled: 0 },
} as const

describe('the end of a job', () => {
  it('is told once it stands, in every way in which a job ends', async () => {
    world.model.script.push(fails('refused', { code: 'content_policy' }))
    await addJob('fails')
    await addJob('works')
    await addJob('goes')
    expect((await world.clock.run(cancelJob(context, { batch, key: 'goes' }))).kind).toBe('cancelled')
    await play(world, [context], world.clock.now() + 60_000)
    const outcomes = await deliverUntil(soon())
    expect(outcomes.map(({ kind }) => kind)).toEqual(['delivered', 'delivered', 'delivered'])
    const types = told().map(({ type, data }) => `${data.id}: ${type}`)
    expect(types.sort()).toEqual([
      `${batch}.fails: job.failed`,
      `${batch}.goes: job.cancelled`,
      `${batch}.works: job.succeeded`,
    ])
    expect(world.webhooks.sent[0]).toMatchObject({ url })
    expect(world.webhooks.sent.map(({ body }) => body).join()).not.toContain('a picture of')
  })

  it('is told after a rescue as well', async () => {
    await addJob('lost')
    const before = (await context.jobs.get({ batch, key: 'lost' }))!
    const now = world.clock.now()
    const slotted = { ...before.job, phase: { kind: 'slotted', slotAt: now, isReserved: false } } as const
    const placed = (await world.clock.run(context.jobs.change(before, slotted)))!
    const leaseUntil = now + 90_000
    const running = (await world.clock.run(
      context.jobs.change(placed, claimed(placed.job, { slotAt: now, deployment, leaseUntil })!),
    ))!
    const usage = { inputTokens: 1, outputTokens: 1, inputTextTokens: 1, inputImageTokens: 0 }
    const facts = { attempt: 1, usage, requestId: 'r', finishedAt: now + 30_000 }
    const bytes = new Uint8Array([1])
    const picture = { bytes, contentType: 'image/png', extension: '.png', width: 1, height: 1 }
    await context.images.save({ job: running.job, facts, images: [picture] })
    await world.clock.runUntil(leaseUntil + 1)
    expect(await world.clock.run(rescue(context))).toMatchObject({ recovered: 1 })
    await deliverUntil(soon())
    expect(told().map(({ type }) => type)).toEqual(['job.succeeded'])
  })

  it('is told before it is written, and looked at until it is', async () => {
    await addJob('slow')
    const { job, ...before } = (await context.jobs.get({ batch, key: 'slow' }))!
    const usage = { inputTokens: 1, outputTokens: 1, inputTextTokens: 1, inputImageTokens: 0 }
    const done = succeeded(job, { finishedAt: world.clock.now(), images: [], usage, costMicroUsd: 1 })!
    await tellJobEnd(context, done)
    expect((await deliverUntil(world.clock.now() + 20_000)).map(({ kind }) => kind)).toEqual([
      'unfinished',
      'unfinished',
    ])
    expect(world.webhooks.sent).toEqual([])
    await world.clock.run(context.jobs.change({ job, ...before }, done))
    expect((await deliverUntil(world.clock.now() + 120_000)).map(({ kind }) => kind)).toEqual(['delivered'])
    expect(told()).toMatchObject([{ type: 'job.succeeded', data: { id: `${batch}.slow` } }])
  })

  it('that was never written is looked at a few times, and not told', async () => {
    await addJob('dies')
    const { job } = (await context.jobs.get({ batch, key: 'dies' }))!
    const usage = { inputTokens: 1, outputTokens: 1, inputTextTokens: 1, inputImageTokens: 0 }
    await tellJobEnd(context, succeeded(job, { finishedAt: 1, images: [], usage, costMicroUsd: 1 })!)
    const outcomes = await deliverUntil(world.clock.now() + day)
    expect(outcomes.at(-1)).toEqual({ kind: 'dropped', why: 'the job did not end so' })
    expect(outcomes).toHaveLength(5)
    expect(world.webhooks.sent).toEqual([])
  })

  it('is told by the run that made it, not by one that was overtaken', async () => {
    await addJob('twice')
    const { job } = (await context.jobs.get({ batch, key: 'twice' }))!
    const usage = { inputTokens: 1, outputTokens: 1, inputTextTokens: 1, inputImageTokens: 0 }
    await tellJobEnd(context, succeeded(job, { finishedAt: 1, images: [], usage, costMicroUsd: 1 })!)
    await world.clock.run(cancelJob(context, { batch, key: 'twice' }))
    const outcomes = await deliverUntil(soon())
    expect(outcomes.map(({ kind }) => kind).sort()).toEqual(['delivered', 'dropped'])
    expect(told().map(({ type }) => type)).toEqual(['job.cancelled'])
  })

  it('goes on being told when the job is asked for again meanwhile', async () => {
    answers(status(500))
    world.model.script.push(fails('refused', { code: 'content_policy' }))
    await addJob('again')
    await play(world, [context], world.clock.now() + 40_000)
    expect((await deliverUntil(world.clock.now() + 2_000)).map(({ kind }) => kind)).toEqual(['again'])
    const { job, version } = (await context.jobs.get({ batch, key: 'again' }))!
    const waiting = { ...job, phase: { kind: 'waiting', dueAt: world.clock.now() } } as const
    await world.clock.run(context.jobs.change({ job, version }, waiting))
    expect((await deliverUntil(soon())).map(({ kind }) => kind)).toEqual(['delivered'])
    const [first, second] = world.webhooks.sent
    expect(second).toMatchObject({ eventId: first?.eventId, body: first?.body })
  })

  it('is told although the job was asked for again before anybody looked', async () => {
    world.model.script.push(fails('refused', { code: 'content_policy' }))
    await addJob('again')
    await play(world, [context], world.clock.now() + 40_000)
    const failedBefore = world.clock.now()
    await world.clock.run(retryJobs(context, { batch, kinds: ['refused'], failedBefore }))
    await deliverUntil(soon())
    expect(told()).toMatchObject([
      { type: 'job.failed', data: { failure: { kind: 'refused', code: 'content_policy' } } },
    ])
    await play(world, [context], world.clock.now() + 60_000)
    await deliverUntil(soon())
    expect(told().map(({ type }) => type)).toEqual(['job.failed', 'job.succeeded'])
  })

  it('costs nothing in batches that want none', async () => {
    await open('batch_without_hook', null)
    await open('batch_end_only', { url, perJob: false })
    let reads = 0
    const counting: Context = {
      ...context,
      batches: {
        ...context.batches,
        readBatch: async (name) => {
          reads += 1
          return context.batches.readBatch(name)
        },
      },
    }
    for (const name of ['inbox-2026-01-05', 'batch_without_hook', 'batch_end_only']) {
      await addJob('a', name)
      await addJob('b', name)
      for (const key of ['a', 'b']) await world.clock.run(cancelJob(counting, { batch: name, key }))
    }
    expect(world.messages.hooks).toEqual([])
    expect(reads).toBe(2)
  })

  it('is no end while the job goes on', async () => {
    await addJob('on')
    const { job } = (await context.jobs.get({ batch, key: 'on' }))!
    await tellJobEnd(context, job)
    const running = { ...job, phase: { kind: 'running', leaseUntil: 1 } } as const
    await tellJobEnd(context, retried(running, { dueAt: 2, possiblyPaid: false })!)
    expect(world.messages.hooks).toEqual([])
  })

  it('of a batch that is cancelled is told once for all', async () => {
    await addJob('a')
    await addJob('b')
    await world.clock.run(cancelBatch(context, batch, 'enough'))
    await tellBatchEnd(context, {
      ...end,
      status: 'cancelled',
      counts: { ...end.counts, succeeded: 0, failed: 0, cancelled: 2 },
    })
    await deliverUntil(soon())
    expect(told()).toMatchObject([
      { type: 'batch.cancelled', data: { request_counts: { total: 2 }, cancelled: 2 } },
    ])
  })
})

describe('the end of a batch', () => {
  it('is not told where jobs were asked for again before it was written', async () => {
    await tellBatchEnd(context, end)
    const registered = { kind: 'registered', validatedAt: 1, total: 4 } as const
    await context.batches.changeBatch(batch, (stored) => ({ ...stored, progress: registered }))
    const [sent] = world.messages.hooks.splice(0)
    expect(await deliverHook(context, sent!.message)).toMatchObject({ kind: 'dropped' })
    const finalizing = { ...registered, kind: 'finalizing', finalizingAt: 2 } as const
    const files = { outputFileId: end.outputFileId, errorFileId: end.errorFileId }
    await context.batches.changeBatch(batch, (stored) => ({
      ...stored,
      progress: { ...finalizing, ...files },
    }))
    expect(await deliverHook(context, sent!.message)).toMatchObject({ kind: 'unfinished' })
    const others = { kind: 'finished', finishedAt: 3, outputFileId: 'file-another' } as const
    await context.batches.changeBatch(batch, (stored) => ({
      ...stored,
      progress: { ...finalizing, ...files, ...others },
    }))
    expect(await deliverHook(context, sent!.message)).toMatchObject({ kind: 'dropped' })
  })

  it('is told with its counts, under one id however often it is announced', async () => {
    await addJob('goes')
    await world.clock.run(cancelJob(context, { batch, key: 'goes' }))
    world.messages.hooks.length = 0
    await tellBatchEnd(context, end)
    await tellBatchEnd(contextIn(world), end)
    await deliverUntil(soon())
    expect(told()[0]).toMatchObject({
      type: 'batch.completed',
      data: {
        id: batch,
        request_counts: { total: 2, completed: 1, failed: 1 },
        cancelled: 0,
        output_file_id: 'file-2',
        url: `https://darkroom.example/v1/batches/${batch}`,
      },
    })
    expect(new Set(world.webhooks.sent.map(({ eventId }) => eventId)).size).toBe(1)
  })

  it('is not told where nobody asked for it', async () => {
    await open('batch_quiet', null)
    await tellBatchEnd(context, { ...end, batch: 'batch_quiet' })
    await tellBatchEnd(context, { ...end, batch: 'batch_unknown' })
    await tellBatchEnd(context, { ...end, batch: 'inbox-2026-01-05' })
    expect(world.messages.hooks).toEqual([])
  })
})

describe('an event that is not taken', () => {
  it('is tried ten times over a day, and given up', async () => {
    answers(...Array.from({ length: 20 }, () => status(500)))
    await tellBatchEnd(context, end)
    const outcomes = await deliverUntil(world.clock.now() + 3 * day, [context, contextIn(world)])
    expect(outcomes.map(({ kind }) => kind)).toEqual([
      ...Array.from({ length: 9 }, () => 'again'),
      'given-up',
    ])
    const times = world.webhooks.sent.map(({ sentAt }) => sentAt)
    expect(times.slice(1).map((at, index) => at - times[index]!)).toEqual(retryDelaysMs)
    expect(new Set(world.webhooks.sent.map(({ eventId, body }) => eventId + body)).size).toBe(1)
    expect(world.messages.hooks).toEqual([])
  })

  it('is tried no more often where its tries cannot be noted, and once where it is taken', async () => {
    const changeHookLog = async (): Promise<void> => Promise.reject(new Error('storage is away'))
    const forgetful = contextIn(world, { batches: { ...context.batches, changeHookLog } })
    answers(...Array.from({ length: 20 }, () => status(500)))
    await tellBatchEnd(context, end)
    const outcomes = await deliverUntil(world.clock.now() + 3 * day, [forgetful])
    expect(outcomes.at(-1)?.kind).toBe('given-up')
    expect(world.webhooks.sent).toHaveLength(10)
    world.webhooks.script.length = 0
    await tellBatchEnd(context, { ...end, endedAt: 2_000 })
    expect((await deliverUntil(soon(), [forgetful])).map(({ kind }) => kind)).toEqual(['delivered'])
    answers(status(410))
    await tellBatchEnd(context, { ...end, endedAt: 3_000 })
    const [gone] = world.messages.hooks.splice(0)
    await expect(deliverHook(forgetful, gone!.message)).rejects.toThrow('storage is away')
  })

  it('outlives trouble in which its message could not be dealt with', async () => {
    await tellBatchEnd(context, end)
    const [sent] = world.messages.hooks.splice(0)
    // Ten times in five minutes, and then it is poison; all the while storage is away.
    for (let times = 1; times < retryDelaysMs.length; times += 1) {
      await world.clock.runUntil(world.clock.now() + 300_000)
      const last = times === 1 ? sent!.message : world.messages.hooks.splice(0)[0]!.message
      expect(await putOffHook(context, last)).toMatchObject({ kind: 'again', answer: 'not_sent' })
    }
    expect((await deliverUntil(world.clock.now() + day)).map(({ kind }) => kind)).toEqual(['delivered'])
    const kinds: string[] = []
    let last = sent!.message
    for (let times = 0; times <= retryDelaysMs.length; times += 1) {
      kinds.push((await putOffHook(context, last)).kind)
      last = world.messages.hooks.splice(0)[0]?.message ?? last
    }
    expect(kinds).toEqual([...retryDelaysMs.map(() => 'again'), 'given-up'])
  })

  it('of a job is looked for again for a day', async () => {
    await addJob('a')
    await world.clock.run(cancelJob(context, { batch, key: 'a' }))
    const [sent] = world.messages.hooks.splice(0)
    await world.clock.runUntil(world.clock.now() + 6 * 3_600_000)
    expect(await putOffHook(context, sent!.message)).toMatchObject({ kind: 'unfinished' })
    expect((await deliverUntil(world.clock.now() + 700_000)).map(({ kind }) => kind)).toEqual(['delivered'])
    await world.clock.runUntil(world.clock.now() + day)
    expect(await putOffHook(context, sent!.message)).toMatchObject({ kind: 'dropped' })
    expect(world.messages.hooks).toEqual([])
  })

  it('waits, at no cost in tries, where its receiver lets too many others of the instance wait', async () => {
    const other = 'batch_of_another'
    await open(other, { url: 'https://quick.example.com/hook', perJob: false })
    const count = limits.deliveriesAtOnce + 4
    for (let index = 0; index < count; index += 1) await tellBatchEnd(context, { ...end, endedAt: index })
    await tellBatchEnd(context, { ...end, batch: other })
    const messages = world.messages.hooks.splice(0).map(({ message }) => message)
    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    let inHand = 0
    const slow = contextIn(world, {
      webhooks: {
        ...world.webhooks,
        async send(delivery) {
          if (delivery.url === url) {
            inHand += 1
            await held
          }
          return world.webhooks.send(delivery)
        },
      },
    })
    const outcomes = messages.map(async (message) => deliverHook(slow, message))
    expect((await outcomes.at(-1))?.kind).toBe('delivered')
    expect(inHand).toBe(limits.deliveriesAtOnce)
    release()
    const kinds = (await Promise.all(outcomes)).map(({ kind }) => kind)
    expect(kinds.filter((kind) => kind === 'busy')).toHaveLength(4)
    expect(world.messages.hooks.map(({ message }) => message)).toMatchObject(
      Array.from({ length: 4 }, () => ({ tries: 1 })),
    )
    expect((await deliverUntil(world.clock.now() + 60_000)).map(({ kind }) => kind)).toEqual(
      Array.from({ length: 4 }, () => 'delivered'),
    )
    expect(slow.capacity.receivers()).toBe(0)
  })

  it('is tried later where the receiver asks for it', async () => {
    answers(
      status(429, 60_000),
      { kind: 'failed', code: 'timeout' },
      { kind: 'refused', why: 'is not a public one' },
    )
    await tellBatchEnd(context, end)
    await deliverUntil(world.clock.now() + day)
    const times = world.webhooks.sent.map(({ sentAt }) => sentAt)
    expect(times.slice(1).map((at, index) => at - times[index]!)).toEqual([60_000, 30_000, 120_000])
  })

  it('is not tried again once the receiver is gone, nor is any other of its batch', async () => {
    answers(status(410))
    await tellBatchEnd(context, end)
    expect((await deliverUntil(soon()))[0]).toMatchObject({ kind: 'given-up', answer: '410' })
    await tellBatchEnd(context, { ...end, endedAt: 2_000 })
    expect(await deliverUntil(soon())).toEqual([
      { kind: 'dropped', why: 'the receiver wants no more events' },
    ])
    expect(world.webhooks.sent).toHaveLength(1)
  })

  it('is shown with its batch: the newest five tries', async () => {
    answers(status(500), { kind: 'failed', code: 'ECONNREFUSED' })
    expect(await context.batches.readHookLog(batch)).toBeUndefined()
    await tellBatchEnd(context, end)
    const { visibleAt } = world.messages.hooks[0]!
    await deliverUntil(visibleAt + 60_000)
    const shown = await context.batches.readHookLog(batch)
    const { eventId } = world.webhooks.sent[0]!
    expect(shown).toEqual({
      isGone: false,
      deliveries: [
        {
          at: visibleAt + 35_000,
          eventId,
          type: 'batch.completed',
          tries: 3,
          status: 204,
          fault: null,
          nextAt: null,
        },
        {
          at: visibleAt + 5_000,
          eventId,
          type: 'batch.completed',
          tries: 2,
          status: null,
          fault: 'ECONNREFUSED',
          nextAt: visibleAt + 35_000,
        },
        {
          at: visibleAt,
          eventId,
          type: 'batch.completed',
          tries: 1,
          status: 500,
          fault: null,
          nextAt: visibleAt + 5_000,
        },
      ],
    })
  })
})

it('a message of a batch that wants no webhook is dropped', async () => {
  const message = {
    kind: 'job',
    batch: 'batch_unknown',
    key: 'k',
    finishedAt: 1,
    failure: null,
    looks: 1,
  } as const
  expect(await deliverHook(context, message)).toEqual({ kind: 'dropped', why: 'its batch has no webhook' })
})
