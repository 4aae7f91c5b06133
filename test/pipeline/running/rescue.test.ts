import { expect, test } from 'vitest'
import { renewed } from '../../../src/core/jobs/transitions.ts'
import { limits } from '../../../src/core/limits.ts'
import { timing } from '../../../src/core/timing.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { takeMessage } from '../../../src/pipeline/intake/intake.ts'
import { rescue } from '../../../src/pipeline/running/rescue.ts'
import { runJob } from '../../../src/pipeline/running/worker.ts'
import { assertRowsAgree } from '../../support/laws.ts'
import {
  batch,
  jobIn,
  messageOf,
  newWorld,
  phaseOf,
  contextIn,
  workOf,
  type World,
} from '../../support/context.ts'

/** A job whose instance died in the call, or while it stored or completed what was answered. */
async function diedAt(
  step: 'call' | 'save' | 'complete',
  own: Partial<Context> = {},
): Promise<{ world: World; context: Context }> {
  const world = newWorld()
  const context = contextIn(world, own)
  await world.clock.run(takeMessage(context, messageOf('cat')))
  const never = async (): Promise<never> => new Promise(() => {})
  let isOver = false
  const dying = contextIn(world, {
    model: step === 'call' ? { generate: never } : world.model,
    images: step === 'save' ? { ...world.images, save: never } : world.images,
    jobs: {
      ...context.jobs,
      async change(before, after) {
        if (after.phase.kind === 'succeeded' && step === 'complete') isOver = true
        const isRenewal = before.job.phase.kind === 'running' && after.phase.kind === 'running'
        return isOver || isRenewal ? never() : context.jobs.change(before, after)
      },
    },
  })
  void runJob(dying, workOf(world, 'cat'))
  await world.clock.runUntil(world.clock.now() + 60_000)
  expect((await jobIn(context, 'cat')).phase.kind).toBe('running')
  return { world, context }
}

test('a run is left alone while its lease lasts', async () => {
  const { world, context } = await diedAt('complete')
  const { leaseUntil } = await phaseOf(context, { key: 'cat' }, 'running')
  await world.clock.runUntil(leaseUntil)
  expect(await world.clock.run(rescue(context))).toEqual({
    unslotted: 0,
    recovered: 0,
    unknown: 0,
    givenUp: 0,
  })
})

test('a run whose lease was renewed since it was looked up is left alone', async () => {
  const { world, context } = await diedAt('call')
  await world.clock.runUntil(world.clock.now() + timing.leaseMs)
  const late = contextIn(world, {
    jobs: {
      ...context.jobs,
      async overdue(query) {
        const refs = await context.jobs.overdue(query)
        const before = (await context.jobs.get({ batch, key: 'cat' }))!
        const after = renewed(before.job, { leaseUntil: world.clock.now() + timing.leaseMs })!
        if (query.kind === 'running') await context.jobs.change(before, after)
        return refs
      },
    },
  })
  expect(await world.clock.run(rescue(late))).toEqual({ unslotted: 0, recovered: 0, unknown: 0, givenUp: 0 })
  expect(await jobIn(context, 'cat')).toMatchObject({ possiblyRepeated: 0, phase: { kind: 'running' } })
})

test('images that were stored complete their job, and nobody pays again', async () => {
  const { world, context } = await diedAt('complete')
  await world.clock.runUntil(world.clock.now() + timing.leaseMs)
  const rescued = await world.clock.run(Promise.all([rescue(context), rescue(contextIn(world))]))
  expect(rescued.reduce((total, { recovered }) => total + recovered, 0)).toBe(1)
  expect(await jobIn(context, 'cat')).toMatchObject({
    attempts: 1,
    possiblyRepeated: 0,
    phase: { kind: 'succeeded', usage: { outputTokens: 100 }, images: [{ blob: `${batch}/cat-0.png` }] },
  })
  expect(world.model.calls).toHaveLength(1)
  const { counters } = assertRowsAgree(batch, world.jobs.rows(batch))
  expect(counters).toMatchObject({ images: 1, outputTokens: 100 })
})

test('an answer that is found long after it came finishes its job now, as followers look for it', async () => {
  const { world, context } = await diedAt('complete')
  const { startedAt } = await jobIn(context, 'cat')
  const answeredAt = (await context.images.find({ batch, key: 'cat' }))!.facts.finishedAt
  await world.clock.runUntil(world.clock.now() + 3_600_000)
  const foundAt = world.clock.now()
  expect((await world.clock.run(rescue(context))).recovered).toBe(1)
  const { finishedAt, ...phase } = await phaseOf(context, { key: 'cat' }, 'succeeded')
  expect(finishedAt).toBeGreaterThanOrEqual(foundAt)
  expect(phase).toMatchObject({ answeredAt })
  const from = foundAt - timing.finishedLateMs
  expect(await context.jobs.indexed({ batch, kind: 'succeeded', from, limit: 10 })).toMatchObject([
    { key: 'cat' },
  ])
  const { counters } = assertRowsAgree(batch, world.jobs.rows(batch))
  expect(counters).toMatchObject({ callMs: answeredAt - startedAt!, lastFinishedAt: finishedAt })
})

test.each(['call', 'save'] as const)('a job that died in the %s is repeated and labelled', async (step) => {
  const { world, context } = await diedAt(step)
  await world.clock.runUntil(world.clock.now() + timing.leaseMs)
  const sent = world.messages.work.length
  expect((await world.clock.run(rescue(context))).unknown).toBe(1)
  expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 1, possiblyRepeated: 1 })
  await world.clock.runUntil(world.clock.now() + 5_000)
  await world.clock.run(rescue(context))
  expect(world.messages.work.slice(sent).map(({ message }) => message.key)).toEqual(['cat'])
  expect((await world.clock.run(runJob(context, workOf(world, 'cat')))).kind).toBe('succeeded')
  expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 2, possiblyRepeated: 1 })
})

test('a job that died in the call fails where a person decides', async () => {
  const { world, context } = await diedAt('call', { onUnknown: 'fail' })
  await world.clock.runUntil(world.clock.now() + timing.leaseMs)
  expect((await world.clock.run(rescue(context))).unknown).toBe(1)
  expect((await jobIn(context, 'cat')).phase).toMatchObject({
    kind: 'failed',
    failure: { kind: 'unknown', code: 'instance_died' },
  })
  assertRowsAgree(batch, world.jobs.rows(batch))
})

test('a slot whose message was lost is given back after longer than any hold, and given anew', async () => {
  const world = newWorld()
  const context = contextIn(world)
  await world.clock.run(takeMessage(context, messageOf('cat')))
  const { slotAt } = workOf(world, 'cat')
  await world.clock.runUntil(slotAt + timing.slotLostMs - 1)
  expect((await world.clock.run(rescue(context))).unslotted).toBe(0)
  await world.clock.runUntil(slotAt + timing.slotLostMs + 1)
  expect((await world.clock.run(rescue(context))).unslotted).toBe(1)
  expect(workOf(world, 'cat').slotAt).toBeGreaterThan(world.clock.now())
  expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 0, phase: { kind: 'slotted' } })
})

test('with more batches than one run looks at, where it begins changes, so that each has its turn', async () => {
  const { world, context } = await diedAt('complete')
  await world.clock.runUntil(world.clock.now() + timing.leaseMs)
  const { flows } = await context.budgets.read('pool')
  const dead = flows.find(({ value }) => value.batch === batch)!
  // None of the others has a job; only that they stand before it counts.
  const others = Array.from({ length: limits.rescueBatchesMax }, (_, index) => ({
    ...dead,
    value: { ...dead.value, batch: `other-${index}` },
  }))
  const rescuedFrom = async (chance: number): Promise<number> => {
    let all = [...others, dead]
    const crowded = contextIn(world, {
      chance: () => chance,
      budgets: {
        ...context.budgets,
        async read(pool) {
          const read = await context.budgets.read(pool)
          // The pacer, which reads it after the rescue, sees what there is.
          const flows = all.length > 0 ? all : read.flows
          all = []
          return { ...read, flows }
        },
      },
    })
    return (await world.clock.run(rescue(crowded))).recovered
  }
  // From the first one on it comes to all but the last; from the last one on, and round again, to all but the last other.
  expect(await rescuedFrom(0)).toBe(0)
  expect(await rescuedFrom(0.9999)).toBe(1)
})
