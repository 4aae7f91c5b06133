import { expect, test } from 'vitest'
import { z } from 'zod'
import { describeIssue } from '../../../src/core/requests/submission-fault.ts'

test('a body that is no object is named as the body', () => {
  const parsed = z.strictObject({ priority: z.string() }).safeParse(['low'], { reportInput: true })
  const [issue] = parsed.error!.issues
  expect(describeIssue(issue!, { names: ['priority'], bodyNames: ['priority'] })).toEqual({
    param: null,
    code: 'invalid_value',
    message: 'the body: got an array; allowed: an object',
  })
})

test('a bound that is itself not allowed is told as such', () => {
  const parsed = z.strictObject({ cap: z.number().gt(0) }).safeParse({ cap: 0 }, { reportInput: true })
  const [issue] = parsed.error!.issues
  expect(describeIssue(issue!, { names: ['cap'], bodyNames: ['cap'] }).message).toBe(
    'cap: got 0; allowed: more than 0',
  )
})

test('a kind of value has its article, and what was given stands as it was before it was read', () => {
  const schema = z.object({ kinds: z.array(z.string()), limit: z.coerce.number() })
  const parsed = schema.safeParse({ kinds: 'all', limit: 'abc' }, { reportInput: true })
  const told = parsed.error!.issues.map((issue) => {
    const text = issue.path[0] === 'limit' ? 'abc' : undefined
    return describeIssue(issue, { names: [], bodyNames: [], text }).message
  })
  expect(told).toEqual(['kinds: got "all"; allowed: an array', 'limit: got "abc"; allowed: a number'])
})
