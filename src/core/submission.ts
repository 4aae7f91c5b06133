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

/** Whether two requests ask for the same, whatever the order of their fields. */
export function isSameRequest(a: ImageRequest, b: ImageRequest): boolean {
  const rest = new Map<string, unknown>(Object.entries(b).filter(isGiven))
  const fields = Object.entries(a).filter(isGiven)
  return fields.length === rest.size && fields.every(([name, value]) => rest.get(name) === value)
}

function isGiven([, value]: readonly [string, unknown]): boolean {
  return value !== undefined
}

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
    const parsed = (isLine ? line : flat).safeParse(value, { reportInput: true })
    if (parsed.success) return { kind: 'valid', submission: parsed.data }
    const bodyNames = Object.keys(body)
    const names = isLine
      ? [...Object.keys(envelopeFields), 'method', 'url', 'body']
      : [...bodyNames, ...Object.keys(envelopeFields)]
    const faults = parsed.error.issues.map((issue) => describeIssue(issue, { names, bodyNames }))
    // The first fault is enough to act on; a failed parse has at least one.
    const { param, code, message } = faults.reduce((first) => first)
    return invalid(param, code, message, value)
  }
}

export const batchNamePattern = /^[A-Za-z0-9_-]+$/

function parseJson(text: string): { kind: 'json'; value: unknown } | { kind: 'unreadable'; reason: string } {
  try {
    const plain = fromBase64(text) ?? text
    return { kind: 'json', value: JSON.parse(plain.startsWith('\uFEFF') ? plain.slice(1) : plain) }
  } catch (error) {
    return { kind: 'unreadable', reason: withoutQuotedInput(String(error)) }
  }
}

/** Many clients, the portal among them, encode queue messages as base64 unless told not to. JSON never looks like it. */
function fromBase64(text: string): string | undefined {
  const base64 = text.trim()
  if (!/^(?=e|77u\/)(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/.test(base64)) {
    return undefined
  }
  return new TextDecoder().decode(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)))
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

/** Control characters would grow sixfold in storage, and have no place in a name. */
const label = (charsMin: number, charsMax: number) =>
  z
    .string()
    .min(charsMin)
    .max(charsMax)
    .refine((value) => value.isWellFormed() && !/\p{Cc}/u.test(value), {
      message: 'well-formed Unicode without control characters',
    })

const customIdSchema = label(1, limits.customIdCharsMax)
const batchSchema = z.string().min(1).max(limits.batchNameCharsMax).regex(batchNamePattern, {
  message: 'only the characters A-Z a-z 0-9 _ -',
})

const envelopeFields = {
  custom_id: customIdSchema.optional(),
  batch: batchSchema.optional(),
  metadata: z
    .record(label(1, limits.metadataKeyCharsMax), label(0, limits.metadataValueCharsMax))
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
    prompt: z
      .string()
      .min(1)
      .max(profile.promptCharsMax)
      .refine((prompt) => prompt.isWellFormed() && prompt.trim() !== '', {
        message: 'well-formed Unicode that is not blank',
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
    user: label(1, limits.userCharsMax).optional(),
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
function describeIssue(
  issue: z.core.$ZodIssue,
  { names, bodyNames }: { readonly names: readonly string[]; readonly bodyNames: readonly string[] },
): SubmissionFault {
  const path = issue.path.map(String)
  if (issue.code === 'unrecognized_keys') {
    const field = [...path, ...issue.keys.slice(0, 1)].join('.')
    const allowed = path.includes('body') ? bodyNames : names
    return {
      param: named(field),
      code: 'unknown_parameter',
      message: `unknown field ${quote(field)}; allowed: ${allowed.join(', ')}`,
    }
  }
  const param = named(path.join('.'))
  const found = issue.input
  // A body that is no object may be the prompt itself.
  const mayBePrompt = path.at(-1) === 'prompt' || path.at(-1) === 'body'
  const got = found === undefined ? 'it is missing' : `got ${mayBePrompt ? sizeOf(found) : quote(found)}`
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

function invalid(param: string | null, code: string, message: string, value: object): ParsedSubmission {
  const customId = customIdSchema.safeParse('custom_id' in value ? value.custom_id : undefined)
  const batch = batchSchema.safeParse('batch' in value ? value.batch : undefined)
  return {
    kind: 'invalid',
    fault: { param, code, message: message.slice(0, limits.failureMessageCharsMax).toWellFormed() },
    customId: customId.success ? customId.data : null,
    batch: batch.success ? batch.data : null,
  }
}

/** V8 quotes the input in its message; the input may be a prompt. */
function withoutQuotedInput(message: string): string {
  const reason = message.replace(/^SyntaxError: /, '').replace(/,? ?(\.\.\.)?".*$/s, '')
  return reason === '' ? 'unexpected text' : reason.slice(0, limits.quotedValueCharsMax)
}

/** The name of an unknown field, or of a pair of metadata, may be of any length. */
function named(field: string): string {
  return field.slice(0, limits.quotedValueCharsMax).toWellFormed()
}

/** Lists and objects are named only: a prompt may be inside. */
function quote(value: unknown): string {
  if (typeof value === 'object') return nameOf(value)
  const json = JSON.stringify(value)
  return json.length <= limits.quotedValueCharsMax ? json : `${json.slice(0, limits.quotedValueCharsMax)}…`
}

function sizeOf(value: unknown): string {
  return typeof value === 'string' ? `${value.length} characters` : nameOf(value)
}

function nameOf(value: unknown): string {
  if (value === null) return 'null'
  if (typeof value === 'object') return Array.isArray(value) ? 'an array' : 'an object'
  return `a ${typeof value}`
}

function isRecord(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
