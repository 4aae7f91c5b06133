import { describe, expect, test } from 'vitest'
import { newLevel, rpmInForce, type Level, type Limits, type Pause } from '../../../src/core/budget/level.ts'
import { refused, type Refusal } from '../../../src/core/budget/throttling.ts'
import { frozen, t0 } from '../sample.ts'

const limits: Limits = { rpm: 600, pace: 0.98, topPace: 0.995 }
const minute = 60_000

function levelOf(fields: Partial<Level> = {}): Level {
  return frozen({ ...newLevel(t0 - 60 * minute), limitRpm: 600, ...fields })
}

function pauseOf(fields: Partial<Pause>): Pause {
  return { cause: 'rate', until: t0, givenUntil: t0, settledAt: t0, tries: 0, ...fields }
}

/** Refused at `t0`, in the midst of starts at `rpm`. */
function refusalOf({ rpm = 588, ...fields }: Partial<Refusal> & { rpm?: number } = {}): Refusal {
  const slotAt = fields.slotAt ?? t0
  return {
    now: slotAt + 200,
    slotAt,
    givenUntil: slotAt + 13_000,
    retryAfterMs: 1_000,
    cause: 'rate',
    startsSince: (at) => 1 + Math.floor(((slotAt - at) * rpm) / minute),
    ...fields,
  }
}

function heldAfter(level: Level, refusal: Refusal): number {
  return rpmInForce(refused(level, limits, refusal).level, limits)
}

describe('a rate that had held and is refused', () => {
  test('falls by some 3 %, and pauses until every instance knows', () => {
    const { level, pausedUntil } = refused(levelOf(), limits, refusalOf())
    expect(rpmInForce(level, limits)).toBeCloseTo(0.97 * 588, -1)
    expect(pausedUntil).toBe(t0 + 200 + 1_500)
    expect(level.refusal).toEqual({ rpm: 588, at: t0 + 200 })
    expect(level.surprisesAt).toEqual([t0 + 200])
    expect(level.credit).toBe(-1)
  })

  test('falls to what the wait shows when the quota was cut, and takes back all slots', () => {
    for (const [waitMs, share] of [
      [30_000, 1 / 2],
      [40_000, 1 / 3],
      [12_000, 0.8],
    ] as const) {
      const { level, pausedUntil } = refused(levelOf(), limits, refusalOf({ retryAfterMs: waitMs }))
      expect(rpmInForce(level, limits) / 588).toBeGreaterThan(share * 0.96)
      expect(rpmInForce(level, limits) / 588).toBeLessThanOrEqual(share)
      expect(pausedUntil).toBe(t0 + 200 + Math.max(waitMs, 12_800))
    }
  })

  /** A full minute, of which the last ten seconds were mostly paused. */
  const thinned = (at: number): number => (at < t0 - 20_000 ? 500 : 30)

  test('falls twice as far each time the step was too small, and waits longer when no wait is said', () => {
    const refusal = refusalOf({ retryAfterMs: null, startsSince: thinned, givenUntil: t0 })
    expect(heldAfter(levelOf({ heldRpm: 490 }), refusal) / 490).toBeCloseTo(0.96)
    const again = levelOf({ heldRpm: 490, pause: pauseOf({ until: t0 - 10_000, tries: 1 }) })
    const { level, pausedUntil } = refused(again, limits, refusal)
    expect(rpmInForce(level, limits) / 490).toBeCloseTo(0.84)
    expect(level.pause.tries).toBe(2)
    expect(pausedUntil).toBe(t0 + 200 + 20_000)
    expect(level.surprisesAt).toEqual([])
    const fourth = levelOf({ heldRpm: 490, pause: pauseOf({ until: t0 - 10_000, tries: 5 }) })
    expect(heldAfter(fourth, refusal) / 490).toBeCloseTo(0.66)
  })

  test('falls no further than to what was borne in the last ten seconds', () => {
    const again = levelOf({ heldRpm: 490, pause: pauseOf({ until: t0 - 10_000, tries: 5 }) })
    const borne = refusalOf({ startsSince: (at) => (at < t0 - 20_000 ? 500 : 71) })
    expect(heldAfter(again, borne)).toBeCloseTo(420 * 0.98)
  })

  test('falls by half at most when a minute of few starts says nothing', () => {
    const idle = refusalOf({ startsSince: () => 1, retryAfterMs: 30_000 })
    expect(heldAfter(levelOf(), idle)).toBeCloseTo(294 * 0.98, -1)
  })

  test('falls by one a minute at least, and never below one', () => {
    const nine = { rpm: 9, pace: 0.98, topPace: 0.995 }
    const first = refused(newLevel(t0), nine, refusalOf({ rpm: 8.82 }))
    expect(rpmInForce(first.level, nine)).toBeCloseTo(7.84)
    const last = refused(
      levelOf({ limitRpm: 9, heldRpm: 0.98 }),
      nine,
      refusalOf({ rpm: 1, retryAfterMs: null }),
    )
    expect(rpmInForce(last.level, nine)).toBe(0.98)
    // Without a wait in the answer, a spacing.
    expect(last.pausedUntil).toBe(t0 + 200 + 60_000)
  })

  test('is counted per 10 s when that explains more: the second start at 9 RPM tells 6', () => {
    const nine = { rpm: 9, pace: 0.98, topPace: 0.995 }
    const second = refusalOf({
      slotAt: t0 + 6_800,
      retryAfterMs: 10_000,
      startsSince: (at) => (at < t0 ? 2 : 1),
    })
    expect(rpmInForce(refused(newLevel(t0), nine, second).level, nine)).toBeCloseTo(5.88)
  })
})

describe('a trial that is refused', () => {
  const trial = levelOf({ heldRpm: 490, triedRpm: 509.6 })

  test('falls back to what held, and that is no surprise', () => {
    const { level } = refused(levelOf({ heldRpm: 49, triedRpm: 50.96 }), limits, refusalOf({ rpm: 50 }))
    expect(level.heldRpm).toBe(49)
    expect(level.triedRpm).toBeNull()
    expect(level.surprisesAt).toEqual([])
  })

  test('falls to where it was refused when that is more than what held', () => {
    expect(heldAfter(trial, refusalOf({ rpm: 505 }))).toBeGreaterThan(490)
    expect(heldAfter(trial, refusalOf({ rpm: 700 }))).toBeLessThan(509.6)
  })

  test('falls below what held when the wait shows that the quota was cut meanwhile', () => {
    expect(heldAfter(trial, refusalOf({ rpm: 500, retryAfterMs: 40_000 }))).toBeLessThan(170)
  })

  test('leaves starts in the windows, whose refusals say nothing new', () => {
    const { level } = refused(trial, limits, refusalOf({ rpm: 505 }))
    const late = refusalOf({ slotAt: t0 + 14_000, givenUntil: t0 + 20_000 })
    const after = refused(level, limits, late)
    expect(after.level.heldRpm).toBe(level.heldRpm)
    expect(after.pausedUntil).toBe(late.now + 1_500)
  })
})

describe('refusals of one event', () => {
  const { level } = refused(levelOf(), limits, refusalOf())

  test('lengthen the pause when their wait is longer, and lower nothing', () => {
    const second = refused(level, limits, refusalOf({ slotAt: t0 + 900, retryAfterMs: 2_000 }))
    expect(second.pausedUntil).toBe(t0 + 900 + 200 + 2_000)
    expect(second.level.heldRpm).toBe(level.heldRpm)
    const third = refused(level, limits, refusalOf({ slotAt: t0 + 100, retryAfterMs: null }))
    expect(third.pausedUntil).toBe(level.pause.until)
  })

  test('after the pause take back the slots that were given before it', () => {
    const after = refused(level, limits, refusalOf({ slotAt: t0 + 3_000 }))
    expect(after.level.heldRpm).toBe(level.heldRpm)
    expect(after.pausedUntil).toBe(level.pause.givenUntil)
  })

  test('cost credit, each of them, down to what an event costs at this rate', () => {
    let next = level
    for (let n = 0; n < 50; n += 1) next = refused(next, limits, refusalOf({ slotAt: t0 + n })).level
    expect(next.credit).toBe(-13)
  })
})

describe('among random clients', () => {
  test('a rate falls by the small step only, however soon it is refused again', () => {
    const surprisesAt = [t0 - 300_000, t0 - 200_000, t0 - 100_000, t0 - 90_000, t0 - 80_000]
    const stormy = levelOf({ surprisesAt, heldRpm: 490, pause: pauseOf({ until: t0 - 10_000, tries: 3 }) })
    const { level } = refused(
      stormy,
      limits,
      refusalOf({ startsSince: (at) => (at < t0 - 20_000 ? 500 : 30) }),
    )
    expect(level.pause.tries).toBe(0)
    expect((level.heldRpm ?? 0) / 490).toBeCloseTo(0.96)
  })

  test('the latest five surprises are remembered, for an hour', () => {
    const surprisesAt = [t0 - 61 * minute, ...Array.from({ length: 5 }, (_, n) => t0 - 50 * minute + n)]
    const { level } = refused(levelOf({ surprisesAt }), limits, refusalOf())
    expect(level.surprisesAt).toEqual([...surprisesAt.slice(2), t0 + 200])
  })
})

describe('high demand', () => {
  const demand = (fields: Partial<Refusal>): Refusal =>
    refusalOf({ cause: 'capacity', retryAfterMs: null, ...fields })

  test('met by one request pauses nothing and lowers nothing', () => {
    const once = refused(levelOf(), limits, demand({}))
    expect(once.pausedUntil).toBe(0)
    const twice = refused(once.level, limits, demand({ slotAt: t0 + 5_000 }))
    const thrice = refused(twice.level, limits, demand({ slotAt: t0 + 10_000 }))
    expect(thrice.pausedUntil).toBe(0)
    expect(rpmInForce(thrice.level, limits)).toBeCloseTo(588)
    expect(thrice.level.credit).toBe(0)
  })

  function spell(): Level {
    let level = levelOf()
    for (const n of [0, 1, 2]) level = refused(level, limits, demand({ slotAt: t0 + n * 102 })).level
    return level
  }

  test('met by three in a row is a spell: all slots are taken back, and one request asks again', () => {
    const level = spell()
    expect(level.pause).toMatchObject({ cause: 'capacity', until: t0 + 204 + 13_000, tries: 0 })
    expect(rpmInForce(level, limits)).toBeCloseTo(588)
    const known = refused(level, limits, demand({ slotAt: t0 + 306 }))
    expect(known).toEqual({ level, pausedUntil: level.pause.until })
  })

  test('is waited out with growing waits while the probe meets it, or as long as it asks for', () => {
    let { level } = { level: spell() }
    const waits = [1, 2, 3, 4, 5].map(() => {
      const slotAt = level.pause.until
      const probe = demand({ slotAt, givenUntil: slotAt, startsSince: () => 1 })
      const result = refused(level, limits, probe)
      level = result.level
      return result.pausedUntil - probe.now
    })
    expect(waits).toEqual([10_000, 20_000, 40_000, 60_000, 60_000])
    const asked = demand({ slotAt: level.pause.until, retryAfterMs: 90_000, startsSince: () => 1 })
    expect(refused(level, limits, asked).pausedUntil).toBe(asked.now + 90_000)
  })

  test('that comes back long after the pause is another spell', () => {
    const level = spell()
    const later = refused(level, limits, demand({ slotAt: level.pause.until + 60_000 }))
    expect(later.pausedUntil).toBe(0)
  })
})

describe('a wait of a day', () => {
  const day = (fields: Partial<Refusal>): Refusal => refusalOf({ retryAfterMs: 86_400_000, ...fields })

  test('parks the deployment: one request asks again after 1, 2, 4, 8, 10 minutes, at the old level', () => {
    let level = levelOf()
    const waits = [1, 2, 3, 4, 5, 6].map((n) => {
      const slotAt = Math.max(t0, level.pause.until)
      const probe = day({ slotAt, givenUntil: slotAt, ...(n > 1 ? { startsSince: () => 1 } : {}) })
      const result = refused(level, limits, probe)
      level = result.level
      return (result.pausedUntil - probe.now) / minute
    })
    expect(waits).toEqual([1, 2, 4, 8, 10, 10])
    expect(rpmInForce(level, limits)).toBeCloseTo(588)
    expect(level.pause.cause).toBe('parked')
  })

  test('says nothing new to requests that were under way', () => {
    const { level, pausedUntil } = refused(levelOf(), limits, day({}))
    expect(refused(level, limits, day({ slotAt: t0 + 500 }))).toEqual({ level, pausedUntil })
  })

  test('parks it even while another pause lasts, and asks no sooner than the slots that were given', () => {
    const resting = levelOf({ pause: pauseOf({ until: t0 + 30_000 }) })
    const result = refused(resting, limits, day({ givenUntil: t0 + 90_000 }))
    expect(result.pausedUntil).toBe(t0 + 90_000)
    expect(result.level.pause.cause).toBe('parked')
  })
})
