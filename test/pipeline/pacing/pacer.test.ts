import { describe, expect, test } from 'vitest'
import { openBatch } from '../../../src/pipeline/intake/known-batch.ts'
import { newLedger, spacingMs, wakeAheadMs, type QuotaLimits } from '../../../src/core/budget/ledger.ts'
import { claimed, failed } from '../../../src/core/jobs/transitions.ts'
import { failure } from '../../../src/core/jobs/failure.ts'
import { newFlow } from '../../../src/core/budget/fairness.ts'
import { topPaces } from '../../../src/core/budget/level.ts'
import { timing } from '../../../src/core/timing.ts'
import { nudge } from '../../../src/pipeline/pacing/announce.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { takeMessage } from '../../../src/pipeline/intake/intake.ts'
import { runTick } from '../../../src/pipeline/pacing/pacer.ts'
import type { TickState } from '../../../src/ports/budget.ts'
import { assertEqualShares, assertNeverFasterThan, assertRowsAgree } from '../../support/laws.ts'
import {
  batch,
  costs,
  deployment,
  ledgerIn,
  messageOf,
  newWorld,
  phaseOf,
  quota,
  contextIn,
  type World,
} from '../../support/context.ts'

async function takeMany(world: World, context: Context, count: number, name = batch): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    const key = `line-${String(index).padStart(3, '0')}`
    await world.clock.run(takeMessage(context, messageOf(key, { batch: name })))
  }
}

/** The job table as intake leaves it, before any tick has looked. */
async function addQuietly(world: World, context: Context, count: number, name = batch): Promise<void> {
  const quiet = contextIn(world, { budgets: { ...context.budgets, readTick: async () => dueNow(world) } })
  await takeMany(world, quiet, count, name)
}

const dueNow = (world: World): TickState => tickOf({ epoch: 0, dueAt: world.clock.now() + 1_000 })

function tickOf(fields: Partial<TickState>): TickState {
  const who = { instance: 'here', aloneSince: 0, mark: 'm' }
  return { epoch: 1, dueAt: null, virtualTime: 0, hasRoom: false, ...who, ...fields }
}

async function tick(context: Context, epoch: number): Promise<'ticked' | 'stale'> {
  return runTick(context, { pool: 'pool', epoch })
}

/** Runs ticks as they are due, until so many work messages were sent or the time has passed. */
async function tickOn(world: World, context: Context, { sent = Infinity, until = Infinity }): Promise<void> {
  for (;;) {
    const { epoch, dueAt } = (await context.budgets.readTick('pool')) ?? dueNow(world)
    if (world.messages.work.length >= sent || dueAt === null || dueAt > until) return
    await world.clock.runUntil(dueAt)
    await world.clock.run(tick(context, epoch))
  }
}

/** A room whose pool has these quotas. */
function roomWith(world: World, quotas: readonly QuotaLimits[]): Context {
  return contextIn(world, { pools: [{ name: 'pool', quotas, costs }] })
}

function quotaOf(name: string, deployments: readonly string[] = [name], rpm = 60): QuotaLimits {
  const members = deployments.map((each) => ({ deployment: each, settingsMark: 'mark' }))
  return { ...quota, quota: name, rpm, deployments: members }
}

test('a tick gives slots up to the horizon, evenly spaced, in order, each with its message some time before', async () => {
  const world = newWorld()
  const context = contextIn(world)
  await addQuietly(world, context, 40)
  expect(await world.clock.run(tick(context, 0))).toBe('ticked')
  const now = world.clock.now()
  const slots = world.messages.work.map(({ message }) => message)
  const ledger = await ledgerIn(context)
  expect(slots.map(({ key }) => key)).toEqual(
    slots.map((_, index) => `line-${String(index).padStart(3, '0')}`),
  )
  expect(slots[0]?.slotAt).toBe(now + timing.firstSlotMs)
  for (const [index, { slotAt }] of slots.entries()) {
    expect(slotAt).toBeCloseTo(now + timing.firstSlotMs + index * spacingMs(ledger), 1)
    expect((await phaseOf(context, { key: slots[index]!.key }, 'slotted')).slotAt).toBe(slotAt)
  }
  const horizonAt = now + timing.leadMs + 2 * timing.tickMs
  expect(slots.at(-1)!.slotAt).toBeLessThanOrEqual(horizonAt)
  expect(slots.at(-1)!.slotAt).toBeGreaterThan(horizonAt - spacingMs(ledger))
  for (const { message, visibleAt } of world.messages.work) {
    expect(visibleAt).toBe(Math.max(now, message.slotAt - wakeAheadMs(ledger, { isCold: false, quotas: 1 })))
    expect(message.wakeAt).toBe(visibleAt)
  }
  expect(world.messages.ticks).toEqual([
    { message: { pool: 'pool', epoch: 1 }, visibleAt: now + timing.tickMs },
  ])
  assertRowsAgree(batch, world.jobs.rows(batch))
})

test('a tick that has been run already does nothing', async () => {
  const world = newWorld()
  const context = contextIn(world)
  await takeMany(world, context, 3)
  const before = [world.budget.rows('pool'), world.messages.work.length]
  expect(await world.clock.run(tick(context, 0))).toBe('stale')
  expect(await world.clock.run(runTick(context, { pool: 'another', epoch: 1 }))).toBe('stale')
  expect([world.budget.rows('pool'), world.messages.work.length]).toEqual(before)
})

test('of two pacers at once one gives slots, and the other changes nothing', async () => {
  const world = newWorld()
  const context = contextIn(world)
  await addQuietly(world, context, 40)
  const results = await world.clock.run(Promise.all([tick(context, 0), tick(contextIn(world), 0)]))
  expect(results.sort()).toEqual(['stale', 'ticked'])
  const slots = world.messages.work.map(({ message }) => message.slotAt)
  expect(new Set(slots).size).toBe(slots.length)
  expect(world.messages.work.length).toBe(new Set(world.messages.work.map(({ message }) => message.key)).size)
  expect(world.messages.ticks).toHaveLength(1)
})

test('a worker that takes a fresh slot while a tick decides keeps it for itself', async () => {
  const world = newWorld()
  const context = contextIn(world)
  await takeMany(world, context, 1)
  await addQuietly(world, context, 20)
  const taken = world.clock.now() + 20_000
  let isTaken = false
  const late = contextIn(world, {
    budgets: {
      ...context.budgets,
      async commit(change) {
        if (!isTaken) {
          isTaken = true
          const before = (await context.budgets.readLedger({ pool: 'pool', quota: deployment }))!
          await context.budgets.changeLedger({
            pool: 'pool',
            before,
            after: { ...before.value, nextFreeAt: taken },
          })
        }
        return context.budgets.commit(change)
      },
    },
  })
  await world.clock.runUntil(world.clock.now() + 6_000)
  const sent = world.messages.work.length
  expect(await world.clock.run(tick(late, 1))).toBe('ticked')
  for (const { message } of world.messages.work.slice(sent))
    expect(message.slotAt).toBeGreaterThanOrEqual(taken)
})

test('a job that comes while a due tick is under way does not wait for the next minute', async () => {
  const world = newWorld()
  const context = contextIn(world)
  await takeMany(world, context, 1)
  const [due] = world.messages.ticks
  await world.clock.runUntil(due!.visibleAt)
  // The tick has looked at the lines, and is about to commit when the job comes to another instance.
  let goOn = (): void => {}
  const isHeld = new Promise<void>((resolve) => (goOn = resolve))
  const slow = contextIn(world, {
    budgets: {
      ...context.budgets,
      async commit(change) {
        await isHeld
        return context.budgets.commit(change)
      },
    },
  })
  const ticking = tick(slow, due!.message.epoch)
  await world.clock.runUntil(world.clock.now())
  await world.clock.run(takeMessage(contextIn(world), messageOf('late')))
  goOn()
  await world.clock.run(ticking)
  const sent = world.messages.work.find(({ message }) => message.key === 'late')
  expect(sent?.message.slotAt).toBeLessThan(world.clock.now() + 10_000)
})

test('an empty pool has no ticks, and the next job runs one itself', async () => {
  const world = newWorld()
  const context = contextIn(world)
  expect(await world.clock.run(tick(context, 0))).toBe('ticked')
  expect(world.messages.ticks).toEqual([])
  expect((await context.budgets.readTick('pool'))?.dueAt).toBeNull()
  await takeMany(world, context, 1)
  expect(world.messages.work).toHaveLength(1)
  expect(world.messages.ticks).toHaveLength(1)
})

test('a tick whose message was lost is run by whoever notices', async () => {
  const world = newWorld()
  await takeMany(world, contextIn(world), 30)
  const slotted = world.messages.work.length
  expect(slotted).toBeLessThan(30)
  const dueAt = world.messages.ticks.at(-1)!.visibleAt
  await world.clock.runUntil(dueAt + timing.tickOverdueMs)
  await world.clock.run(nudge(contextIn(world), 'pool'))
  expect(world.messages.work.length).toBeGreaterThan(slotted)
})

test('flows of equal weight get equal shares, wherever they stand in the alphabet', async () => {
  const world = newWorld()
  const context = contextIn(world)
  for (const name of ['a', 'b', 'c']) await addQuietly(world, context, 20, name)
  let epoch = 0
  while (world.messages.work.length < 40) {
    await world.clock.run(tick(context, epoch))
    epoch += 1
    await world.clock.runUntil(world.clock.now() + timing.tickMs)
  }
  const first = world.messages.work.slice(0, 39).map(({ message }) => message.batch)
  assertEqualShares(['a', 'b', 'c'].map((name) => first.filter((served) => served === name).length))
})

test('deployments that differ in their leads each get their slots a lead before', async () => {
  const world = newWorld()
  const slow = quotaOf('slow', ['gpt-image-1-slow'], 6)
  const fast = quotaOf('fast', ['gpt-image-1-late'])
  const context = roomWith(world, [slow, fast])
  const now = world.clock.now()
  await context.budgets.commit({
    pool: 'pool',
    ledgers: [
      // The slow one's next slot lies just beyond its horizon of 13 s.
      { before: undefined, after: { ...newLedger(slow, now), leadMs: 3_000, nextFreeAt: now + 15_000 } },
      { before: undefined, after: { ...newLedger(fast, now), leadMs: 40_000, nextFreeAt: now + 17_000 } },
    ],
    flows: [],
    tick: {
      before: undefined,
      after: tickOf({ dueAt: now + 1_000 }),
    },
  })
  await takeMany(world, context, 10)
  await world.clock.runUntil(now + 1_000)
  await world.clock.run(tick(context, 1))
  expect(world.messages.work.map(({ message }) => message.deployment)).toContain('gpt-image-1-late')
})

test('a flow stays while a job of its batch is unfinished, and goes when it was empty for a while', async () => {
  const world = newWorld()
  const context = contextIn(world)
  await takeMany(world, context, 1)
  let epoch = 1
  const tickAfter = async (ms: number): Promise<number> => {
    await world.clock.runUntil(world.clock.now() + ms)
    await world.clock.run(tick(context, epoch))
    epoch += 1
    return (await context.budgets.read('pool')).flows.length
  }
  await tickAfter(timing.tickMs)
  expect(await tickAfter(timing.flowIdleMs)).toBe(1)
  const slotted = (await context.jobs.get({ batch, key: 'line-000' }))!
  const running = claimed(slotted.job, { slotAt: 0, deployment, leaseUntil: world.clock.now() + 90_000 })!
  const claim = (await world.clock.run(context.jobs.change(slotted, running)))!
  const finishedAt = world.clock.now()
  const done = failed(claim.job, { finishedAt, failure: failure('refused', 'x', 'y') })!
  await world.clock.run(context.jobs.change(claim, done))
  // It has been looked at while its job ran: it rests once more.
  expect(await tickAfter(timing.tickMs)).toBe(1)
  expect(await tickAfter(timing.flowIdleMs)).toBe(0)
})

test('flows that were found empty do not stand in the way of one that has work', async () => {
  const world = newWorld()
  const context = roomWith(world, [quotaOf(deployment, [deployment], 600)])
  const empty = Array.from({ length: 300 }, (_, index) => `done-${index}`)
  for (const name of empty) {
    const order = { pool: 'pool', batch: name, change: () => undefined }
    await world.clock.run(context.budgets.changeFlow({ ...order, fresh: async () => newFlow(name) }))
  }
  for (let epoch = 0; epoch < 6; epoch += 1) {
    await world.clock.run(tick(context, epoch))
    await world.clock.runUntil(world.clock.now() + timing.tickMs)
  }
  await takeMany(world, context, 5)
  await world.clock.runUntil(world.clock.now() + timing.tickMs)
  const { epoch } = (await context.budgets.readTick('pool'))!
  await world.clock.run(tick(context, epoch))
  expect(world.messages.work).toHaveLength(5)
})

test('a tick whose commit was written, but not answered, is carried out all the same', async () => {
  const world = newWorld()
  const context = contextIn(world)
  await addQuietly(world, context, 3)
  const lossy: Context = {
    ...context,
    budgets: {
      ...context.budgets,
      async commit(change) {
        await context.budgets.commit(change)
        return 'conflict'
      },
    },
  }
  expect(await world.clock.run(tick(lossy, 0))).toBe('ticked')
  expect(world.messages.work).toHaveLength(3)
  expect(world.messages.ticks).toHaveLength(1)
})

test('every flow that is given a slot stands in the commit, so that a decision about it is never overlooked', async () => {
  const world = newWorld()
  const context = roomWith(world, [quotaOf(deployment, [deployment], 600)])
  // Found empty a moment ago; then a job came to each, from instances that believed them awake.
  const names = Array.from({ length: 150 }, (_, index) => `small-${index}`)
  for (const name of names) {
    await addQuietly(world, context, 1, name)
    const order = { pool: 'pool', batch: name, fresh: async () => newFlow(name) }
    await context.budgets.changeFlow({
      ...order,
      change: (flow) => ({ ...flow, idleSince: world.clock.now() - 1_000 }),
    })
  }
  const committed = new Set<string>()
  const watching = {
    ...context,
    budgets: {
      ...context.budgets,
      commit: async (change: Parameters<typeof context.budgets.commit>[0]) => {
        committed.clear()
        for (const { after } of change.flows) committed.add(after.batch)
        return context.budgets.commit(change)
      },
    },
  }
  await world.clock.run(tick(watching, 0))
  const served = world.messages.work.map(({ message }) => message.batch)
  expect(served.length).toBeGreaterThan(50)
  expect(served.filter((name) => !committed.has(name))).toEqual([])
})

test('many small batches that are done do not keep a big one from its slots, tick after tick as they are due', async () => {
  const world = newWorld()
  const context = roomWith(world, [quotaOf(deployment, [deployment], 600)])
  await addQuietly(world, context, 300, 'z-big')
  for (let index = 0; index < 250; index += 1) await addQuietly(world, context, 1, `small-${index}`)
  const startedAt = world.clock.now()
  await world.clock.run(tick(context, 0))
  while (world.messages.work.length < 550) {
    const due = world.messages.ticks.at(-1)!
    await world.clock.runUntil(due.visibleAt)
    await world.clock.run(tick(context, due.message.epoch))
    if (world.clock.now() > startedAt + 120_000) break
  }
  const slots = world.messages.work.map(({ message }) => message.slotAt).sort((a, b) => a - b)
  expect(slots).toHaveLength(550)
  // 550 slots of 102 ms are 56 s; what is missing were slots that nobody got.
  expect(slots.at(-1)! - slots[0]!).toBeLessThan(60_000)
})

describe('priorities', () => {
  test('let the high ones of a batch go first and the low ones last, whenever they came', async () => {
    const world = newWorld()
    const context = contextIn(world)
    const quiet = contextIn(world, { budgets: { ...context.budgets, readTick: async () => dueNow(world) } })
    for (const [index, priority] of ['low', undefined, 'normal', 'high', 'low', 'high'].entries()) {
      await world.clock.run(takeMessage(quiet, messageOf(`${index}`, { priority })))
      await world.clock.runUntil(world.clock.now() + 10)
    }
    await world.clock.run(tick(context, 0))
    expect(world.messages.work.map(({ message }) => message.key)).toEqual(['3', '5', '2', '1', '0', '4'])
  })

  test('are no reason to wait for one that is due later while another is due now', async () => {
    const world = newWorld()
    const context = contextIn(world)
    await addQuietly(world, context, 40)
    const now = world.clock.now()
    for (let index = 0; index < 40; index += 1) {
      const at = now + 600_000 + index
      const job = { ...(await stored(context, 'line-000')), key: `later-${index}`, priority: 'high' as const }
      await world.clock.run(
        context.jobs.add({ ...job, createdAt: at, phase: { kind: 'waiting', dueAt: at } }),
      )
    }
    await world.clock.run(tick(context, 0))
    const keys = world.messages.work.map(({ message }) => message.key)
    expect(keys.length).toBeGreaterThan(10)
    expect(keys).toEqual(keys.map((_, index) => `line-${String(index).padStart(3, '0')}`))
  })

  test('of a batch give it 16 slots for 4 of a normal one and 1 of a low one', async () => {
    const world = newWorld()
    const context = roomWith(world, [quotaOf(deployment, [deployment], 600)])
    for (const name of ['high', 'low', 'normal'] as const) {
      await addQuietly(world, context, 200, name)
      const order = { pool: 'pool', batch: name, fresh: async () => newFlow(name) }
      await context.budgets.changeFlow({ ...order, change: (flow) => ({ ...flow, priority: name }) })
    }
    await tickOn(world, context, { sent: 210 })
    const first = world.messages.work.slice(0, 210).map(({ message }) => message.batch)
    const count = (name: string): number => first.filter((served) => served === name).length
    expect([count('high'), count('normal'), count('low')]).toEqual([160, 40, 10])
  })

  test('of single jobs are charged to their batch, so that it gains nothing beside others', async () => {
    const world = newWorld()
    const context = roomWith(world, [quotaOf(deployment, [deployment], 600)])
    const quiet = contextIn(world, { budgets: { ...context.budgets, readTick: async () => dueNow(world) } })
    for (let index = 0; index < 60; index += 1) {
      const low = { batch: 'low', priority: 'low' }
      await world.clock.run(takeMessage(quiet, messageOf(`${index}`, low)))
    }
    await addQuietly(world, context, 200, 'normal')
    await tickOn(world, context, { sent: 100 })
    const first = world.messages.work.slice(0, 100).map(({ message }) => message.batch)
    expect(first.filter((name) => name === 'low')).toHaveLength(20)
  })

  test('stand beside the shares of the settings, which may change at any time', async () => {
    const world = newWorld()
    let share = 3
    const quotas = [quotaOf(deployment, [deployment], 600)]
    const context = {
      ...roomWith(world, quotas),
      shareOf: (name: string): number => (name === 'a' ? share : 1),
    }
    for (const name of ['a', 'b']) await addQuietly(world, context, 300, name)
    await tickOn(world, context, { sent: 150 })
    const served = (from: number): number =>
      world.messages.work.slice(from, from + 80).filter(({ message }) => message.batch === 'a').length
    expect(served(0)).toBe(60)
    share = 1
    const from = world.messages.work.length
    await tickOn(world, context, { sent: from + 80 })
    expect(served(from)).toBe(40)
  })
})

test('ten batches of one key get together what one of another key gets', async () => {
  const world = newWorld()
  const context = {
    ...roomWith(world, [quotaOf(deployment, [deployment], 600)]),
    ownerWeight: (owner: string): number => (owner === 'studio' ? 2 : 1),
  }
  const many = Array.from({ length: 10 }, (_, index) => `many-${index}`)
  const open = async (name: string, owner: string) => openBatch(context, { pool: 'pool', batch: name }, owner)
  await world.clock.run(Promise.all(many.map(async (name) => open(name, 'crowd'))))
  await world.clock.run(Promise.all([open('one', 'loner'), open('heavy', 'studio')]))
  for (const name of [...many, 'one', 'heavy']) await addQuietly(world, context, 100, name)
  await tickOn(world, context, { sent: 160 })
  const served = world.messages.work.slice(0, 160).map(({ message }) => message.batch)
  const count = (isOf: (name: string) => boolean): number => served.filter(isOf).length
  expect(count((name) => name === 'one')).toBe(40)
  expect(count((name) => name === 'heavy')).toBe(80)
  expect(count((name) => many.includes(name))).toBe(40)
})

async function stored(context: Context, key: string) {
  return (await context.jobs.get({ batch, key }))!.job
}

describe('a pool of several deployments', () => {
  test('that share a quota gives them slots by turns, at the pace of the one quota', async () => {
    const world = newWorld()
    const context = roomWith(world, [quotaOf('shared', ['east', 'west'])])
    await addQuietly(world, context, 60)
    await tickOn(world, context, { sent: 60 })
    const slots = world.messages.work.map(({ message }) => message)
    expect(slots.map((slot) => slot.deployment)).toEqual(
      slots.map((_, index) => (index % 2 === 0 ? 'east' : 'west')),
    )
    expect(new Set(slots.map((slot) => slot.quota))).toEqual(new Set(['shared']))
    for (const [index, { slotAt }] of slots.entries()) {
      if (index > 0) expect(slotAt - slots[index - 1]!.slotAt).toBeCloseTo(60_000 / 58.8, 1)
    }
    assertNeverFasterThan(
      slots.map(({ slotAt }) => slotAt),
      { rpm: 60 },
    )
  })

  test('with quotas of their own keeps each at its own pace, and uses both', async () => {
    const world = newWorld()
    const context = roomWith(world, [quotaOf('east', ['east'], 60), quotaOf('west', ['west'], 120)])
    await addQuietly(world, context, 180)
    const startedAt = world.clock.now()
    await tickOn(world, context, { sent: 180 })
    const slotsOf = (name: string): number[] =>
      world.messages.work
        .filter(({ message }) => message.deployment === name)
        .map(({ message }) => message.slotAt)
    expect(slotsOf('east').length).toBeGreaterThan(55)
    expect(slotsOf('east').length + slotsOf('west').length).toBe(180)
    assertNeverFasterThan(slotsOf('east'), { rpm: 60 })
    assertNeverFasterThan(slotsOf('west'), { rpm: 120 })
    // 180 slots at 176.4 a minute.
    expect(Math.max(...slotsOf('east'), ...slotsOf('west')) - startedAt).toBeLessThan(65_000)
    assertRowsAgree(batch, world.jobs.rows(batch))
  })

  test('takes in one that the settings have added, and gives none to one that they have dropped', async () => {
    const world = newWorld()
    const before = roomWith(world, [quotaOf('shared', ['east'])])
    await addQuietly(world, before, 60)
    await world.clock.run(tick(before, 0))
    const sent = world.messages.work.length
    await tickOn(world, roomWith(world, [quotaOf('shared', ['west'])]), { sent: sent + 10 })
    const deployments = world.messages.work.map(({ message }) => message.deployment)
    expect(new Set(deployments.slice(0, sent))).toEqual(new Set(['east']))
    expect(new Set(deployments.slice(sent))).toEqual(new Set(['west']))
    assertNeverFasterThan(
      world.messages.work.map(({ message }) => message.slotAt),
      { rpm: 60 },
    )
  })
})

test('what was decided for a batch outlives its flow, and its next job goes by it', async () => {
  const world = newWorld()
  const context = contextIn(world)
  await takeMany(world, context, 1)
  const order = { pool: 'pool', batch, fresh: async () => newFlow(batch) }
  const terms = { priority: 'high', capMicroUsd: 7_000_000, decision: null, refusalsFrom: 5 } as const
  await context.budgets.changeFlow({ ...order, change: (flow) => ({ ...flow, ...terms }) })
  await world.clock.run(context.jobs.cancelQueued({ batch, limit: 9, now: world.clock.now() }))
  await tickOn(world, context, { until: world.clock.now() + 200_000 })
  expect((await context.budgets.read('pool')).flows).toEqual([])
  expect((await context.batches.readBatch(batch))?.terms).toEqual(terms)
  const another = contextIn(world)
  await world.clock.run(takeMessage(another, messageOf('another')))
  expect((await context.budgets.readFlow({ pool: 'pool', batch }))?.value).toMatchObject(terms)
})

test('how many wait in each of several batches is counted now and then, for the estimates of all', async () => {
  const world = newWorld()
  const context = contextIn(world)
  for (const name of ['a', 'b']) await addQuietly(world, context, 30, name)
  await tickOn(world, context, { until: world.clock.now() + 12_000 })
  const { flows } = await context.budgets.read('pool')
  for (const { value } of flows) {
    expect(value.backlog?.waiting).toBe(30)
    expect(world.clock.now() - (value.backlog?.at ?? 0)).toBeLessThan(12_000)
  }
})

test('the pace may rise further where one instance runs all ticks for a while, and not beside another', async () => {
  const world = newWorld()
  const [context, other] = [contextIn(world), contextIn(world)]
  await addQuietly(world, context, 600)
  const topPace = async (): Promise<number> => (await ledgerIn(context)).topPace
  await tickOn(world, context, { until: world.clock.now() + timing.aloneMs - 10_000 })
  expect(await topPace()).toBe(topPaces.severalClocks)
  await tickOn(world, context, { until: world.clock.now() + 20_000 })
  expect(await topPace()).toBe(topPaces.oneClock)
  await tickOn(world, other, { until: world.clock.now() + 6_000 })
  expect(await topPace()).toBe(topPaces.severalClocks)
})
