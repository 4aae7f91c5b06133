import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Breaker, Member } from '../../../src/core/budget/breaker.ts'
import {
  afterQuiet,
  faulted,
  horizonMs,
  isInService,
  isRecalled,
  lowerLead,
  mayStart,
  memberOf,
  newLedger,
  raisedLead,
  reopened,
  spacingMs,
  startsLastMinute,
  stopped,
  takeFreshSlot,
  takeSlot,
  throttled,
  toldLimit,
  underSettings,
  wakeAheadMs,
  withRecall,
  type Ledger,
} from '../../../src/core/budget/ledger.ts'
import { newLevel, resumeGapMs, topPaces } from '../../../src/core/budget/level.ts'
import { limits } from '../../../src/core/limits.ts'
import { startsBetween } from '../../../src/core/budget/starts.ts'
import { timing } from '../../../src/core/timing.ts'
import { assertNeverFasterThan } from '../../support/never-faster-than.ts'
import { frozen, ledgerOf, t0 } from '../sample.ts'

const shared = ledgerOf({
  deployments: membersOf({ deployments: [settingsOf('east'), settingsOf('west'), settingsOf('north')] }),
})

describe('slots', () => {
  test('a new ledger gives the first slot at once and the next one spacing later', () => {
    const first = takeSlot(ledgerOf(), t0)
    expect(first.slotAt).toBe(t0)
    const second = takeSlot(first.ledger, t0)
    expect(second.slotAt - first.slotAt).toBeCloseTo(60_000 / (60 * 0.98), 2)
  })

  test('spacing follows the limit, the pace and what the deployment was found to bear', () => {
    expect(spacingMs(ledgerOf({ pace: 1 }))).toBe(1_000)
    expect(spacingMs(ledgerOf({ pace: 0.5 }))).toBe(2_000)
    const learned = { ...newLevel(t0), limitRpm: 60, heldRpm: 30 }
    expect(spacingMs(ledgerOf({ pace: 1, level: learned }))).toBe(2_000)
  })

  test('are never closer than the spacing, and the next free time never goes back, whatever happens', () => {
    fc.assert(
      fc.property(fc.array(stepArbitrary, { maxLength: 120, size: 'max' }), (steps) => {
        let ledger = shared
        let now = t0
        let earliestNext = 0
        for (const { step, elapsedMs } of steps) {
          now += elapsedMs
          const after = step(ledger, now)
          expect(after.ledger.nextFreeAt).toBeGreaterThanOrEqual(ledger.nextFreeAt)
          if (after.slotAt !== undefined) {
            // A slot is rounded to a microsecond.
            expect(after.slotAt).toBeGreaterThanOrEqual(earliestNext - 0.000_6)
            earliestNext = after.slotAt + spacingMs(ledger)
          }
          ledger = frozen(after.ledger)
        }
      }),
    )
  })

  test.each([6, 9, 10, 36, 60, 90, 600, 6_000])('keep the limit of %i RPM over any window', (rpm) => {
    const waits = fc.oneof(
      { weight: 400, arbitrary: fc.constant(0) },
      { weight: 100, arbitrary: fc.integer({ min: 0, max: Math.ceil(120_000 / rpm) }) },
      { weight: Math.ceil(600 / rpm), arbitrary: fc.integer({ min: 0, max: 90_000 }) },
    )
    fc.assert(
      fc.property(fc.array(waits, { minLength: rpm, maxLength: 2 + rpm * 2, size: 'max' }), (waitsMs) => {
        let ledger = ledgerOf({ rpm })
        let now = t0
        const starts = waitsMs.map((waitMs) => {
          now += waitMs
          const taken = takeSlot(ledger, now)
          ledger = taken.ledger
          return taken.slotAt
        })
        assertNeverFasterThan(starts, { rpm })
      }),
      { numRuns: rpm > 100 ? 10 : 100 },
    )
  })

  test('the starts of the last minute are counted when they come due', () => {
    let ledger = ledgerOf()
    for (let i = 0; i < 10; i += 1) ledger = takeSlot(ledger, t0).ledger
    expect(startsLastMinute(ledger, t0 - 1)).toBe(0)
    expect(startsLastMinute(ledger, t0)).toBe(1)
    expect(startsLastMinute(ledger, t0 + 4_500)).toBe(5)
    expect(startsLastMinute(ledger, t0 + 30_000)).toBe(10)
    expect(startsLastMinute(ledger, t0 + timing.rateWindowMs)).toBe(9)
    expect(startsLastMinute(ledger, t0 + 3 * 60_000)).toBe(0)
  })
})

describe('a quota that several deployments share', () => {
  test('gives them their slots by turns, at one pace', () => {
    let ledger = shared
    const slots = Array.from({ length: 6 }, () => {
      const { slotAt, deployment, ledger: after } = takeSlot(ledger, t0)
      ledger = frozen(after)
      return { slotAt, deployment }
    })
    expect(slots.map(({ deployment }) => deployment)).toEqual([
      'east',
      'west',
      'north',
      'east',
      'west',
      'north',
    ])
    for (const [index, { slotAt }] of slots.entries()) {
      expect(slotAt).toBeCloseTo(t0 + index * spacingMs(shared), 1)
    }
    expect(startsLastMinute(ledger, t0 + 30_000)).toBe(6)
  })

  test('leaves out one that is stopped until its probe is due, which then goes first', () => {
    let ledger = stopAt(shared, t0, 'west')
    const served: string[] = []
    while (!served.includes('west')) {
      const slot = takeSlot(ledger, t0)
      served.push(slot.deployment)
      if (slot.deployment === 'west') expect(slot.slotAt).toBeGreaterThanOrEqual(t0 + timing.probeFirstMs)
      ledger = frozen(slot.ledger)
    }
    // Slots are 1.02 s apart: ten of them come before the probe.
    expect(served).toHaveLength(11)
    expect(breakerOf(ledger, 'west').probeSlotAt).toBe(ledger.nextFreeAt - spacingMs(ledger))
    expect(takeSlot(ledger, t0).deployment).not.toBe('west')
  })

  test('of two probes that are due at once takes them one after the other, before those in service', () => {
    const stoppedTwo = stopAt(stopAt(shared, t0, 'west'), t0, 'north')
    const at = t0 + timing.probeFirstMs
    const first = takeSlot(stoppedTwo, at)
    const second = takeSlot(first.ledger, at)
    const third = takeSlot(second.ledger, at)
    expect([first, second, third].map(({ deployment }) => deployment)).toEqual(['west', 'north', 'east'])
  })

  test('is paused for all of them', () => {
    const ledger = refusedAt(shared, t0, 30_000)
    for (const deployment of ['east', 'west', 'north']) {
      expect(mayStart(ledger, { slotAt: t0 + 29_999, deployment })).toBe(false)
      expect(mayStart(ledger, { slotAt: t0 + 30_000, deployment })).toBe(true)
    }
  })

  test('is in service while one of them is', () => {
    const oneLeft = stopAt(stopAt(shared, t0, 'west'), t0, 'north')
    expect(isInService(oneLeft)).toBe(true)
    expect(isInService(stopAt(oneLeft, t0, 'east'))).toBe(false)
    expect(mayStart(oneLeft, { slotAt: t0, deployment: 'east' })).toBe(true)
    expect(mayStart(oneLeft, { slotAt: t0, deployment: 'west' })).toBe(false)
  })

  test('knows nothing of a deployment that does not draw on it', () => {
    const now = t0
    const nobody = { deployment: 'south', slotAt: t0, now, code: '401', message: 'key refused' }
    expect(memberOf(shared, 'south')).toBeUndefined()
    expect(mayStart(shared, { slotAt: t0, deployment: 'south' })).toBe(false)
    expect(takeFreshSlot(shared, { now, slotAt: t0, deployment: 'south' })).toBeUndefined()
    expect(stopped(shared, nobody)).toBe(shared)
    expect(faulted(shared, nobody)).toBe(shared)
    expect(reopened(shared, 'south')).toBe(shared)
  })
})

describe('a fresh slot', () => {
  const late = { now: t0 + 20_000, slotAt: t0, deployment: 'images' }

  test('is the next free one, and is not counted beside the missed one', () => {
    const first = takeSlot(ledgerOf(), t0)
    const fresh = takeFreshSlot(first.ledger, late)
    expect(fresh).toMatchObject({ slotAt: late.now, deployment: 'images' })
    expect(startsLastMinute(fresh?.ledger ?? ledgerOf(), late.now)).toBe(1)
  })

  test('lies behind all slots that were given, and behind a pause', () => {
    const given = takeSlot(ledgerOf(), late.now)
    const behind = takeFreshSlot(given.ledger, late)
    expect(behind?.slotAt).toBeCloseTo(late.now + spacingMs(given.ledger), 2)
    const pause = refusedAt(given.ledger, late.now, 30_000)
    expect(takeFreshSlot(pause, late)?.slotAt).toBe(late.now + 30_000)
    const gapMs = Math.max(resumeGapMs, spacingMs(pause))
    expect(takeFreshSlot(pause, late)?.ledger.nextFreeAt).toBe(late.now + 30_000 + gapMs)
  })

  test('is of the same deployment, and leaves the turns of the others as they were', () => {
    const given = takeSlot(shared, t0)
    const fresh = takeFreshSlot(given.ledger, { ...late, deployment: 'east' })
    expect(fresh?.deployment).toBe('east')
    expect(fresh?.ledger.deployments.map(({ deployment }) => deployment)).toEqual(['west', 'north', 'east'])
    expect(takeSlot(fresh?.ledger ?? shared, t0).deployment).toBe('west')
  })

  test('leaves the lead alone: who woke late says apart whether messages come too late', () => {
    const fresh = takeFreshSlot(ledgerOf(), late)
    const { leadMs, leadLowerAt } = ledgerOf()
    expect(fresh?.ledger).toMatchObject({ leadMs, leadLowerAt })
  })

  test('of a stopped deployment is for its probe alone, which stays the probe', () => {
    const probe = takeSlot(stopAt(ledgerOf(), t0), t0)
    const now = probe.slotAt + 10_000
    expect(takeFreshSlot(stopAt(ledgerOf(), t0), late)).toBeUndefined()
    expect(takeFreshSlot(probe.ledger, { ...late, now })).toBeUndefined()
    const fresh = takeFreshSlot(probe.ledger, { ...late, now, slotAt: probe.slotAt })
    expect(fresh?.slotAt).toBe(now)
    expect(breakerOf(fresh?.ledger ?? ledgerOf())).toEqual({
      ...breakerOf(probe.ledger),
      probeSlotAt: now,
      nextProbeAt: now + timing.probeLostMs,
    })
    const { deployment } = late
    expect(mayStart(fresh?.ledger ?? ledgerOf(), { slotAt: now, deployment })).toBe(true)
    expect(mayStart(fresh?.ledger ?? ledgerOf(), { slotAt: probe.slotAt, deployment })).toBe(false)
  })

  test('forgetting a slot that nobody counted does not take the count below zero', () => {
    const fresh = takeFreshSlot(ledgerOf(), late)
    expect(startsLastMinute(fresh?.ledger ?? ledgerOf(), t0 + 1)).toBe(0)
  })
})

describe('the lead', () => {
  const late = { now: t0 + 20_000, wakeAt: t0 - 5_000, wokeAt: t0 + 10_000 }

  // The message came 15 s after it became visible; the next may be later still.
  const neededMs = 15_000 * timing.leadAllowance + timing.leadMarginMs

  test('rises beyond what a late message would have needed, and is then left alone for a while', () => {
    expect(raisedLead(ledgerOf(), late)).toEqual({
      ...ledgerOf(),
      leadMs: neededMs,
      leadLowerAt: late.now + timing.leadRaisedQuietMs,
    })
    expect(neededMs).toBeGreaterThan(15_000)
  })

  test('stays when the message came in time, or when it is long enough', () => {
    expect(raisedLead(ledgerOf(), { ...late, wokeAt: late.wakeAt + 100 })).toBeUndefined()
    expect(raisedLead(ledgerOf({ leadMs: neededMs }), late)).toBeUndefined()
    expect(raisedLead(ledgerOf({ leadMs: neededMs - 1 }), late)).toBeDefined()
  })

  test('never rises beyond its maximum', () => {
    const hours = { ...late, wokeAt: late.wakeAt + 3_600_000 }
    expect(raisedLead(ledgerOf(), hours)?.leadMs).toBe(timing.leadMaxMs)
    expect(raisedLead(ledgerOf({ leadMs: timing.leadMaxMs }), hours)).toBeUndefined()
  })

  test('falls slowly after quiet minutes, never below its minimum', () => {
    const ledger = ledgerOf({ leadMs: 20_000 })
    expect(lowerLead(ledger, t0 + timing.leadQuietMs - 1)).toBe(ledger)
    const lowered = lowerLead(ledger, t0 + timing.leadQuietMs)
    expect(lowered.leadMs).toBe(19_000)
    expect(lowerLead(lowered, t0 + 2 * timing.leadQuietMs - 1)).toBe(lowered)
    let last = ledger
    for (let minute = 1; minute < 100; minute += 1) last = lowerLead(last, t0 + minute * timing.leadQuietMs)
    expect(last.leadMs).toBe(timing.leadMinMs)
    expect(lowerLead(last, t0 + 200 * timing.leadQuietMs)).toBe(last)
  })

  test('falls again only when it was enough for long after it was raised', () => {
    const raised = raisedLead(ledgerOf(), late) ?? ledgerOf()
    expect(lowerLead(raised, late.now + timing.leadRaisedQuietMs - 1)).toBe(raised)
    const lowered = lowerLead(raised, late.now + timing.leadRaisedQuietMs)
    expect(lowered.leadMs).toBeCloseTo(neededMs * 0.95)
    expect(lowered.leadLowerAt).toBe(late.now + timing.leadRaisedQuietMs + timing.leadQuietMs)
  })

  test('and two ticks make the horizon, and a cold start where functions were found asleep', () => {
    const ledger = ledgerOf({ leadMs: 7_000 })
    expect(horizonMs(ledger, false)).toBe(7_000 + 2 * timing.tickMs)
    expect(horizonMs(ledger, true)).toBe(7_000 + timing.coldMs + 2 * timing.tickMs)
  })

  test.each([timing.leadMaxMs - 1_000, timing.leadMaxMs])(
    'of %i ms is as long as any is, with a cold start or without',
    (leadMs) => {
      expect(horizonMs(ledgerOf({ leadMs }), true)).toBe(timing.leadMaxMs + 2 * timing.tickMs)
    },
  )
})

describe('a message', () => {
  const warm = { isCold: false, quotas: 1 }
  const cold = { isCold: true, quotas: 1 }
  const spacing = (ms: number): Ledger => ledgerOf({ rpm: 60_000 / ms, pace: 1 })

  test('of a slow quota becomes visible a tick within the horizon', () => {
    const slow = spacing(10_000)
    expect(wakeAheadMs(slow, warm)).toBe(timing.leadMs + timing.tickMs)
    expect(wakeAheadMs(slow, cold)).toBe(timing.leadMs + timing.coldMs + timing.tickMs)
  })

  test('of a faster one becomes visible so early that 12 jobs of its pool at most are held for it', () => {
    expect(wakeAheadMs(spacing(600), warm)).toBeCloseTo(limits.jobsHeldEarlyMax * 600)
    expect(wakeAheadMs(spacing(1_000), { ...warm, quotas: 2 })).toBeCloseTo(
      (limits.jobsHeldEarlyMax * 1_000) / 2,
    )
  })

  test('never becomes visible later than the lead asks', () => {
    expect(wakeAheadMs(spacing(10), warm)).toBe(timing.leadMs)
  })

  test('becomes visible early at any pace where functions were found asleep', () => {
    expect(wakeAheadMs(spacing(10), cold)).toBe(timing.leadMs + timing.coldMs + timing.tickMs)
  })
})

describe('a refusal for want of quota', () => {
  test('pauses as long as the model asked, and no slot lies in it', () => {
    const ledger = refusedAt(ledgerOf(), t0, 30_000)
    expect(ledger).toMatchObject({ pausedUntil: t0 + 30_000, pauseReason: 'busy' })
    expect(takeSlot(ledger, t0).slotAt).toBe(t0 + 30_000)
    expect(mayStart(ledger, { slotAt: t0 + 29_999, deployment: 'images' })).toBe(false)
    expect(mayStart(ledger, { slotAt: t0 + 30_000, deployment: 'images' })).toBe(true)
  })

  test('pauses also where it asks for no wait, and never for longer than a single request should ask', () => {
    const { pausedUntil } = refusedAt(ledgerOf(), t0, null)
    expect(pausedUntil).toBeGreaterThan(t0)
    expect(pausedUntil).toBeLessThan(t0 + 60_000)
    const endless = refusedAt(ledgerOf(), t0, Infinity)
    expect(endless.pausedUntil).toBeGreaterThan(t0)
    expect(endless.pausedUntil).toBeLessThan(t0 + 3_600_000)
  })

  test('never shortens a pause', () => {
    const long = refusedAt(ledgerOf(), t0, 30_000)
    expect(refusedAt(long, t0, 30_000, 'short')).toMatchObject({
      pausedUntil: long.pausedUntil,
      pauseReason: 'busy',
      nextFreeAt: long.nextFreeAt,
    })
    expect(refusedAt(long, t0, 30_001, 'longer')).toMatchObject({
      pausedUntil: t0 + 30_001,
      pauseReason: 'longer',
    })
  })

  test('is followed by one request that asks, before the others', () => {
    const ledger = refusedAt(ledgerOf({ rpm: 600 }), t0, 30_000)
    const first = takeSlot(ledger, t0)
    expect(first.slotAt).toBe(t0 + 30_000)
    const second = takeSlot(first.ledger, t0)
    expect(second.slotAt).toBe(first.slotAt + resumeGapMs)
    const third = takeSlot(second.ledger, t0)
    expect(third.slotAt - second.slotAt).toBeCloseTo(spacingMs(second.ledger), 2)
    expect(third.slotAt - second.slotAt).toBeLessThan(resumeGapMs)
  })

  test('takes back what was given in the pause, which then counts as no start', () => {
    let given = ledgerOf()
    for (let i = 0; i < 20; i += 1) given = takeSlot(given, t0).ledger
    const now = t0 + 5_000
    const ledger = refusedAt(given, now, 60_000)
    expect(startsBetween(given.starts, t0 - 1, t0 + 60_000)).toBe(20)
    expect(startsBetween(ledger.starts, t0 - 1, t0 + 60_000)).toBe(5)
    expect(ledger.nextFreeAt).toBe(ledger.pausedUntil)
  })

  test('because Azure is busy leaves the ledger to go on, when it is the only one', () => {
    const refusal = { now: t0, slotAt: t0, retryAfterMs: 30_000, cause: 'capacity', reason: 'busy' } as const
    const ledger = throttled(ledgerOf(), refusal)
    expect(ledger).toEqual({ ...ledgerOf(), level: ledger.level })
    expect(ledger.level.capacityAt).toEqual([t0])
  })

  test('teaches a lower rate, which slots go by from then on', () => {
    let ledger = ledgerOf()
    for (let i = 0; i < 60; i += 1) ledger = takeSlot(ledger, t0).ledger
    const before = spacingMs(ledger)
    expect(spacingMs(refusedAt(ledger, t0 + 58_000, 2_000))).toBeGreaterThan(before)
  })
})

describe('the limit in the headers of an answer', () => {
  test('is taken over once', () => {
    const ledger = toldLimit(ledgerOf(), 30)
    expect(spacingMs(ledger ?? ledgerOf())).toBeCloseTo(60_000 / (30 * 0.98))
    expect(toldLimit(ledger ?? ledgerOf(), 30)).toBeUndefined()
    expect(toldLimit(ledgerOf(), Number.NaN)).toBeUndefined()
  })
})

describe('quiet minutes', () => {
  test('without starts teach nothing, and those with starts are counted', () => {
    expect(afterQuiet(ledgerOf(), t0 + 60_000)).toEqual(ledgerOf())
    const used = takeSlot(ledgerOf(), t0).ledger
    const counted = afterQuiet(used, t0 + 30_000)
    expect(counted).toEqual({ ...used, level: counted.level })
    expect(counted.level.countedAt).toBe(t0 + 30_000)
  })
})

describe('the breaker', () => {
  test('lets nothing start but its probe', () => {
    const ledger = stopAt(ledgerOf(), t0)
    const mayStartAt = (now: Ledger, slotAt: number): boolean =>
      mayStart(now, { slotAt, deployment: 'images' })
    expect(mayStartAt(ledger, t0 + 60_000)).toBe(false)
    const probe = takeSlot(ledger, t0)
    expect(probe.slotAt).toBe(t0 + timing.probeFirstMs)
    expect(mayStartAt(probe.ledger, probe.slotAt)).toBe(true)
    expect(mayStartAt(probe.ledger, probe.slotAt + 1)).toBe(false)
  })

  test('keeps its opening time and shows the reason of its newest probe', () => {
    const { slotAt, ledger } = takeSlot(stopAt(ledgerOf(), t0), t0)
    const gone = { deployment: 'images', slotAt, now: slotAt + 5_000, code: '404', message: 'gone' }
    expect(breakerOf(stopped(ledger, gone))).toEqual({
      openedAt: t0,
      code: '404',
      message: 'gone',
      probeSlotAt: null,
      nextProbeAt: slotAt + 5_000 + 2 * timing.probeFirstMs,
      probes: 1,
    })
  })

  test('is told nothing new by calls that were under way when it opened', () => {
    const open = stopAt(ledgerOf(), t0)
    const late = { deployment: 'images', slotAt: t0 - 500, now: t0 + 1_000, code: '404', message: 'gone' }
    expect(stopped(open, late)).toBe(open)
    const probe = takeSlot(open, t0).ledger
    expect(stopped(probe, late)).toBe(probe)
    expect(breakerOf(faulted(probe, late))).toBe(breakerOf(probe))
  })

  test('probes at intervals that grow with each that fails, doubled up to a bound', () => {
    let ledger = stopAt(ledgerOf(), t0)
    let before = t0
    const intervals = Array.from({ length: 14 }, () => {
      const probe = takeSlot(ledger, before)
      const intervalMs = probe.slotAt - before
      before = probe.slotAt + 3_000
      ledger = stopAt(probe.ledger, before, 'images', probe.slotAt)
      return intervalMs
    })
    const doubled = intervals.map((_, i) => Math.min(timing.probeMaxMs, timing.probeFirstMs * 2 ** i))
    expect(intervals).toEqual(doubled)
  })

  test('sends another probe after one that was lost, no more rarely for it', () => {
    let ledger = stopAt(ledgerOf(), t0)
    const slots = Array.from({ length: 4 }, () => {
      const probe = takeSlot(ledger, t0)
      ledger = probe.ledger
      return probe.slotAt
    })
    const first = t0 + timing.probeFirstMs
    expect(slots).toEqual([0, 1, 2, 3].map((lost) => first + lost * timing.probeLostMs))
    expect(breakerOf(ledger).probes).toBe(0)
  })

  test('grows its intervals also by faults of its probes', () => {
    const probe = takeSlot(stopAt(ledgerOf(), t0), t0)
    const now = probe.slotAt + 9_000
    const after = faulted(probe.ledger, {
      deployment: 'images',
      slotAt: probe.slotAt,
      now,
      code: 'ETIMEDOUT',
      message: 'no answer',
    })
    expect(breakerOf(after)).toMatchObject({
      code: 'failing',
      openedAt: t0,
      probeSlotAt: null,
      probes: 1,
      nextProbeAt: now + 2 * timing.probeFirstMs,
    })
  })

  test('closes on an answer', () => {
    const faulty = fault(stopAt(shared, t0, 'west'), t0, 'west')
    const open = reopened(faulty, 'west')
    expect(memberOf(open, 'west')).toMatchObject({ breaker: null, faultsRecently: [] })
    expect(open).toEqual({ ...faulty, deployments: open.deployments })
    expect(memberOf(open, 'east')).toBe(memberOf(faulty, 'east'))
  })
})

describe('a deployment that answers with faults', () => {
  /** Slots are given to the deployment, and each is reported as a fault a little later. */
  function faultsAfterSlots(ledger: Ledger, { slots, faults }: { slots: number; faults: number }): Ledger {
    let after = ledger
    let now = t0
    for (let slot = 0; slot < slots; slot += 1) {
      const taken = takeSlot(after, now)
      now = taken.slotAt
      after = taken.ledger
    }
    for (let each = 0; each < faults; each += 1) after = frozen(fault(after, now))
    return after
  }

  test('is stopped once nothing else came of its slots for a while', () => {
    const before = faultsAfterSlots(ledgerOf(), { slots: 5, faults: timing.faultsMin - 1 })
    expect(isInService(before)).toBe(true)
    const now = before.nextFreeAt
    const after = fault(before, now)
    expect(breakerOf(after)).toEqual({
      code: 'failing',
      message: '5 calls failed one after the other, the last: no answer',
      openedAt: now,
      probeSlotAt: null,
      nextProbeAt: now + timing.probeFirstMs,
      probes: 0,
    })
  })

  test('goes on while at least half of its slots come to something', () => {
    const slots = 2 * timing.faultsMin + 1
    const half = faultsAfterSlots(ledgerOf(), { slots, faults: timing.faultsMin })
    expect(isInService(half)).toBe(true)
    expect(isInService(fault(half, t0 + slots * 1_000))).toBe(false)
  })

  test('goes on when its faults are few, though they are all there is', () => {
    const few = faultsAfterSlots(ledgerOf(), { slots: 4, faults: 4 })
    expect(isInService(few)).toBe(true)
    expect(only(few).faultsRecently).toEqual([{ at: t0, count: 4 }])
  })

  test('is not held answerable for faults of long ago', () => {
    const before = faultsAfterSlots(ledgerOf(), { slots: 4, faults: timing.faultsMin - 1 })
    const later = t0 + timing.faultWindowMs + timing.rateBucketMs
    expect(isInService(fault(before, later))).toBe(true)
  })

  test('keeps its breaker as it was opened when it is stopped already', () => {
    const before = takeSlot(stopAt(ledgerOf(), t0), t0).ledger
    const after = faultsAfterSlots(before, { slots: 0, faults: 2 * timing.faultsMin })
    expect(breakerOf(after)).toEqual(breakerOf(before))
    expect(only(after).faultsRecently).toEqual([{ at: t0, count: 2 * timing.faultsMin }])
  })

  test('of a shared quota is judged by its share of the slots', () => {
    let ledger = shared
    for (let each = 0; each < 30; each += 1) ledger = takeSlot(ledger, t0).ledger
    // Ten of the thirty were its own.
    const now = t0 + 29_900
    for (let each = 1; each < timing.faultsMin; each += 1) ledger = fault(ledger, now, 'west')
    expect(memberOf(ledger, 'west')?.breaker).toBeNull()
    expect(breakerOf(fault(ledger, now, 'west'), 'west').code).toBe('failing')
  })

  test('leaves the others of its quota in service', () => {
    let ledger = shared
    for (let each = 0; each < timing.faultsMin; each += 1) ledger = fault(ledger, t0, 'west')
    expect(ledger.deployments.map(({ breaker }) => breaker?.code)).toEqual([undefined, 'failing', undefined])
  })
})

describe('a recall', () => {
  const recall = { batch: 'a', epoch: 7, at: t0 } as const

  test('is of every slot of its batch that was given until then, and of nothing else', () => {
    const ledger = withRecall(ledgerOf(), recall)
    expect(isRecalled(ledger, { batch: 'a', epoch: 7 })).toBe(true)
    expect(isRecalled(ledger, { batch: 'a', epoch: 1 })).toBe(true)
    expect(isRecalled(ledger, { batch: 'a', epoch: 8 })).toBe(false)
    expect(isRecalled(ledger, { batch: 'b', epoch: 7 })).toBe(false)
    expect(isRecalled(ledgerOf(), { batch: 'a', epoch: 7 })).toBe(false)
  })

  test('is remembered for as long as a slot may lie ahead, once a batch', () => {
    const twice = withRecall(withRecall(ledgerOf(), recall), { ...recall, epoch: 9, at: t0 + 1 })
    expect(twice.recalled).toEqual([{ batch: 'a', epoch: 9, at: t0 + 1 }])
    const other = { batch: 'b', epoch: 99, at: t0 + timing.recallKnownMs + 1 }
    expect(withRecall(withRecall(ledgerOf(), recall), other).recalled).toEqual([other])
  })

  test('is never forgotten because of others: the oldest of too many become one for all batches', () => {
    let many = ledgerOf()
    for (let i = 0; i < limits.recallsMax + 5; i += 1)
      many = withRecall(many, { batch: `${i}`, epoch: i, at: t0 + i })
    expect(many.recalled).toHaveLength(limits.recallsMax)
    for (let i = 0; i < limits.recallsMax + 5; i += 1) {
      expect(isRecalled(many, { batch: `${i}`, epoch: i }), `${i}`).toBe(true)
      expect(isRecalled(many, { batch: `${i}`, epoch: i + 6 }), `${i}`).toBe(false)
    }
    expect(isRecalled(many, { batch: 'another', epoch: 0 })).toBe(true)
  })
})

describe('settings that are read anew', () => {
  const same = { quota: 'images', rpm: 9, pace: 0.9, deployments: [settingsOf('east'), settingsOf('west')] }
  const used = stopAt(
    takeSlot(takeSlot(ledgerOf({ deployments: membersOf(same) }), t0).ledger, t0).ledger,
    t0,
    'west',
  )

  test('change limits, and nothing else', () => {
    expect(underSettings(used, same)).toEqual({ ...used, rpm: 9, pace: 0.9 })
  })

  test('end what headers said of the limit, when the limit is another', () => {
    const told = toldLimit(used, 42)!
    expect(underSettings(told, { ...same, rpm: told.rpm }).level.toldRpm).toBe(42)
    expect(underSettings(told, { ...same, rpm: told.rpm + 1 }).level.toldRpm).toBeNull()
  })

  test('close the breaker of a deployment whose key or address was changed', () => {
    const changed = underSettings(used, {
      ...same,
      deployments: [settingsOf('east'), settingsOf('west', 'other')],
    })
    expect(memberOf(changed, 'west')).toEqual({
      ...memberOf(used, 'west'),
      settingsMark: 'other',
      breaker: null,
    })
    expect(memberOf(changed, 'east')).toBe(memberOf(used, 'east'))
  })

  test('add a deployment behind the others, and take one out', () => {
    const { nextFreeAt } = used
    const moved = underSettings(used, { ...same, deployments: [settingsOf('north'), settingsOf('west')] })
    expect(moved.deployments.map(({ deployment }) => deployment)).toEqual(['west', 'north'])
    expect(memberOf(moved, 'west')).toBe(memberOf(used, 'west'))
    expect(memberOf(moved, 'north')).toEqual(membersOf({ deployments: [settingsOf('north')] })[0])
    expect(moved.nextFreeAt).toBe(nextFreeAt)
  })
})

test('a new ledger starts at its settings, unlearned and free', () => {
  const settings = { quota: 'images', rpm: 9, pace: 0.98, deployments: [settingsOf('east', 'm')] }
  expect(newLedger(settings, t0)).toEqual({
    quota: 'images',
    rpm: 9,
    pace: 0.98,
    topPace: topPaces.severalClocks,
    deployments: [{ deployment: 'east', settingsMark: 'm', breaker: null, faultsRecently: [] }],
    level: newLevel(t0),
    nextFreeAt: 0,
    pausedUntil: 0,
    pauseReason: null,
    starts: [],
    recalled: [],
    leadMs: timing.leadMs,
    leadLowerAt: t0 + timing.leadQuietMs,
  })
})

type Step = (ledger: Ledger, now: number) => { readonly slotAt?: number | undefined; readonly ledger: Ledger }

/** Steps that a deployment of the quota takes, any of them. */
const steps: readonly Step[] = [
  (ledger, now) => takeSlot(ledger, now),
  (ledger, now) => {
    const member = anyMember(ledger, now)
    const slotAt = member.breaker?.probeSlotAt ?? ledger.nextFreeAt - 1
    return takeFreshSlot(ledger, { now, slotAt, deployment: member.deployment }) ?? { ledger }
  },
  (ledger, now) => ({ ledger: refusedAt(ledger, now, 3_000) }),
  (ledger, now) => ({ ledger: refusedAt(ledger, now, null) }),
  (ledger) => ({ ledger: toldLimit(ledger, 66 - ledger.rpm) ?? ledger }),
  (ledger, now) => ({ ledger: afterQuiet(ledger, now) }),
  (ledger, now) => ({ ledger: stopAt(ledger, now, anyMember(ledger, now).deployment) }),
  (ledger, now) => ({ ledger: fault(ledger, now, anyMember(ledger, now).deployment) }),
  (ledger, now) => ({ ledger: reopened(ledger, anyMember(ledger, now).deployment) }),
  (ledger, now) => ({ ledger: lowerLead(ledger, now) }),
  (ledger, now) => ({
    ledger: raisedLead(ledger, { now, wakeAt: now - 9_000, wokeAt: now }) ?? ledger,
  }),
  (ledger) => {
    const deployments = ledger.deployments.slice(1).map(({ deployment }) => settingsOf(deployment, 'other'))
    const settings = { ...ledger, rpm: 66 - ledger.rpm, deployments: [...deployments, settingsOf('new')] }
    return { ledger: underSettings(ledger, settings) }
  },
]

/** Time grows as a rule; at times it jumps, as clocks of different instances do. */
const stepArbitrary = fc.record({
  step: fc.oneof({ weight: 3, arbitrary: fc.constant(takeSlot) }, fc.constantFrom(...steps)),
  elapsedMs: fc.oneof(
    fc.constant(0),
    fc.double({ min: 0, max: 2_000, noNaN: true }),
    fc.integer({ min: -120_000, max: 120_000 }),
  ),
})

function settingsOf(deployment: string, settingsMark = 'mark'): Pick<Member, 'deployment' | 'settingsMark'> {
  return { deployment, settingsMark }
}

function membersOf({ deployments }: Pick<Parameters<typeof newLedger>[0], 'deployments'>): readonly Member[] {
  return newLedger({ quota: 'images', rpm: 60, pace: 0.98, deployments }, t0).deployments
}

function anyMember({ deployments }: Ledger, now: number): Member {
  const member = deployments[Math.floor(Math.abs(now)) % deployments.length]
  if (member === undefined) throw new Error('the quota has no deployment')
  return member
}

function refusedAt(ledger: Ledger, now: number, retryAfterMs: number | null, reason = 'busy'): Ledger {
  return throttled(ledger, { now, slotAt: now, retryAfterMs, cause: 'rate', reason })
}

function stopAt(ledger: Ledger, now: number, deployment = 'images', slotAt = now): Ledger {
  return frozen(stopped(ledger, { deployment, slotAt, now, code: '401', message: 'key refused' }))
}

function fault(ledger: Ledger, now: number, deployment = 'images'): Ledger {
  return faulted(ledger, { deployment, slotAt: now, now, code: 'ETIMEDOUT', message: 'no answer' })
}

function only(ledger: Ledger): Member {
  expect(ledger.deployments).toHaveLength(1)
  return anyMember(ledger, 0)
}

function breakerOf(ledger: Ledger, deployment = 'images'): Breaker {
  const breaker = memberOf(ledger, deployment)?.breaker ?? null
  if (breaker === null) throw new Error('the breaker is closed')
  return breaker
}
