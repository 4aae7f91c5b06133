import { describe, expect, test } from 'vitest'
import { attemptsAllowed, badAnswer, decide, failure, failureKinds } from '../../../src/core/jobs/failure.ts'
import { limits } from '../../../src/core/limits.ts'
import { timing } from '../../../src/core/timing.ts'

const first = { attempts: 1, attemptsMax: 4, onUnknown: 'retry' } as const
const last = { ...first, attempts: 4 } as const

describe('decide', () => {
  test.each([
    ['throttled', { kind: 'snooze', pause: 'deployment' }, { kind: 'snooze', pause: 'deployment' }],
    ['unavailable', { kind: 'snooze', pause: 'breaker' }, { kind: 'snooze', pause: 'breaker' }],
    ['refused', { kind: 'fail' }, { kind: 'fail' }],
    ['invalid', { kind: 'fail' }, { kind: 'fail' }],
    ['transient', { kind: 'retry', delayMs: 2_000, possiblyPaid: false }, { kind: 'fail' }],
    ['unknown', { kind: 'retry', delayMs: 2_000, possiblyPaid: true }, { kind: 'fail' }],
  ] as const)('%s', (kind, atFirst, atLast) => {
    expect(decide(kind, first, 0.5)).toEqual(atFirst)
    expect(decide(kind, last, 0.5)).toEqual(atLast)
  })

  test('speaks of every kind of failure', () => {
    for (const kind of failureKinds) expect(decide(kind, first, 0)).toBeDefined()
  })

  test('a call that may have been paid for is not repeated where a person wants to decide', () => {
    const asked = { ...first, onUnknown: 'fail' } as const
    expect(decide('unknown', asked, 0.5)).toEqual({ kind: 'fail' })
    expect(decide('transient', asked, 0.5).kind).toBe('retry')
  })

  test('the wait is full jitter below a ceiling that doubles and ends', () => {
    const ceilings = [1, 2, 3, 4, 5, 6, 7, 8, 9, 30].map((attempts) => {
      const decision = decide('transient', { ...first, attempts, attemptsMax: 99 }, 1)
      return decision.kind === 'retry' ? decision.delayMs : undefined
    })
    const { retryCeilingMs: most } = timing
    expect(ceilings).toEqual([4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, most, most, most])
    expect(decide('transient', first, 0)).toMatchObject({ delayMs: 0 })
  })
})

test('a paid answer that was no picture is asked for once more at most', () => {
  expect(attemptsAllowed(badAnswer, 5)).toBe(2)
  expect(attemptsAllowed(badAnswer, 1)).toBe(1)
  expect(attemptsAllowed('server_error', 5)).toBe(5)
})

test('the message of a failure is cut to what is stored, without half characters', () => {
  const { failureMessageCharsMax: most } = limits
  expect(failure('invalid', 'bad', `${'x'.repeat(most - 1)}😀`)).toEqual({
    kind: 'invalid',
    code: 'bad',
    message: `${'x'.repeat(most - 1)}\uFFFD`,
  })
})
