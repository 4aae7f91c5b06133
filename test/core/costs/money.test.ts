import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { capUsdSchema, microUsd, usdOf } from '../../../src/core/costs/money.ts'

test.each([
  [0, 0],
  [0.000_001, 1],
  [0.000_000_4, 0],
  [0.000_000_6, 1],
  [1.005, 1_005_000],
  [999_999.999_999, 999_999_999_999],
])('%d US dollars are %d micro-USD', (usd, micro) => {
  expect(microUsd(usd)).toBe(micro)
})

test('micro-USD survive the way through US dollars', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1_000_000_000_000 }), (micro) => {
      expect(microUsd(usdOf(micro))).toBe(micro)
      if (micro > 0) expect(capUsdSchema.parse(usdOf(micro))).toBe(micro)
    }),
  )
})

test.each([
  0,
  -1,
  1_000_000.000_001,
  0.000_000_1,
  12.345_678_9,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  '12',
  null,
])('a cap of %s is refused in one sentence', (usd) => {
  const issues = capUsdSchema.safeParse(usd).error?.issues ?? []
  expect(new Set(issues.map(({ message }) => message))).toEqual(
    new Set(['US dollars, more than 0 and at most 1000000, with at most 6 decimals']),
  )
})
