import { beforeAll, describe, expect, test } from 'vitest'
import { newLedger, stopped, type Ledger } from '../../src/core/budget.ts'
import { newFlow } from '../../src/core/fairness.ts'
import type { BudgetTable, Pool } from '../../src/ports.ts'
import { budgetTable } from '../../src/storage/budget-table.ts'
import type { Table } from '../../src/storage/table.ts'
import { losingAnswers, type LostAnswer } from '../support/lost-answers.ts'
import { stores, uniqueName } from './stores.ts'

const now = Date.UTC(2026, 0, 5, 12)
const settings = { deployment: 'gpt-image-1', settingsMark: 'mark', rpm: 60, pace: 0.98 }

describe.each(stores)('a budget table in $name', ({ makeTable }) => {
  let table: Table
  let budgets: BudgetTable
  beforeAll(async () => {
    table = await makeTable()
    budgets = budgetTable(table)
  })

  /** A pool with one ledger, one flow and its first tick. */
  async function madePool(): Promise<{ pool: string; content: Pool }> {
    const pool = uniqueName('pool')
    await budgets.wakeFlow({ pool, batch: 'batch-a' })
    const change = {
      pool,
      ledgers: [{ before: undefined, after: newLedger(settings, now) }],
      flows: [],
      tick: { before: undefined, after: { epoch: 1, dueAt: now, virtualTime: 0, hasRoom: false, mark: 'm' } },
    }
    expect(await budgets.commit(change)).toBe('committed')
    return { pool, content: await budgets.read(pool) }
  }

  test('a pool that nobody has used is empty', async () => {
    const pool = uniqueName('pool')
    expect(await budgets.read(pool)).toEqual({ ledgers: [], flows: [], tick: undefined })
    expect(await budgets.readTick(pool)).toBeUndefined()
    expect(await budgets.readLedger({ pool, deployment: 'gpt-image-1' })).toBeUndefined()
  })

  test('what was committed is read back, a stopped ledger too', async () => {
    const { pool, content } = await madePool()
    const [before] = content.ledgers
    const after: Ledger = {
      ...stopped(before!.value, { now, code: '401', message: 'the key is wrong' }),
      slotsRecently: [{ at: now, count: 3 }],
      pauseReason: 'busy',
      nextFreeAt: now + 0.123,
    }
    const flow = { ...newFlow('batch-a'), tag: 1.5, idleSince: now }
    await budgets.commit({
      pool,
      ledgers: [{ before, after }],
      flows: [{ before: content.flows[0]!, after: flow }],
      tick: {
        before: content.tick,
        after: { epoch: 2, dueAt: null, virtualTime: 0.5, hasRoom: false, mark: 'm' },
      },
    })
    const read = await budgets.read(pool)
    expect(read.ledgers.map(({ value }) => value)).toEqual([after])
    expect(read.flows.map(({ value }) => value)).toEqual([flow])
    expect(read.tick?.value).toEqual({ epoch: 2, dueAt: null, virtualTime: 0.5, hasRoom: false, mark: 'm' })
    expect(await budgets.readTick(pool)).toEqual({
      epoch: 2,
      dueAt: null,
      virtualTime: 0.5,
      hasRoom: false,
      mark: 'm',
    })
    expect((await budgets.readLedger({ pool, deployment: 'gpt-image-1' }))?.value).toEqual(after)
  })

  test('of two ticks that read the same pool one is committed, and the other changes nothing', async () => {
    const { pool, content } = await madePool()
    const [before] = content.ledgers
    const commit = async (nextFreeAt: number): Promise<string> =>
      budgets.commit({
        pool,
        ledgers: [{ before, after: { ...before!.value, nextFreeAt } }],
        flows: [],
        tick: {
          before: content.tick,
          after: { epoch: 2, dueAt: nextFreeAt, virtualTime: 0, hasRoom: false, mark: 'm' },
        },
      })
    const results = await Promise.all([commit(1), commit(2)])
    expect(results.sort()).toEqual(['committed', 'conflict'])
    const read = await budgets.read(pool)
    expect(read.ledgers[0]?.value.nextFreeAt).toBe(read.tick?.value.dueAt)
  })

  test('two first ticks of a new pool: one is committed', async () => {
    const pool = uniqueName('pool')
    const tick = {
      before: undefined,
      after: { epoch: 1, dueAt: now, virtualTime: 0, hasRoom: false, mark: 'm' },
    }
    const results = await Promise.all(
      [1, 2].map(async () => budgets.commit({ pool, ledgers: [], flows: [], tick })),
    )
    expect(results.sort()).toEqual(['committed', 'conflict'])
  })

  test("a worker's slot stands in the way of a tick that did not see it", async () => {
    const { pool, content } = await madePool()
    const [before] = content.ledgers
    const taken = { ...before!.value, nextFreeAt: now + 1_000 }
    expect(await budgets.changeLedger({ pool, before: before!, after: taken })).toBe('committed')
    expect(await budgets.changeLedger({ pool, before: before!, after: taken })).toBe('conflict')
    const tick = {
      before: content.tick,
      after: { epoch: 2, dueAt: now, virtualTime: 0, hasRoom: false, mark: 'm' },
    }
    const ledgers = [{ before, after: { ...before!.value, nextFreeAt: now + 5_000 } }]
    expect(await budgets.commit({ pool, ledgers, flows: [], tick })).toBe('conflict')
    expect((await budgets.readTick(pool))?.epoch).toBe(1)
    expect((await budgets.readLedger({ pool, deployment: 'gpt-image-1' }))?.value).toEqual(taken)
  })

  test('waking makes a flow, wakes an idle one, and leaves one that is awake alone', async () => {
    const { pool, content } = await madePool()
    const before = content.flows[0]!
    expect(before.value).toEqual(newFlow('batch-a'))
    await budgets.wakeFlow({ pool, batch: 'batch-a' })
    expect((await budgets.read(pool)).flows[0]?.version).toBe(before.version)
    const idle = { ...before.value, tag: 7, weight: 2, idleSince: now }
    const tick = {
      before: content.tick,
      after: { epoch: 2, dueAt: now, virtualTime: 0, hasRoom: false, mark: 'm' },
    }
    await budgets.commit({ pool, ledgers: [], flows: [{ before, after: idle }], tick })
    await Promise.all([1, 2, 3].map(async () => budgets.wakeFlow({ pool, batch: 'batch-a' })))
    expect((await budgets.read(pool)).flows.map(({ value }) => value)).toEqual([{ ...idle, idleSince: null }])
  })

  test('a flow that was woken since it was read is not removed', async () => {
    const { pool, content } = await madePool()
    const before = content.flows[0]!
    const idle = { ...before.value, idleSince: now }
    const tick = {
      before: content.tick,
      after: { epoch: 2, dueAt: now, virtualTime: 0, hasRoom: false, mark: 'm' },
    }
    await budgets.commit({ pool, ledgers: [], flows: [{ before, after: idle }], tick })
    const seenIdle = (await budgets.read(pool)).flows[0]!
    await budgets.wakeFlow({ pool, batch: 'batch-a' })
    await budgets.removeFlow({ pool, before: seenIdle })
    expect((await budgets.read(pool)).flows).toHaveLength(1)
    await budgets.removeFlow({ pool, before: (await budgets.read(pool)).flows[0]! })
    expect((await budgets.read(pool)).flows).toEqual([])
  })

  test('a flow is woken although the answer of it was lost', async () => {
    const pool = uniqueName('pool')
    const answers: LostAnswer[] = ['sent-again']
    await budgetTable(losingAnswers(table, () => answers.shift())).wakeFlow({ pool, batch: 'batch-a' })
    expect((await budgets.read(pool)).flows.map(({ value }) => value)).toEqual([newFlow('batch-a')])
  })
})
