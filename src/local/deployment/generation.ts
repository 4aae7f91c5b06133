import type { ErrorAnswer } from './answers.ts'
import { deploymentNotFound, invalidValue, missingParameter, unknownParameter } from './answers.ts'
import type { Door } from './door.ts'
import type { DeploymentSettings } from './settings.ts'

/** A request for pictures that has passed every check, with what was left to the model decided. */
export type Generation = {
  readonly prompt: string
  readonly n: number
  readonly width: number
  readonly height: number
  readonly quality: string
  readonly background: 'transparent' | 'opaque'
  readonly outputFormat: 'png' | 'jpeg'
  readonly outputCompression: number
}

/**
 * Checks a body as strictly as Azure does: its parameters are those of api-version 2025-04-01-preview, the v1 path
 * adds `model` and `moderation`. WebP, `response_format`, `style` and streaming are refused for image models on Azure.
 */
export function readGeneration(
  body: Readonly<Record<string, unknown>>,
  door: Door,
  settings: Pick<DeploymentSettings, 'deployment' | 'model'>,
):
  | { readonly kind: 'generation'; readonly generation: Generation }
  | { readonly kind: 'refused'; readonly answer: ErrorAnswer } {
  const given = door.kind === 'v1' ? withoutNulls(body) : body
  const answer = faultIn(given, door, settings)
  return answer === undefined
    ? { kind: 'generation', generation: decide(given, settings.model) }
    : { kind: 'refused', answer }
}

/** Azure documents 32,000 characters for gpt-image-1 and later. */
const maxPromptCharacters = 32_000

function faultIn(
  given: Readonly<Record<string, unknown>>,
  door: Door,
  { deployment, model }: Pick<DeploymentSettings, 'deployment' | 'model'>,
): ErrorAnswer | undefined {
  const further = door.kind === 'v1' ? v1Parameters : door.operation === 'edits' ? editParameters : []
  const allowed = [...parameters, ...further]
  const unknown = Object.keys(given).find((name) => !allowed.some((one) => one === name))
  if (unknown !== undefined) return unknownParameter(unknown)
  if (door.kind === 'v1' && given['model'] === undefined) return missingParameter('model')
  if (door.kind === 'v1' && given['model'] !== deployment) return deploymentNotFound()
  if (door.kind === 'deployments' && given['model'] !== undefined && given['model'] !== model) {
    return invalidValue('model', `The model '${shown(given['model'])}' does not exist.`)
  }
  return (
    faultInPrompt(given['prompt']) ??
    faultInNumber('n', given['n'], 1, 10) ??
    faultInSize(given['size'], model) ??
    faultInChoice('quality', given['quality'], qualitiesOf(model)) ??
    faultInChoice('background', given['background'], ['transparent', 'opaque', 'auto']) ??
    faultInChoice('output_format', given['output_format'], ['png', 'jpeg']) ??
    faultInNumber('output_compression', given['output_compression'], 0, 100) ??
    faultInChoice('moderation', given['moderation'], ['low', 'auto']) ??
    faultInUser(given['user']) ??
    faultInFidelity(given['input_fidelity'], model) ??
    faultInCombination(given)
  )
}

const parameters = [
  'prompt',
  'n',
  'size',
  'quality',
  'background',
  'output_format',
  'output_compression',
  'user',
  'model',
] as const

const v1Parameters = ['moderation'] as const

const editParameters = ['input_fidelity'] as const

function faultInPrompt(prompt: unknown): ErrorAnswer | undefined {
  if (prompt === undefined) return missingParameter('prompt')
  if (typeof prompt !== 'string') {
    return invalidValue('prompt', `Invalid type for 'prompt': expected a string, but got ${shown(prompt)}.`)
  }
  if (prompt === '')
    return invalidValue('prompt', "Invalid 'prompt': expected a string with minimum length 1.")
  if (prompt.length <= maxPromptCharacters) return undefined
  return invalidValue(
    'prompt',
    `Invalid 'prompt': string too long. Expected a string with maximum length ${maxPromptCharacters}, but got a ` +
      `string with length ${prompt.length} instead.`,
  )
}

function faultInNumber(name: string, value: unknown, min: number, max: number): ErrorAnswer | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return undefined
  return invalidValue(
    name,
    `Invalid '${name}': expected an integer from ${min} to ${max}, but got ${shown(value)} instead.`,
  )
}

function faultInChoice(name: string, value: unknown, choices: readonly string[]): ErrorAnswer | undefined {
  if (value === undefined || choices.some((choice) => choice === value)) return undefined
  const listed = choices.map((choice) => `'${choice}'`).join(', ')
  return invalidValue(name, `Invalid value: '${shown(value)}'. Supported values are: ${listed}.`)
}

function faultInUser(user: unknown): ErrorAnswer | undefined {
  if (user === undefined || typeof user === 'string') return undefined
  return invalidValue('user', `Invalid type for 'user': expected a string, but got ${shown(user)}.`)
}

/** The mini model, and those from gpt-image-2 on, decide by themselves. */
function faultInFidelity(fidelity: unknown, model: string): ErrorAnswer | undefined {
  if (fidelity === undefined) return undefined
  if (['gpt-image-1', 'gpt-image-1.5'].includes(model)) {
    return faultInChoice('input_fidelity', fidelity, ['low', 'high'])
  }
  return invalidValue(
    'input_fidelity',
    `The model '${model}' does not support the 'input_fidelity' parameter.`,
  )
}

function faultInSize(size: unknown, model: string): ErrorAnswer | undefined {
  const fixed = faultInChoice('size', size, ['1024x1024', '1024x1536', '1536x1024', 'auto'])
  if (fixed === undefined || !takesAnySize(model)) return fixed
  const [width, height] = readSize(size)
  const [long, short] = [Math.max(width, height), Math.min(width, height)]
  const pixels = width * height
  const isFine =
    width % 16 === 0 &&
    height % 16 === 0 &&
    long <= 3_840 &&
    long <= 3 * short &&
    pixels >= 655_360 &&
    pixels <= 8_294_400
  if (isFine) return undefined
  return invalidValue(
    'size',
    `Invalid size '${shown(size)}'. Width and height must be divisible by 16 and at most 3840, their ratio at most ` +
      '3:1, and the picture from 655360 to 8294400 pixels.',
  )
}

function faultInCombination(given: Readonly<Record<string, unknown>>): ErrorAnswer | undefined {
  const isPng = given['output_format'] === undefined || given['output_format'] === 'png'
  if (given['background'] === 'transparent' && !isPng) {
    return invalidValue('background', 'Transparent background is not supported for JPEG output format.')
  }
  const compression = given['output_compression']
  // The portal's own sample sends 100 with PNG, so only a real compression is refused.
  if (isPng && compression !== undefined && compression !== 100) {
    return invalidValue(
      'output_compression',
      'Compression less than 100 is not supported for PNG output format.',
    )
  }
  return undefined
}

function decide(given: Readonly<Record<string, unknown>>, model: string): Generation {
  const {
    prompt,
    n,
    size,
    quality,
    background,
    output_format: format,
    output_compression: compression,
  } = given
  const [width, height] = typeof size === 'string' && size !== 'auto' ? readSize(size) : [1024, 1024]
  return {
    prompt: typeof prompt === 'string' ? prompt : '',
    n: typeof n === 'number' ? n : 1,
    width,
    height,
    quality: typeof quality === 'string' && quality !== 'auto' ? quality : ownQualityOf(model),
    background: background === 'transparent' ? 'transparent' : 'opaque',
    outputFormat: format === 'jpeg' ? 'jpeg' : 'png',
    outputCompression: typeof compression === 'number' ? compression : 100,
  }
}

function takesAnySize(model: string): boolean {
  return model.startsWith('gpt-image-2')
}

function qualitiesOf(model: string): readonly string[] {
  const finest = /^gpt-image-2\.\d/.test(model) ? ['xhigh', 'max'] : []
  return ['low', 'medium', 'high', ...finest, 'auto']
}

/** Azure's documentation gives `high` as the default, `medium` for the mini model. */
function ownQualityOf(model: string): string {
  return model.endsWith('-mini') ? 'medium' : 'high'
}

function readSize(size: unknown): readonly [number, number] {
  const [, width, height] = typeof size === 'string' ? (/^(\d{2,4})x(\d{2,4})$/.exec(size) ?? []) : []
  return [Number(width ?? 0), Number(height ?? 0)]
}

function withoutNulls(body: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null))
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing')
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}
