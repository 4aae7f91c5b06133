import { describe, expect, test } from 'vitest'
import { errorCode, errorFacts, logEvents, logLine } from '../../src/core/log-event.ts'

describe('a line of the log', () => {
  test('is one JSON object: time, level, event, and facts that are there', () => {
    expect(logLine('deployment_stopped', { code: '401', deployment: 'a', retryAfterMs: undefined }, 0)).toBe(
      '{"time":"1970-01-01T00:00:00.000Z","level":"error","event":"deployment_stopped","code":"401","deployment":"a"}',
    )
    expect(JSON.parse(logLine('pool', {}, 0))).toMatchObject({ level: logEvents.pool.level })
  })

  test('has a code that is one, whatever stands in its place', () => {
    const { code } = JSON.parse(logLine('run', { code: `he said "no"\n${'x'.repeat(200)}` }, 0))
    expect(code).toMatch(/^[\w .-]{1,80}$/)
    expect(JSON.parse(logLine('run', { code: null }, 0)).code).toBeNull()
  })
})

describe('an error', () => {
  const secret = 'https://a.example/b?sig=abc a prompt'

  test.each([
    [Object.assign(new Error(secret), { code: 'ECONNRESET' }), 'ECONNRESET'],
    [
      Object.assign(new Error(secret), { statusCode: 403, code: 'AuthenticationFailed' }),
      '403 AuthenticationFailed',
    ],
    [new TypeError(secret), 'TypeError'],
    [
      new AggregateError([new TypeError(secret), new TypeError(secret), new RangeError(secret)]),
      'TypeError RangeError',
    ],
    [secret, 'no_error'],
  ])('is told in codes: %#', (error, code) => {
    expect(errorCode(error)).toBe(code)
  })

  test('says where it comes from, where that is known', () => {
    const error = new TypeError(secret)
    error.stack = `TypeError: ${secret}\n    at runTick (/app/functions.cjs:1:2)\n    at other (/app/functions.cjs:3:4)`
    expect(errorFacts(error)).toEqual({ code: 'TypeError', at: 'runTick' })
    error.stack = `TypeError: ${secret}\n    at async Store.save (/app/functions.cjs:1:2)`
    expect(errorFacts(error)).toEqual({ code: 'TypeError', at: 'Store.save' })
    Reflect.deleteProperty(error, 'stack')
    expect(errorFacts(error)).toEqual({ code: 'TypeError' })
    expect(errorFacts('text')).toEqual({ code: 'no_error' })
  })
})
