import { expect, test } from 'vitest'
import { newLedger, spacingMs } from '../../src/core/budget.ts'
import { claimed, failed } from '../../src/core/job.ts'
import { failure } from '../../src/core/failure.ts'
import { timing } from '../../src/core/timing.ts'
import { nudge } from '../../src/pipeline/announce.ts'
import type { Darkroom } from '../../src/pipeline/darkroom.ts'
import { takeMessage } from '../../src/pipeline/intake.ts'
import { onTickMessage, runTick } from '../../src/pipeline/pacer.ts'
import { assertEqualShares, assertRowsAgree } from '../support/laws.ts'
import {
  batch,
  deployment,
  ledgerIn,
  messageOf,
  newWorld,
  phaseOf,
  roomIn,
  type World,
} from '../support/room.ts'

async function takeMany(world: World, room: Darkroom, count: number, name = batch): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    const key = `line-${String(index).padStart(3, '0')}`
    await world.clock.run(takeMessage(room, messageOf(key, { batch: name })))
  }
}

/** The job table as intake leaves it, before any tick has looked. */
async function addQuietly(world: World, room: Darkroom, count: number, name = batch): Promise<void> {
  const quiet = roomIn(world, { budgets: { ...room.budgets, readTick: async () => dueNow(world) } })
  await takeMany(world, quiet, count, name)
}

const dueNow = (world: World) => ({
  epoch: 0,
  dueAt: world.clock.now() + 1_000,
  virtualTime: 0,
  hasRoom: false,
  mark: 'm',
})

test('a tick gives slots up to the horizon, evenly spaced, in order, each with its message a lead before', async () => {
  const world = newWorld()
  const room = roomIn(world)
  await addQuietly(world, room, 40)
  expect(await world.clock.run(runTick(room, 0))).toBe('ticked')
  const now = world.clock.now()
  const slots = world.messages.work.map(({ message }) => message)
  const ledger = await ledgerIn(room)
  expect(slots.map(({ key }) => key)).toEqual(
    slots.map((_, index) => `line-${String(index).padStart(3, '0')}`),
  )
  expect(slots[0]?.slotAt).toBe(now + timing.firstSlotMs)
  for (const [index, { slotAt }] of slots.entries()) {
    expect(slotAt).toBeCloseTo(now + timing.firstSlotMs + index * spacingMs(ledger), 1)
    expect((await phaseOf(room, { key: slots[index]!.key }, 'slotted')).slotAt).toBe(slotAt)
  }
  const horizonAt = now + timing.leadMs + 2 * timing.tickMs
  expect(slots.at(-1)!.slotAt).toBeLessThanOrEqual(horizonAt)
  expect(slots.at(-1)!.slotAt).toBeGreaterThan(horizonAt - spacingMs(ledger))
  for (const { message, visibleAt } of world.messages.work) {
    expect(visibleAt).toBe(Math.max(now, message.slotAt - timing.leadMs))
    expect(message.wakeAt).toBe(visibleAt)
  }
  expect(world.messages.ticks).toEqual([
    { message: { pool: 'pool', epoch: 1 }, visibleAt: now + timing.tickMs },
  ])
  assertRowsAgree(batch, world.jobs.rows(batch))
})

test('a tick that has been run already does nothing', async () => {
  const world = newWorld()
  const room = roomIn(world)
  await takeMany(world, room, 3)
  const before = [world.budget.rows('pool'), world.messages.work.length]
  expect(await world.clock.run(onTickMessage(room, { pool: 'pool', epoch: 0 }))).toBe('stale')
  expect(await world.clock.run(onTickMessage(room, { pool: 'another', epoch: 1 }))).toBe('stale')
  expect([world.budget.rows('pool'), world.messages.work.length]).toEqual(before)
})

test('of two pacers at once one gives slots, and the other changes nothing', async () => {
  const world = newWorld()
  const room = roomIn(world)
  await addQuietly(world, room, 40)
  const results = await world.clock.run(Promise.all([runTick(room, 0), runTick(roomIn(world), 0)]))
  expect(results.sort()).toEqual(['stale', 'ticked'])
  const slots = world.messages.work.map(({ message }) => message.slotAt)
  expect(new Set(slots).size).toBe(slots.length)
  expect(world.messages.work.length).toBe(new Set(world.messages.work.map(({ message }) => message.key)).size)
  expect(world.messages.ticks).toHaveLength(1)
})

test('a worker that takes a fresh slot while a tick decides keeps it for itself', async () => {
  const world = newWorld()
  const room = roomIn(world)
  await takeMany(world, room, 1)
  await addQuietly(world, room, 20)
  const taken = world.clock.now() + 20_000
  let isTaken = false
  const late = roomIn(world, {
    budgets: {
      ...room.budgets,
      async commit(change) {
        if (!isTaken) {
          isTaken = true
          const before = (await room.budgets.readLedger({ pool: 'pool', deployment }))!
          await room.budgets.changeLedger({
            pool: 'pool',
            before,
            after: { ...before.value, nextFreeAt: taken },
          })
        }
        return room.budgets.commit(change)
      },
    },
  })
  await world.clock.runUntil(world.clock.now() + 6_000)
  const sent = world.messages.work.length
  expect(await world.clock.run(runTick(late, 1))).toBe('ticked')
  for (const { message } of world.messages.work.slice(sent))
    expect(message.slotAt).toBeGreaterThanOrEqual(taken)
})

test('a job that comes while a due tick is under way does not wait for the next minute', async () => {
  const world = newWorld()
  const room = roomIn(world)
  await takeMany(world, room, 1)
  const [tick] = world.messages.ticks
  await world.clock.runUntil(tick!.visibleAt)
  // The tick has looked at the lines, and is about to commit when the job comes to another instance.
  let goOn = (): void => {}
  const isHeld = new Promise<void>((resolve) => (goOn = resolve))
  const slow = roomIn(world, {
    budgets: {
      ...room.budgets,
      async commit(change) {
        await isHeld
        return room.budgets.commit(change)
      },
    },
  })
  const ticking = runTick(slow, tick!.message.epoch)
  await world.clock.runUntil(world.clock.now())
  await world.clock.run(takeMessage(roomIn(world), messageOf('late')))
  goOn()
  await world.clock.run(ticking)
  const sent = world.messages.work.find(({ message }) => message.key === 'late')
  expect(sent?.message.slotAt).toBeLessThan(world.clock.now() + 10_000)
})

test('an empty pool has no ticks, and the next job runs one itself', async () => {
  const world = newWorld()
  const room = roomIn(world)
  expect(await world.clock.run(runTick(room, 0))).toBe('ticked')
  expect(world.messages.ticks).toEqual([])
  expect((await room.budgets.readTick('pool'))?.dueAt).toBeNull()
  await takeMany(world, room, 1)
  expect(world.messages.work).toHaveLength(1)
  expect(world.messages.ticks).toHaveLength(1)
})

test('a tick whose message was lost is run by whoever notices', async () => {
  const world = newWorld()
  await takeMany(world, roomIn(world), 30)
  const slotted = world.messages.work.length
  expect(slotted).toBeLessThan(30)
  const dueAt = world.messages.ticks.at(-1)!.visibleAt
  await world.clock.runUntil(dueAt + timing.tickOverdueMs)
  await world.clock.run(nudge(roomIn(world)))
  expect(world.messages.work.length).toBeGreaterThan(slotted)
})

test('flows of equal weight get equal shares, wherever they stand in the alphabet', async () => {
  const world = newWorld()
  const room = roomIn(world)
  for (const name of ['a', 'b', 'c']) await addQuietly(world, room, 20, name)
  let epoch = 0
  while (world.messages.work.length < 40) {
    await world.clock.run(runTick(room, epoch))
    epoch += 1
    await world.clock.runUntil(world.clock.now() + timing.tickMs)
  }
  const first = world.messages.work.slice(0, 39).map(({ message }) => message.batch)
  assertEqualShares(['a', 'b', 'c'].map((name) => first.filter((served) => served === name).length))
})

test('deployments that differ in their leads each get their slots a lead before', async () => {
  const world = newWorld()
  const slow = { deployment: 'gpt-image-1-slow', settingsMark: 'mark', rpm: 6, pace: 0.98 }
  const fast = { deployment: 'gpt-image-1-late', settingsMark: 'mark', rpm: 60, pace: 0.98 }
  const room = roomIn(world, { pool: { name: 'pool', deployments: [slow, fast] } })
  const now = world.clock.now()
  await room.budgets.commit({
    pool: 'pool',
    ledgers: [
      // The slow one's next slot lies just beyond its horizon of 13 s.
      { before: undefined, after: { ...newLedger(slow, now), leadMs: 3_000, nextFreeAt: now + 15_000 } },
      { before: undefined, after: { ...newLedger(fast, now), leadMs: 40_000, nextFreeAt: now + 17_000 } },
    ],
    flows: [],
    tick: {
      before: undefined,
      after: { epoch: 1, dueAt: now + 1_000, virtualTime: 0, hasRoom: false, mark: 'm' },
    },
  })
  await takeMany(world, room, 10)
  await world.clock.runUntil(now + 1_000)
  await world.clock.run(runTick(room, 1))
  expect(world.messages.work.map(({ message }) => message.deployment)).toContain(fast.deployment)
})

test('a flow stays while a job of its batch is unfinished, and goes when it was empty for a while', async () => {
  const world = newWorld()
  const room = roomIn(world)
  await takeMany(world, room, 1)
  let epoch = 1
  const tickAfter = async (ms: number): Promise<number> => {
    await world.clock.runUntil(world.clock.now() + ms)
    await world.clock.run(runTick(room, epoch))
    epoch += 1
    return (await room.budgets.read('pool')).flows.length
  }
  await tickAfter(timing.tickMs)
  expect(await tickAfter(timing.flowIdleMs)).toBe(1)
  const slotted = (await room.jobs.get({ batch, key: 'line-000' }))!
  const running = claimed(slotted.job, { slotAt: 0, deployment, leaseUntil: world.clock.now() + 90_000 })!
  const claim = (await world.clock.run(room.jobs.change(slotted, running)))!
  const finishedAt = world.clock.now()
  const done = failed(claim.job, { finishedAt, failure: failure('refused', 'x', 'y') })!
  await world.clock.run(room.jobs.change(claim, done))
  // It has been looked at while its job ran: it rests once more.
  expect(await tickAfter(timing.tickMs)).toBe(1)
  expect(await tickAfter(timing.flowIdleMs)).toBe(0)
})

test('flows that were found empty do not stand in the way of one that has work', async () => {
  const world = newWorld()
  const room = roomIn(world, {
    pool: { name: 'pool', deployments: [{ deployment, settingsMark: 'mark', rpm: 600, pace: 0.98 }] },
  })
  const empty = Array.from({ length: 300 }, (_, index) => `done-${index}`)
  for (const name of empty) await world.clock.run(room.budgets.wakeFlow({ pool: 'pool', batch: name }))
  for (let epoch = 0; epoch < 6; epoch += 1) {
    await world.clock.run(runTick(room, epoch))
    await world.clock.runUntil(world.clock.now() + timing.tickMs)
  }
  await takeMany(world, room, 5)
  await world.clock.runUntil(world.clock.now() + timing.tickMs)
  const { epoch } = (await room.budgets.readTick('pool'))!
  await world.clock.run(runTick(room, epoch))
  expect(world.messages.work).toHaveLength(5)
})

test('a tick whose commit was written, but not answered, is carried out all the same', async () => {
  const world = newWorld()
  const room = roomIn(world)
  await addQuietly(world, room, 3)
  const lossy: Darkroom = {
    ...room,
    budgets: {
      ...room.budgets,
      async commit(change) {
        await room.budgets.commit(change)
        return 'conflict'
      },
    },
  }
  expect(await world.clock.run(runTick(lossy, 0))).toBe('ticked')
  expect(world.messages.work).toHaveLength(3)
  expect(world.messages.ticks).toHaveLength(1)
})

test('many small batches that are done do not keep a big one from its slots, tick after tick as they are due', async () => {
  const world = newWorld()
  const room = roomIn(world, {
    pool: { name: 'pool', deployments: [{ deployment, settingsMark: 'mark', rpm: 600, pace: 0.98 }] },
  })
  await addQuietly(world, room, 300, 'z-big')
  for (let index = 0; index < 250; index += 1) await addQuietly(world, room, 1, `small-${index}`)
  const startedAt = world.clock.now()
  await world.clock.run(runTick(room, 0))
  while (world.messages.work.length < 550) {
    const tick = world.messages.ticks.at(-1)!
    await world.clock.runUntil(tick.visibleAt)
    await world.clock.run(runTick(room, tick.message.epoch))
    if (world.clock.now() > startedAt + 120_000) break
  }
  const slots = world.messages.work.map(({ message }) => message.slotAt).sort((a, b) => a - b)
  expect(slots).toHaveLength(550)
  // 550 slots of 102 ms are 56 s; what is missing were slots that nobody got.
  expect(slots.at(-1)! - slots[0]!).toBeLessThan(60_000)
})
