import { z } from 'zod'
import { limits } from './limits.ts'
import { freeSizeProblem, type ModelProfile } from './profiles.ts'

/** The body of a call to the model, in the API's own words; what the user left out is left out. */
export type ImageRequest = {
  readonly prompt: string
  readonly size?: string | undefined
  readonly quality?: string | undefined
  readonly output_format?: string | undefined
  readonly output_compression?: number | undefined
  readonly n?: number | undefined
  readonly background?: string | undefined
  readonly moderation?: string | undefined
  readonly user?: string | undefined
}

/** What a producer asks for: one job. */
export type Submission = {
  readonly customId: string | null
  readonly batch: string | null
  readonly request: ImageRequest
  readonly metadata: Readonly<Record<string, string>> | null
}

/** Why something is no valid job: the field, and a sentence with the value got and what is allowed. */
export type SubmissionFault = {
  readonly param: string | null
  readonly code: string
  readonly message: string
}

/** A faulty submission still names its batch and custom id where those are readable, so that it can be found. */
export type ParsedSubmission =
  | { readonly kind: 'valid'; readonly submission: Submission }
  | {
      readonly kind: 'invalid'
      readonly fault: SubmissionFault
      readonly customId: string | null
      readonly batch: string | null
    }

/** The deployment's name is accepted as `model` beside the model's own. */
export type SubmissionRules = { readonly profile: ModelProfile; readonly deployment: string }

export type SubmissionParser = (text: string) => ParsedSubmission

/**
 * A parser of one job from JSON text: the flat body of the portal's sample, or a line of an OpenAI batch file.
 * Unknown fields are faults: a misspelt one would be paid for and ignored. Make it once: schemas cost time.
 */
export function submissionParser(rules: SubmissionRules): SubmissionParser {
  const body = bodyFields(rules)
  const flat = z
    .strictObject({ ...envelopeFields, ...body })
    .superRefine(checkCombinations)
    .transform(({ custom_id, batch, metadata, model: _model, ...request }) =>
      toSubmission({ custom_id, batch, metadata }, request),
    )
  const line = z
    .strictObject({
      ...envelopeFields,
      method: z.literal('POST'),
      url: z.enum(['/v1/images/generations']),
      body: z.strictObject(body).superRefine(checkCombinations),
    })
    .transform(({ body: { model: _model, ...request }, ...envelope }) => toSubmission(envelope, request))

  return (text) => {
    const json = parseJson(text)
    if (json.kind === 'unreadable') {
      return invalid(
        null,
        'invalid_json',
        `the message is not JSON (${json.reason}); wanted one JSON object`,
        {},
      )
    }
    const value = json.value
    if (!isRecord(value)) {
      return invalid(null, 'invalid_type', `the message is ${nameOf(value)}; wanted one JSON object`, {})
    }
    const isLine = 'body' in value || 'url' in value || 'method' in value
    const parsed = (isLine ? line : flat).safeParse(value)
    if (parsed.success) return { kind: 'valid', submission: parsed.data }
    const fault = parsed.error.issues.map((issue) => describeIssue(issue, value))[0]
    return invalid(
      fault?.param ?? null,
      fault?.code ?? 'invalid_value',
      fault?.message ?? 'no valid job',
      value,
    )
  }
}

export const batchNamePattern = /^[A-Za-z0-9_-]+$/

function parseJson(text: string): { kind: 'json'; value: unknown } | { kind: 'unreadable'; reason: string } {
  try {
    return { kind: 'json', value: JSON.parse(text.startsWith('\uFEFF') ? text.slice(1) : text) }
  } catch (error) {
    return {
      kind: 'unreadable',
      reason: error instanceof Error ? withoutQuotedInput(error.message) : 'unreadable',
    }
  }
}

type Envelope = {
  readonly custom_id?: string | undefined
  readonly batch?: string | undefined
  readonly metadata?: Readonly<Record<string, string>> | undefined
}

function toSubmission(envelope: Envelope, request: ImageRequest): Submission {
  return {
    customId: envelope.custom_id ?? null,
    batch: envelope.batch ?? null,
    request,
    metadata: envelope.metadata ?? null,
  }
}

const text = (charsMax: number) =>
  z.string().min(1).max(charsMax).refine(isWellFormed, { message: 'well-formed Unicode' })

const customIdSchema = text(limits.customIdCharsMax)
const batchSchema = z.string().min(1).max(limits.batchNameCharsMax).regex(batchNamePattern, {
  message: 'only the characters A-Z a-z 0-9 _ -',
})

const envelopeFields = {
  custom_id: customIdSchema.optional(),
  batch: batchSchema.optional(),
  metadata: z
    .record(
      text(limits.metadataKeyCharsMax),
      z.string().max(limits.metadataValueCharsMax).refine(isWellFormed, { message: 'well-formed Unicode' }),
    )
    .refine((pairs) => Object.keys(pairs).length <= limits.metadataPairsMax, {
      message: `at most ${limits.metadataPairsMax} pairs`,
    })
    .optional(),
}

function bodyFields({ profile, deployment }: SubmissionRules) {
  const size = profile.freeSizes
    ? z.string().superRefine((value, context) => {
        if (profile.sizes.includes(value)) return
        const problem = freeSizeProblem(value)
        if (problem !== undefined) context.addIssue({ code: 'custom', message: `auto, or ${problem}` })
      })
    : z.enum(profile.sizes)
  return {
    prompt: text(profile.promptCharsMax).refine((prompt) => prompt.trim() !== '', {
      message: 'a text that is not blank',
    }),
    model: z.enum([...new Set([profile.model, deployment])]).optional(),
    size: size.optional(),
    quality: z.enum(profile.qualities).optional(),
    output_format: z.enum(profile.outputFormats).optional(),
    output_compression: z.int().min(0).max(100).optional(),
    n: z.int().min(1).max(profile.imagesMax).optional(),
    background: z
      .enum(profile.transparentBackground ? ['auto', 'opaque', 'transparent'] : ['auto', 'opaque'])
      .optional(),
    moderation: z.enum(['auto', 'low']).optional(),
    user: text(limits.userCharsMax).optional(),
  }
}

/** Combinations that the model refuses; Azure's reference: transparency needs png, compression needs jpeg. */
function checkCombinations(body: ImageRequest, context: z.core.$RefinementCtx<ImageRequest>): void {
  const format = body.output_format ?? 'png'
  if (body.background === 'transparent' && format !== 'png') {
    context.addIssue({
      code: 'custom',
      path: ['background'],
      input: body.background,
      message: `transparent only with output_format png (here ${format})`,
    })
  }
  if (format === 'png' && body.output_compression !== undefined && body.output_compression !== 100) {
    context.addIssue({
      code: 'custom',
      path: ['output_compression'],
      input: body.output_compression,
      message: '100 with output_format png, or 0 to 100 with output_format jpeg',
    })
  }
}

/** One sentence a person can act on: field, value got, what is allowed. The prompt itself is never quoted. */
function describeIssue(issue: z.core.$ZodIssue, value: object): SubmissionFault {
  const path = issue.path.map(String)
  if (issue.code === 'unrecognized_keys') {
    const field = [...path, ...issue.keys.slice(0, 1)].join('.')
    return {
      param: field,
      code: 'unknown_parameter',
      message: `unknown field ${quote(field)}; allowed: ${allowedFields(path).join(', ')}`,
    }
  }
  const param = path.join('.')
  const found = valueAt(value, path)
  const got =
    found === undefined ? 'it is missing' : `got ${path.at(-1) === 'prompt' ? sizeOf(found) : quote(found)}`
  return {
    param,
    code: found === undefined ? 'missing_required_parameter' : 'invalid_value',
    message: `${param}: ${got}; allowed: ${allowedBy(issue)}`,
  }
}

function allowedBy(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_value':
      return issue.values.map(String).join(', ')
    case 'too_big':
      return issue.origin === 'string' ? `at most ${issue.maximum} characters` : `at most ${issue.maximum}`
    case 'too_small':
      return issue.origin === 'string' ? `at least ${issue.minimum} character` : `at least ${issue.minimum}`
    case 'invalid_type':
      if (issue.expected === 'int') return 'a whole number'
      return issue.expected === 'record' || issue.expected === 'object' ? 'an object' : `a ${issue.expected}`
    case 'invalid_key':
      return `keys of 1 to ${limits.metadataKeyCharsMax} characters`
    case 'invalid_format':
    case 'custom':
    case 'invalid_element':
    case 'invalid_union':
    case 'not_multiple_of':
    case 'unrecognized_keys':
      return issue.message
  }
}

function allowedFields(path: readonly string[]): readonly string[] {
  const body = [
    ...['prompt', 'model', 'size', 'quality', 'output_format', 'output_compression'],
    ...['n', 'background', 'moderation', 'user'],
  ]
  return path.includes('body') ? body : [...body, 'custom_id', 'batch', 'metadata']
}

function invalid(param: string | null, code: string, message: string, value: object): ParsedSubmission {
  const customId = customIdSchema.safeParse('custom_id' in value ? value.custom_id : undefined)
  const batch = batchSchema.safeParse('batch' in value ? value.batch : undefined)
  return {
    kind: 'invalid',
    fault: { param, code, message: message.slice(0, limits.failureMessageCharsMax) },
    customId: customId.success ? customId.data : null,
    batch: batch.success ? batch.data : null,
  }
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, key) => (isRecord(inner) ? Object.entries(inner).find(([name]) => name === key)?.[1] : undefined),
    value,
  )
}

/** V8 quotes the input in its message; the input may be a prompt. */
function withoutQuotedInput(message: string): string {
  return message.replace(/,? ?(\.\.\.)?".*$/s, '').slice(0, limits.quotedValueCharsMax)
}

function quote(value: unknown): string {
  const json = JSON.stringify(value)
  return json.length <= limits.quotedValueCharsMax ? json : `${json.slice(0, limits.quotedValueCharsMax)}…`
}

function sizeOf(value: unknown): string {
  return typeof value === 'string' ? `${value.length} characters` : nameOf(value)
}

function nameOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`
}

function isRecord(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isWellFormed(value: string): boolean {
  return value.isWellFormed()
}
