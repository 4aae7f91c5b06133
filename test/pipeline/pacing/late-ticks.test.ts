import { expect, test } from 'vitest'
import { horizonMs, spacingMs, wakeAheadMs } from '../../../src/core/budget/ledger.ts'
import { timing } from '../../../src/core/timing.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { nudge } from '../../../src/pipeline/pacing/announce.ts'
import { runTick } from '../../../src/pipeline/pacing/pacer.ts'
import { ledgerIn, newWorld, contextIn, type World } from '../../support/context.ts'
import { addQuietly, tickOnce } from '../play.ts'

/** How far ahead an instance looks in a tick, which is the first that it runs unless it does something first. */
async function looksAhead(
  lateMs: number,
  first: (world: World, context: Context) => Promise<unknown> = async () => {},
  own: { readonly isSame?: boolean } = {},
): Promise<Record<'lookMs' | 'wakeMs' | 'earlyMs' | 'coldMs' | 'warmMs', number>> {
  const world = newWorld()
  const setUp = contextIn(world)
  await addQuietly(world, setUp, { count: 100 })
  await world.clock.run(runTick(setUp, { pool: 'pool', epoch: 0 }))
  const context = own.isSame === true ? setUp : contextIn(world)
  await world.clock.runUntil((await setUp.budgets.readTick('pool'))!.dueAt! + lateMs)
  await first(world, context)
  const { epoch, dueAt } = (await setUp.budgets.readTick('pool'))!
  await world.clock.runUntil(dueAt!)
  const sent = world.messages.work.length
  await world.clock.run(runTick(context, { pool: 'pool', epoch }))
  const { message, visibleAt } = world.messages.work.slice(sent).at(-1)!
  const ledger = await ledgerIn(setUp)
  return {
    lookMs: message.slotAt - world.clock.now() + spacingMs(ledger),
    wakeMs: message.slotAt - visibleAt,
    earlyMs: wakeAheadMs(ledger, { isCold: true, quotas: 1 }),
    warmMs: horizonMs(ledger, false),
    coldMs: horizonMs(ledger, true),
  }
}

test('a tick so late that nobody can have listened for it looks a cold start further ahead', async () => {
  const late = await looksAhead(timing.tickOverdueMs)
  expect(late.lookMs).toBeGreaterThan(late.coldMs)
  expect(late.lookMs).toBeLessThan(late.coldMs + 2_000)
  expect(late.wakeMs).toBeCloseTo(late.earlyMs)
})

test('one that comes a little late does not', async () => {
  const inTime = await looksAhead(timing.tickOverdueMs - 1)
  expect(inTime.lookMs).toBeLessThan(inTime.warmMs + 2_000)
})

test('one that an instance finds late which ran the last one does not: it was there, and stood still', async () => {
  const same = await looksAhead(timing.tickOverdueMs, undefined, { isSame: true })
  expect(same.lookMs).toBeLessThan(same.warmMs + 2_000)
})

test('one that no rescue had run either does not: there was no app', async () => {
  const found = await looksAhead(timing.coldLatestMs)
  expect(found.lookMs).toBeLessThan(found.warmMs + 2_000)
  expect((await looksAhead(timing.coldLatestMs - 1)).lookMs).toBeGreaterThan(found.warmMs + 2_000)
})

const runsByAnother = async (world: World): Promise<number> => {
  const another = contextIn(world)
  const { epoch } = (await another.budgets.readTick('pool'))!
  await world.clock.run(runTick(another, { pool: 'pool', epoch }))
  return epoch
}

test('an instance that is started for a tick, which somebody else had to run, looks further as well', async () => {
  const found = await looksAhead(0, async (world, context) => {
    const epoch = await runsByAnother(world)
    expect(await world.clock.run(runTick(context, { pool: 'pool', epoch }))).toBe('stale')
  })
  expect(found.lookMs).toBeGreaterThan(found.coldMs)
})

test('one that has run ticks does not, when another was faster', async () => {
  const found = await looksAhead(0, async (world, context) => {
    const { epoch } = (await context.budgets.readTick('pool'))!
    await world.clock.run(runTick(context, { pool: 'pool', epoch }))
    await world.clock.runUntil((await context.budgets.readTick('pool'))!.dueAt!)
    const next = await runsByAnother(world)
    expect(await world.clock.run(runTick(context, { pool: 'pool', epoch: next }))).toBe('stale')
  })
  expect(found.lookMs).toBeLessThan(found.warmMs + 2_000)
})

test('it is forgotten after some minutes', async () => {
  const found = await looksAhead(timing.tickOverdueMs, async (world, context) => {
    const { epoch } = (await context.budgets.readTick('pool'))!
    await world.clock.run(runTick(context, { pool: 'pool', epoch }))
    // What was given until then lies beyond the horizon for as long as that is shorter.
    const until = world.clock.now() + timing.coldKnownMs + timing.coldMs + timing.tickMs
    await addQuietly(world, contextIn(world), { count: 300, name: 'batch-b' })
    while (await tickOnce(world, context, until));
  })
  expect(found.lookMs).toBeLessThan(found.warmMs + 2_000)
})

test('who wants a tick, and finds that another has just run it, was not started for it', async () => {
  const world = newWorld()
  const another = contextIn(world)
  await addQuietly(world, another, { count: 100 })
  await world.clock.run(runTick(another, { pool: 'pool', epoch: 0 }))
  const before = await another.budgets.readTick('pool')
  await world.clock.runUntil(before!.dueAt! + timing.tickOverdueMs)
  await world.clock.run(runTick(another, { pool: 'pool', epoch: before!.epoch }))
  let reads = 0
  const context = contextIn(world, {
    budgets: {
      ...another.budgets,
      // What it read before the other one wrote.
      readTick: async (pool) => ((reads += 1) === 1 ? before : another.budgets.readTick(pool)),
    },
  })
  await world.clock.run(nudge(context, 'pool'))
  expect(reads).toBe(2)
  expect(context.ticksOf('pool').isCold(world.clock.now())).toBe(false)
})
