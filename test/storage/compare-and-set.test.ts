import { expect, test } from 'vitest'
import { limits } from '../../src/core/limits.ts'
import { compareAndSet, overtaken, TooManyWriters } from '../../src/storage/compare-and-set.ts'

test('tries until a change comes through, and answers what it came to', async () => {
  const tried: number[] = []
  const answer = await compareAndSet('a row', async (tries) => {
    tried.push(tries)
    return tries < 2 ? overtaken : 'changed'
  })
  expect(answer).toBe('changed')
  expect(tried).toEqual([0, 1, 2])
})

test('undefined is an answer', async () => {
  expect(await compareAndSet('a row', async (): Promise<undefined> => undefined)).toBeUndefined()
})

test.each([
  [undefined, limits.commitTriesMax],
  [3, 3],
])('gives up by name after as many tries as it may have (%s)', async (triesMax, wanted) => {
  let tried = 0
  const giving = compareAndSet(
    'batch toys',
    async (): Promise<typeof overtaken> => {
      tried += 1
      return overtaken
    },
    triesMax,
  )
  const error = await giving.catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(TooManyWriters)
  expect(error).toMatchObject({
    message: `batch toys: no change came through in ${wanted} tries; too many writers`,
  })
  expect(tried).toBe(wanted)
})

test('what a try throws ends it', async () => {
  let tried = 0
  const broken = compareAndSet('a row', async () => {
    tried += 1
    throw new Error('storage is away')
  })
  await expect(broken).rejects.toThrow('storage is away')
  expect(tried).toBe(1)
})
