import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  correctionMs,
  dateHeldMs,
  forgivenMs,
  loosening,
  narrowed,
  settledMs,
  type DateSeen,
  type OffsetRange,
} from '../../src/core/clock-offset.ts'

/** The service's time at the first answer. */
const startAt = Date.UTC(2026, 0, 5, 12)

/** One answer, on a machine whose clock is behind the service's by `offsetMs`; `at` is the service's time. */
function seenAt(
  at: number,
  offsetMs: number,
  { outMs = 0, backMs = 0, heldMs = 0 }: { outMs?: number; backMs?: number; heldMs?: number } = {},
): DateSeen {
  return {
    sentAt: at - outMs - offsetMs,
    receivedAt: at + backMs - offsetMs,
    serverDate: Math.floor((at - heldMs) / 1_000) * 1_000,
  }
}

function rangeOf(answers: readonly DateSeen[], before?: OffsetRange): OffsetRange {
  const range = answers.reduce(narrowed, before)
  if (range === undefined) throw new Error('there is no answer')
  return range
}

/** The correction after each answer. */
function correctionsOf(answers: readonly DateSeen[]): number[] {
  let range: OffsetRange | undefined
  let inForceMs = 0
  return answers.map((seen) => {
    range = narrowed(range, seen)
    return (inForceMs = correctionMs(range!, inForceMs))
  })
}

/** Answers at every phase of a second, 10 a second. */
function steadyAnswers(offsetMs: number, count: number, heldMs = 0): DateSeen[] {
  return Array.from({ length: count }, (_, index) =>
    seenAt(startAt + index * 109, offsetMs, { outMs: 5, backMs: 5, heldMs }),
  )
}

const someOffset = fc.double({ min: -100_000, max: 100_000, noNaN: true })
const someLatency = fc.oneof(
  fc.double({ min: 0, max: 50, noNaN: true }),
  fc.double({ min: 0, max: 30_000, noNaN: true }),
)

/** Answers in the order they come, with all that chance may do to them; dates no older than `heldMaxMs`. */
const someAnswers = (heldMaxMs: number) =>
  fc
    .array(
      fc.record({
        gapMs: fc.double({ min: 0, max: 20_000, noNaN: true }),
        outMs: someLatency,
        backMs: someLatency,
        heldMs: fc.double({ min: 0, max: heldMaxMs, noNaN: true }),
      }),
      { minLength: 1, maxLength: 60 },
    )
    .map((answers) => (offsetMs: number) => {
      let at = startAt
      return answers
        .map(({ gapMs, ...answer }) => seenAt((at += gapMs), offsetMs, answer))
        .sort((a, b) => a.receivedAt - b.receivedAt)
    })

/** Sums and differences of times leave fractions of a microsecond behind. */
const roundingMs = 0.001

describe('the range of the offset', () => {
  test('holds the truth, whatever the offset, the latencies and the age of the dates', () => {
    fc.assert(
      fc.property(someOffset, someAnswers(dateHeldMs - 1), (offsetMs, answers) => {
        const { fromMs, toMs } = rangeOf(answers(offsetMs))
        expect(fromMs).toBeLessThanOrEqual(offsetMs + roundingMs)
        expect(toMs).toBeGreaterThanOrEqual(offsetMs - roundingMs)
      }),
    )
  })

  test('is no wider for another answer', () => {
    fc.assert(
      fc.property(someOffset, someAnswers(0), (offsetMs, answers) => {
        let before: OffsetRange | undefined
        for (const seen of answers(offsetMs)) {
          const after = narrowed(before, seen)!
          if (before !== undefined) {
            const looserMs = 2 * (seen.receivedAt - before.seenAt) * loosening + roundingMs
            expect(after.toMs - after.fromMs).toBeLessThanOrEqual(before.toMs - before.fromMs + looserMs)
          }
          before = after
        }
      }),
    )
  })

  test('holds the truth while the clock drifts, and is slewed, by a thousandth', () => {
    fc.assert(
      fc.property(
        someOffset,
        fc.double({ min: -loosening, max: loosening, noNaN: true }),
        fc.array(fc.integer({ min: 1, max: 60_000 }), { minLength: 1, maxLength: 60 }),
        (offsetMs, drift, gapsMs) => {
          let at = startAt
          let trueMs = offsetMs
          let range: OffsetRange | undefined
          for (const gapMs of gapsMs) {
            at += gapMs
            trueMs += gapMs * drift
            range = narrowed(range, seenAt(at, trueMs, { outMs: 1, backMs: 1 }))!
            // The bounds loosen by the machine's time, which has drifted too.
            const marginMs = roundingMs + gapMs * loosening ** 2 * gapsMs.length
            expect(range.fromMs).toBeLessThanOrEqual(trueMs + marginMs)
            expect(range.toMs).toBeGreaterThanOrEqual(trueMs - marginMs)
          }
        },
      ),
    )
  })

  test('narrows to the latency and a second shared among the answers', () => {
    const { fromMs, toMs } = rangeOf(steadyAnswers(7_000, 50))
    expect(7_000 - fromMs).toBeLessThan(40)
    expect(toMs - dateHeldMs - 7_000).toBeLessThan(40)
  })

  test('begins anew when an answer contradicts it: the clock was set', () => {
    const known = rangeOf(steadyAnswers(7_000, 50))
    const answer = seenAt(startAt + 60_000, 0)
    expect(narrowed(known, answer)).toEqual(rangeOf([answer]))
  })

  test('forgets at the rate of a thousandth what nothing contradicts', () => {
    const known = rangeOf(steadyAnswers(7_000, 50))
    const later = (minutes: number): OffsetRange =>
      rangeOf([seenAt(startAt + minutes * 60_000, 6_700, { outMs: 2_000, backMs: 2_000 })], known)
    expect(later(1).fromMs).toBeGreaterThan(6_700)
    expect(later(6).fromMs).toBeLessThan(6_700)
  })

  test('learns nothing from an answer during which the clock was set back', () => {
    const set = { ...seenAt(startAt, 0), receivedAt: startAt - 10_000 }
    expect(narrowed(undefined, set)).toBeUndefined()
    const known = rangeOf(steadyAnswers(0, 3))
    expect(narrowed(known, set)).toBe(known)
  })
})

describe('the correction', () => {
  test('is never made to a clock that is as good as right, however old the dates are', () => {
    const rightOffset = fc.double({ min: -settledMs, max: settledMs, noNaN: true })
    fc.assert(
      fc.property(rightOffset, someAnswers(dateHeldMs - 1), (offsetMs, answers) => {
        expect(correctionsOf(answers(offsetMs)).every((correction) => correction === 0)).toBe(true)
      }),
    )
  })

  test('is wrong by no more than the range is wide', () => {
    fc.assert(
      fc.property(someOffset, someAnswers(0), (offsetMs, answers) => {
        const seen = answers(offsetMs)
        const { fromMs, toMs } = rangeOf(seen)
        const correction = correctionsOf(seen).at(-1)!
        const isLeftAlone = fromMs < forgivenMs && toMs > -forgivenMs
        const errorMs = Math.abs(correction - offsetMs)
        // A half for the whole milliseconds.
        if (!isLeftAlone)
          expect(errorMs).toBeLessThanOrEqual(Math.max(toMs - dateHeldMs - fromMs, 0) + 0.5 + roundingMs)
      }),
    )
  })

  test.each([7_000, -4_000, 300, -1_500, 86_400_000])(
    'is within half a second at once and 50 ms soon, for an offset of %d ms',
    (offsetMs) => {
      const corrections = correctionsOf(steadyAnswers(offsetMs, 200))
      const first = corrections.find((correction) => correction !== 0)!
      expect(Math.abs(first - offsetMs)).toBeLessThanOrEqual(511)
      for (const correction of corrections.slice(20)) {
        expect(Math.abs(correction - offsetMs)).toBeLessThanOrEqual(50)
      }
    },
  )

  test('changes seldom', () => {
    const corrections = correctionsOf(steadyAnswers(7_000, 6_000))
    expect(new Set(corrections).size).toBeLessThan(10)
  })

  test('is short by the age of the dates where they are held for a second', () => {
    for (const heldMs of [300, 999]) {
      const correction = correctionsOf(steadyAnswers(7_000, 200, heldMs)).at(-1)!
      expect(Math.abs(correction - (7_000 - heldMs))).toBeLessThanOrEqual(50)
    }
  })

  test('is what is certain where dates are held for longer at one time than at another', () => {
    expect(correctionMs({ fromMs: 7_000, toMs: 7_600, seenAt: startAt }, 0)).toBe(7_000)
  })

  test('ends when the clock is right again, and stays while it may be needed', () => {
    const off = steadyAnswers(7_000, 50)
    const set = steadyAnswers(0, 50).map((seen) => ({
      sentAt: seen.sentAt + 60_000,
      receivedAt: seen.receivedAt + 60_000,
      serverDate: seen.serverDate + 60_000,
    }))
    const corrections = correctionsOf([...off, ...set])
    expect(corrections[49]).not.toBe(0)
    expect(corrections.at(-1)).toBe(0)
    // Known to lie below what is forgiven, which would not have begun a correction, and above what ends one.
    expect(correctionMs({ fromMs: 120, toMs: 1_130, seenAt: startAt }, 140)).toBe(125)
    expect(correctionMs({ fromMs: 120, toMs: 1_130, seenAt: startAt }, 0)).toBe(0)
    expect(correctionMs({ fromMs: 90, toMs: 1_100, seenAt: startAt }, 140)).toBe(0)
  })
})
