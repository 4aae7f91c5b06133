import { expect, test } from 'vitest'
import { attemptsAllowed, badAnswer, failure } from '../../../src/core/jobs/failure.ts'
import { limits } from '../../../src/core/limits.ts'

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
