import { freeSizeProblem } from '../requests/profiles.ts'

/** How many tokens a model takes. */
export type TokenRule = {
  readonly output: { readonly likely: OutputTokens; readonly most: OutputTokens }
  /** Text that the model writes for itself beside each image; it is billed as output. */
  readonly textBesideImage: Estimate
  /** An image sent along with an edit. */
  readonly inputImage: Estimate
}

/** The best guess, and what no call should exceed. */
type Estimate = { readonly likely: number; readonly most: number }

/** Output tokens of one image: a table of the fixed sizes, or for each quality the patches along the longer edge. */
type OutputTokens =
  | { readonly kind: 'table'; readonly tokens: SizeTable }
  | { readonly kind: 'patches'; readonly longEdge: Readonly<Record<string, number>> }

/** A number for each size and quality: `table['1024x1024'].low`. */
export type SizeTable = Readonly<Record<string, Readonly<Record<string, number>>>>

/** What of a request decides over its images. Missing, `auto` and unknown values leave it open. */
export type Look = { readonly size?: string | undefined; readonly quality?: string | undefined }

/** Output tokens of one image; what is open is taken as a square of 1024 in high quality. */
export function likelyOutputTokens({ output, textBesideImage }: TokenRule, look: Look): number {
  return tokensOf(output.likely, look, usual) + textBesideImage.likely
}

/** The most output tokens that one image may take; what is open is taken as the dearest. */
export function mostOutputTokens({ output, textBesideImage }: TokenRule, look: Look): number {
  return tokensOf(output.most, look, {}) + textBesideImage.most
}

export function likelyEntry(table: SizeTable, look: Look): number {
  return entryOf(table, look, usual)
}

export function dearestEntry(table: SizeTable, look: Look): number {
  return entryOf(table, look, {})
}

/** A token of English has some four characters. */
export function likelyPromptTokens(prompt: string): number {
  return Math.ceil(prompt.length / 4) + overheadTokens
}

/** A token has at least one byte of UTF-8. */
export function mostPromptTokens(prompt: string, inputImages: number): number {
  return new TextEncoder().encode(prompt).length + 2 * overheadTokens + inputImages * textOfInputImageMax
}

/** On every prompt of every model; measured, community.openai.com/t/1382940 (2026-06-25). The bound has room for two. */
const overheadTokens = 6

/** Text that comes with each image sent along: 10 tokens on gpt-image-2.5, up to 40 on 1.5; measured, same source. */
const textOfInputImageMax = 64

const usual: Look = { size: '1024x1024', quality: 'high' }

function tokensOf(rule: OutputTokens, look: Look, whenOpen: Look): number {
  switch (rule.kind) {
    case 'table':
      return entryOf(rule.tokens, look, whenOpen)
    case 'patches': {
      const sides = sidesOf(look.size) ?? sidesOf(whenOpen.size) ?? dearestSides
      const patches = allowed(rule.longEdge, look.quality, whenOpen.quality)
      return Math.max(...patches.map((longEdge) => patchTokens(longEdge, sides)))
    }
  }
}

/** No size has more patches than a square, nor more pixels than this. */
const dearestSides = [2_880, 2_880]

function sidesOf(size: string | undefined): readonly number[] | undefined {
  return size === undefined || freeSizeProblem(size) !== undefined ? undefined : size.split('x').map(Number)
}

/**
 * The formula of OpenAI's calculator (image guide; community.openai.com/t/1382699). Half a patch is rounded up; rounded
 * to even, as some read the calculator, it never comes to more.
 */
function patchTokens(longEdge: number, sides: readonly number[]): number {
  const [long, short] = [Math.max(...sides), Math.min(...sides)]
  const shortEdge = Math.floor((2 * longEdge * short + long) / (2 * long))
  return Math.ceil((longEdge * shortEdge * (2_000_000 + long * short)) / 4_000_000)
}

function entryOf(table: SizeTable, look: Look, whenOpen: Look): number {
  const rows = allowed(table, look.size, whenOpen.size)
  return Math.max(...rows.flatMap((row) => allowed(row, look.quality, whenOpen.quality)))
}

/** What stands under the name; when nothing does, what stands under the other one; else everything. */
function allowed<Value>(
  record: Readonly<Record<string, Value>>,
  name: string | undefined,
  whenOpen: string | undefined,
): readonly Value[] {
  const key = [name, whenOpen].find((each) => each !== undefined && Object.hasOwn(record, each))
  return Object.entries(record)
    .filter(([each]) => key === undefined || each === key)
    .map(([, value]) => value)
}

const none: Estimate = { likely: 0, most: 0 }

/** OpenAI's image guide, for all models before gpt-image-2. */
const fixedSizes: OutputTokens = {
  kind: 'table',
  tokens: {
    '1024x1024': { low: 272, medium: 1_056, high: 4_160 },
    '1024x1536': { low: 408, medium: 1_584, high: 6_240 },
    '1536x1024': { low: 400, medium: 1_568, high: 6_208 },
  },
}

/**
 * An input image takes 65 tokens, and 129 for each tile of 512 px: two for a portrait. High fidelity adds up to 6240;
 * with six tiles that is 7079. As others quote OpenAI's guide.
 */
const gptImage1: TokenRule = {
  output: { likely: fixedSizes, most: fixedSizes },
  textBesideImage: none,
  inputImage: { likely: 323, most: 7_100 },
}

/** It writes some 200 tokens of text a call (community.openai.com/t/1369511). The bound is our own: five times that. */
const gptImage15: TokenRule = { ...gptImage1, textBesideImage: { likely: 200, most: 1_024 } }

/** An input image takes at most 1536 patches of 32 px, a square of 1024 takes 1024; measured, t/1382940 as above. */
const gptImage2 = patchRule({ low: 16, medium: 48, high: 96 })

/** OpenAI's calculator, and measured on 2026-09-09: 196, 439, 1756, 3122 and 7024 tokens for a square of 1024. */
const gptImage25 = patchRule({ low: 16, medium: 24, high: 48, xhigh: 64, max: 96 })

/**
 * Not documented. A reseller (docs.laozhang.ai, 2026-11-05) measured 3 to 4 times the tokens of 2.5 for low and medium,
 * and about the same from high on; so the bound is a step above each. Input images are bounded as the older models'.
 */
const gptImage26: TokenRule = {
  output: {
    likely: { kind: 'patches', longEdge: { low: 32, medium: 42, high: 48, xhigh: 64, max: 96 } },
    most: { kind: 'patches', longEdge: { low: 48, medium: 64, high: 64, xhigh: 96, max: 128 } },
  },
  textBesideImage: none,
  inputImage: { likely: 1_024, most: 7_100 },
}

function patchRule(longEdge: Readonly<Record<string, number>>): TokenRule {
  const output: OutputTokens = { kind: 'patches', longEdge }
  return {
    output: { likely: output, most: output },
    textBesideImage: none,
    inputImage: { likely: 1_024, most: 1_536 },
  }
}

/** As of 2026-11-23. Where a rule is a guess, its bound has room for the error. */
export const tokenRules = { gptImage1, gptImage15, gptImage2, gptImage25, gptImage26 }
