import { describe, expect, test } from 'vitest'
import { memberOf, type QuotaLimits } from '../../src/core/budget/ledger.ts'
import { timing } from '../../src/core/timing.ts'
import { nudge } from '../../src/pipeline/pacing/announce.ts'
import type { Context } from '../../src/pipeline/context.ts'
import { batchStatus, budgetStatus } from '../../src/pipeline/status/status.ts'
import type { ImageModel, ModelAnswer } from '../../src/ports/model.ts'
import { assertNeverFasterThan, assertRowsAgree } from '../support/laws.ts'
import { batch, costs, newWorld, quota, contextIn, type World } from '../support/context.ts'
import { fails } from '../support/scripted-model.ts'
import { addQuietly, play } from './play.ts'

const minuteMs = 60_000

/** A pool of two deployments: each with a quota of its own, or both on one. */
const layouts: readonly { readonly layout: string; readonly quotas: readonly QuotaLimits[] }[] = [
  { layout: 'quotas of their own', quotas: [quotaOf('east', ['east']), quotaOf('west', ['west'])] },
  { layout: 'one quota', quotas: [quotaOf('shared', ['east', 'west'])] },
]

function quotaOf(name: string, deployments: readonly string[]): QuotaLimits {
  const members = deployments.map((deployment) => ({ deployment, settingsMark: 'mark' }))
  return { ...quota, quota: name, deployments: members }
}

type Sick = { answer: ModelAnswer | undefined }

/** Two instances that call the pool; `west` answers with what it is sick of, after a second, for as long as it is. */
function poolOf(
  quotas: readonly QuotaLimits[],
  own: Partial<Context> = {},
): { world: World; rooms: readonly [Context, Context]; sick: Sick } {
  const world = newWorld()
  const sick: Sick = { answer: undefined }
  const model: ImageModel = {
    async generate(call) {
      if (call.deployment !== 'west' || sick.answer === undefined) return world.model.generate(call)
      world.model.calls.push({
        startedAt: world.clock.now(),
        deployment: call.deployment,
        prompt: call.request.prompt,
      })
      await world.clock.sleepUntil(world.clock.now() + 1_000)
      return sick.answer
    },
  }
  const context = (): Context => contextIn(world, { model, pools: [{ name: 'pool', quotas, costs }], ...own })
  return { world, rooms: [context(), context()], sick }
}

function startsOn(world: World, deployment: string): number[] {
  return world.model.calls.filter((call) => call.deployment === deployment).map(({ startedAt }) => startedAt)
}

function assertPace(world: World, quotas: readonly QuotaLimits[]): void {
  for (const { deployments, rpm } of quotas) {
    assertNeverFasterThan(
      deployments.flatMap(({ deployment }) => startsOn(world, deployment)),
      { rpm },
    )
  }
}

async function breakerOf(context: Context, deployment: string) {
  const status = (await budgetStatus(context)).find(({ member }) => member.deployment === deployment)
  return status === undefined ? undefined : memberOf(status.ledger, deployment)?.breaker
}

function attemptsIn(world: World): number {
  const { jobs } = assertRowsAgree(batch, world.jobs.rows(batch))
  return jobs.reduce((total, job) => total + job.attempts, 0)
}

describe.each(layouts)('of two deployments with $layout one that is dead', ({ quotas }) => {
  test('loses its jobs to the other, at no attempt, is asked now and then, and taken back', async () => {
    const { world, rooms, sick } = poolOf(quotas, { attemptsMax: 1 })
    const [context] = rooms
    sick.answer = fails('unavailable', { code: '401' })
    await addQuietly(world, context, { count: 100 })
    const startedAt = world.clock.now()
    await play(world, rooms, startedAt + 3 * minuteMs)
    const { counts } = (await batchStatus(context, batch))!
    expect(counts).toMatchObject({ succeeded: 100, failed: 0, waiting: 0 })
    expect(attemptsIn(world)).toBe(100)
    // Those that were under way when the first was answered, and probes at 10, 20, 40 and 80 s.
    expect(startsOn(world, 'west').length).toBeLessThanOrEqual(7)
    expect(await breakerOf(context, 'west')).toMatchObject({ code: '401', message: 'the model says 401' })
    expect(await breakerOf(context, 'east')).toBeNull()
    assertPace(world, quotas)

    sick.answer = undefined
    const wellAt = world.clock.now()
    await addQuietly(world, context, { count: 400, name: 'batch-b' })
    await play(world, rooms, wellAt + 20 * minuteMs)
    expect((await batchStatus(context, 'batch-b'))?.counts).toMatchObject({ succeeded: 400 })
    expect(await breakerOf(context, 'west')).toBeNull()
    const probedAt = startsOn(world, 'west').find((at) => at > wellAt)!
    const answeredAt = probedAt + 20_000
    const after = world.model.calls.filter((call) => call.startedAt > answeredAt + 20_000)
    const wests = after.filter(({ deployment }) => deployment === 'west').length
    expect(wests / after.length).toBeCloseTo(0.5, 1)
    assertPace(world, quotas)
  })

  test('is asked at growing intervals, by one job at a time', async () => {
    const { world, rooms, sick } = poolOf(quotas)
    sick.answer = fails('unavailable', { code: '404' })
    await addQuietly(world, rooms[0], { count: 900 })
    await play(world, rooms, world.clock.now() + 8 * minuteMs)
    const starts = startsOn(world, 'west')
    const [stoppedAt] = starts
    const probes = starts.filter((at) => at > stoppedAt! + timing.probeFirstMs - 1_000)
    const gaps = probes.slice(1).map((at, index) => at - probes[index]!)
    for (const [index, gapMs] of gaps.entries()) {
      expect(gapMs).toBeGreaterThanOrEqual(timing.probeFirstMs * 2 ** (index + 1))
      expect(gapMs).toBeLessThan(timing.probeFirstMs * 2 ** (index + 1) + 20_000)
    }
    expect(gaps.length).toBeGreaterThanOrEqual(3)
    assertPace(world, quotas)
  })

  test('is taken back at once when its key or address was corrected', async () => {
    const { world, rooms, sick } = poolOf(quotas)
    const [context] = rooms
    sick.answer = fails('unavailable', { code: '401' })
    await addQuietly(world, context, { count: 200 })
    await play(world, rooms, world.clock.now() + minuteMs)
    expect(await breakerOf(context, 'west')).toMatchObject({ code: '401' })
    sick.answer = undefined
    const corrected = quotas.map((each) => ({
      ...each,
      deployments: each.deployments.map((member) => ({ ...member, settingsMark: 'corrected' })),
    }))
    const pools = [{ name: 'pool', quotas: corrected, costs }]
    const now = world.clock.now()
    await play(
      world,
      [
        { ...context, pools },
        { ...rooms[1], pools },
      ],
      now + 30_000,
    )
    expect(await breakerOf({ ...context, pools }, 'west')).toBeNull()
    expect(startsOn(world, 'west').filter((at) => at > now).length).toBeGreaterThan(5)
  })
})

describe.each(layouts)('of two deployments with $layout one that answers with faults', ({ quotas }) => {
  test.each([
    ['transient', false],
    ['unknown', true],
  ] as const)('that are %s is stopped before it uses up its jobs', async (kind, isPaid) => {
    const { world, rooms, sick } = poolOf(quotas, { attemptsMax: 3 })
    const [context] = rooms
    sick.answer = fails(kind)
    await addQuietly(world, context, { count: 150 })
    await play(world, rooms, world.clock.now() + 5 * minuteMs)
    const status = (await batchStatus(context, batch))!
    expect(status.counts).toMatchObject({ succeeded: 150, failed: 0 })
    expect(await breakerOf(context, 'west')).toMatchObject({ code: 'failing' })
    const faults = startsOn(world, 'west').length
    expect(faults).toBeGreaterThanOrEqual(timing.faultsMin)
    // Five faults, those under way meanwhile, and a few probes.
    expect(faults).toBeLessThan(16)
    expect(attemptsIn(world)).toBe(150 + faults)
    expect(status.counters.possiblyRepeated).toBe(isPaid ? faults : 0)
    expect(status.counters.unsureMicroUsd).toBe(isPaid ? faults * 10_000 : 0)
    assertPace(world, quotas)

    sick.answer = undefined
    await addQuietly(world, context, { count: 300, name: 'batch-b' })
    await world.clock.run(nudge(contextIn(world, { pools: context.pools }), 'pool'))
    await play(world, rooms, world.clock.now() + 8 * minuteMs)
    expect(await breakerOf(context, 'west')).toBeNull()
    expect((await batchStatus(context, 'batch-b'))?.counts).toMatchObject({ succeeded: 300 })
  })

  test('now and then stays in service', async () => {
    const { world, rooms } = poolOf(quotas, { attemptsMax: 10 })
    const { script } = world.model
    const ok = world.model
    let calls = 0
    const model: ImageModel = {
      async generate(call) {
        calls += 1
        if (calls % 4 === 0) script.push(fails('transient'))
        return ok.generate(call)
      },
    }
    const flaky = rooms.map((context) => ({ ...context, model }))
    await addQuietly(world, flaky[0]!, { count: 150 })
    await play(world, flaky, world.clock.now() + 6 * minuteMs)
    expect((await batchStatus(flaky[0]!, batch))?.counts).toMatchObject({ succeeded: 150 })
    expect(await breakerOf(flaky[0]!, 'west')).toBeNull()
    expect(await breakerOf(flaky[0]!, 'east')).toBeNull()
    expect(startsOn(world, 'west').length).toBeGreaterThan(60)
  })
})

describe('a 429', () => {
  test('of one deployment pauses all that share its quota, and no others', async () => {
    const { world, rooms, sick } = poolOf([quotaOf('shared', ['east', 'west']), quotaOf('apart', ['north'])])
    const [context] = rooms
    await addQuietly(world, context, { count: 200 })
    await play(world, rooms, world.clock.now() + 30_000)
    sick.answer = fails('throttled', { retryAfterMs: 40_000 })
    const refusedFrom = world.clock.now()
    await play(world, rooms, refusedFrom + 10_000)
    sick.answer = undefined
    const ledgerOf = async (name: string) =>
      (await budgetStatus(context)).find(({ ledger }) => ledger.quota === name)!.ledger
    const { pausedUntil } = await ledgerOf('shared')
    expect(pausedUntil).toBeGreaterThan(refusedFrom + 40_000)
    await play(world, rooms, pausedUntil + 30_000)
    // A second for its answer, another for every worker's view of the ledger.
    const during = (name: string): number[] =>
      startsOn(world, name).filter((at) => at > pausedUntil - 37_000 && at < pausedUntil)
    expect([...during('east'), ...during('west')]).toEqual([])
    expect(during('north').length).toBeGreaterThan(25)
    expect((await ledgerOf('apart')).pausedUntil).toBe(0)
    const failed = (await batchStatus(context, batch))?.counts.failed
    expect(failed).toBe(0)
  })
})

test('pools of different models have ticks, ledgers and batches of their own', async () => {
  const world = newWorld()
  const pools = [
    { name: 'pool', quotas: [quotaOf('east', ['east'])], costs },
    { name: 'other', quotas: [quotaOf('west', ['west'])], costs },
  ]
  const context = contextIn(world, { pools })
  await addQuietly(world, context, { count: 20 })
  await play(world, [context], world.clock.now() + minuteMs)
  expect(new Set(world.model.calls.map(({ deployment }) => deployment))).toEqual(new Set(['east']))
  expect(world.budget.rows('other')).toEqual([])
})
