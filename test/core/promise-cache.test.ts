import { describe, expect, test } from 'vitest'
import { promiseCache } from '../../src/core/promise-cache.ts'

/** Answers that name the call which gave them. */
function counted() {
  let calls = 0
  return {
    ask: async () => {
      calls += 1
      return `answer ${calls}`
    },
    calls: () => calls,
  }
}

describe('a cache of promises', () => {
  test('asks once for calls that come together, and for those that come later', async () => {
    const cache = promiseCache<string>({ entriesMax: 10 })
    const { ask, calls } = counted()
    const together = [cache.get('a', ask), cache.get('a', ask)]
    expect(await Promise.all(together)).toEqual(['answer 1', 'answer 1'])
    expect(await cache.get('a', ask)).toBe('answer 1')
    expect(await cache.get('b', ask)).toBe('answer 2')
    expect(calls()).toBe(2)
  })

  test('asks again after a failure, which all who waited for it see', async () => {
    const cache = promiseCache<string>({ entriesMax: 10 })
    const { ask } = counted()
    const fails = async () => Promise.reject(new Error('storage is away'))
    const together = [cache.get('a', fails), cache.get('a', ask)]
    for (const answer of together) await expect(answer).rejects.toThrow('storage is away')
    expect(cache.size).toBe(0)
    expect(await cache.get('a', ask)).toBe('answer 1')
  })

  test('keeps the later answer when an earlier one fails', async () => {
    const cache = promiseCache<string>({ entriesMax: 10 })
    const earlier = Promise.withResolvers<string>()
    const failed = expect(cache.keep('a', earlier.promise)).rejects.toThrow('storage is away')
    void cache.keep('a', Promise.resolve('later'))
    earlier.reject(new Error('storage is away'))
    await failed
    expect(await cache.find('a')).toBe('later')
  })

  test('a failure that nobody waits for is no fault of the process', async () => {
    const cache = promiseCache<string>({ entriesMax: 10 })
    void cache.keep('a', Promise.reject(new Error('storage is away')))
    await new Promise((resolve) => setImmediate(resolve))
    expect(cache.find('a')).toBeUndefined()
  })

  test('an answer is kept until it is as old as it may be, counted from when it was asked for', async () => {
    const cache = promiseCache<string>({ entriesMax: 10 })
    const { ask } = counted()
    const at = async (now: number) => cache.get('a', ask, { now, maxAgeMs: 1_000 })
    expect(await at(5_000)).toBe('answer 1')
    expect(await at(5_999)).toBe('answer 1')
    expect(cache.find('a', { now: 6_000, maxAgeMs: 1_000 })).toBeUndefined()
    expect(await at(6_000)).toBe('answer 2')
    expect(await cache.find('a', { now: 6_999, maxAgeMs: 1_000 })).toBe('answer 2')
    void cache.keep('a', Promise.resolve('told'), 7_000)
    expect(await at(7_999)).toBe('told')
  })

  test('holds no more than it may, and forgets what was not used for longest', async () => {
    const cache = promiseCache<string>({ entriesMax: 3 })
    for (const key of ['a', 'b', 'c']) void cache.keep(key, Promise.resolve(key))
    expect(await cache.find('a')).toBe('a')
    void cache.keep('d', Promise.resolve('d'))
    expect(cache.size).toBe(3)
    expect(cache.find('b')).toBeUndefined()
    for (const key of ['a', 'c', 'd']) expect(await cache.find(key)).toBe(key)
  })
})
