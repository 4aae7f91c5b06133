import { beforeAll, describe, expect, test } from 'vitest'
import {
  faulted,
  newLedger,
  stopped,
  takeSlot,
  throttled,
  toldLimit,
  withRecall,
  type Ledger,
} from '../../src/core/budget/ledger.ts'
import { newFlow, type Flow } from '../../src/core/budget/fairness.ts'
import type { BudgetTable, Pool, TickState } from '../../src/ports/budget.ts'
import { budgetTable } from '../../src/storage/tables/budget-table.ts'
import type { Table } from '../../src/storage/tables/table.ts'
import { losingAnswers, type LostAnswer } from '../support/lost-answers.ts'
import { stores, uniqueName } from './stores.ts'

const now = Date.UTC(2026, 0, 5, 12)
const settings = {
  quota: 'east',
  rpm: 60,
  pace: 0.98,
  deployments: [
    { deployment: 'gpt-image-1', settingsMark: 'mark' },
    { deployment: 'gpt-image-1-mini', settingsMark: 'mark' },
  ],
}

function tickOf(fields: Partial<TickState> = {}): TickState {
  const who = { instance: 'here', aloneSince: now - 5, mark: 'm' }
  return { epoch: 2, dueAt: now, virtualTime: 0, hasRoom: false, ...who, ...fields }
}

describe.each(stores)('a budget table in $name', ({ makeTable }) => {
  let table: Table
  let budgets: BudgetTable
  beforeAll(async () => {
    table = await makeTable()
    budgets = budgetTable(table)
  })

  /** As intake does it: the flow is made, or woken when it is idle. */
  async function wake(pool: string, on = budgets): Promise<Flow> {
    return on.changeFlow({
      pool,
      batch: 'batch-a',
      fresh: async () => newFlow('batch-a'),
      change: (flow) => (flow.idleSince === null ? undefined : { ...flow, idleSince: null }),
    })
  }

  /** A pool with one ledger, one flow and its first tick. */
  async function madePool(): Promise<{ pool: string; content: Pool }> {
    const pool = uniqueName('pool')
    await wake(pool)
    const change = {
      pool,
      ledgers: [{ before: undefined, after: newLedger(settings, now) }],
      flows: [],
      tick: { before: undefined, after: tickOf({ epoch: 1 }) },
    }
    expect(await budgets.commit(change)).toBe('committed')
    return { pool, content: await budgets.read(pool) }
  }

  test('a pool that nobody has used is empty', async () => {
    const pool = uniqueName('pool')
    expect(await budgets.read(pool)).toEqual({ ledgers: [], flows: [], tick: undefined })
    expect(await budgets.readTick(pool)).toBeUndefined()
    expect(await budgets.readLedgers(pool)).toEqual([])
    expect(await budgets.readLedger({ pool, quota: 'east' })).toBeUndefined()
    expect(await budgets.readFlow({ pool, batch: 'batch-a' })).toBeUndefined()
  })

  test('what was committed is read back, a stopped ledger too', async () => {
    const { pool, content } = await madePool()
    const [before] = content.ledgers
    const slots = takeSlot(takeSlot(before!.value, now).ledger, now).ledger
    const refusal = { now, slotAt: now, retryAfterMs: 1.5, cause: 'rate', reason: 'busy' } as const
    const refused = throttled(slots, refusal)
    const busy = throttled(refused, { ...refusal, slotAt: now + 900_000, cause: 'capacity' })
    const pause = toldLimit(busy, 42)!
    const fault = { deployment: 'gpt-image-1', slotAt: now, now, code: '401', message: 'the key is wrong' }
    const after: Ledger = withRecall(takeSlot(faulted(stopped(pause, fault), fault), now + 60_000).ledger, {
      batch: 'batch-a',
      epoch: 7,
      at: now,
    })
    const flow: Flow = {
      ...newFlow('batch-a', { share: 0.5 }),
      priority: 'high',
      capMicroUsd: 1_500_000,
      decision: { kind: 'paused', by: 'cap', reason: 'the cap is reached — ä', at: now },
      refusalsFrom: now - 1,
      backlog: { waiting: 17, at: now },
      tag: 1.5,
      idleSince: now,
    }
    const last = tickOf({ dueAt: null, virtualTime: 0.5, hasRoom: true })
    await budgets.commit({
      pool,
      ledgers: [{ before, after }],
      flows: [{ before: content.flows[0]!, after: flow }],
      tick: {
        before: content.tick,
        after: last,
      },
    })
    const read = await budgets.read(pool)
    expect(read.ledgers.map(({ value }) => value)).toEqual([after])
    expect(read.flows.map(({ value }) => value)).toEqual([flow])
    expect(read.tick?.value).toEqual(last)
    expect(await budgets.readTick(pool)).toEqual(last)
    expect((await budgets.readLedger({ pool, quota: 'east' }))?.value).toEqual(after)
    expect((await budgets.readLedgers(pool)).map(({ value }) => value)).toEqual([after])
    expect(await budgets.readFlow({ pool, batch: 'batch-a' })).toEqual(read.flows[0])
  })

  test('ledgers of several quotas stand apart', async () => {
    const { pool, content } = await madePool()
    const west = newLedger({ ...settings, quota: 'west', rpm: 6 }, now)
    const tick = tickOf()
    await budgets.commit({
      pool,
      ledgers: [{ before: undefined, after: west }],
      flows: [],
      tick: { before: content.tick, after: tick },
    })
    const quotas = (await budgets.readLedgers(pool)).map(({ value }) => [value.quota, value.rpm])
    expect(quotas).toEqual([
      ['east', 60],
      ['west', 6],
    ])
    expect((await budgets.readLedger({ pool, quota: 'west' }))?.value).toEqual(west)
    expect((await budgets.read(pool)).ledgers).toHaveLength(2)
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
          after: tickOf({ dueAt: nextFreeAt }),
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
      after: tickOf({ epoch: 1 }),
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
      after: tickOf(),
    }
    const ledgers = [{ before, after: { ...before!.value, nextFreeAt: now + 5_000 } }]
    expect(await budgets.commit({ pool, ledgers, flows: [], tick })).toBe('conflict')
    expect((await budgets.readTick(pool))?.epoch).toBe(1)
    expect((await budgets.readLedger({ pool, quota: 'east' }))?.value).toEqual(taken)
  })

  test('waking makes a flow, wakes an idle one, and leaves one that is awake alone', async () => {
    const { pool, content } = await madePool()
    const before = content.flows[0]!
    expect(before.value).toEqual(newFlow('batch-a'))
    expect(await wake(pool)).toEqual(before.value)
    expect((await budgets.read(pool)).flows[0]?.version).toBe(before.version)
    const idle: Flow = { ...before.value, tag: 7, priority: 'high', idleSince: now }
    const tick = {
      before: content.tick,
      after: tickOf(),
    }
    await budgets.commit({ pool, ledgers: [], flows: [{ before, after: idle }], tick })
    const woken = await Promise.all([1, 2, 3].map(async () => wake(pool)))
    expect(woken).toEqual([1, 2, 3].map(() => ({ ...idle, idleSince: null })))
    expect((await budgets.read(pool)).flows.map(({ value }) => value)).toEqual([{ ...idle, idleSince: null }])
  })

  test('a flow that nobody has is made as it was kept, and changed in the same write', async () => {
    const pool = uniqueName('pool')
    let isAsked = 0
    const kept: Flow = { ...newFlow('batch-a'), priority: 'low', capMicroUsd: 7 }
    const order = {
      pool,
      batch: 'batch-a',
      fresh: async () => {
        isAsked += 1
        return kept
      },
    }
    const made = await budgets.changeFlow({ ...order, change: (flow) => ({ ...flow, capMicroUsd: 9 }) })
    expect(made).toEqual({ ...kept, capMicroUsd: 9 })
    expect((await budgets.readFlow({ pool, batch: 'batch-a' }))?.value).toEqual(made)
    expect(await budgets.changeFlow({ ...order, change: () => undefined })).toEqual(made)
    expect(isAsked).toBe(1)
  })

  test('changes of one flow that come at once are all made, one upon the other', async () => {
    const { pool } = await madePool()
    const raise = async (): Promise<Flow> =>
      budgets.changeFlow({
        pool,
        batch: 'batch-a',
        fresh: async () => newFlow('batch-a'),
        change: (flow) => ({ ...flow, capMicroUsd: (flow.capMicroUsd ?? 0) + 1 }),
      })
    const raised = await Promise.all(Array.from({ length: 6 }, raise))
    expect(new Set(raised.map(({ capMicroUsd }) => capMicroUsd))).toEqual(new Set([1, 2, 3, 4, 5, 6]))
    expect((await budgets.readFlow({ pool, batch: 'batch-a' }))?.value.capMicroUsd).toBe(6)
  })

  test('a decision stands in the way of a tick that serves the flow and did not see it', async () => {
    const { pool, content } = await madePool()
    const before = content.flows[0]!
    const decision = { kind: 'cancelled', by: 'user', reason: 'enough', at: now } as const
    const decided = await budgets.changeFlow({
      pool,
      batch: 'batch-a',
      fresh: async () => newFlow('batch-a'),
      change: (flow) => ({ ...flow, decision }),
    })
    const served = { ...before.value, tag: 1 }
    const tick = {
      before: content.tick,
      after: tickOf(),
    }
    const change = { pool, ledgers: [], flows: [{ before, after: served }], tick }
    expect(await budgets.commit(change)).toBe('conflict')
    expect((await budgets.readFlow({ pool, batch: 'batch-a' }))?.value).toEqual(decided)
  })

  test('a flow that was woken since it was read is not removed', async () => {
    const { pool, content } = await madePool()
    const before = content.flows[0]!
    const idle = { ...before.value, idleSince: now }
    const tick = {
      before: content.tick,
      after: tickOf(),
    }
    await budgets.commit({ pool, ledgers: [], flows: [{ before, after: idle }], tick })
    const seenIdle = (await budgets.read(pool)).flows[0]!
    await wake(pool)
    await budgets.removeFlow({ pool, before: seenIdle })
    expect((await budgets.read(pool)).flows).toHaveLength(1)
    await budgets.removeFlow({ pool, before: (await budgets.read(pool)).flows[0]! })
    expect((await budgets.read(pool)).flows).toEqual([])
  })

  test('a flow is woken, and changed, although the answer of it was lost', async () => {
    const pool = uniqueName('pool')
    const answers: LostAnswer[] = ['sent-again', 'sent-again']
    const losing = budgetTable(losingAnswers(table, () => answers.shift()))
    await wake(pool, losing)
    expect((await budgets.read(pool)).flows.map(({ value }) => value)).toEqual([newFlow('batch-a')])
    const decision = { kind: 'paused', by: 'user', reason: 'wait', at: now } as const
    const order = { pool, batch: 'batch-a', fresh: async () => newFlow('batch-a') }
    await losing.changeFlow({ ...order, change: (flow) => ({ ...flow, decision }) })
    expect((await budgets.readFlow({ pool, batch: 'batch-a' }))?.value.decision).toEqual(decision)
  })
})
