import { limits } from '../limits.ts'

/**
 * What a model takes. Source: reference of the image API, as of 2026-11-23; on Azure's deployments path
 * `output_format` is png or jpeg. Models come and go: they are data.
 */
export type ModelProfile = {
  readonly model: string
  readonly sizes: readonly string[]
  /** Any WIDTHxHEIGHT within the rules of `freeSizeProblem`. */
  readonly freeSizes: boolean
  readonly qualities: readonly string[]
  readonly outputFormats: readonly string[]
  readonly transparentBackground: boolean
  readonly promptCharsMax: number
  readonly imagesMax: number
  /** Formats of the images that an edit starts from. On Azure no model takes webp. */
  readonly inputFormats: readonly string[]
  /** How true an edit is to its images. Without any the model decides, and refuses the parameter. */
  readonly inputFidelities: readonly string[]
}

const fixedSizes = ['auto', '1024x1024', '1024x1536', '1536x1024']

const gptImage1: ModelProfile = {
  model: 'gpt-image-1',
  sizes: fixedSizes,
  freeSizes: false,
  qualities: ['auto', 'low', 'medium', 'high'],
  outputFormats: ['png', 'jpeg'],
  transparentBackground: true,
  promptCharsMax: limits.promptCharsMax,
  imagesMax: 10,
  inputFormats: ['png', 'jpeg'],
  inputFidelities: ['low', 'high'],
}

const gptImage2: ModelProfile = {
  ...gptImage1,
  model: 'gpt-image-2',
  freeSizes: true,
  transparentBackground: false,
  inputFidelities: [],
}

const gptImage25: ModelProfile = {
  ...gptImage2,
  qualities: [...gptImage1.qualities, 'xhigh', 'max'],
  transparentBackground: true,
}

export const profiles: readonly ModelProfile[] = [
  gptImage1,
  { ...gptImage1, model: 'gpt-image-1-mini', inputFidelities: [] },
  { ...gptImage1, model: 'gpt-image-1.5' },
  gptImage2,
  { ...gptImage25, model: 'gpt-image-2.5-sunburst' },
  { ...gptImage25, model: 'gpt-image-2.5-flare' },
  { ...gptImage25, model: 'gpt-image-2.6-sunburst' },
  { ...gptImage25, model: 'gpt-image-2.6-flare' },
]

export function profileNamed(model: string): ModelProfile | undefined {
  return profiles.find((profile) => profile.model === model)
}

/** The profile whose name stands in the deployment's name, the longest first; gpt-image-1 when none does. */
export function profileOfDeployment(deployment: string): ModelProfile {
  const name = deployment.toLowerCase()
  const [longest] = profiles
    .filter((profile) => name.includes(profile.model))
    .sort((a, b) => b.model.length - a.model.length)
  return longest ?? gptImage1
}

/** Rules of gpt-image-2 and later for a free size; undefined when the size keeps them. */
export function freeSizeProblem(size: string): string | undefined {
  const match = /^(\d{2,4})x(\d{2,4})$/.exec(size)
  if (match === null) return 'WIDTHxHEIGHT in pixels'
  const width = Number(match[1])
  const height = Number(match[2])
  if (width % 16 !== 0 || height % 16 !== 0) return 'both sides divisible by 16'
  if (Math.max(width, height) > 3840) return 'no side above 3840'
  if (Math.max(width, height) > 3 * Math.min(width, height)) return 'a ratio of at most 3:1'
  const pixels = width * height
  if (pixels < 655_360 || pixels > 8_294_400) return '655,360 to 8,294,400 pixels'
  return undefined
}
