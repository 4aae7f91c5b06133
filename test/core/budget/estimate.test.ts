import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { stopped, type Ledger } from '../../../src/core/budget/ledger.ts'
import { jobCounts, noCounters } from '../../../src/core/jobs/counters.ts'
import {
  estimateFinishAt,
  estimateStartAt,
  outlook,
  type Outlook,
} from '../../../src/core/budget/estimate.ts'
import { newFlow, turns, weightOf, type Flow } from '../../../src/core/budget/fairness.ts'
import { priorities } from '../../../src/core/requests/submission.ts'
import { timing } from '../../../src/core/timing.ts'
import { ledgerOf, t0 } from '../sample.ts'

const perSecond = ledgerOf({ rpm: 60, pace: 1 })
const [own, other] = [newFlow('own'), newFlow('other')]
const decision = { by: 'user', reason: 'because', at: t0 } as const
const dead = stop(perSecond, 'images')

describe('the outlook of a batch', () => {
  test('alone is the whole pool', () => {
    const pool = { ledgers: [perSecond], flows: [own] }
    const alone = { nextStartAt: t0 + timing.firstSlotMs, startsPerMs: 1 / 1_000, others: [] }
    expect(outlook(pool, 'own', t0)).toEqual(alone)
  })

  test('adds up quotas, and starts at the first that is free', () => {
    const free = t0 + 60_000
    const pausedOne = ledgerOf({ rpm: 120, pace: 1, pausedUntil: free })
    const pool = { ledgers: [{ ...perSecond, nextFreeAt: free - 1 }, pausedOne], flows: [] }
    const seen = outlook(pool, 'own', t0)
    expect(seen?.nextStartAt).toBe(free - 1)
    expect(seen?.startsPerMs).toBeCloseTo(3 / 1_000)
  })

  test('leaves out a quota that is paused for long, unless there is no other', () => {
    const long = t0 + 60_001
    const pausedOne = ledgerOf({ rpm: 120, pace: 1, pausedUntil: long })
    expect(outlook({ ledgers: [perSecond, pausedOne], flows: [] }, 'own', t0)?.startsPerMs).toBe(1 / 1_000)
    const only = outlook({ ledgers: [pausedOne, dead], flows: [] }, 'own', t0)
    expect(only).toMatchObject({ nextStartAt: long, startsPerMs: 2 / 1_000 })
  })

  test('leaves out quotas of which every deployment is stopped, and is none when all are', () => {
    expect(outlook({ ledgers: [dead, perSecond], flows: [] }, 'own', t0)?.startsPerMs).toBe(1 / 1_000)
    expect(outlook({ ledgers: [dead], flows: [] }, 'own', t0)).toBeUndefined()
    expect(outlook({ ledgers: [], flows: [] }, 'own', t0)).toBeUndefined()
    const [member] = perSecond.deployments
    const shared = { ...perSecond, deployments: [member!, { ...member!, deployment: 'west' }] }
    expect(outlook({ ledgers: [stop(shared, 'west')], flows: [] }, 'own', t0)?.startsPerMs).toBe(1 / 1_000)
  })

  test('counts the others that are awake and go on, by weight; of how many jobs nobody knows at first', () => {
    const flows: readonly Flow[] = [
      own,
      { ...other, share: 2 },
      { ...newFlow('high'), priority: 'high', decision: { ...decision, kind: 'resumed' } },
      { ...newFlow('idle'), idleSince: t0 },
      { ...newFlow('paused'), decision: { ...decision, kind: 'paused' } },
      { ...newFlow('cancelled'), decision: { ...decision, kind: 'cancelled' } },
    ]
    const others = [
      { weight: 8, jobs: Infinity },
      { weight: 16, jobs: Infinity },
    ]
    expect(outlook({ ledgers: [perSecond], flows }, 'own', t0)?.others).toEqual(others)
    const unheardOf = outlook({ ledgers: [perSecond], flows }, 'unheard-of', t0)
    expect(unheardOf?.others).toEqual([{ weight: 4, jobs: Infinity }, ...others])
  })

  test('takes it that others were served by their share since they were counted', () => {
    const counted = (waiting: number, ageMs: number): Flow => ({
      ...other,
      backlog: { waiting, at: t0 - ageMs },
    })
    const jobsLeft = (flow: Flow): number | undefined =>
      outlook({ ledgers: [perSecond], flows: [own, flow] }, 'own', t0)?.others[0]?.jobs
    expect(jobsLeft(counted(100, 0))).toBe(100)
    expect(jobsLeft(counted(100, 20_000))).toBe(90)
    expect(jobsLeft({ ...counted(100, 20_000), priority: 'high' })).toBe(84)
    expect(jobsLeft(counted(100, 3_600_000))).toBe(0)
  })
})

describe('an estimate of a start', () => {
  const seen: Outlook = { nextStartAt: t0 + 10_000, startsPerMs: 1 / 1_000, others: [] }
  const secondsAfter = (
    others: Outlook['others'],
    job: { before: number; flow?: Flow; priority?: Flow['priority'] | null },
  ): number => {
    const { before, flow = own, priority = null } = job
    return (estimateStartAt({ ...seen, others }, { flow, priority, before }) - seen.nextStartAt) / 1_000
  }

  test('is the next start and the jobs before it where nobody else waits', () => {
    expect(secondsAfter([], { before: 0 })).toBe(0)
    expect(secondsAfter([], { before: 7 })).toBe(7)
  })

  test('lets others have their share for as long as they last', () => {
    expect(secondsAfter([{ weight: 4, jobs: Infinity }], { before: 7 })).toBe(14)
    expect(secondsAfter([{ weight: 4, jobs: 3 }], { before: 7 })).toBe(10)
    expect(secondsAfter([{ weight: 16, jobs: Infinity }], { before: 7 })).toBe(35)
    expect(secondsAfter([{ weight: 1, jobs: Infinity }], { before: 8 })).toBe(10)
    const three = [
      { weight: 4, jobs: 3 },
      { weight: 4, jobs: Infinity },
      { weight: 16, jobs: 5 },
    ]
    expect(secondsAfter(three, { before: 7 })).toBe(7 + 3 + 7 + 5)
  })

  test('goes by the weight of the batch, and of the job where it has a priority of its own', () => {
    const others = [{ weight: 4, jobs: Infinity }]
    expect(secondsAfter(others, { before: 8, flow: { ...own, priority: 'high' } })).toBe(10)
    expect(secondsAfter(others, { before: 8, priority: 'high' })).toBe(10)
    expect(secondsAfter(others, { before: 8, priority: 'low' })).toBe(40)
    expect(secondsAfter(others, { before: 8, flow: { ...own, share: 2 } })).toBe(12)
  })

  test('is near to the turn that the pacer gives, whoever else waits', () => {
    const flowArbitrary = fc.record({
      priority: fc.constantFrom(...priorities),
      share: fc.constantFrom(0.5, 1, 3),
      waiting: fc.nat({ max: 60 }),
    })
    fc.assert(
      fc.property(fc.array(flowArbitrary, { minLength: 1, maxLength: 6 }), fc.nat(), (sizes, nth) => {
        const flows = sizes.map(({ priority, share, waiting }, i): Flow => ({
          ...newFlow(i === 0 ? 'own' : `other-${i}`, { share }),
          priority,
          backlog: { waiting, at: t0 },
        }))
        const flow = flows[0]!
        const before = nth % (sizes[0]!.waiting + 1)
        const expected = outlook({ ledgers: [perSecond], flows }, 'own', t0)!
        const estimated = estimateStartAt(expected, { flow, priority: null, before }) - expected.nextStartAt
        // A fair queue is off the fluid by one job of each flow, in either of the two weights.
        const leeway = flows.reduce((jobs, each) => jobs + 1 + weightOf(each) / weightOf(flow), 1)
        expect(Math.abs(estimated / 1_000 - slotsBefore(flows, before))).toBeLessThanOrEqual(leeway)
      }),
    )
  })
})

describe('an estimate of an end', () => {
  const seen: Outlook = { nextStartAt: t0 + 10_000, startsPerMs: 1 / 1_000, others: [] }
  const finish = (
    counters: Partial<typeof noCounters>,
    expected: Outlook = seen,
    flow: Flow = own,
  ): number => {
    const all = { ...noCounters, ...counters }
    return estimateFinishAt(expected, { flow, counts: jobCounts(all), counters: all }, t0)
  }

  test('is one call away when nothing waits', () => {
    expect(finish({ running: 1 })).toBe(t0 + 20_000)
    expect(finish({ running: 1, succeeded: 4, callMs: 120_000 })).toBe(t0 + 30_000)
  })

  test('takes jobs that have their slot as on their way', () => {
    // Ten intervals lie before the next free slot: ten jobs are in them.
    expect(finish({ waiting: 30 })).toBe(t0 + 10_000 + 19_000 + 20_000)
    expect(finish({ waiting: 5 })).toBe(t0 + 10_000 + 20_000)
  })

  test('takes it that the slots given were shared by weight', () => {
    const shared = { ...seen, others: [{ weight: 4, jobs: Infinity }] }
    expect(finish({ waiting: 30 }, shared)).toBe(t0 + 10_000 + 2 * 24_000 + 20_000)
    const high = { ...own, priority: 'high' } as const
    expect(finish({ waiting: 30 }, shared, high)).toBe(t0 + 10_000 + 1.25 * 21_000 + 20_000)
  })

  test('lets others go on no longer than they last', () => {
    const shared = { ...seen, others: [{ weight: 4, jobs: 9 }] }
    expect(finish({ waiting: 30 }, shared)).toBe(t0 + 10_000 + (24_000 + 9_000) + 20_000)
  })

  test('is never before now when the outlook is old', () => {
    const old = { ...seen, nextStartAt: t0 - 5_000 }
    expect(finish({ waiting: 3 }, old)).toBe(t0 - 5_000 + 2_000 + 20_000)
  })
})

/** How many slots others, and earlier jobs of its own, get before the job: as the pacer gives them. */
function slotsBefore(flows: readonly Flow[], jobsBefore: number): number {
  const waiting = new Map(flows.map(({ batch, backlog }) => [batch, backlog!.waiting]))
  waiting.set('own', Infinity)
  const round = turns(flows, 0)
  let owns = 0
  for (let slots = 0; ; slots += 1) {
    let flow = round.next()!
    while (waiting.get(flow.batch) === 0) {
      round.leave()
      flow = round.next()!
    }
    if (flow.batch === 'own' && owns === jobsBefore) return slots
    if (flow.batch === 'own') owns += 1
    waiting.set(flow.batch, waiting.get(flow.batch)! - 1)
    round.serve(null)
  }
}

function stop(ledger: Ledger, deployment: string): Ledger {
  return stopped(ledger, { deployment, slotAt: t0, now: t0, code: '401', message: 'key refused' })
}
