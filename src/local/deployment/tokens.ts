/** What the model would bill, in tokens. Sources: OpenAI's image guide; a formula measured by users of gpt-image-2. */
export type Usage = {
  readonly total_tokens: number
  readonly input_tokens: number
  readonly output_tokens: number
  readonly input_tokens_details: { readonly text_tokens: number; readonly image_tokens: number }
}

export function usageOf(picture: {
  readonly model: string
  readonly prompt: string
  readonly n: number
  readonly width: number
  readonly height: number
  readonly quality: string
  /** What an edit brings, its mask too. */
  readonly inputImages?: number
}): Usage {
  const textTokens = Math.ceil(picture.prompt.length / 4)
  const imageTokens = (picture.inputImages ?? 0) * inputTokensPerImage(picture.model)
  const outputTokens = picture.n * outputTokensPerImage(picture)
  return {
    total_tokens: textTokens + imageTokens + outputTokens,
    input_tokens: textTokens + imageTokens,
    output_tokens: outputTokens,
    input_tokens_details: { text_tokens: textTokens, image_tokens: imageTokens },
  }
}

/** A square of 1024: 65 tokens and 129 for each of two tiles, or a patch for each 32 pixels square. */
function inputTokensPerImage(model: string): number {
  return model.startsWith('gpt-image-2') ? 1_024 : 323
}

function outputTokensPerImage(picture: {
  readonly model: string
  readonly width: number
  readonly height: number
  readonly quality: string
}): number {
  const { width, height } = picture
  const step = picture.quality === 'low' ? 0 : picture.quality === 'medium' ? 1 : 2
  if (picture.model.startsWith('gpt-image-2')) {
    // The factors of xhigh and max are not known; they count as high.
    const factor = [16, 48, 96][step] ?? 96
    const [long, short] = [Math.max(width, height), Math.min(width, height)]
    const shortSteps = Math.floor((2 * factor * short + long) / (2 * long))
    return Math.ceil((factor * shortSteps * (2_000_000 + width * height)) / 4_000_000)
  }
  if (width === height) return [272, 1_056, 4_160][step] ?? 0
  return (width < height ? [408, 1_584, 6_240][step] : [400, 1_568, 6_208][step]) ?? 0
}
