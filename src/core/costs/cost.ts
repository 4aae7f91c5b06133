import type { Usage } from '../jobs/job.ts'
import { limits } from '../limits.ts'
import type { ModelPrices } from './prices.ts'
import type { ModelProfile } from '../requests/profiles.ts'
import type { AskedRequest } from '../requests/submission.ts'
import {
  dearestEntry,
  likelyEntry,
  likelyOutputTokens,
  likelyPromptTokens,
  mostOutputTokens,
  mostPromptTokens,
} from './tokens.ts'

/**
 * The most that one call may cost, in micro-USD. What the request leaves open is taken as the dearest. `inputImages`
 * counts what is sent along with an edit, its mask too. Each of the `n` images is billed like a call of its own, with
 * the whole input (community.openai.com/t/1381388).
 */
export function upperBoundMicroUsd(request: AskedRequest, prices: ModelPrices, inputImages = 0): number {
  const { input, output } = most(request, prices, inputImages)
  return Math.ceil((input + output) / million)
}

/** The most that the cheapest call can cost: a cap below it would never let anything start. */
export function leastMicroUsd({ sizes, qualities }: ModelProfile, prices: ModelPrices): number {
  const requests = sizes
    .filter((size) => size !== 'auto')
    .flatMap((size) => qualities.map((quality) => ({ prompt: '', size, quality })))
  return Math.min(...requests.map((request) => upperBoundMicroUsd(request, prices)))
}

/**
 * What an answered call cost, in micro-USD: by its usage, or by size and quality where images have a price of their
 * own. Of what the usage does not tell, the most it may have been: the answer was paid for, and a guess below the
 * price would let a batch spend more than its cap. A usage above the upper bound is taken as it is.
 */
export function actualMicroUsd(
  usage: Usage,
  request: AskedRequest,
  prices: ModelPrices,
  inputImages = 0,
): number {
  const bound = most(request, prices, inputImages)
  const told = isCredible(usage) ? usage : noUsage
  const input = toldInput(told, prices, inputImages) ?? bound.input
  const output = toldOutput(told, prices) ?? bound.output
  return Math.round((input + output) / million)
}

export type ExpectedCost = {
  readonly images: number
  readonly inputTokens: number
  readonly outputTokens: number
  readonly microUsd: number
}

/** The best guess before anything is spent, for which an open size is a square of 1024 and an open quality high. */
export function expected(request: AskedRequest, prices: ModelPrices, inputImages = 0): ExpectedCost {
  const images = request.n ?? 1
  const { tokens, output } = prices
  const textTokens = likelyPromptTokens(request.prompt)
  const imageTokens = inputImages * tokens.inputImage.likely
  const outputTokens = likelyOutputTokens(tokens, request)
  const inputCost = textTokens * prices.textInMicroUsd + imageTokens * prices.imageInMicroUsd
  const outputCost =
    output.kind === 'tokens'
      ? outputTokens * output.millionMicroUsd
      : likelyEntry(output.imageMicroUsd, request) * million
  return {
    images,
    inputTokens: images * (textTokens + imageTokens),
    outputTokens: images * outputTokens,
    microUsd: Math.round((images * (inputCost + outputCost)) / million),
  }
}

/**
 * Below, costs are tokens times the price of a million tokens: millionths of a micro-USD, whole numbers that stay exact
 * under the bounds in `limits`. They are divided and rounded once, at the end.
 */
const million = 1_000_000

type Parts = { readonly input: number; readonly output: number }

function most(request: AskedRequest, prices: ModelPrices, inputImages: number): Parts {
  const images = request.n ?? 1
  const { tokens, output } = prices
  const inputCost =
    mostPromptTokens(request.prompt, inputImages) * prices.textInMicroUsd +
    inputImages * tokens.inputImage.most * prices.imageInMicroUsd
  const outputCost =
    output.kind === 'tokens'
      ? mostOutputTokens(tokens, request) * output.millionMicroUsd
      : dearestEntry(output.imageMicroUsd, request) * million
  return { input: images * inputCost, output: images * outputCost }
}

const noUsage: Usage = { inputTokens: 0, outputTokens: 0, inputTextTokens: 0, inputImageTokens: 0 }

/** The numbers come from the service as they are. */
function isCredible(usage: Usage): boolean {
  return Object.values(usage).every(
    (tokens) => Number.isInteger(tokens) && tokens >= 0 && tokens <= limits.usageTokensMax,
  )
}

/** Tokens that the usage does not split are text, unless images were sent along: then the dearer of the two. */
function toldInput(usage: Usage, prices: ModelPrices, inputImages: number): number | undefined {
  const { inputTokens, inputTextTokens, inputImageTokens } = usage
  const { textInMicroUsd, imageInMicroUsd } = prices
  const unsplitTokens = Math.max(0, inputTokens - inputTextTokens - inputImageTokens)
  if (inputTextTokens + inputImageTokens + unsplitTokens === 0) return undefined
  const unsplitMicroUsd = inputImages === 0 ? textInMicroUsd : Math.max(textInMicroUsd, imageInMicroUsd)
  return (
    inputTextTokens * textInMicroUsd + inputImageTokens * imageInMicroUsd + unsplitTokens * unsplitMicroUsd
  )
}

/** No image takes no tokens. */
function toldOutput({ outputTokens }: Usage, { output }: ModelPrices): number | undefined {
  return output.kind === 'tokens' && outputTokens > 0 ? outputTokens * output.millionMicroUsd : undefined
}
