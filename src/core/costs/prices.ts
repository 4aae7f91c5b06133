import { z } from 'zod'
import { readJson } from '../json.ts'
import { limits } from '../limits.ts'
import { microUsd } from './money.ts'
import { tokenRules, type SizeTable, type TokenRule } from './tokens.ts'

/** What a model's calls cost. Prices of tokens are for a million of them. */
export type ModelPrices = {
  readonly model: string
  /** The day on which the prices were last looked up, `YYYY-MM-DD`, and where. */
  readonly asOf: string
  readonly source: string
  readonly textInMicroUsd: number
  readonly imageInMicroUsd: number
  readonly output: OutputPrice
  readonly tokens: TokenRule
}

/** Output is billed by its tokens, or by the size and quality of each image. */
type OutputPrice =
  | { readonly kind: 'tokens'; readonly millionMicroUsd: number }
  | { readonly kind: 'images'; readonly imageMicroUsd: SizeTable }

/** By the name of the model; every profile has its prices. */
export type PriceTable = ReadonlyMap<string, ModelPrices>

/** Prices in US dollars, under the names of the setting: for a million tokens, or for an image by size and quality. */
export type PriceOverrides = Readonly<Record<string, PriceOverride | undefined>>

type PriceOverride = {
  readonly text_in?: number | undefined
  readonly image_in?: number | undefined
  readonly image_out?: number | undefined
  readonly per_image?:
    Readonly<Record<string, Readonly<Record<string, number | undefined>> | undefined>> | undefined
}

/** The list prices, each replaced by the override for it. */
export function priceTable(overrides: PriceOverrides = {}): PriceTable {
  return new Map(
    Object.entries(list).map(([model, entry]) => [model, priced(model, entry, overrides[model])]),
  )
}

/** Throws for a model without a profile: a bug. */
export function pricesOf(table: PriceTable, model: string): ModelPrices {
  const prices = table.get(model)
  if (prices === undefined) throw new Error(`no prices for the model ${model}`)
  return prices
}

/**
 * The text of the setting PRICES: JSON such as `{"gpt-image-1":{"image_out":36}}`. A fault names the field, what is
 * wanted of it and what was found.
 */
export const pricesSetting = z.string().transform((text, context): PriceOverrides => {
  const json = readJson(text)
  const value = json.kind === 'json' ? json.value : undefined
  const parsed = overridesSchema.safeParse(value, { reportInput: true })
  if (parsed.success) return parsed.data
  const faults = value === undefined ? [wantedJson] : parsed.error.issues.map(describe)
  for (const message of faults) context.addIssue({ code: 'custom', message })
  return z.NEVER
})

/** Prices in US dollars as they are published, with the names of the setting. */
type ListEntry = {
  readonly asOf: string
  readonly source: string
  readonly tokens: TokenRule
  readonly text_in: number
  readonly image_in: number
} & ({ readonly image_out: number } | { readonly per_image: SizeTable })

const gptImage2: ListEntry = {
  asOf: '2026-11-23',
  source: 'OpenAI, image guide',
  tokens: tokenRules.gptImage2,
  text_in: 5,
  image_in: 8,
  image_out: 30,
}

const gptImage25: ListEntry = {
  ...gptImage2,
  source: 'OpenAI, model pages of gpt-image-2.5, as quoted in theopenco/llmgateway PR 3985',
  tokens: tokenRules.gptImage25,
}

const gptImage26: ListEntry = {
  ...gptImage2,
  source: 'OpenAI, model page of gpt-image-2.6-sunburst, and resellers for flare; tokens are an estimate',
  tokens: tokenRules.gptImage26,
}

/** OpenAI's prices: Azure's for images were not found. What the model had cached would be cheaper; it counts in full. */
const list: Readonly<Record<string, ListEntry>> = {
  'gpt-image-1': {
    asOf: '2026-11-23',
    source: 'OpenAI, image guide; community.openai.com/t/1275254',
    tokens: tokenRules.gptImage1,
    text_in: 5,
    image_in: 10,
    image_out: 40,
  },
  // An image costs more than its tokens at the USD 8 a million that are listed beside it.
  'gpt-image-1-mini': {
    asOf: '2026-11-23',
    source: 'OpenAI, model page of gpt-image-1-mini',
    tokens: tokenRules.gptImage1,
    text_in: 2,
    image_in: 2.5,
    per_image: {
      '1024x1024': { low: 0.005, medium: 0.011, high: 0.036 },
      '1024x1536': { low: 0.006, medium: 0.015, high: 0.052 },
      '1536x1024': { low: 0.006, medium: 0.015, high: 0.052 },
    },
  },
  // Its text output costs USD 10 a million; usage does not tell it apart, so it counts as image output.
  'gpt-image-1.5': {
    asOf: '2026-11-23',
    source: 'OpenAI, price page, as quoted in langfuse PR 14123; agrees with the image guide',
    tokens: tokenRules.gptImage15,
    text_in: 5,
    image_in: 8,
    image_out: 32,
  },
  'gpt-image-2': gptImage2,
  'gpt-image-2.5-sunburst': gptImage25,
  'gpt-image-2.5-flare': gptImage25,
  'gpt-image-2.6-sunburst': gptImage26,
  'gpt-image-2.6-flare': gptImage26,
}

function priced(model: string, entry: ListEntry, override: PriceOverride = {}): ModelPrices {
  const { asOf, source, tokens, text_in, image_in } = entry
  return {
    model,
    asOf,
    source: Object.keys(override).length === 0 ? source : `${source}; changed by PRICES`,
    textInMicroUsd: microUsd(override.text_in ?? text_in),
    imageInMicroUsd: microUsd(override.image_in ?? image_in),
    output:
      'image_out' in entry
        ? { kind: 'tokens', millionMicroUsd: microUsd(override.image_out ?? entry.image_out) }
        : {
            kind: 'images',
            imageMicroUsd: mapped(entry.per_image, (row, size) =>
              mapped(row, (usd, quality) => microUsd(override.per_image?.[size]?.[quality] ?? usd)),
            ),
          },
    tokens,
  }
}

const wantedJson = 'JSON such as {"gpt-image-1":{"image_out":36}}'
const wantedPrice = `US dollars from 0 to ${limits.priceUsdMax}`
const price = z.number(wantedPrice).min(0, wantedPrice).max(limits.priceUsdMax, wantedPrice)

const overridesSchema = someOf(
  'models',
  mapped(list, (entry) => {
    const tokenPrices = { text_in: price, image_in: price }
    if ('image_out' in entry) return someOf('prices', { ...tokenPrices, image_out: price })
    const sizes = mapped(entry.per_image, (row) =>
      someOf(
        'qualities',
        mapped(row, () => price),
      ),
    )
    return someOf('prices', { ...tokenPrices, per_image: someOf('sizes', sizes) })
  }),
)

/** An object that has some of these fields, and no others. */
function someOf<Shape extends z.core.$ZodLooseShape>(what: string, shape: Shape) {
  return z.strictObject(shape, `${what} among ${Object.keys(shape).join(', ')}`).partial()
}

function describe(issue: z.core.$ZodIssue): string {
  const field = issue.path.length === 0 ? '' : `${issue.path.join('.')}: `
  const found = issue.code === 'unrecognized_keys' ? issue.keys : [issue.input]
  return `${field}${issue.message}; not ${JSON.stringify(found).slice(1, -1).slice(0, limits.quotedValueCharsMax)}`
}

function mapped<From, To>(
  record: Readonly<Record<string, From>>,
  change: (value: From, key: string) => To,
): Record<string, To> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value, key)]))
}
