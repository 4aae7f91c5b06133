import { describe, expect, test } from 'vitest'
import { stopped } from '../../src/core/budget.ts'
import { jobCounts, noCounters } from '../../src/core/counters.ts'
import { estimateFinishAt, estimateStartAt, outlook } from '../../src/core/estimate.ts'
import { newFlow } from '../../src/core/fairness.ts'
import { timing } from '../../src/core/timing.ts'
import { ledgerOf, t0 } from './sample.ts'

const perSecond = ledgerOf({ rpm: 60, pace: 1 })
const [own, other] = [newFlow('own'), newFlow('other')]

describe('the outlook of a batch', () => {
  test('alone is the whole pool', () => {
    const pool = { ledgers: [perSecond], flows: [own] }
    expect(outlook(pool, 'own', t0)).toEqual({ nextStartAt: t0 + timing.firstSlotMs, intervalMs: 1_000 })
  })

  test('adds up deployments, and starts at the first that is free', () => {
    const free = t0 + 60_000
    const pausedOne = ledgerOf({ rpm: 120, pace: 1, pausedUntil: free + 1 })
    const pool = { ledgers: [{ ...perSecond, nextFreeAt: free }, pausedOne], flows: [] }
    const seen = outlook(pool, 'own', t0)
    expect(seen?.nextStartAt).toBe(free)
    expect(seen?.intervalMs).toBeCloseTo(60_000 / 180)
  })

  test('shares by weight with flows that are not idle', () => {
    const flows = [{ ...own, weight: 2 }, other, { ...newFlow('idle'), idleSince: t0 }]
    expect(outlook({ ledgers: [perSecond], flows }, 'own', t0)?.intervalMs).toBeCloseTo(1_500)
    expect(outlook({ ledgers: [perSecond], flows }, 'unheard-of', t0)?.intervalMs).toBeCloseTo(4_000)
  })

  test('leaves out stopped deployments, and is none when all are', () => {
    const dead = stopped(perSecond, { now: t0, code: '401', message: 'key refused' })
    expect(outlook({ ledgers: [dead, perSecond], flows: [] }, 'own', t0)?.intervalMs).toBe(1_000)
    expect(outlook({ ledgers: [dead], flows: [] }, 'own', t0)).toBeUndefined()
    expect(outlook({ ledgers: [], flows: [] }, 'own', t0)).toBeUndefined()
  })
})

describe('an estimate', () => {
  const seen = { nextStartAt: t0 + 10_000, intervalMs: 1_000 }
  const finish = (counters: Partial<typeof noCounters>): number => {
    const all = { ...noCounters, ...counters }
    return estimateFinishAt(seen, { counts: jobCounts(all), counters: all }, t0)
  }

  test('of a start is the next start and the jobs before it', () => {
    expect(estimateStartAt(seen, 0)).toBe(t0 + 10_000)
    expect(estimateStartAt(seen, 7)).toBe(t0 + 17_000)
  })

  test('of an end is one call away when nothing waits', () => {
    expect(finish({ running: 1 })).toBe(t0 + 20_000)
    expect(finish({ running: 1, succeeded: 4, callMs: 120_000 })).toBe(t0 + 30_000)
  })

  test('of an end takes jobs that have their slot as on their way', () => {
    // Ten intervals lie before the next free slot: ten jobs are in them.
    expect(finish({ waiting: 30 })).toBe(t0 + 10_000 + 19_000 + 20_000)
    expect(finish({ waiting: 5 })).toBe(t0 + 10_000 + 20_000)
  })

  test('of an end is never before now when the outlook is old', () => {
    const old = { nextStartAt: t0 - 5_000, intervalMs: 1_000 }
    const counters = { ...noCounters, waiting: 3 }
    expect(estimateFinishAt(old, { counts: jobCounts(counters), counters }, t0)).toBe(
      t0 - 5_000 + 2_000 + 20_000,
    )
  })
})
