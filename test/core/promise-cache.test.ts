import { expect, test } from 'vitest'
import { promiseCache } from '../../src/core/promise-cache.ts'

function counting(): { read: () => Promise<number>; count: () => number } {
  let count = 0
  return { read: async () => (count += 1), count: () => count }
}

test('all who ask while it is read share one reading, and so does who comes later', async () => {
  const cache = promiseCache<number>({ entriesMax: 9 })
  const { read, count } = counting()
  expect(cache.known('a')).toBeUndefined()
  expect(await Promise.all([cache.get('a', read), cache.get('a', read)])).toEqual([1, 1])
  expect(await cache.get('a', read)).toBe(1)
  expect(await cache.known('a')).toBe(1)
  expect(await cache.get('b', read)).toBe(2)
  expect(count()).toBe(2)
})

test('what is too old is read again', async () => {
  const cache = promiseCache<number>({ entriesMax: 9 })
  const { read } = counting()
  const at = (now: number): { now: number; ageMaxMs: number } => ({ now, ageMaxMs: 1_000 })
  expect(await cache.get('a', read, at(5_000))).toBe(1)
  expect(await cache.get('a', read, at(5_999))).toBe(1)
  expect(await cache.get('a', read, at(6_000))).toBe(2)
  expect(cache.known('a', at(7_000))).toBeUndefined()
  cache.put('a', 7, 7_000)
  expect(await cache.get('a', read, at(7_999))).toBe(7)
})

test('a reading that failed is forgotten, unless a newer one has taken its place', async () => {
  const cache = promiseCache<number>({ entriesMax: 9 })
  const failing = async (): Promise<number> => Promise.reject(new Error('away'))
  await expect(cache.get('a', failing)).rejects.toThrow('away')
  expect(await cache.get('a', async () => 2)).toBe(2)
  const late = Promise.withResolvers<number>()
  const waiting = cache.get('b', async () => late.promise)
  cache.put('b', 3)
  late.reject(new Error('away'))
  await expect(waiting).rejects.toThrow('away')
  expect(await cache.known('b')).toBe(3)
})

test('it has a bound: the one that was read first makes room', async () => {
  const cache = promiseCache<number>({ entriesMax: 2 })
  cache.put('a', 1)
  cache.put('b', 2)
  cache.put('a', 3)
  cache.put('c', 4)
  expect(cache.known('b')).toBeUndefined()
  expect(await cache.known('a')).toBe(3)
  expect(await cache.known('c')).toBe(4)
})
