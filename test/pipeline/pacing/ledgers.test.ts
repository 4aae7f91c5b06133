import { expect, test } from 'vitest'
import { newLedger, takeSlot, type Ledger } from '../../../src/core/budget/ledger.ts'
import { changeLedger, viewLedger } from '../../../src/pipeline/pacing/ledgers.ts'
import { runTick } from '../../../src/pipeline/pacing/pacer.ts'
import { deployment, ledgerIn, newWorld, quota, contextIn } from '../../support/context.ts'

const ref = { pool: 'pool', quota: deployment }
const firstTick = { pool: 'pool', epoch: 0 }

test('changes of a ledger that come together on one instance take few writes, and each gets its own slot', async () => {
  const world = newWorld()
  const { budgets } = contextIn(world)
  let writes = 0
  const context = contextIn(world, {
    budgets: {
      ...budgets,
      async changeLedger(change) {
        writes += 1
        return budgets.changeLedger(change)
      },
    },
  })
  await world.clock.run(runTick(context, firstTick))
  const slots: number[] = []
  const takeOne = async (): Promise<void> => {
    let slotAt = 0
    await changeLedger(context, ref, (ledger) => {
      const taken = takeSlot(ledger, world.clock.now())
      slotAt = taken.slotAt
      return taken.ledger
    })
    slots.push(slotAt)
  }
  await world.clock.run(Promise.all(Array.from({ length: 50 }, takeOne)))
  expect(new Set(slots).size).toBe(50)
  expect((await ledgerIn(context)).nextFreeAt).toBeGreaterThan(Math.max(...slots))
  expect(writes).toBe(2)
})

test('a change that fails fails alone with those it was written with, and the next one goes through', async () => {
  const world = newWorld()
  const { budgets } = contextIn(world)
  let isAway = true
  const context = contextIn(world, {
    budgets: {
      ...budgets,
      async changeLedger(change) {
        if (isAway) throw new Error('storage is away')
        return budgets.changeLedger(change)
      },
    },
  })
  await world.clock.run(runTick(context, firstTick))
  const lower = (ledger: Ledger): Ledger => ({ ...ledger, leadMs: ledger.leadMs - 1 })
  const before = (await ledgerIn(context)).leadMs
  await expect(changeLedger(context, ref, lower)).rejects.toThrow('storage is away')
  isAway = false
  await changeLedger(context, ref, lower)
  expect((await ledgerIn(context)).leadMs).toBe(before - 1)
})

test('a ledger that several want to see is read once, and again when that failed', async () => {
  const world = newWorld()
  const { budgets } = contextIn(world)
  const stored = newLedger(quota, 0)
  let reads = 0
  const context = contextIn(world, {
    budgets: {
      ...budgets,
      async readLedger() {
        reads += 1
        if (reads === 1) throw new Error('storage is away')
        return { value: stored, version: 'v1' }
      },
    },
  })
  await expect(viewLedger(context, ref)).rejects.toThrow('storage is away')
  const seen = await Promise.all([viewLedger(context, ref), viewLedger(context, ref)])
  expect(seen).toEqual([stored, stored])
  expect(reads).toBe(2)
})
