import { expect, it } from 'vitest'
import { retryAfterMs } from '../../src/model/retry-after.ts'

const now = Date.UTC(2026, 10, 23, 12, 0, 0)

it.each([
  [{ 'retry-after-ms': '1500', 'retry-after': '9' }, '', 1_500],
  [{ 'retry-after': '9' }, 'Please retry after 3 seconds', 9_000],
  [{ 'retry-after': '2.5' }, '', 2_500],
  [{ 'retry-after': 'Mon, 23 Nov 2026 12:00:30 GMT' }, '', 30_000],
  [{ 'retry-after': 'Mon, 23 Nov 2026 11:00:00 GMT' }, '', 0],
  [{}, 'call rate limit. Please retry after 16 seconds. To increase', 16_000],
  [{}, 'Please retry after 1 second.', 1_000],
  [{}, 'retry after 5s', 5_000],
  [{}, 'Please retry in 10 seconds', 10_000],
  [{}, 'try again in 7 sec', 7_000],
  [{}, 'try again in 1.5 seconds', 1_500],
  [{}, 'retry after 250 ms', 250],
  [{}, 'retry after 2 minutes', 120_000],
  [{}, 'retry after 86400 seconds', 86_400_000],
  [{}, 'The service is busy.', null],
  [{ 'retry-after': 'soon', 'retry-after-ms': '-1' }, '', null],
])('reads the wait from %j and %j as %j ms', (headers, message, expected) => {
  expect(retryAfterMs(new Headers(headers as Record<string, string>), message, now)).toBe(expected)
})

it('reads a message without headers', () => {
  expect(retryAfterMs(undefined, 'retry after 4 seconds', now)).toBe(4_000)
})
