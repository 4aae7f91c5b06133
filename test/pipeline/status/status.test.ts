import { describe, expect, test } from 'vitest'
import { stopped } from '../../../src/core/budget/ledger.ts'
import { limits } from '../../../src/core/limits.ts'
import { timing } from '../../../src/core/timing.ts'
import { pauseBatch, resumeBatch } from '../../../src/pipeline/batches/batches.ts'
import { changeBatch } from '../../../src/pipeline/batches/change-batch.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { takeMessage } from '../../../src/pipeline/intake/intake.ts'
import { changeLedger } from '../../../src/pipeline/pacing/ledgers.ts'
import { forecast } from '../../../src/pipeline/status/forecast.ts'
import { batchStatus, budgetStatus, imageOfJob, jobStatus } from '../../../src/pipeline/status/status.ts'
import { runJob } from '../../../src/pipeline/running/worker.ts'
import {
  batch,
  costs,
  deployment,
  messageOf,
  newWorld,
  quota,
  contextIn,
  workOf,
  type World,
} from '../../support/context.ts'
import { play } from '../play.ts'

test('a batch is counted from its own rows, and its end foretold', async () => {
  const world = newWorld()
  const context = contextIn(world)
  expect(await batchStatus(context, batch)).toBeUndefined()
  for (let index = 0; index < 60; index += 1)
    await world.clock.run(takeMessage(context, messageOf(`line-${index}`)))
  await world.clock.run(takeMessage(context, messageOf('bad', { n: 0 })))
  const status = (await batchStatus(context, batch))!
  expect(status).toMatchObject({
    status: 'in_progress',
    counts: { total: 61, waiting: 60, running: 0, succeeded: 0, failed: 1, cancelled: 0 },
  })
  // 60 slots at 58.8 a minute, and one call.
  const expectedMs = timing.firstSlotMs + (60 * 60_000) / 58.8 + 20_000
  expect(status.estimatedFinishAt! - world.clock.now()).toBeGreaterThan(expectedMs * 0.95)
  expect(status.estimatedFinishAt! - world.clock.now()).toBeLessThan(expectedMs * 1.05)
})

test('a job with a slot starts at it, one that waits after those before it, one that is done never', async () => {
  const world = newWorld()
  const context = contextIn(world)
  for (let index = 0; index < 60; index += 1) {
    await world.clock.run(takeMessage(context, messageOf(`line-${String(index).padStart(2, '0')}`)))
  }
  const estimate = async (key: string) => (await jobStatus(context, { batch, key }))?.estimatedStartAt
  expect(await estimate('line-00')).toBe(workOf(world, 'line-00').slotAt)
  const last = (await estimate('line-59'))! - world.clock.now()
  expect(last).toBeGreaterThan(58_000)
  expect(last).toBeLessThan(66_000)
  await world.clock.run(runJob(context, workOf(world, 'line-00')))
  expect(await estimate('line-00')).toBeNull()
  expect(await jobStatus(context, { batch, key: 'nobody' })).toBeUndefined()
})

test('nothing is foretold while every deployment is stopped', async () => {
  const world = newWorld()
  const context = contextIn(world)
  for (let index = 0; index < 30; index += 1)
    await world.clock.run(takeMessage(context, messageOf(`line-${index}`)))
  await world.clock.run(
    changeLedger(context, { pool: 'pool', quota: deployment }, (ledger) =>
      stopped(ledger, {
        deployment,
        slotAt: 0,
        now: world.clock.now(),
        code: '401',
        message: 'the key is wrong',
      }),
    ),
  )
  const waiting = (await context.jobs.firstWaiting({ batch, limit: 1 }))[0]!
  expect((await jobStatus(context, waiting))?.estimatedStartAt).toBeNull()
  expect((await batchStatus(context, batch))?.estimatedFinishAt).toBeNull()
  expect((await budgetStatus(context))[0]?.member.breaker?.code).toBe('401')
})

test('a finished batch is completed, with its rate and its images', async () => {
  const world = newWorld()
  const context = contextIn(world)
  await world.clock.run(takeMessage(context, messageOf('cat', { n: 2 })))
  await world.clock.run(runJob(context, workOf(world, 'cat')))
  expect(await batchStatus(context, batch)).toMatchObject({
    status: 'completed',
    estimatedFinishAt: null,
    ratePerMinute: 1,
    counters: { images: 2, callMs: 20_000, spentMicroUsd: 10_000, unsureMicroUsd: 0, reservedMicroUsd: 0 },
  })
  const found = (await imageOfJob(context, { batch, key: 'cat' }, 1))!
  expect(found.contentType).toBe('image/png')
  const content = await context.images.read(found)
  expect(content?.kind === 'bytes' && new TextDecoder().decode(content.bytes)).toBe('call 1, image 1')
  expect(await imageOfJob(context, { batch, key: 'cat' }, 2)).toBeUndefined()
  expect(await imageOfJob(context, { batch, key: 'dog' }, 0)).toBeUndefined()
})

test('every deployment of a pool is told, with the quota that it draws on, before the first tick and after', async () => {
  const world = newWorld()
  const shared = {
    ...quota,
    quota: 'shared',
    deployments: ['east', 'west'].map((name) => ({ deployment: name, settingsMark: 'mark' })),
  }
  const pools = [
    { name: 'pool', quotas: [shared], costs },
    { name: 'other', quotas: [quota], costs },
  ]
  const context = contextIn(world, { pools })
  const told = async () =>
    (await budgetStatus(context)).map(
      ({ pool, ledger, member }) => `${pool} ${ledger.quota} ${member.deployment}`,
    )
  const wanted = ['pool shared east', 'pool shared west', `other ${deployment} ${deployment}`]
  expect(await told()).toEqual(wanted)
  for (const key of ['a', 'b', 'c']) await world.clock.run(takeMessage(context, messageOf(key)))
  await play(world, [context], world.clock.now() + 10_000)
  expect((await told()).toSorted()).toEqual(wanted.toSorted())
})

describe('an estimate', () => {
  /** Batches whose jobs wait, before any tick has looked; all of them have their counts. */
  async function waiting(
    counts: Readonly<Record<string, number>>,
  ): Promise<{ world: World; context: Context }> {
    const world = newWorld()
    const context = contextIn(world)
    for (const [name, count] of Object.entries(counts)) {
      for (let index = 0; index < count; index += 1) {
        await world.clock.run(
          takeMessage(context, messageOf(`line-${String(index).padStart(3, '0')}`, { batch: name })),
        )
      }
    }
    await play(world, [context], world.clock.now() + 15_000)
    return { world, context: contextIn(world) }
  }

  test.each([
    { small: 20, big: 200 },
    { small: 60, big: 90 },
  ])('of two batches takes it that the small one ends first: %j', async (counts) => {
    const { world, context } = await waiting(counts)
    const finishAt = async (name: string): Promise<number> =>
      (await batchStatus(context, name))?.estimatedFinishAt ?? 0
    const foretold = { small: await finishAt('small'), big: await finishAt('big') }
    expect(foretold.small).toBeLessThan(foretold.big)
    await play(world, [context], world.clock.now() + 600_000)
    for (const name of ['small', 'big'] as const) {
      const { counters } = (await batchStatus(context, name))!
      const offMs = foretold[name] - (counters.lastFinishedAt ?? 0)
      // The others' jobs are known as they were counted, those that have their slots among them: a horizon's worth.
      expect(Math.abs(offMs), `${name} is off by ${offMs} ms`).toBeLessThan(10_000)
    }
  })

  test('of a job goes by its priority, in its batch and beside others', async () => {
    const { world, context } = await waiting({ 'batch-a': 40, other: 200 })
    const startOf = async (priority: string | undefined): Promise<number> => {
      const key = `new-${priority}`
      const { job } = await world.clock.run(takeMessage(context, messageOf(key, { priority })))
      const status = await jobStatus(context, job)
      return (status?.estimatedStartAt ?? 0) - world.clock.now()
    }
    const [high, own, low] = [await startOf('high'), await startOf(undefined), await startOf('low')]
    expect(high).toBeLessThan(15_000)
    expect(own).toBeGreaterThan(30_000)
    expect(low).toBeGreaterThan(own + 30_000)
  })

  test('of a batch goes by its priority', async () => {
    const { world, context } = await waiting({ 'batch-a': 60, other: 400 })
    const restMs = async (): Promise<number> =>
      ((await batchStatus(contextIn(world), batch))?.estimatedFinishAt ?? 0) - world.clock.now()
    const normal = await restMs()
    await world.clock.run(changeBatch(context, { batch }, { priority: 'high' }))
    const high = await restMs()
    await world.clock.run(changeBatch(context, { batch }, { priority: 'low' }))
    const low = await restMs()
    expect(high).toBeLessThan(normal * 0.85)
    expect(low).toBeGreaterThan(normal * 1.5)
  })

  test('is none while the batch is paused, and there again when it goes on', async () => {
    const { world, context } = await waiting({ 'batch-a': 60 })
    const key = 'line-059'
    const foretold = async () => {
      const own = contextIn(world)
      return [
        (await batchStatus(own, batch))?.estimatedFinishAt ?? null,
        (await jobStatus(own, { batch, key }))?.estimatedStartAt ?? null,
      ]
    }
    expect(await foretold()).not.toContain(null)
    await world.clock.run(pauseBatch(context, batch, 'wait'))
    expect(await foretold()).toEqual([null, null])
    expect(await batchStatus(context, batch)).toMatchObject({ terms: { decision: { reason: 'wait' } } })
    await world.clock.run(resumeBatch(context, batch, 'go on'))
    expect(await foretold()).not.toContain(null)
  })

  test('of others leaves out a batch that is paused', async () => {
    const { world, context } = await waiting({ 'batch-a': 60, other: 200 })
    const restMs = async (): Promise<number> =>
      ((await batchStatus(contextIn(world), batch))?.estimatedFinishAt ?? 0) - world.clock.now()
    const before = await restMs()
    await world.clock.run(pauseBatch(context, 'other', 'wait'))
    expect(await restMs()).toBeLessThan(before * 0.75)
  })
})

describe('a forecast', () => {
  const lines = (count: number, fields: object = {}): string =>
    Array.from({ length: count }, (_, index) => JSON.stringify({ prompt: `fox ${index}`, ...fields })).join(
      '\n',
    )

  test('of one job, written over as many lines as one likes, says what it comes to, and stores nothing', async () => {
    const world = newWorld()
    const context = contextIn(world)
    const text = JSON.stringify({ prompt: 'a fox', n: 3 }, null, 2)
    const now = world.clock.now()
    expect(await forecast(context, text)).toEqual({
      kind: 'forecast',
      forecast: {
        jobs: 1,
        images: 3,
        inputTokens: 10,
        outputTokens: 3_000,
        costMicroUsd: 15_000,
        upperMicroUsd: 30_000,
        startAt: now + timing.firstSlotMs,
        finishAt: now + timing.firstSlotMs + 20_000,
        prices: [costs.prices],
      },
    })
    expect(world.jobs.partitions()).toEqual([])
    expect(world.budget.partitions()).toEqual([])
  })

  test('of many goes by the pace of the pool, and by those that wait there already', async () => {
    const world = newWorld()
    const context = contextIn(world)
    const now = world.clock.now()
    const made = await forecast(context, `${lines(100)}\n\n`)
    if (made.kind === 'invalid') throw new Error(made.fault.message)
    expect(made.forecast).toMatchObject({
      jobs: 100,
      images: 100,
      costMicroUsd: 500_000,
      upperMicroUsd: 1_000_000,
    })
    const alone = timing.firstSlotMs + (99 * 60_000) / 58.8 + 20_000
    expect((made.forecast.finishAt ?? 0) - now).toBeCloseTo(alone, -2)
    for (let index = 0; index < 60; index += 1) {
      await world.clock.run(takeMessage(context, messageOf(`line-${index}`)))
    }
    const beside = await forecast(contextIn(world), lines(100))
    if (beside.kind === 'invalid') throw new Error(beside.fault.message)
    expect((beside.forecast.finishAt ?? 0) - world.clock.now()).toBeGreaterThan(alone + 40_000)
  })

  test('says which line is no job', async () => {
    const context = contextIn(newWorld())
    const text = `${lines(2)}\n\n${JSON.stringify({ prompt: 'a fox', n: 0 })}`
    expect(await forecast(context, text)).toMatchObject({
      kind: 'invalid',
      fault: { param: 'n', message: expect.stringMatching(/^line 4: n: got 0/) },
    })
    expect(await forecast(context, '{"prompt": 5}')).toMatchObject({
      fault: { param: 'prompt', message: expect.stringMatching(/^prompt: /) },
    })
    expect(await forecast(context, '')).toMatchObject({ kind: 'invalid', fault: { code: 'invalid_json' } })
  })

  test('takes no more lines than it says', async () => {
    const context = contextIn(newWorld())
    const made = await forecast(context, lines(limits.estimateLinesMax + 1))
    expect(made).toMatchObject({ kind: 'invalid', fault: { code: 'too_many_tasks' } })
    expect((await forecast(context, lines(limits.estimateLinesMax))).kind).toBe('forecast')
  })

  test('has no times while nothing starts until a person acts', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await world.clock.run(takeMessage(context, messageOf('cat')))
    const stop = { deployment, slotAt: 0, now: world.clock.now(), code: '401', message: 'the key is wrong' }
    await changeLedger(context, { pool: 'pool', quota: deployment }, (ledger) => stopped(ledger, stop))
    const made = await forecast(contextIn(world), lines(2))
    expect(made).toMatchObject({ forecast: { jobs: 2, startAt: null, finishAt: null } })
  })

  test('of jobs for a batch in which others wait puts them behind those', async () => {
    const world = newWorld()
    const context = contextIn(world)
    for (let index = 0; index < 60; index += 1) {
      await world.clock.run(takeMessage(context, messageOf(`line-${index}`)))
    }
    const made = await forecast(contextIn(world), lines(1, { batch }))
    if (made.kind === 'invalid') throw new Error(made.fault.message)
    expect((made.forecast.startAt ?? 0) - world.clock.now()).toBeGreaterThan(50_000)
  })

  test('of jobs for a batch that is paused has no times', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await world.clock.run(takeMessage(context, messageOf('cat')))
    await world.clock.run(pauseBatch(context, batch, 'wait'))
    const made = await forecast(contextIn(world), lines(2, { batch }))
    expect(made).toMatchObject({ forecast: { jobs: 2, startAt: null, finishAt: null } })
  })
})
