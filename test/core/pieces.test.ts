import { describe, expect, test } from 'vitest'
import { gathered, piecesOf } from '../../src/core/pieces.ts'

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const got: T[] = []
  for await (const item of items) got.push(item)
  return got
}

test.each([
  [0, []],
  [2, [[0, 1]]],
  [3, [[0, 1, 2]]],
  [7, [[0, 1, 2], [3, 4, 5], [6]]],
])('a list of %i items comes in pieces of three', (count, wanted) => {
  expect(piecesOf([...Array(count).keys()], 3)).toEqual(wanted)
})

describe('what comes', () => {
  async function* from<T>(items: readonly T[], seen: T[] = []): AsyncGenerator<T> {
    for (const item of items) {
      seen.push(item)
      yield item
    }
  }

  test.each([
    [[], []],
    [[1, 2], [[1, 2]]],
    [
      [1, 2, 3, 4, 5],
      [[1, 2], [3, 4], [5]],
    ],
  ])('%j is gathered by number', async (items, wanted) => {
    expect(await all(gathered(from(items), { size: 2 }))).toEqual(wanted)
  })

  test('is gathered by size, and what has none is no piece by itself', async () => {
    const bySize = { size: 4, sizeOf: (text: string) => text.length }
    expect(await all(gathered(from(['ab', '', 'cd', 'efghij', 'k']), bySize))).toEqual([
      ['ab', '', 'cd'],
      ['efghij'],
      ['k'],
    ])
    expect(await all(gathered(from(['abcd', '', '']), bySize))).toEqual([['abcd']])
  })

  test('is not asked for more than the piece that is wanted', async () => {
    const seen: number[] = []
    for await (const piece of gathered(from([1, 2, 3, 4, 5], seen), { size: 2 })) {
      expect(piece).toEqual([1, 2])
      break
    }
    expect(seen).toEqual([1, 2])
  })
})
