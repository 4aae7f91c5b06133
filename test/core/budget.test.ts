import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  horizonMs,
  lowerLead,
  mayStart,
  newLedger,
  paused,
  reopened,
  spacingMs,
  startsLastMinute,
  stopped,
  takeFreshSlot,
  takeSlot,
  underSettings,
  type Breaker,
  type Ledger,
} from '../../src/core/budget.ts'
import { timing } from '../../src/core/timing.ts'
import { assertNeverFasterThan } from '../support/never-faster-than.ts'
import { frozen, ledgerOf, t0 } from './sample.ts'

describe('slots', () => {
  test('a new ledger gives the first slot at once and the next one spacing later', () => {
    const first = takeSlot(ledgerOf(), t0)
    expect(first.slotAt).toBe(t0)
    const second = takeSlot(first.ledger, t0)
    expect(second.slotAt - first.slotAt).toBeCloseTo(60_000 / (60 * 0.98), 2)
  })

  test('spacing follows the limit, the pace and the learned factor', () => {
    expect(spacingMs({ rpm: 60, pace: 1, factor: 1 })).toBe(1_000)
    expect(spacingMs({ rpm: 60, pace: 0.5, factor: 0.5 })).toBe(4_000)
  })

  test('are never closer than the spacing, and the next free time never goes back, whatever happens', () => {
    fc.assert(
      fc.property(fc.array(stepArbitrary, { maxLength: 120, size: 'max' }), (steps) => {
        let ledger = ledgerOf()
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
    expect(startsLastMinute(ledger, t0 + 30_000)).toBe(10)
    expect(startsLastMinute(ledger, t0 + 3 * 60_000)).toBe(0)
  })
})

describe('a fresh slot', () => {
  const late = { now: t0 + 20_000, slotAt: t0, wakeAt: t0 - 5_000, wokeAt: t0 + 10_000 }

  test('is the next free one, raises the lead, and is not counted beside the missed one', () => {
    const first = takeSlot(ledgerOf(), t0)
    const fresh = takeFreshSlot(first.ledger, late)
    expect(fresh?.slotAt).toBe(late.now)
    expect(fresh?.ledger.leadMs).toBe(15_000 + timing.leadMarginMs)
    expect(fresh?.ledger.leadChangedAt).toBe(late.now)
    expect(startsLastMinute(fresh?.ledger ?? ledgerOf(), late.now)).toBe(1)
  })

  test('leaves the lead alone when the message came in time', () => {
    const fresh = takeFreshSlot(ledgerOf(), { ...late, wokeAt: late.wakeAt + 100 })
    expect(fresh?.ledger.leadMs).toBe(timing.leadMs)
    expect(fresh?.ledger.leadChangedAt).toBe(t0)
  })

  test('never raises the lead beyond its maximum', () => {
    const fresh = takeFreshSlot(ledgerOf(), { ...late, wokeAt: late.wakeAt + 3_600_000 })
    expect(fresh?.ledger.leadMs).toBe(timing.leadMaxMs)
  })

  test('of a stopped deployment is for its probe alone, which stays the probe', () => {
    const probe = takeSlot(stopAt(ledgerOf(), t0), t0)
    const now = probe.slotAt + 10_000
    expect(takeFreshSlot(stopAt(ledgerOf(), t0), late)).toBeUndefined()
    expect(takeFreshSlot(probe.ledger, { ...late, now })).toBeUndefined()
    const fresh = takeFreshSlot(probe.ledger, { ...late, now, slotAt: probe.slotAt })
    expect(fresh?.slotAt).toBe(now)
    expect(fresh?.ledger.breaker).toEqual({
      ...probe.ledger.breaker,
      probeSlotAt: now,
      nextProbeAt: now + 2 * timing.probeFirstMs,
    })
    expect(mayStart(fresh?.ledger ?? ledgerOf(), now)).toBe(true)
    expect(mayStart(fresh?.ledger ?? ledgerOf(), probe.slotAt)).toBe(false)
  })

  test('forgetting a slot that nobody counted does not take the count below zero', () => {
    const fresh = takeFreshSlot(ledgerOf(), late)
    expect(startsLastMinute(fresh?.ledger ?? ledgerOf(), t0 + 1)).toBe(0)
  })
})

describe('the lead', () => {
  test('falls slowly after quiet minutes, never below its minimum', () => {
    const ledger = ledgerOf({ leadMs: 20_000 })
    expect(lowerLead(ledger, t0 + timing.leadQuietMs - 1)).toBe(ledger)
    const lowered = lowerLead(ledger, t0 + timing.leadQuietMs)
    expect(lowered.leadMs).toBe(19_000)
    expect(lowered.leadChangedAt).toBe(t0 + timing.leadQuietMs)
    let last = ledger
    for (let minute = 1; minute < 100; minute += 1) last = lowerLead(last, t0 + minute * timing.leadQuietMs)
    expect(last.leadMs).toBe(timing.leadMinMs)
    expect(lowerLead(last, t0 + 200 * timing.leadQuietMs)).toBe(last)
  })

  test('and two ticks make the horizon', () => {
    expect(horizonMs(ledgerOf({ leadMs: 7_000 }))).toBe(7_000 + 2 * timing.tickMs)
  })
})

describe('a pause', () => {
  test('lasts as long as the model asked, and no slot lies in it', () => {
    const ledger = paused(ledgerOf(), { now: t0, retryAfterMs: 30_000, reason: 'busy' })
    expect(ledger).toMatchObject({ pausedUntil: t0 + 30_000, pauseReason: 'busy' })
    expect(takeSlot(ledger, t0).slotAt).toBe(t0 + 30_000)
    expect(mayStart(ledger, t0 + 29_999)).toBe(false)
    expect(mayStart(ledger, t0 + 30_000)).toBe(true)
  })

  test('has a default and a longest length', () => {
    const unknown = paused(ledgerOf(), { now: t0, retryAfterMs: null, reason: 'busy' })
    expect(unknown.pausedUntil).toBe(t0 + timing.pauseDefaultMs)
    const endless = paused(ledgerOf(), { now: t0, retryAfterMs: Infinity, reason: 'busy' })
    expect(endless.pausedUntil).toBe(t0 + timing.pauseMaxMs)
  })

  test('is never shortened by another', () => {
    const long = paused(ledgerOf(), { now: t0, retryAfterMs: 30_000, reason: 'long' })
    expect(paused(long, { now: t0, retryAfterMs: 30_000, reason: 'short' })).toBe(long)
    expect(paused(long, { now: t0, retryAfterMs: 30_001, reason: 'longer' }).pauseReason).toBe('longer')
  })
})

describe('the breaker', () => {
  test('lets nothing start but its probe', () => {
    const ledger = stopAt(ledgerOf(), t0)
    expect(mayStart(ledger, t0 + 60_000)).toBe(false)
    const probe = takeSlot(ledger, t0)
    expect(probe.slotAt).toBe(t0 + timing.probeFirstMs)
    expect(mayStart(probe.ledger, probe.slotAt)).toBe(true)
    expect(mayStart(probe.ledger, probe.slotAt + 1)).toBe(false)
  })

  test('keeps its opening time and shows the newest reason', () => {
    const again = stopped(stopAt(ledgerOf(), t0), { now: t0 + 60_000, code: '404', message: 'gone' })
    expect(again.breaker).toMatchObject({ openedAt: t0, code: '404', message: 'gone', probeSlotAt: null })
  })

  test('probes at growing intervals, doubled up to a bound', () => {
    let ledger = stopAt(ledgerOf(), t0)
    let before = t0
    const intervals = Array.from({ length: 14 }, () => {
      const probe = takeSlot(ledger, before)
      const intervalMs = probe.slotAt - before
      before = probe.slotAt
      ledger = stopAt(probe.ledger, probe.slotAt)
      return intervalMs
    })
    const doubled = intervals.map((_, i) => Math.min(timing.probeMaxMs, timing.probeFirstMs * 2 ** i))
    expect(intervals).toEqual(doubled)
  })

  test('does not move a probe that a later slot stands for', () => {
    const probe = takeSlot(stopAt(ledgerOf(), t0), t0)
    const planned = breakerOf(probe.ledger).nextProbeAt
    expect(breakerOf(stopAt(probe.ledger, t0 + 1)).nextProbeAt).toBe(planned)
  })

  test('closes on an answer, and on settings that were changed', () => {
    const ledger = stopAt(ledgerOf(), t0)
    expect(reopened(ledger).breaker).toBeNull()
    const same = { deployment: 'images', settingsMark: 'mark', rpm: 9, pace: 0.9 }
    expect(underSettings(ledger, same)).toEqual({ ...ledger, rpm: 9, pace: 0.9 })
    const changed = underSettings(ledger, { ...same, settingsMark: 'other' })
    expect(changed).toMatchObject({ settingsMark: 'other', breaker: null })
  })
})

test('a new ledger starts at its settings, unlearned and free', () => {
  const settings = { deployment: 'images', settingsMark: 'm', rpm: 9, pace: 0.98 }
  expect(newLedger(settings, t0)).toMatchObject({ ...settings, factor: 1, nextFreeAt: 0, breaker: null })
})

type Step = (ledger: Ledger, now: number) => { readonly slotAt?: number | undefined; readonly ledger: Ledger }

const steps: readonly Step[] = [
  (ledger, now) => takeSlot(ledger, now),
  (ledger, now) => {
    const slotAt = ledger.breaker?.probeSlotAt ?? ledger.nextFreeAt - 1
    const late = { now, slotAt, wakeAt: now - 5_000, wokeAt: now }
    return takeFreshSlot(ledger, late) ?? { ledger }
  },
  (ledger, now) => ({ ledger: paused(ledger, { now, retryAfterMs: 3_000, reason: 'busy' }) }),
  (ledger, now) => ({ ledger: stopAt(ledger, now) }),
  (ledger) => ({ ledger: reopened(ledger) }),
  (ledger, now) => ({ ledger: lowerLead(ledger, now) }),
  (ledger) => ({ ledger: underSettings(ledger, { ...ledger, rpm: 66 - ledger.rpm, settingsMark: 'other' }) }),
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

function stopAt(ledger: Ledger, now: number): Ledger {
  return stopped(ledger, { now, code: '401', message: 'key refused' })
}

function breakerOf(ledger: Ledger): Breaker {
  if (ledger.breaker === null) throw new Error('the breaker is closed')
  return ledger.breaker
}
