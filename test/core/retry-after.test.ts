import { expect, test } from 'vitest'
import { readRetryAfterMs } from '../../src/core/retry-after.ts'

const now = Date.UTC(2026, 10, 23, 12, 0, 0)

test.each([
  ['120', 120_000],
  [' 2.5 ', 2_500],
  ['0', 0],
  ['Mon, 23 Nov 2026 12:00:30 GMT', 30_000],
  ['Mon, 23 Nov 2026 11:00:00 GMT', 0],
  ['soon', null],
  ['', null],
])('%j asks to wait %j ms', (header, wanted) => {
  expect(readRetryAfterMs(header, now)).toBe(wanted)
})
