import { describe, expect, test } from 'vitest'
import { readRange } from '../../src/http/range.ts'

describe('a range of 10 bytes', () => {
  test.each([
    [null, undefined],
    ['', undefined],
    ['bytes=0-3', [0, 4]],
    [' bytes=0-3 ', [0, 4]],
    ['bytes=0-0', [0, 1]],
    ['bytes=4-', [4, 10]],
    ['bytes=4-99', [4, 10]],
    ['bytes=9-9', [9, 10]],
    ['bytes=-3', [7, 10]],
    ['bytes=-30', [0, 10]],
    ['bytes=10-', 'unsatisfiable'],
    ['bytes=10-12', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    // What may be left unanswered is answered with all of it.
    ['bytes=3-1', undefined],
    ['bytes=-', undefined],
    ['bytes=0-1,4-5', undefined],
    ['bytes=a-b', undefined],
    ['lines=0-3', undefined],
    [`bytes=${'9'.repeat(16)}-`, undefined],
  ])('%j', (header, wanted) => {
    const range = readRange(header, 10)
    expect(typeof range === 'object' ? [range.from, range.before] : range).toEqual(wanted)
  })

  test('nothing of nothing', () => {
    expect(readRange('bytes=0-', 0)).toBe('unsatisfiable')
    expect(readRange('bytes=-5', 0)).toBe('unsatisfiable')
  })
})
