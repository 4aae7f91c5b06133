import { expect, test } from 'vitest'
import { unless } from '../../src/http/unless.ts'

test('a step is waited for unless it is cut, and what it comes to then is nobody’s', async () => {
  const open = new AbortController()
  expect(await unless(open.signal, Promise.resolve('a'))).toBe('a')
  await expect(unless(open.signal, Promise.reject(new Error('b')))).rejects.toThrow('b')
  const step = Promise.withResolvers<string>()
  const waiting = unless(open.signal, step.promise)
  open.abort()
  expect(await waiting).toBe('cut')
  // Nobody else hears of these; that they were thrown would end the process.
  step.reject(new Error('c'))
  expect(await unless(open.signal, Promise.reject(new Error('d')))).toBe('cut')
})
