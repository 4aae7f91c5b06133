import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  firstStep,
  newLevel,
  passed,
  rpmInForce,
  safePace,
  told,
  type Level,
  type Limits,
} from '../../../src/core/budget/level.ts'
import { refused } from '../../../src/core/budget/throttling.ts'
import { frozen, t0 } from '../sample.ts'

const limits: Limits = { rpm: 600, pace: 0.98, topPace: 0.995 }
const minute = 60_000

function levelOf(fields: Partial<Level> = {}): Level {
  return frozen({ ...newLevel(t0), limitRpm: 600, ...fields })
}

/** Ticks every 5 s with every slot used. */
function afterMinutes(level: Level, minutes: number, from = t0, use = 1): Level {
  let next = level
  for (let now = from; now <= from + minutes * minute; now += 5_000) {
    const startsLastMinute = rpmInForce(next, limits) * use
    next = frozen(passed(next, limits, { now, startsLastMinute, givenUntil: now + 10_000 }))
  }
  return next
}

describe('a new level', () => {
  test('starts at the pace of the limit', () => {
    expect(rpmInForce(newLevel(t0), limits)).toBeCloseTo(588)
  })

  test('rises by half a percent in quiet minutes, to 99.5 % and no further', () => {
    expect(rpmInForce(afterMinutes(newLevel(t0), 4.9), limits)).toBeCloseTo(588)
    expect(rpmInForce(afterMinutes(newLevel(t0), 5.1), limits)).toBeCloseTo(591)
    expect(rpmInForce(afterMinutes(newLevel(t0), 120), limits)).toBeCloseTo(597)
  })

  test('stays where it is while there are fewer jobs than slots', () => {
    expect(rpmInForce(afterMinutes(newLevel(t0), 60, t0, 0.5), limits)).toBeCloseTo(588)
  })

  test('keeps a pace below 0.98: somebody wants to leave room', () => {
    const modest = { rpm: 600, pace: 0.8, topPace: 0.995 }
    const tick = { now: t0 + 20 * minute, startsLastMinute: 480, givenUntil: t0 + 20 * minute }
    expect(rpmInForce(passed(newLevel(t0), modest, tick), modest)).toBeCloseTo(480)
  })

  test('keeps a pace above 0.995 too', () => {
    expect(rpmInForce(newLevel(t0), { rpm: 600, pace: 1, topPace: 0.995 })).toBe(600)
  })

  test('changes nothing, and is the same object, when nothing was started', () => {
    const level = newLevel(t0)
    expect(passed(level, limits, { now: t0, startsLastMinute: 0, givenUntil: t0 })).toBe(level)
  })
})

describe('headers', () => {
  test('correct the limit, up and down, at once', () => {
    expect(rpmInForce(told(newLevel(t0), { limitRpm: 1_200 }), limits)).toBeCloseTo(1_176)
    expect(rpmInForce(told(newLevel(t0), { limitRpm: 300 }), limits)).toBeCloseTo(294)
  })

  test('that say nothing new, or nothing sensible, change nothing', () => {
    const level = told(newLevel(t0), { limitRpm: 1_200 })
    expect(told(level, { limitRpm: 1_200 })).toBe(level)
    expect(told(level, { limitRpm: Number.NaN })).toBe(level)
    expect(told(level, { limitRpm: 0 })).toBe(level)
  })

  test('that lower the limit leave what was learned below it', () => {
    const level = levelOf({ heldRpm: 196 })
    expect(rpmInForce(told(level, { limitRpm: 300 }), limits)).toBeCloseTo(196)
    expect(rpmInForce(told(level, { limitRpm: 100 }), limits)).toBeCloseTo(99.5)
  })

  test('that raise it are followed when nothing less was learned', () => {
    const level = levelOf({ heldRpm: 594, triedRpm: 597 })
    expect(rpmInForce(told(level, { limitRpm: 1_200 }), limits)).toBeCloseTo(1_176)
  })

  test('are no more than settings: another IMAGE_RPM starts anew as well', () => {
    expect(rpmInForce(levelOf({ heldRpm: 594 }), { rpm: 60, pace: 0.98, topPace: 0.995 })).toBeCloseTo(58.8)
    expect(rpmInForce(levelOf(), { rpm: 60, pace: 0.98, topPace: 0.995 })).toBeCloseTo(58.8)
  })
})

describe('a rate that held', () => {
  const cut = levelOf({
    heldRpm: 294,
    refusal: { rpm: 588, at: t0 },
    pause: { cause: 'rate', until: t0 + 30_000, givenUntil: t0 + 15_000, settledAt: t0 + 15_000, tries: 0 },
    since: t0 + 30_000,
  })

  test('is followed by a trial 4 % higher, a minute after the pause', () => {
    const before = afterMinutes(cut, 1.4)
    expect(rpmInForce(before, limits)).toBe(294)
    const after = afterMinutes(cut, 1.6)
    expect(rpmInForce(after, limits)).toBeCloseTo(305.76)
    expect(after.since).toBeGreaterThan(t0 + 90_000)
  })

  test('that is proven is followed by bolder ones at once, up to the pace of the limit', () => {
    const proven = afterMinutes(cut, 3)
    expect(proven.heldRpm).toBeCloseTo(305.76)
    expect(proven.step).toBeCloseTo(3 * firstStep)
    expect(rpmInForce(proven, limits)).toBeGreaterThan(305.76 * 1.12)
    const risen = afterMinutes(cut, 5)
    expect(rpmInForce(risen, limits)).toBeCloseTo(588)
    expect(risen.refusal).not.toBeNull()
  })

  test('is aimed at from below while the rate refused is remembered, and crossed only now and then', () => {
    const near = levelOf({ ...cut, heldRpm: 284.2, refusal: { rpm: 300, at: t0 } })
    expect(rpmInForce(afterMinutes(near, 1.6), limits)).toBeCloseTo(294)
    const held = afterMinutes(near, 2.9)
    expect(held.heldRpm).toBeCloseTo(294)
    expect(rpmInForce(held, limits)).toBeCloseTo(294)
    const proof = held.since
    expect(rpmInForce(afterMinutes(near, (proof - t0) / minute + 2.4), limits)).toBeCloseTo(294)
    expect(rpmInForce(afterMinutes(near, (proof - t0) / minute + 2.6), limits)).toBeCloseTo(305.76)
  })

  test('that exceeds what was refused forgets the refusal', () => {
    const near = levelOf({ ...cut, refusal: { rpm: 296, at: t0 } })
    expect(afterMinutes(near, 5).refusal).toBeNull()
  })

  test('is not exceeded on credit for longer than six minutes', () => {
    const broke = levelOf({ ...cut, credit: -13 })
    const tick = (now: number): Level =>
      passed(levelOf({ ...broke, countedAt: now }), limits, { now, startsLastMinute: 294, givenUntil: now })
    expect(tick(t0 + 6 * minute).triedRpm).toBeNull()
    expect(tick(t0 + 7 * minute).triedRpm).toBeCloseTo(305.76)
  })

  test('near the pace of the limit is exceeded every twenty minutes: there is little to win', () => {
    const close = levelOf({ ...cut, heldRpm: 568.4 })
    expect(afterMinutes(close, 20).triedRpm).toBeNull()
    expect(afterMinutes(close, 20.6).triedRpm).toBeCloseTo(588)
  })

  test('that has a likely cause other than a cut is exceeded every twenty minutes as well', () => {
    const nine = { rpm: 9, pace: 0.98, topPace: 0.995 }
    const floored = levelOf({ ...cut, limitRpm: 9, heldRpm: 5.88, refusal: { rpm: 6.86, at: t0 }, credit: 1 })
    const tick = (level: Level, now: number): number | null =>
      passed(level, nine, { now, startsLastMinute: 6, givenUntil: now }).triedRpm
    expect(tick(floored, t0 + 10 * minute)).toBeNull()
    expect(tick(floored, t0 + 21 * minute)).toBeCloseTo(6.86)
    const other = levelOf({ ...floored, heldRpm: 4.9, refusal: { rpm: 5.88, at: t0 } })
    expect(tick(other, t0 + 10 * minute)).toBeCloseTo(5.88)
  })

  test('above the pace of the limit remembers for an hour where it was refused', () => {
    const top = levelOf({ heldRpm: 591, refusal: { rpm: 594, at: t0 } })
    expect(afterMinutes(top, 59).triedRpm).toBeNull()
    expect(afterMinutes(top, 61).triedRpm).toBeCloseTo(594)
  })
})

describe('among random clients', () => {
  const stormy = levelOf({
    heldRpm: 294,
    refusal: { rpm: 300, at: t0 },
    surprisesAt: [t0 - 600_000, t0 - 300_000, t0],
    pause: { cause: 'rate', until: t0, givenUntil: t0, settledAt: t0, tries: 0 },
  })

  test('trials come and are proven after half a minute', () => {
    expect(afterMinutes(stormy, 0.6).triedRpm).not.toBeNull()
    expect(afterMinutes(stormy, 1.3).heldRpm).toBeGreaterThan(294)
  })

  test('credit grows by half a refusal a minute more', () => {
    const calm = levelOf({ ...stormy, surprisesAt: [] })
    const credit = (level: Level): number =>
      passed(level, limits, { now: t0 + 20_000, startsLastMinute: 294, givenUntil: t0 }).credit
    expect(credit(stormy) - credit(calm)).toBeCloseTo(0.5 / 3)
  })
})

test('whatever happens, the level stays between one a minute and the limit, finite and small', () => {
  const event = fc.record({
    kind: fc.constantFrom('tick', 'tick', 'rate', 'capacity', 'told'),
    afterMs: fc.integer({ min: 0, max: 400_000 }),
    use: fc.double({ min: 0, max: 1, noNaN: true }),
    waitMs: fc.option(fc.constantFrom(0, 1_000, 13_000, 45_000, 86_400_000)),
    slotAgoMs: fc.integer({ min: 0, max: 40_000 }),
    limitRpm: fc.integer({ min: 1, max: 2_000 }),
  })
  fc.assert(
    fc.property(fc.constantFrom(2, 9, 60, 600), fc.array(event, { maxLength: 60 }), (rpm, events) => {
      const bounds = { rpm, pace: safePace, topPace: 0.995 }
      let level = newLevel(t0)
      let now = t0
      for (const { kind, afterMs, use, waitMs, slotAgoMs, limitRpm } of events) {
        now += afterMs
        const inForce = rpmInForce(level, bounds)
        if (kind === 'tick') {
          level = passed(level, bounds, { now, startsLastMinute: inForce * use, givenUntil: now + 15_000 })
        } else if (kind === 'told') level = told(level, { limitRpm })
        else {
          const slotAt = now - slotAgoMs
          const result = refused(level, bounds, {
            now,
            slotAt,
            givenUntil: now + 15_000,
            retryAfterMs: waitMs,
            cause: kind,
            startsSince: (at) => 1 + Math.floor(((slotAt - at) * inForce * use) / minute),
          })
          expect(result.pausedUntil).toBeLessThanOrEqual(now + 86_400_000)
          level = result.level
        }
        const stored: Level = JSON.parse(JSON.stringify(level))
        level = frozen(stored)
        const limit = level.toldRpm ?? rpm
        expect(rpmInForce(level, bounds)).toBeGreaterThanOrEqual(Math.min(safePace, limit * safePace))
        expect(rpmInForce(level, bounds)).toBeLessThanOrEqual(limit)
        expect(JSON.stringify(level).length).toBeLessThan(1_000)
      }
    }),
  )
})
