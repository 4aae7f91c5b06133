import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { startsBetween, withoutSlots, withSlot, type Starts } from '../../../src/core/budget/starts.ts'
import { frozen, t0 } from '../sample.ts'

function startsOf(slots: readonly number[]): Starts {
  return slots.reduce<Starts>((starts, slotAt) => frozen(withSlot(starts, slotAt)), [])
}

function evenly(count: number, spacing: number, from = t0): number[] {
  return Array.from({ length: count }, (_, index) => from + index * spacing)
}

describe('starts', () => {
  test('that come evenly are one run, and counted to the one at any edge', () => {
    const starts = startsOf(evenly(600, 100))
    expect(starts).toHaveLength(1)
    expect(startsBetween(starts, t0, t0 + 10_000)).toBe(100)
    expect(startsBetween(starts, t0 - 1, t0)).toBe(1)
    expect(startsBetween(starts, t0 + 1, t0 + 99)).toBe(0)
    expect(startsBetween(starts, t0 + 59_900, t0 + 90_000)).toBe(0)
  })

  test('are counted exactly after hours, and right after the spacing changed by half a percent', () => {
    const slots = [...evenly(20_000, 102.041), ...evenly(700, 101.523, t0 + 20_000 * 102.041)]
    const last = slots.at(-1)!
    const counted = slots.filter((at) => at > last - 60_000).length
    expect(startsBetween(startsOf(slots), last - 60_000, last)).toBe(counted)
  })

  test('that come in several runs, with a probe alone after a pause, are counted as they came', () => {
    const slots = [...evenly(9, 6_803), t0 + 90_000, ...evenly(20, 500, t0 + 92_000)]
    const starts = startsOf(slots)
    for (const from of [t0 - 1, t0 + 6_803, t0 + 20_000, t0 + 90_000, t0 + 95_250]) {
      const counted = slots.filter((at) => at > from && at <= t0 + 96_000).length
      expect(startsBetween(starts, from, t0 + 96_000)).toBe(counted)
    }
  })

  test('in a pause are taken out, and leave the others where they were', () => {
    const slots = evenly(100, 250)
    for (const [from, until] of [
      [t0 + 5_000, t0 + 8_000],
      [t0 - 1_000, t0 + 1],
      [t0 + 24_000, t0 + 90_000],
      [t0 - 1_000, t0 + 90_000],
      [t0 + 101, t0 + 102],
    ] as const) {
      const starts = withoutSlots(startsOf(slots), from, until)
      const left = slots.filter((at) => at < from || at >= until)
      expect(startsBetween(starts, t0 - 1, t0 + 10_000)).toBe(left.filter((at) => at <= t0 + 10_000).length)
      expect(startsBetween(starts, t0 - 1, t0 + 60_000)).toBe(left.length)
    }
  })

  test('are forgotten when no window needs them any more', () => {
    const starts = withSlot(startsOf(evenly(10, 100)), t0 + 200_000)
    expect(startsBetween(starts, t0 - 1, t0 + 200_000)).toBe(1)
  })

  test('that come unevenly fit in a row of bounded size, and the last minute of them is still exact', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 50, max: 900 }), { minLength: 300, maxLength: 400 }), (gaps) => {
        let at = t0
        const slots = gaps.map((gap) => (at += gap))
        const starts = startsOf(slots)
        expect(JSON.stringify(starts).length).toBeLessThan(6_000)
        const counted = slots.filter((slot) => slot > at - 10_000).length
        expect(startsBetween(starts, at - 10_000, at)).toBe(counted)
      }),
      { numRuns: 20 },
    )
  })
})
