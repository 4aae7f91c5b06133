import { describe, expect, test } from 'vitest'
import { isRecord, nameOf, readJson } from '../../src/core/json.ts'
import { limits } from '../../src/core/limits.ts'

describe('JSON that somebody sent', () => {
  test('is read', () => {
    expect(readJson('{"a":[1,null]}')).toEqual({ kind: 'json', value: { a: [1, null] } })
    expect(readJson('null')).toEqual({ kind: 'json', value: null })
  })

  test.each([
    ['', 'Unexpected end of JSON input'],
    ['{"prompt":"a red fox"', /^Expected ',' or '}' after property value in JSON at position 21/],
    ['a red fox', "Unexpected token 'a'"],
    ['undefined', 'unexpected text'],
  ])('is unreadable, with a reason that quotes nothing of it: %j', (text, reason) => {
    const read = readJson(text)
    if (read.kind === 'json') throw new Error('it is JSON')
    expect(read.reason).toMatch(reason)
    expect(read.reason).not.toContain('red')
    expect(read.reason.length).toBeLessThanOrEqual(limits.quotedValueCharsMax)
  })
})

test.each([
  [null, 'null', false],
  [[], 'an array', false],
  [{}, 'an object', true],
  ['a fox', 'a string', false],
  [1, 'a number', false],
  [true, 'a boolean', false],
])('%j is called %s', (value, name, isObject) => {
  expect(nameOf(value)).toBe(name)
  expect(isRecord(value)).toBe(isObject)
})

test('what is nested too deep is not read', () => {
  const nested = (depth: number) => `${'['.repeat(depth)}"[[\\"[["${']'.repeat(depth)}`
  expect(readJson(nested(limits.jsonDepthMax)).kind).toBe('json')
  expect(readJson(nested(limits.jsonDepthMax + 1))).toEqual({
    kind: 'unreadable',
    reason: `it is nested deeper than ${limits.jsonDepthMax}`,
  })
  expect(readJson(`{"a":"${'{'.repeat(100)}"}`).kind).toBe('json')
})

test('what has very many parts is not read, unless they stand in a string that nothing escapes', () => {
  const list = (parts: number) => `[${Array.from({ length: parts / 2 }, () => '[').join('],')}]]`
  expect(readJson(list(limits.jsonPartsMax / 2)).kind).toBe('json')
  expect(readJson(list(limits.jsonPartsMax))).toEqual({
    kind: 'unreadable',
    reason: `it has more than ${limits.jsonPartsMax} quotes, brackets and commas`,
  })
  expect(readJson(`["${','.repeat(2 * limits.jsonPartsMax)}"]`).kind).toBe('json')
  // The longest prompt, of nothing but quotes and backslashes.
  const prompt = '\\"'.repeat(limits.promptCharsMax / 2)
  expect(readJson(JSON.stringify({ prompt }))).toEqual({ kind: 'json', value: { prompt } })
  expect(readJson('["a\\\\", "b"]')).toEqual({ kind: 'json', value: ['a\\', 'b'] })
})
