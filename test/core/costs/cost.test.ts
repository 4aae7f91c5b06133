import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { actualMicroUsd, expected, leastMicroUsd, upperBoundMicroUsd } from '../../../src/core/costs/cost.ts'
import type { Usage } from '../../../src/core/jobs/job.ts'
import { limits } from '../../../src/core/limits.ts'
import { pricesOf, priceTable, type ModelPrices } from '../../../src/core/costs/prices.ts'
import { profiles } from '../../../src/core/requests/profiles.ts'
import type { ImageRequest } from '../../../src/core/requests/submission.ts'
import { likelyOutputTokens } from '../../../src/core/costs/tokens.ts'
import { freeSize, usage } from '../sample.ts'

const table = priceTable()
const one = pricesOf(table, 'gpt-image-1')
const mini = pricesOf(table, 'gpt-image-1-mini')
const noUsage: Usage = { inputTokens: 0, outputTokens: 0, inputTextTokens: 0, inputImageTokens: 0 }

/** Five bytes, so eight tokens by guess and at most seventeen. */
const fox: ImageRequest = { prompt: 'a fox', size: '1024x1024', quality: 'medium' }

test.each(profiles)(
  'the least that a call of $model can cost is what the cheapest of its calls can',
  (profile) => {
    const prices = pricesOf(priceTable(), profile.model)
    const least = leastMicroUsd(profile, prices)
    const costs = profile.sizes
      .filter((size) => size !== 'auto')
      .flatMap((size) =>
        profile.qualities.map((quality) => upperBoundMicroUsd({ prompt: '', size, quality }, prices)),
      )
    expect(costs).toContain(least)
    expect(costs.filter((cost) => cost < least)).toEqual([])
    expect(least).toBeGreaterThan(0)
  },
)

describe('the upper bound of a call', () => {
  test('is its bytes, the room around them, and its images', () => {
    expect(upperBoundMicroUsd(fox, one)).toBe(17 * 5 + 1_056 * 40)
    expect(upperBoundMicroUsd(fox, mini)).toBe(17 * 2 + 11_000)
  })

  test('takes the dearest where size or quality are open', () => {
    expect(upperBoundMicroUsd({ prompt: 'a fox' }, one)).toBe(17 * 5 + 6_240 * 40)
    expect(upperBoundMicroUsd({ prompt: 'a fox', size: 'auto', quality: 'auto' }, mini)).toBe(17 * 2 + 52_000)
    expect(upperBoundMicroUsd({ ...fox, size: 'auto' }, pricesOf(table, 'gpt-image-2'))).toBe(
      17 * 5 + 5_930 * 30,
    )
  })

  test('counts the whole input for each image', () => {
    expect(upperBoundMicroUsd({ ...fox, n: 3 }, one)).toBe(3 * upperBoundMicroUsd(fox, one))
  })

  test('has room for images sent along, and for the text that comes with them', () => {
    expect(upperBoundMicroUsd(fox, one, 2)).toBe((17 + 128) * 5 + 2 * 7_100 * 10 + 1_056 * 40)
  })

  test('rounds up', () => {
    const prices = pricesOf(priceTable({ 'gpt-image-1': { text_in: 0.000_001 } }), 'gpt-image-1')
    expect(upperBoundMicroUsd(fox, prices)).toBe(1_056 * 40 + 1)
  })
})

describe('the actual cost of a call', () => {
  test('is that of its usage', () => {
    expect(actualMicroUsd(usage, fox, one)).toBe(12 * 5 + 1_056 * 40)
    const edit = { inputTokens: 334, outputTokens: 2_112, inputTextTokens: 11, inputImageTokens: 323 }
    expect(actualMicroUsd(edit, { ...fox, n: 2 }, one, 1)).toBe(11 * 5 + 323 * 10 + 2_112 * 40)
  })

  test('is rounded to the nearest', () => {
    expect(
      actualMicroUsd({ ...usage, inputTokens: 1, inputTextTokens: 1 }, fox, {
        ...one,
        textInMicroUsd: 1_400_000,
      }),
    ).toBe(42_241)
    expect(
      actualMicroUsd({ ...usage, inputTokens: 1, inputTextTokens: 1 }, fox, {
        ...one,
        textInMicroUsd: 1_600_000,
      }),
    ).toBe(42_242)
  })

  test('goes by size and quality where images have prices of their own', () => {
    expect(actualMicroUsd(usage, { ...fox, n: 2 }, mini)).toBe(12 * 2 + 2 * 11_000)
    expect(actualMicroUsd({ ...usage, outputTokens: 9 }, { prompt: 'a fox' }, mini)).toBe(12 * 2 + 52_000)
  })

  test('counts input that is not split as text, and with images sent along as the dearer of the two', () => {
    const unsplit = { ...noUsage, inputTokens: 100, outputTokens: 1_056 }
    expect(actualMicroUsd(unsplit, fox, one)).toBe(100 * 5 + 1_056 * 40)
    expect(actualMicroUsd(unsplit, fox, one, 1)).toBe(100 * 10 + 1_056 * 40)
    expect(actualMicroUsd({ ...unsplit, inputTextTokens: 30 }, fox, one, 1)).toBe(
      30 * 5 + 70 * 10 + 1_056 * 40,
    )
  })

  test('believes the parts of an input whose sum is missing', () => {
    expect(actualMicroUsd({ ...usage, inputTokens: 0 }, fox, one)).toBe(12 * 5 + 1_056 * 40)
  })

  test('is the most it may be where the usage tells nothing, never zero', () => {
    expect(actualMicroUsd(noUsage, fox, one)).toBe(upperBoundMicroUsd(fox, one))
    expect(actualMicroUsd(noUsage, fox, mini)).toBe(upperBoundMicroUsd(fox, mini))
    expect(actualMicroUsd({ ...usage, outputTokens: 0 }, { ...fox, size: 'auto' }, one)).toBe(
      12 * 5 + 1_584 * 40,
    )
    expect(actualMicroUsd({ ...noUsage, outputTokens: 1_056 }, fox, one)).toBe(17 * 5 + 1_056 * 40)
  })

  test.each([Number.NaN, -1, 0.5, 3_000_001, 1e300])('believes no usage of %d tokens', (tokens) => {
    for (const field of ['inputTokens', 'outputTokens', 'inputTextTokens', 'inputImageTokens']) {
      expect(actualMicroUsd({ ...usage, [field]: tokens }, fox, one)).toBe(upperBoundMicroUsd(fox, one))
    }
  })

  test('is nothing where the prices are nothing', () => {
    const free = pricesOf(
      priceTable({ 'gpt-image-1': { text_in: 0, image_in: 0, image_out: 0 } }),
      'gpt-image-1',
    )
    expect(actualMicroUsd(usage, fox, free)).toBe(0)
    expect(upperBoundMicroUsd(fox, free)).toBe(0)
  })

  test('is taken as it is, even above the bound', () => {
    expect(actualMicroUsd({ ...usage, outputTokens: 100_000 }, fox, one)).toBe(12 * 5 + 100_000 * 40)
  })
})

describe('the expected cost of a call', () => {
  test('takes a quarter of the characters, and the tokens of size and quality', () => {
    expect(expected({ ...fox, n: 3 }, one)).toEqual({
      images: 3,
      inputTokens: 3 * 8,
      outputTokens: 3 * 1_056,
      microUsd: 3 * (8 * 5 + 1_056 * 40),
    })
    expect(expected(fox, mini)).toEqual({
      images: 1,
      inputTokens: 8,
      outputTokens: 1_056,
      microUsd: 8 * 2 + 11_000,
    })
  })

  test('takes what is open as a square of 1024 in high quality', () => {
    for (const { model } of profiles) {
      const prices = pricesOf(table, model)
      const plain = expected({ ...fox, size: '1024x1024', quality: 'high' }, prices)
      expect(expected({ prompt: 'a fox' }, prices)).toEqual(plain)
      expect(expected({ ...fox, size: 'auto', quality: 'auto' }, prices)).toEqual(plain)
    }
  })

  test('counts images sent along', () => {
    expect(expected({ ...fox, n: 2 }, one, 3)).toEqual({
      images: 2,
      inputTokens: 2 * (8 + 3 * 323),
      outputTokens: 2 * 1_056,
      microUsd: 2 * (8 * 5 + 3 * 323 * 10 + 1_056 * 40),
    })
  })
})

describe('whatever is asked of whichever model at whichever price', () => {
  test('no usage that the tables allow costs more than the bound', () => {
    fc.assert(
      fc.property(call, ({ request, prices, inputImages, made, textTokens }) => {
        const images = request.n ?? 1
        const bytes = Buffer.byteLength(request.prompt)
        const inputTextTokens = images * Math.min(textTokens, bytes + 6 + 40 * inputImages)
        const inputImageTokens = images * inputImages * prices.tokens.inputImage.likely
        const told: Usage = {
          inputTokens: inputTextTokens + inputImageTokens,
          inputTextTokens,
          inputImageTokens,
          outputTokens: images * likelyOutputTokens(prices.tokens, made),
        }
        const boundMicroUsd = upperBoundMicroUsd(request, prices, inputImages)
        expect(actualMicroUsd(told, request, prices, inputImages)).toBeLessThanOrEqual(boundMicroUsd)
        expect(actualMicroUsd(noUsage, request, prices, inputImages)).toBeLessThanOrEqual(boundMicroUsd)
        expect(expected(request, prices, inputImages).microUsd).toBeLessThanOrEqual(boundMicroUsd)
      }),
      { numRuns: 2_000 },
    )
  })

  test('one more image never costs less', () => {
    fc.assert(
      fc.property(call, ({ request, prices, inputImages }) => {
        const n = request.n ?? 1
        const boundOf = (count: number) => upperBoundMicroUsd({ ...request, n: count }, prices, inputImages)
        expect(boundOf(n + 1)).toBeGreaterThanOrEqual(boundOf(n))
      }),
    )
  })

  test('every sum is a whole number', () => {
    fc.assert(
      fc.property(call, anyUsage, ({ request, prices, inputImages }, told) => {
        for (const sum of [
          upperBoundMicroUsd(request, prices, inputImages),
          actualMicroUsd(told, request, prices, inputImages),
          ...Object.values(expected(request, prices, inputImages)),
        ]) {
          expect(Number.isSafeInteger(sum)).toBe(true)
          expect(sum).toBeGreaterThanOrEqual(0)
        }
      }),
    )
  })

  test('the largest call at the highest price is counted exactly', () => {
    const prices = dear(limits.priceUsdMax, 'gpt-image-2.6-flare')
    const largest = { prompt: '狐'.repeat(limits.promptCharsMax), n: 10 }
    const textTokens = 3 * limits.promptCharsMax + 12 + 17 * 64
    const tokens = 10 * (textTokens + 17 * 7_100 + 42_166)
    expect(tokens).toBeLessThanOrEqual(limits.usageTokensMax)
    expect(tokens * limits.priceUsdMax * 1e6).toBeLessThan(Number.MAX_SAFE_INTEGER)
    expect(upperBoundMicroUsd(largest, prices, 17)).toBe(tokens * limits.priceUsdMax)
  })
})

const usd = fc.oneof(
  fc.integer({ min: 0, max: limits.priceUsdMax }),
  fc.double({ min: 0, max: limits.priceUsdMax, noNaN: true }),
)

function dear(price: number, model: string): ModelPrices {
  const { output } = pricesOf(table, model)
  if (output.kind === 'tokens') {
    return pricesOf(priceTable({ [model]: { text_in: price, image_in: price, image_out: price } }), model)
  }
  const perImage = { '1024x1024': { low: price }, '1536x1024': { high: price } }
  return pricesOf(priceTable({ [model]: { text_in: price, image_in: price, per_image: perImage } }), model)
}

/** A request for what is made in the end, of which it may leave open the one or the other. */
const call = fc.constantFrom(...profiles).chain((profile) => {
  const named = (values: readonly string[]) => fc.constantFrom(...values.filter((value) => value !== 'auto'))
  const prices = fc.oneof(
    fc.constant(pricesOf(table, profile.model)),
    usd.map((price) => dear(price, profile.model)),
  )
  const shown = fc.constantFrom('named', 'auto', undefined)
  return fc
    .record({
      prices,
      prompt: fc
        .string({ unit: 'binary', minLength: 1, maxLength: 200 })
        .filter((text) => text.isWellFormed()),
      n: fc.option(fc.integer({ min: 1, max: profile.imagesMax }), { nil: undefined }),
      size: profile.freeSizes ? freeSize : named(profile.sizes),
      quality: named(profile.qualities),
      sizeShown: shown,
      qualityShown: shown,
      inputImages: fc.integer({ min: 0, max: 16 }),
      textTokens: fc.nat({ max: 2_000 }),
    })
    .map(({ prompt, n, size, quality, sizeShown, qualityShown, ...rest }) => {
      const request: ImageRequest = {
        prompt,
        n,
        size: sizeShown === 'named' ? size : sizeShown,
        quality: qualityShown === 'named' ? quality : qualityShown,
      }
      return { ...rest, request, made: { size, quality } }
    })
})

const tokenCount = fc.oneof(fc.nat({ max: limits.usageTokensMax }), fc.double(), fc.constant(0))

const anyUsage = fc.record({
  inputTokens: tokenCount,
  outputTokens: tokenCount,
  inputTextTokens: tokenCount,
  inputImageTokens: tokenCount,
})
