import { describe, expect, test } from 'vitest'
import { answersKept, committedMicroUsd, sum } from '../../../src/core/jobs/counters.ts'
import { limits } from '../../../src/core/limits.ts'
import { timing } from '../../../src/core/timing.ts'
import { chanceFrom } from '../../../src/local/deployment/chance.ts'
import { cancelBatch, pauseBatch, resumeBatch, type Decided } from '../../../src/pipeline/batches/batches.ts'
import { changeBatch } from '../../../src/pipeline/batches/change-batch.ts'
import { cancelJob } from '../../../src/pipeline/running/cancel-job.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { takeMessage } from '../../../src/pipeline/intake/intake.ts'
import { runTick } from '../../../src/pipeline/pacing/pacer.ts'
import { batchStatus } from '../../../src/pipeline/status/status.ts'
import { runJob } from '../../../src/pipeline/running/worker.ts'
import { budgetTable } from '../../../src/storage/tables/budget-table.ts'
import { readCounters } from '../../../src/storage/tables/job-rows.ts'
import { assertRowsAgree } from '../../support/laws.ts'
import { losingAnswers, type LostAnswer } from '../../support/lost-answers.ts'
import { memoryTable } from '../../support/memory-table.ts'
import {
  batch,
  jobIn,
  ledgerIn,
  messageOf,
  newWorld,
  contextIn,
  workOf,
  type World,
} from '../../support/context.ts'
import { fails } from '../../support/scripted-model.ts'
import { addQuietly, latch, play, takeMany, tickOnce } from '../play.ts'

const ref = { pool: 'pool', batch }
const minuteMs = 60_000

async function statusOf(context: Context, name = batch) {
  return (await batchStatus(context, name))!
}

async function countsOf(context: Context, name = batch) {
  return (await statusOf(context, name)).counts
}

async function playFor(world: World, context: Context, ms: number): Promise<void> {
  await play(world, [context, contextIn(world)], world.clock.now() + ms)
}

describe('a paused batch', () => {
  test('gets no more slots; what has one goes on, and all is done when it is resumed', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await addQuietly(world, context, { count: 40 })
    await playFor(world, context, 10_000)
    const { decision } = (await statusOf(context)).terms
    expect(decision).toBeNull()
    expect(await world.clock.run(pauseBatch(context, batch, 'look first'))).toEqual({ kind: 'done' })
    const { jobs } = assertRowsAgree(batch, world.jobs.rows(batch))
    const waiting = jobs.filter(({ phase }) => phase.kind === 'waiting').length
    expect(waiting).toBeGreaterThan(5)
    expect(await statusOf(context)).toMatchObject({
      status: 'in_progress',
      terms: { decision: { kind: 'paused', by: 'user', reason: 'look first' } },
    })
    await playFor(world, context, 10 * minuteMs)
    expect(await countsOf(context)).toMatchObject({ waiting, running: 0, succeeded: 40 - waiting })
    const resumedAt = world.clock.now()
    expect(await world.clock.run(resumeBatch(context, batch, 'all is well'))).toEqual({ kind: 'done' })
    await playFor(world, context, 2 * minuteMs)
    expect(await countsOf(context)).toMatchObject({ waiting: 0, succeeded: 40 })
    const next = world.model.calls.find(({ startedAt }) => startedAt > resumedAt)
    expect(next!.startedAt - resumedAt).toBeLessThan(timing.tickMs + timing.firstSlotMs)
    expect((await statusOf(context)).terms.decision).toMatchObject({ kind: 'resumed', reason: 'all is well' })
  })

  test('stands in nobody else’s way, and gives its share to the others', async () => {
    const world = newWorld()
    const context = contextIn(world)
    for (const name of ['paused', 'other']) await addQuietly(world, context, { count: 60, name })
    await world.clock.run(pauseBatch(context, 'paused', 'wait'))
    await playFor(world, context, 66_000)
    expect(await countsOf(context, 'other')).toMatchObject({ waiting: 0 })
    expect(await countsOf(context, 'paused')).toMatchObject({ waiting: 60 })
  })

  test('stays paused for what comes in, and while its flow is away', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await takeMany(world, context, { count: 1 })
    await playFor(world, context, minuteMs)
    await world.clock.run(pauseBatch(context, batch, 'wait'))
    await playFor(world, context, 5 * minuteMs)
    expect((await context.budgets.read('pool')).flows).toEqual([])
    await world.clock.run(takeMessage(contextIn(world), messageOf('late')))
    await playFor(world, context, 5 * minuteMs)
    expect(await countsOf(context)).toMatchObject({ waiting: 1, succeeded: 1 })
    await world.clock.run(resumeBatch(context, batch, 'go on'))
    await playFor(world, context, minuteMs)
    expect(await countsOf(context)).toMatchObject({ waiting: 0, succeeded: 2 })
  })

  test('keeps the jobs of calls that come to nothing waiting', async () => {
    const world = newWorld()
    const context = contextIn(world)
    world.model.script.push(fails('transient'), fails('throttled', { retryAfterMs: 1_000 }))
    await takeMany(world, context, { count: 2 })
    await playFor(world, context, 3_000)
    await world.clock.run(pauseBatch(context, batch, 'wait'))
    await playFor(world, context, 10 * minuteMs)
    expect(world.model.calls).toHaveLength(2)
    expect(await countsOf(context)).toMatchObject({ waiting: 2 })
    await world.clock.run(resumeBatch(context, batch, 'go on'))
    await playFor(world, context, 2 * minuteMs)
    expect(await countsOf(context)).toMatchObject({ succeeded: 2 })
  })
})

test('what does not exist cannot be paused, resumed or cancelled', async () => {
  const world = newWorld()
  const context = contextIn(world)
  for (const decide of [pauseBatch, resumeBatch, cancelBatch]) {
    expect(await world.clock.run(decide(context, 'nobody', 'why'))).toEqual({ kind: 'unknown-batch' })
  }
  expect((await context.budgets.read('pool')).flows).toEqual([])
})

describe('a cancelled batch', () => {
  /** How far before a slot, or after it, somebody cancels; and how long storage takes for a change. */
  const moments = [-3_000, -400, -301, -300, -299, -1, 0, 1, 30, 500].flatMap((offsetMs) =>
    [
      { beforeMs: 0, afterMs: 0 },
      { beforeMs: 250, afterMs: 0 },
      { beforeMs: 0, afterMs: 250 },
      { beforeMs: 340, afterMs: 5 },
    ].map((storage) => ({ offsetMs, ...storage })),
  )

  test.each(moments)(
    'starts no call after the answer, and keeps those under way: $offsetMs ms, storage $beforeMs and $afterMs ms',
    async ({ offsetMs, beforeMs, afterMs }) => {
      const world = newWorld()
      const context = contextIn(world)
      const { clock } = world
      const slow = contextIn(world, {
        jobs: {
          ...context.jobs,
          async change(before, after) {
            await clock.sleepUntil(clock.now() + beforeMs)
            const changed = await context.jobs.change(before, after)
            await clock.sleepUntil(clock.now() + afterMs)
            return changed
          },
        },
      })
      await addQuietly(world, context, { count: 30 })
      const { jobs: none } = assertRowsAgree(batch, world.jobs.rows(batch))
      expect(none).toHaveLength(30)
      await tickOnce(world, context)
      const slotAt = workOf(world, 'line-004').slotAt
      await play(world, [slow], slotAt + offsetMs)
      const answeredAt = await clock.run(
        cancelBatch(contextIn(world), batch, 'enough').then(() => clock.now()),
      )
      const calls = world.model.calls.length
      expect(answeredAt - slotAt - offsetMs).toBeLessThan(3_000)
      await play(world, [slow, contextIn(world)], answeredAt + 3 * minuteMs)
      expect(world.model.calls.filter(({ startedAt }) => startedAt > answeredAt)).toEqual([])
      expect(world.model.calls).toHaveLength(calls)
      const { counters } = assertRowsAgree(batch, world.jobs.rows(batch))
      expect(counters).toMatchObject({
        waiting: 0,
        running: 0,
        succeeded: calls,
        cancelled: 30 - calls,
        images: calls,
        reservedMicroUsd: 0,
      })
    },
  )

  test('is being cancelled while calls are under way, and then is', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await takeMany(world, context, { count: 30 })
    await playFor(world, context, 5_000)
    await world.clock.run(cancelBatch(context, batch, 'enough'))
    const status = await statusOf(context)
    expect(status).toMatchObject({
      status: 'cancelling',
      terms: { decision: { kind: 'cancelled', by: 'user', reason: 'enough' } },
    })
    const { running, waiting, cancelled } = status.counts
    expect(running).toBeGreaterThan(0)
    // One that had been claimed, and was not called any more, waits until the pacer finds it.
    expect(waiting).toBeLessThanOrEqual(1)
    expect(cancelled).toBe(30 - running - waiting)
    await playFor(world, context, minuteMs)
    expect(await statusOf(context)).toMatchObject({
      status: 'cancelled',
      counts: { running: 0, waiting: 0, succeeded: running, cancelled: cancelled + waiting },
      estimatedFinishAt: null,
    })
  })

  test('has what comes back to wait cancelled, and refuses what is sent to it later, without a call', async () => {
    const world = newWorld()
    const context = contextIn(world)
    world.model.script.push(fails('transient'), fails('unknown'), fails('throttled', { retryAfterMs: 1_000 }))
    await takeMany(world, context, { count: 10 })
    await playFor(world, context, 5_000)
    expect(world.model.calls).toHaveLength(3)
    await world.clock.run(cancelBatch(context, batch, 'enough'))
    await playFor(world, context, 30_000)
    await world.clock.run(takeMessage(context, messageOf('late')))
    await playFor(world, context, 10_000)
    await playFor(world, context, 10 * minuteMs)
    await world.clock.run(takeMessage(contextIn(world), messageOf('later')))
    await playFor(world, context, 10 * minuteMs)
    expect(world.model.calls).toHaveLength(3)
    const { counters } = assertRowsAgree(batch, world.jobs.rows(batch))
    expect(counters).toMatchObject({ waiting: 0, running: 0, cancelled: 10, failed: 2 })
    expect(await statusOf(context)).toMatchObject({ status: 'cancelled' })
    expect((await context.budgets.read('pool')).flows).toEqual([])
  })

  test('stays cancelled', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await takeMany(world, context, { count: 3 })
    await world.clock.run(cancelBatch(context, batch, 'enough'))
    const decisions: Decided[] = []
    for (const decide of [pauseBatch, resumeBatch, cancelBatch]) {
      decisions.push(await world.clock.run(decide(context, batch, 'later')))
    }
    expect(decisions).toEqual([{ kind: 'cancelled-before' }, { kind: 'cancelled-before' }, { kind: 'done' }])
    expect((await statusOf(context)).terms.decision?.kind).toBe('cancelled')
    await playFor(world, context, 5 * minuteMs)
    expect(await world.clock.run(resumeBatch(context, batch, 'much later'))).toEqual({
      kind: 'cancelled-before',
    })
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: 1_000_000, priority: 'high' }))
    await playFor(world, context, minuteMs)
    expect(await countsOf(context)).toMatchObject({ cancelled: 3, waiting: 0 })
  })

  test('gets no slot from a tick that had decided before, and moves its jobs after', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await addQuietly(world, context, { count: 30 })
    const { opened, open } = latch()
    const slow = contextIn(world, {
      jobs: {
        ...context.jobs,
        async slot(order) {
          await opened
          return context.jobs.slot(order)
        },
      },
    })
    const ticking = runTick(slow, { pool: 'pool', epoch: 0 })
    await world.clock.runUntil(world.clock.now())
    expect((await context.budgets.readTick('pool'))?.epoch).toBe(1)
    await world.clock.run(cancelBatch(context, batch, 'enough'))
    open()
    await world.clock.run(ticking)
    expect(world.messages.work).toEqual([])
    const { counters } = assertRowsAgree(batch, world.jobs.rows(batch))
    expect(counters).toMatchObject({ waiting: 0, cancelled: 30 })
  })

  test('gets no slot from a tick that had looked before, and decides after', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await addQuietly(world, context, { count: 30 })
    const { opened, open } = latch()
    const slow = contextIn(world, {
      budgets: {
        ...context.budgets,
        async commit(change) {
          await opened
          return context.budgets.commit(change)
        },
      },
    })
    const ticking = runTick(slow, { pool: 'pool', epoch: 0 })
    await world.clock.runUntil(world.clock.now())
    await world.clock.run(cancelBatch(context, batch, 'enough'))
    open()
    await world.clock.run(ticking)
    expect(world.messages.work).toEqual([])
  })

  test('of thousands is cancelled as a whole', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await addQuietly(world, context, { count: 1_000 })
    await playFor(world, context, 3_000)
    await world.clock.run(cancelBatch(context, batch, 'enough'))
    expect(await countsOf(context)).toMatchObject({ waiting: 0 })
    const { counters } = assertRowsAgree(batch, world.jobs.rows(batch))
    expect(counters.cancelled).toBeGreaterThan(990)
  })
})

describe('a batch that is changed before its first job', () => {
  test('is known, and its first job goes by it', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await world.clock.run(changeBatch(context, ref, { priority: 'high', capMicroUsd: 15_000 }))
    expect(await statusOf(context)).toMatchObject({
      pool: 'pool',
      counts: { total: 0 },
      terms: { priority: 'high', capMicroUsd: 15_000, decision: null },
    })
    await takeMany(world, context, { count: 4 })
    const [flow] = (await context.budgets.read('pool')).flows
    expect(flow?.value).toMatchObject({ priority: 'high', capMicroUsd: 15_000 })
    await playFor(world, context, 2 * minuteMs)
    expect(await countsOf(context)).toMatchObject({ succeeded: 2, waiting: 2 })
    expect((await statusOf(context)).counters.spentMicroUsd).toBe(10_000)
  })

  test('keeps its terms however long the first job takes to come', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await world.clock.run(changeBatch(context, ref, { priority: 'low', capMicroUsd: 15_000 }))
    await playFor(world, context, 10 * minuteMs)
    expect((await context.budgets.read('pool')).flows).toEqual([])
    await takeMany(world, contextIn(world), { count: 4 })
    expect((await statusOf(context)).terms).toMatchObject({ priority: 'low', capMicroUsd: 15_000 })
    await playFor(world, context, 2 * minuteMs)
    expect(await countsOf(context)).toMatchObject({ succeeded: 2, waiting: 2 })
  })

  test('may be paused and cancelled before it too', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await world.clock.run(changeBatch(context, ref, {}))
    expect(await world.clock.run(pauseBatch(context, batch, 'not yet'))).toEqual({ kind: 'done' })
    await takeMany(world, context, { count: 2 })
    await playFor(world, context, minuteMs)
    expect(await countsOf(context)).toMatchObject({ waiting: 2 })
    await world.clock.run(cancelBatch(context, batch, 'never'))
    expect(await countsOf(context)).toMatchObject({ cancelled: 2 })
    expect(world.model.calls).toEqual([])
  })

  test('changes what is asked for and nothing else', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await takeMany(world, context, { count: 1 })
    const terms = async () => (await statusOf(context)).terms
    await world.clock.run(changeBatch(context, ref, { priority: 'high' }))
    expect(await terms()).toMatchObject({ priority: 'high', capMicroUsd: null })
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: 50_000 }))
    expect(await terms()).toMatchObject({ priority: 'high', capMicroUsd: 50_000 })
    await world.clock.run(changeBatch(context, ref, { priority: 'low' }))
    expect(await terms()).toMatchObject({ priority: 'low', capMicroUsd: 50_000 })
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: null }))
    expect(await terms()).toEqual({ priority: 'low', capMicroUsd: null, decision: null, refusalsFrom: 0 })
  })

  test('of a batch that draws on another pool changes it there', async () => {
    const world = newWorld()
    const plain = contextIn(world)
    const [settings] = plain.pools
    const context = contextIn(world, { pools: [{ ...settings!, name: 'other' }, settings!] })
    await takeMany(world, context, { count: 1 })
    expect(await world.clock.run(changeBatch(context, { batch }, { priority: 'high' }))).toEqual({
      kind: 'done',
    })
    expect((await context.budgets.readFlow({ pool: 'pool', batch }))?.value.priority).toBe('high')
    expect(world.budget.rows('other')).toEqual([])
  })
})

/** A world in which law 5 is asked after every transaction: what a batch is committed to stays within its cap. */
function worldUnder(cap: { microUsd: number }): { world: World; assertCapHeld: () => void } {
  const excesses: string[] = []
  const jobs = memoryTable((partition) => {
    const counts = jobs.rows(partition).filter(({ row }) => row.startsWith('count:'))
    const committed = committedMicroUsd(sum(counts.map(readCounters)))
    if (committed > cap.microUsd) excesses.push(`${committed} of ${cap.microUsd}`)
  })
  const assertCapHeld = (): void => expect(excesses, 'commitments above the cap').toEqual([])
  return { world: { ...newWorld(), jobs }, assertCapHeld }
}

describe('a cap', () => {
  // A call costs half of what it could, ten thousandths of a dollar.
  const done = (capMicroUsd: number): number => Math.floor((capMicroUsd - 10_000) / 5_000) + 1

  test('is never exceeded; the batch stands still with a reason, goes on as calls cost less, and when it is raised', async () => {
    const cap = { microUsd: 50_000 }
    const { world, assertCapHeld } = worldUnder(cap)
    const context = contextIn(world)
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: cap.microUsd }))
    await takeMany(world, context, { count: 40 })
    await playFor(world, context, 3_000)
    expect((await statusOf(context)).terms.decision).toEqual({
      kind: 'paused',
      by: 'cap',
      reason:
        'the next call might cost more than the cap of $0.05 leaves ($0 spent, $0 that may have been, $0.05 under way); raise cap_usd to go on',
      at: expect.any(Number),
    })
    await playFor(world, context, minuteMs)
    expect((await statusOf(context)).counters.succeeded).toBeGreaterThan(5)
    await playFor(world, context, 5 * minuteMs)
    expect(await statusOf(context)).toMatchObject({
      counts: { running: 0, succeeded: done(50_000), waiting: 40 - done(50_000) },
      counters: { spentMicroUsd: 45_000, reservedMicroUsd: 0, unsureMicroUsd: 0 },
      terms: { decision: { kind: 'paused', by: 'cap' } },
    })

    cap.microUsd = 100_000
    const raisedAt = world.clock.now()
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: cap.microUsd }))
    await playFor(world, context, 5 * minuteMs)
    const next = world.model.calls.find(({ startedAt }) => startedAt > raisedAt)
    expect(next!.startedAt - raisedAt).toBeLessThan(timing.tickMs + timing.firstSlotMs)
    expect(await countsOf(context)).toMatchObject({ succeeded: done(100_000), waiting: 40 - done(100_000) })

    cap.microUsd = Infinity
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: null }))
    await playFor(world, context, 2 * minuteMs)
    expect(await statusOf(context)).toMatchObject({ status: 'completed', counts: { succeeded: 40 } })
    assertRowsAgree(batch, world.jobs.rows(batch))
    assertCapHeld()
  })

  test('goes on by itself within a few seconds of the call that cost less', async () => {
    const cap = { microUsd: 15_000 }
    const { world, assertCapHeld } = worldUnder(cap)
    const context = contextIn(world)
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: cap.microUsd }))
    await takeMany(world, context, { count: 2 })
    await playFor(world, context, 2 * minuteMs)
    const [first, second] = world.model.calls
    const freedAt = first!.startedAt + 20_000
    expect(second!.startedAt - freedAt).toBeLessThan(timing.tickMs + timing.firstSlotMs + 1_000)
    expect((await statusOf(context)).terms.decision).toMatchObject({
      kind: 'resumed',
      by: 'cap',
      reason: 'calls cost less than they might have',
    })
    assertCapHeld()
  })

  test('counts calls of unknown and refused outcome at their most', async () => {
    const cap = { microUsd: 40_000 }
    const { world, assertCapHeld } = worldUnder(cap)
    const context = contextIn(world, { onUnknown: 'fail' })
    world.model.script.push(fails('unknown'), fails('refused'), fails('invalid'))
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: cap.microUsd }))
    await takeMany(world, context, { count: 12 })
    await play(world, [context], world.clock.now() + 5 * minuteMs)
    expect(await statusOf(context)).toMatchObject({
      counts: { failed: 3, succeeded: done(20_000), waiting: 12 - 3 - done(20_000) },
      counters: { unsureMicroUsd: 20_000, spentMicroUsd: 15_000, reservedMicroUsd: 0 },
    })
    assertCapHeld()
  })

  test('of which one job is dearer than what is left lets no cheaper one of its line go for ever unseen', async () => {
    const cap = { microUsd: 30_000 }
    const { world, assertCapHeld } = worldUnder(cap)
    const context = contextIn(world)
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: cap.microUsd }))
    for (const [key, n] of [
      ['a', 1],
      ['b', 9],
      ['c', 1],
    ] as const) {
      await world.clock.run(takeMessage(context, messageOf(key, { n })))
    }
    await playFor(world, context, 5 * minuteMs)
    // What is dearer than the cap leaves waits until it is raised; those behind it wait with it or go before it.
    expect((await jobIn(context, 'a')).phase.kind).toBe('succeeded')
    expect((await jobIn(context, 'b')).phase.kind).toBe('waiting')
    expect((await statusOf(context)).terms.decision).toMatchObject({ kind: 'paused', by: 'cap' })
    cap.microUsd = 200_000
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: cap.microUsd }))
    await playFor(world, context, 5 * minuteMs)
    expect(await countsOf(context)).toMatchObject({ succeeded: 3, waiting: 0 })
    assertCapHeld()
  })

  test('set while slots are given takes back those that were given without it', async () => {
    const cap = { microUsd: 30_000 }
    const { world, assertCapHeld } = worldUnder(cap)
    const context = contextIn(world)
    await addQuietly(world, context, { count: 30 })
    await tickOnce(world, context)
    const given = world.messages.work.length
    expect(given).toBeGreaterThan(10)
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: cap.microUsd }))
    await playFor(world, context, 5 * minuteMs)
    expect(await countsOf(context)).toMatchObject({ succeeded: done(30_000), waiting: 30 - done(30_000) })
    assertCapHeld()
  })

  test('set while a tick is between its decision and its moves holds for those slots too', async () => {
    const cap = { microUsd: 30_000 }
    const { world, assertCapHeld } = worldUnder(cap)
    const context = contextIn(world)
    await addQuietly(world, context, { count: 30 })
    const { opened, open } = latch()
    const slow = contextIn(world, {
      jobs: {
        ...context.jobs,
        async slot(order) {
          await opened
          return context.jobs.slot(order)
        },
      },
    })
    const ticking = runTick(slow, { pool: 'pool', epoch: 0 })
    await world.clock.runUntil(world.clock.now())
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: cap.microUsd }))
    open()
    await world.clock.run(ticking)
    await playFor(world, context, 5 * minuteMs)
    expect(await countsOf(context)).toMatchObject({ succeeded: done(30_000) })
    assertCapHeld()
  })

  test.each<LostAnswer>(['sent-again', 'throws'])(
    'set by a write whose answer is lost (%s), and set again, takes back slots all the same',
    async (lost) => {
      const cap = { microUsd: 30_000 }
      const { world, assertCapHeld } = worldUnder(cap)
      const context = contextIn(world)
      await addQuietly(world, context, { count: 30 })
      await tickOnce(world, context)
      const answers: LostAnswer[] = [lost]
      const losing = { ...context, budgets: budgetTable(losingAnswers(world.budget, () => answers.shift())) }
      const change = async () => world.clock.run(changeBatch(losing, ref, { capMicroUsd: cap.microUsd }))
      await change().catch(change)
      await playFor(world, context, 5 * minuteMs)
      expect(await countsOf(context)).toMatchObject({ succeeded: done(30_000) })
      assertCapHeld()
    },
  )

  test('set when all have their slots, and nothing waited for long, gives them anew behind those', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await takeMany(world, context, { count: 1 })
    const ledger = { pool: 'pool', quota: (await ledgerIn(context)).quota }
    const before = (await context.budgets.readLedger(ledger))!
    // Slots are given up to 55 s ahead.
    const after = { ...before.value, leadMs: timing.leadMaxMs }
    await context.budgets.changeLedger({ pool: 'pool', before, after })
    await addQuietly(world, context, { count: 40 })
    await play(world, [context], world.clock.now() + 25_000)
    const { waiting } = await countsOf(context)
    expect(waiting).toBeGreaterThan(10)
    expect((await context.jobs.firstWaiting({ batch, limit: 1 })).length).toBe(0)
    const { nextFreeAt } = await ledgerIn(context)
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: 1_000_000 }))
    const changedAt = world.clock.now()
    await play(world, [context], nextFreeAt + waiting * 1_100 + 30_000)
    expect(world.model.calls.filter(({ startedAt }) => startedAt > changedAt)).toHaveLength(waiting)
    expect(await countsOf(context)).toMatchObject({ waiting: 0, running: 0 })
    expect((await statusOf(context)).counters.unsureMicroUsd).toBe(0)
  })

  test.each([
    ['before the first job', 0],
    ['while slots are given', 20],
  ])('that is set and taken away again, %s, is as if it had never been', async (_when, already) => {
    const world = newWorld()
    const context = contextIn(world)
    await takeMany(world, context, { count: already })
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: 10_000 }))
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: null }))
    await takeMany(world, context, { count: 40 })
    await playFor(world, context, 2 * minuteMs)
    expect(await countsOf(context)).toMatchObject({ succeeded: 40, waiting: 0 })
  })

  test('set on one batch leaves the slots of others alone', async () => {
    const world = newWorld()
    const context = contextIn(world)
    for (const name of [batch, 'other']) await takeMany(world, context, { count: 20, name })
    await play(world, [context], world.clock.now() + 3_000)
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: 1_000_000 }))
    await play(world, [context], world.clock.now() + 2 * minuteMs)
    expect(await countsOf(context)).toMatchObject({ succeeded: 20 })
    const { counters } = await statusOf(context, 'other')
    expect(counters).toMatchObject({ succeeded: 20 })
    const starts = world.model.calls.filter(({ prompt }) => prompt.includes('line')).length
    expect(starts).toBe(40)
  })

  test('that was reached by many batches is looked at in each of them', async () => {
    const world = newWorld()
    const context = contextIn(world, { chance: chanceFrom('caps') })
    const names = Array.from({ length: limits.capsPerTickMax + 2 }, (_, index) => `cap-${10 + index}`)
    for (const name of names) {
      // The last one has room for a second job as soon as the first is done; the others never have.
      const capMicroUsd = name === names.at(-1) ? 15_000 : 10_000
      await world.clock.run(changeBatch(context, { batch: name }, { capMicroUsd }))
      await addQuietly(world, context, { count: 2, name })
    }
    await play(world, [context], world.clock.now() + 10 * minuteMs)
    for (const name of names.slice(0, -1)) {
      expect(await countsOf(context, name)).toMatchObject({ succeeded: 1, waiting: 1 })
    }
    expect(await countsOf(context, names.at(-1))).toMatchObject({ succeeded: 2, waiting: 0 })
  })

  test('does not resume what a person has paused', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: 10_000 }))
    await takeMany(world, context, { count: 3 })
    await playFor(world, context, minuteMs)
    expect((await statusOf(context)).terms.decision).toMatchObject({ by: 'cap' })
    await world.clock.run(pauseBatch(context, batch, 'wait'))
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: 1_000_000 }))
    await playFor(world, context, minuteMs)
    expect(await countsOf(context)).toMatchObject({ succeeded: 1, waiting: 2 })
    expect((await statusOf(context)).terms.decision).toMatchObject({ kind: 'paused', by: 'user' })
  })

  test('stops again a batch that was resumed without more money', async () => {
    const cap = { microUsd: 10_000 }
    const { world, assertCapHeld } = worldUnder(cap)
    const context = contextIn(world)
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: cap.microUsd }))
    await takeMany(world, context, { count: 3 })
    await playFor(world, context, minuteMs)
    await world.clock.run(resumeBatch(context, batch, 'go on'))
    await playFor(world, context, minuteMs)
    expect(await countsOf(context)).toMatchObject({ succeeded: 1, waiting: 2 })
    expect((await statusOf(context)).terms.decision).toMatchObject({ kind: 'paused', by: 'cap' })
    assertCapHeld()
  })
})

describe('a batch whose jobs are refused', () => {
  const threshold = 0.3 * answersKept

  function refusing(world: World, count: number): void {
    world.model.script.push(...Array.from({ length: count }, () => fails('refused')))
  }

  test('is paused with a reason when too many are, and not before', async () => {
    const world = newWorld()
    const context = contextIn(world)
    refusing(world, threshold)
    await addQuietly(world, context, { count: 120 })
    await playFor(world, context, minuteMs)
    expect((await statusOf(context)).counts.failed).toBe(threshold)
    expect((await statusOf(context)).terms.decision).toBeNull()
    const again = newWorld()
    const other = contextIn(again)
    refusing(again, 120)
    await addQuietly(again, other, { count: 120 })
    await playFor(again, other, 3 * minuteMs)
    const status = await statusOf(other)
    expect(status.terms.decision).toMatchObject({
      kind: 'paused',
      by: 'refusals',
      reason: `${threshold + 1} of the newest ${answersKept} jobs were refused by the content policy; look at them, then resume`,
    })
    // Those that were under way, or had their slots, when the sixteenth was refused.
    expect(status.counts.failed).toBeLessThan(threshold + 45)
    expect(status.counts.waiting).toBeGreaterThan(50)
    expect(status.counters.unsureMicroUsd).toBe(status.counts.failed * 10_000)
  })

  test('goes on when somebody has looked, and is paused again only by new refusals', async () => {
    const world = newWorld()
    const context = contextIn(world)
    refusing(world, 60)
    await addQuietly(world, context, { count: 200 })
    await playFor(world, context, 2 * minuteMs)
    const { failed } = await countsOf(context)
    world.model.script.length = 0
    await world.clock.run(resumeBatch(context, batch, 'they were typing errors'))
    const resumedAt = world.clock.now()
    expect((await statusOf(context)).terms).toMatchObject({
      refusalsFrom: resumedAt,
      decision: { kind: 'resumed' },
    })
    refusing(world, threshold)
    await playFor(world, context, 50_000)
    expect(await countsOf(context)).toMatchObject({ failed: failed + threshold })
    expect((await statusOf(context)).terms.decision).toMatchObject({ kind: 'resumed' })
    refusing(world, 60)
    await playFor(world, context, 2 * minuteMs)
    expect((await statusOf(context)).terms.decision).toMatchObject({ kind: 'paused', by: 'refusals' })
  })

  test('does not hold the others', async () => {
    const world = newWorld()
    const { model } = world
    const context = contextIn(world, {
      model: {
        async generate(call) {
          const answer = await model.generate(call)
          return call.request.prompt.includes('bad') ? fails('refused') : answer
        },
      },
    })
    const quiet = { count: 60, name: 'good' }
    await addQuietly(world, context, quiet)
    for (let index = 0; index < 60; index += 1) {
      await world.clock.run(takeMessage(context, messageOf(`bad-${index}`)))
    }
    await play(world, [context], world.clock.now() + 4 * minuteMs)
    expect(await countsOf(context, 'good')).toMatchObject({ succeeded: 60 })
    expect((await statusOf(context)).terms.decision).toMatchObject({ by: 'refusals' })
  })

  test('of which a person has decided is left as it is', async () => {
    const world = newWorld()
    const context = contextIn(world)
    refusing(world, 200)
    await addQuietly(world, context, { count: 100 })
    await playFor(world, context, 25_000)
    await world.clock.run(cancelBatch(context, batch, 'enough'))
    await playFor(world, context, 2 * minuteMs)
    expect((await statusOf(context)).terms.decision).toMatchObject({ kind: 'cancelled', by: 'user' })
  })

  test('is never paused where all refusals are allowed', async () => {
    const world = newWorld()
    const context = contextIn(world, { refusalShareMax: 1 })
    refusing(world, 60)
    await addQuietly(world, context, { count: 60 })
    await play(world, [context], world.clock.now() + 3 * minuteMs)
    expect(await countsOf(context)).toMatchObject({ failed: 60, waiting: 0 })
  })
})

describe('one job', () => {
  test('that waits, or holds a slot, is cancelled, and its message comes to nothing', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await world.clock.run(changeBatch(context, ref, { capMicroUsd: 1_000_000 }))
    await takeMany(world, context, { count: 30 })
    const held = workOf(world, 'line-000')
    const work = runJob(contextIn(world), held)
    for (const key of ['line-000', 'line-029']) {
      const done = await world.clock.run(cancelJob(context, { batch, key }))
      expect(done).toMatchObject({ kind: 'cancelled', job: { key, phase: { kind: 'cancelled' } } })
    }
    expect(await world.clock.run(work)).toEqual({ kind: 'stale' })
    expect(world.model.calls).toEqual([])
    await playFor(world, context, 2 * minuteMs)
    expect(await statusOf(context)).toMatchObject({
      status: 'completed',
      counts: { total: 30, succeeded: 28, cancelled: 2 },
      counters: { reservedMicroUsd: 0 },
    })
    expect(world.model.calls.map(({ prompt }) => prompt)).not.toContain('a picture of line-029')
  })

  test('whose call is under way goes on, and one that is finished stays as it is', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await takeMany(world, context, { count: 1 })
    const message = workOf(world, 'line-000')
    const work = runJob(context, message)
    const cancel = async () => world.clock.run(cancelJob(contextIn(world), message))
    await world.clock.runUntil(message.slotAt - 1)
    expect(await cancel()).toMatchObject({ kind: 'too-late', job: { phase: { kind: 'running' } } })
    expect(await world.clock.run(work)).toMatchObject({ kind: 'succeeded' })
    expect(await cancel()).toMatchObject({ kind: 'too-late', job: { phase: { kind: 'succeeded' } } })
    expect(await countsOf(context)).toMatchObject({ succeeded: 1, cancelled: 0 })
  })

  test('that is cancelled twice is cancelled once, and one that nobody knows never', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await takeMany(world, context, { count: 1 })
    const job = { batch, key: 'line-000' }
    const both = await world.clock.run(
      Promise.all([cancelJob(context, job), cancelJob(contextIn(world), job)]),
    )
    expect(both.map(({ kind }) => kind)).toEqual(['cancelled', 'cancelled'])
    expect(await world.clock.run(cancelJob(context, job))).toMatchObject({ kind: 'cancelled' })
    expect(await countsOf(context)).toMatchObject({ cancelled: 1, total: 1 })
    expect(await world.clock.run(cancelJob(context, { batch, key: 'nobody' }))).toEqual({
      kind: 'unknown-job',
    })
    assertRowsAgree(batch, world.jobs.rows(batch))
  })

  test('that another change gets ahead of is looked at again', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await addQuietly(world, context, { count: 1 })
    let changes = 0
    const late = contextIn(world, {
      jobs: {
        ...context.jobs,
        async change(before, after) {
          changes += 1
          if (changes === 1) await runTick(context, { pool: 'pool', epoch: 0 })
          return context.jobs.change(before, after)
        },
      },
    })
    const done = await world.clock.run(cancelJob(late, { batch, key: 'line-000' }))
    expect(done).toMatchObject({ kind: 'cancelled' })
    expect(changes).toBe(2)
    expect((await jobIn(context, 'line-000')).phase.kind).toBe('cancelled')
  })
})
