import { describe, expect, test } from 'vitest'
import { pricesOf, pricesSetting, priceTable, type PriceOverrides } from '../../../src/core/costs/prices.ts'
import { profiles } from '../../../src/core/requests/profiles.ts'
import { dearestEntry, likelyOutputTokens, type Look } from '../../../src/core/costs/tokens.ts'

const table = priceTable()

/** What an image costs in US dollars, beside its prompt. */
function imageUsd(model: string, look: Look): number {
  const { output, tokens } = pricesOf(table, model)
  if (output.kind === 'images') return dearestEntry(output.imageMicroUsd, look) / 1e6
  const imageTokens = likelyOutputTokens(tokens, look) - tokens.textBesideImage.likely
  return (imageTokens * output.millionMicroUsd) / 1e12
}

describe('the price table', () => {
  test('has every model, with the day and the place where its prices were found', () => {
    expect([...table.keys()].toSorted()).toEqual(profiles.map(({ model }) => model).toSorted())
    for (const [model, prices] of table) {
      expect(prices.model).toBe(model)
      expect(prices.asOf).toMatch(/^\d{4}-\d\d-\d\d$/)
      expect(prices.source).toMatch(/^OpenAI, /)
    }
    expect(() => pricesOf(table, 'dall-e-3')).toThrow('no prices for the model dall-e-3')
  })

  test('has exactly the sizes and qualities that the profiles have', () => {
    const named = (values: readonly string[]) => values.filter((value) => value !== 'auto').toSorted()
    for (const { model, sizes, qualities, freeSizes } of profiles) {
      const { tokens, output } = pricesOf(table, model)
      for (const rule of [tokens.output.likely, tokens.output.most]) {
        expect(rule.kind).toBe(freeSizes ? 'patches' : 'table')
        const rows = rule.kind === 'patches' ? [rule.longEdge] : Object.values(rule.tokens)
        for (const row of rows) expect(Object.keys(row).toSorted()).toEqual(named(qualities))
        if (rule.kind === 'table') expect(Object.keys(rule.tokens).toSorted()).toEqual(named(sizes))
      }
      if (output.kind === 'tokens') continue
      expect(Object.keys(output.imageMicroUsd).toSorted()).toEqual(named(sizes))
      for (const row of Object.values(output.imageMicroUsd)) {
        expect(Object.keys(row).toSorted()).toEqual(named(qualities))
      }
    }
  })

  test('has the prices of input as they were found', () => {
    const found = [...table.values()].map(({ model, textInMicroUsd, imageInMicroUsd }) => [
      model,
      textInMicroUsd / 1e6,
      imageInMicroUsd / 1e6,
    ])
    expect(found).toEqual([
      ['gpt-image-1', 5, 10],
      ['gpt-image-1-mini', 2, 2.5],
      ['gpt-image-1.5', 5, 8],
      ['gpt-image-2', 5, 8],
      ['gpt-image-2.5-sunburst', 5, 8],
      ['gpt-image-2.5-flare', 5, 8],
      ['gpt-image-2.6-sunburst', 5, 8],
      ['gpt-image-2.6-flare', 5, 8],
    ])
  })

  test.each([
    ['gpt-image-1', '1024x1024', [0.011, 0.042, 0.167]],
    ['gpt-image-1', '1024x1536', [0.016, 0.063, 0.25]],
    ['gpt-image-1', '1536x1024', [0.016, 0.063, 0.25]],
    ['gpt-image-1-mini', '1024x1024', [0.005, 0.011, 0.036]],
    ['gpt-image-1-mini', '1024x1536', [0.006, 0.015, 0.052]],
    ['gpt-image-1-mini', '1536x1024', [0.006, 0.015, 0.052]],
    ['gpt-image-1.5', '1024x1024', [0.009, 0.034, 0.133]],
    ['gpt-image-1.5', '1024x1536', [0.013, 0.05, 0.2]],
    ['gpt-image-1.5', '1536x1024', [0.013, 0.05, 0.2]],
    ['gpt-image-2', '1024x1024', [0.006, 0.053, 0.211]],
    ['gpt-image-2', '1024x1536', [0.005, 0.041, 0.165]],
    ['gpt-image-2', '1536x1024', [0.005, 0.041, 0.165]],
  ])('comes to the official price of an image of %s, %s', (model, size, official) => {
    for (const [index, quality] of ['low', 'medium', 'high'].entries()) {
      const usd = imageUsd(model, { size, quality })
      // Officially one price stands for both oblong sizes of the older models, and 0.167 for 4160 x 0.00004.
      const roundedAwayUsd = 0.000_5 + (model === 'gpt-image-2' ? 0 : 0.01 * official[index]!)
      expect(Math.abs(usd - official[index]!)).toBeLessThanOrEqual(roundedAwayUsd)
    }
  })

  test('takes any one price from the overrides, and leaves the others', () => {
    const changedBy = (overrides: PriceOverrides) =>
      [...priceTable(overrides)].flatMap(([model, prices]) => {
        const { source, ...before } = pricesOf(table, model)
        const { source: sourceAfter, ...after } = prices
        if (JSON.stringify(before) === JSON.stringify(after)) return []
        expect(sourceAfter).toBe(`${source}; changed by PRICES`)
        return [after]
      })
    const one = pricesOf(table, 'gpt-image-1')
    expect(changedBy({ 'gpt-image-1': { text_in: 0 } })).toMatchObject([
      { ...stripped(one), textInMicroUsd: 0 },
    ])
    expect(changedBy({ 'gpt-image-1': { image_in: 0.000_001 } })).toMatchObject([
      { ...stripped(one), imageInMicroUsd: 1 },
    ])
    expect(changedBy({ 'gpt-image-1': { image_out: 36.5 } })).toMatchObject([
      { ...stripped(one), output: { kind: 'tokens', millionMicroUsd: 36_500_000 } },
    ])
    expect(changedBy({ 'gpt-image-1-mini': { per_image: { '1024x1536': { low: 0.007 } } } })).toMatchObject([
      {
        model: 'gpt-image-1-mini',
        output: {
          imageMicroUsd: {
            '1024x1024': { low: 5_000, medium: 11_000, high: 36_000 },
            '1024x1536': { low: 7_000, medium: 15_000, high: 52_000 },
          },
        },
      },
    ])
    expect(changedBy({})).toEqual([])
    expect(priceTable({ 'gpt-image-2': {} })).toEqual(table)
  })
})

function stripped({ source: _source, ...prices }: ReturnType<typeof pricesOf>): object {
  return prices
}

describe('the setting PRICES', () => {
  test('is JSON that names only what differs', () => {
    const overrides = {
      'gpt-image-1': { text_in: 4, image_in: 8, image_out: 32 },
      'gpt-image-1-mini': { per_image: { '1024x1024': { low: 0.004 } } },
    }
    expect(pricesSetting.parse(JSON.stringify(overrides))).toEqual(overrides)
    expect(pricesSetting.parse('{}')).toEqual({})
  })

  test.each([
    ['{', 'JSON such as {"gpt-image-1":{"image_out":36}}'],
    ['[]', /^models among gpt-image-1, .*; not \[\]$/],
    ['{"dall-e-3":{}}', /^models among gpt-image-1, .*, gpt-image-2.6-flare; not "dall-e-3"$/],
    ['{"__proto__":{}}', /^models among .*; not "__proto__"$/],
    ['{"gpt-image-1":40}', 'gpt-image-1: prices among text_in, image_in, image_out; not 40'],
    ['{"gpt-image-2":{"output":1}}', 'gpt-image-2: prices among text_in, image_in, image_out; not "output"'],
    [
      '{"gpt-image-2":{"per_image":{}}}',
      'gpt-image-2: prices among text_in, image_in, image_out; not "per_image"',
    ],
    [
      '{"gpt-image-1-mini":{"image_out":8}}',
      'gpt-image-1-mini: prices among text_in, image_in, per_image; not "image_out"',
    ],
    [
      '{"gpt-image-1-mini":{"per_image":{"512x512":{}}}}',
      'gpt-image-1-mini.per_image: sizes among 1024x1024, 1024x1536, 1536x1024; not "512x512"',
    ],
    [
      '{"gpt-image-1-mini":{"per_image":{"1024x1024":{"max":1}}}}',
      'gpt-image-1-mini.per_image.1024x1024: qualities among low, medium, high; not "max"',
    ],
    ['{"gpt-image-1":{"text_in":-1}}', 'gpt-image-1.text_in: US dollars from 0 to 500; not -1'],
    ['{"gpt-image-1":{"text_in":501}}', 'gpt-image-1.text_in: US dollars from 0 to 500; not 501'],
    ['{"gpt-image-1":{"text_in":"5"}}', 'gpt-image-1.text_in: US dollars from 0 to 500; not "5"'],
  ])('%s is refused by what was wanted', (text, message) => {
    const issues = pricesSetting.safeParse(text).error?.issues ?? []
    expect(issues.map((issue) => issue.message)).toEqual([
      typeof message === 'string' ? message : expect.stringMatching(message),
    ])
  })

  test('names every fault, and quotes at most the beginning of what was found', () => {
    const text = JSON.stringify({ 'gpt-image-1': { text_in: -1, image_in: 'x'.repeat(1_000) } })
    const issues = pricesSetting.safeParse(text).error?.issues ?? []
    expect(issues).toHaveLength(2)
    for (const { message } of issues) expect(message.length).toBeLessThan(200)
  })
})
