import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { freeSizeProblem } from '../../../src/core/requests/profiles.ts'
import {
  dearestEntry,
  likelyEntry,
  likelyOutputTokens,
  likelyPromptTokens,
  mostOutputTokens,
  mostPromptTokens,
  tokenRules,
} from '../../../src/core/costs/tokens.ts'
import { freeSize } from '../sample.ts'

const { gptImage1, gptImage2, gptImage25, gptImage26 } = tokenRules

describe('the output tokens of an image', () => {
  test.each([
    ['gptImage1', '1024x1024', { low: 272, medium: 1_056, high: 4_160 }],
    ['gptImage1', '1024x1536', { low: 408, medium: 1_584, high: 6_240 }],
    ['gptImage1', '1536x1024', { low: 400, medium: 1_568, high: 6_208 }],
    ['gptImage2', '1024x1024', { low: 196, medium: 1_756, high: 7_024 }],
    ['gptImage2', '1024x1536', { low: 158, medium: 1_372, high: 5_488 }],
    ['gptImage2', '1536x1024', { low: 158, medium: 1_372, high: 5_488 }],
    ['gptImage2', '2048x2048', { low: 397, medium: 3_568, high: 14_272 }],
    ['gptImage2', '3840x2160', { low: 371, medium: 3_336, high: 13_342 }],
    ['gptImage25', '1024x1024', { low: 196, medium: 439, high: 1_756, xhigh: 3_122, max: 7_024 }],
    ['gptImage25', '2880x2880', { high: 5_930 }],
  ] as const)('are those that were published or measured (%s, %s)', (model, size, tokens) => {
    for (const [quality, count] of Object.entries(tokens)) {
      expect(likelyOutputTokens(tokenRules[model], { size, quality })).toBe(count)
      expect(mostOutputTokens(tokenRules[model], { size, quality })).toBe(count)
    }
  })

  test.each([
    ['gptImage1', 4_160, 6_240],
    ['gptImage15', 4_160 + 200, 6_240 + 1_024],
    ['gptImage2', 7_024, 23_719],
    ['gptImage25', 1_756, 23_719],
    ['gptImage26', 1_756, 42_166],
  ] as const)('are a guess when all is open, and bounded by the dearest (%s)', (model, likely, most) => {
    for (const look of [{}, { size: 'auto', quality: 'auto' }, { size: 'A3', quality: 'toString' }]) {
      expect(likelyOutputTokens(tokenRules[model], look)).toBe(likely)
      expect(mostOutputTokens(tokenRules[model], look)).toBe(most)
    }
  })

  test('leave open only what the request leaves open', () => {
    expect(likelyOutputTokens(gptImage1, { quality: 'low' })).toBe(272)
    expect(mostOutputTokens(gptImage1, { quality: 'low' })).toBe(408)
    expect(likelyOutputTokens(gptImage1, { size: '1536x1024' })).toBe(6_208)
    expect(mostOutputTokens(gptImage1, { size: '1536x1024' })).toBe(6_208)
    expect(mostOutputTokens(gptImage2, { quality: 'low' })).toBe(659)
    expect(mostOutputTokens(gptImage2, { size: '1024x1024' })).toBe(7_024)
  })

  test('of gpt-image-2.6 are three to four times those of 2.5 for drafts, and the same from high on', () => {
    const timesThoseOf25 = (quality: string) => {
      const look = { size: '1024x1024', quality }
      return likelyOutputTokens(gptImage26, look) / likelyOutputTokens(gptImage25, look)
    }
    for (const quality of ['low', 'medium']) {
      expect(timesThoseOf25(quality)).toBeGreaterThanOrEqual(3)
      expect(timesThoseOf25(quality)).toBeLessThanOrEqual(4)
    }
    for (const quality of ['high', 'xhigh', 'max']) expect(timesThoseOf25(quality)).toBe(1)
  })

  test('are at most those of an open size, and the same on either side', () => {
    fc.assert(
      fc.property(freeSize, fc.constantFrom('low', 'medium', 'high'), (size, quality) => {
        expect(freeSizeProblem(size)).toBeUndefined()
        const tokens = mostOutputTokens(gptImage2, { size, quality })
        expect(tokens).toBeGreaterThan(0)
        expect(tokens).toBeLessThanOrEqual(mostOutputTokens(gptImage2, { quality }))
        expect(mostOutputTokens(gptImage2, { size: size.split('x').toReversed().join('x'), quality })).toBe(
          tokens,
        )
      }),
    )
  })

  test('take half a patch for a whole one', () => {
    // 16 x 1088 / 2048 = 8.5
    expect(likelyOutputTokens(gptImage2, { size: '1088x2048', quality: 'low' })).toBe(
      Math.ceil((16 * 9 * (2_000_000 + 1_088 * 2_048)) / 4_000_000),
    )
  })
})

test('an entry of a table is found like tokens are', () => {
  const table = { '1024x1024': { low: 1, high: 3 }, '1536x1024': { low: 2, high: 4 } }
  expect(likelyEntry(table, { size: '1536x1024', quality: 'low' })).toBe(2)
  expect(likelyEntry(table, {})).toBe(3)
  expect(dearestEntry(table, { size: '1024x1024' })).toBe(3)
  expect(dearestEntry(table, { quality: 'low' })).toBe(2)
  expect(dearestEntry(table, {})).toBe(4)
})

describe('the tokens of a prompt', () => {
  test('are a quarter of its characters, and six', () => {
    expect(likelyPromptTokens('a red fox')).toBe(3 + 6)
  })

  test('are at most its bytes, with room for what comes along', () => {
    expect(mostPromptTokens('a red fox', 0)).toBe(9 + 12)
    expect(mostPromptTokens('狐', 0)).toBe(3 + 12)
    expect(mostPromptTokens('🦊', 2)).toBe(4 + 12 + 128)
  })
})
