import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { choosePartsOf } from '../../src/core/upload.ts'

const parts = [
  { id: 'a', run: 'run-a', sizeBytes: 4 },
  { id: 'b', run: 'run-b', sizeBytes: 3 },
  { id: 'c', run: 'run-c', sizeBytes: 4 },
]

describe('the parts of an upload', () => {
  test('make its file in the order in which they are named, and the others are known', () => {
    const upload = { parts, sizeBytes: 7 }
    expect(choosePartsOf(upload, ['b', 'a'])).toEqual({
      kind: 'chosen',
      runs: ['run-b', 'run-a'],
      others: ['run-c'],
    })
    expect(choosePartsOf(upload, ['c', 'b'])).toMatchObject({ runs: ['run-c', 'run-b'], others: ['run-a'] })
  })

  test.each([
    [['a', 'x'], 7, { kind: 'unknown-part', partId: 'x' }],
    [['__proto__'], 7, { kind: 'unknown-part', partId: '__proto__' }],
    [['a', 'b', 'a'], 11, { kind: 'repeated-part', partId: 'a' }],
    [['a', 'b'], 8, { kind: 'wrong-size', sizeBytes: 7 }],
    [['a', 'b'], 6, { kind: 'wrong-size', sizeBytes: 7 }],
    [[], 1, { kind: 'wrong-size', sizeBytes: 0 }],
  ])('%j of %i bytes make none', (partIds, sizeBytes, fault) => {
    expect(choosePartsOf({ parts, sizeBytes }, partIds)).toEqual(fault)
  })

  test('whatever is named, what is chosen has the bytes wanted, each part once', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 5 }),
        fc.nat(12),
        (names, sizeBytes) => {
          const chosen = choosePartsOf({ parts, sizeBytes }, names)
          if (chosen.kind !== 'chosen') return
          const named = chosen.runs.map((run) => parts.find((part) => part.run === run)!)
          expect(named.map(({ id }) => id)).toEqual(names)
          expect(new Set(names).size).toBe(names.length)
          expect(named.reduce((sum, part) => sum + part.sizeBytes, 0)).toBe(sizeBytes)
          expect([...chosen.runs, ...chosen.others].toSorted()).toEqual(parts.map(({ run }) => run))
        },
      ),
    )
  })
})
