import { z } from 'zod'
import { endpoints, isSubmitted, submittedBatchPrefix } from './batch-order.ts'
import type { HostPattern } from './destination.ts'
import {
  checkInputCombinations,
  checkLineInputs,
  inputFields,
  inputsOf,
  type InputValues,
} from './input-fields.ts'
import { isSameInputs, type AskedRef, type Inputs } from './input-ref.ts'
import { isRecord, nameOf, readJson } from './json.ts'
import { limits } from './limits.ts'
import { freeSizeProblem, type ModelProfile } from './profiles.ts'
import { describeIssue, type SubmissionFault } from './submission-fault.ts'

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
  readonly input_fidelity?: string | undefined
  /** What makes it an edit. */
  readonly inputs?: Inputs | undefined
}

/** A request as it came: its images may be inside it. */
export type AskedRequest = Omit<ImageRequest, 'inputs'> & { readonly inputs?: Inputs<AskedRef> | undefined }

export const priorities = ['low', 'normal', 'high'] as const

export type Priority = (typeof priorities)[number]

/** What a producer asks for: one job. */
export type Submission = {
  /** The name of the pool whose model the job asked for. */
  readonly pool: string
  readonly customId: string | null
  readonly batch: string | null
  readonly priority: Priority | null
  readonly request: AskedRequest
  readonly metadata: Readonly<Record<string, string>> | null
}

export type { SubmissionFault }

/** A faulty submission still names its batch and custom id where those are readable, so that it can be found. */
export type ParsedSubmission =
  | { readonly kind: 'valid'; readonly submission: Submission }
  | {
      readonly kind: 'invalid'
      readonly fault: SubmissionFault
      readonly customId: string | null
      readonly batch: string | null
      /** The pool that it would have gone to; null where nothing can be read. */
      readonly pool: string | null
    }

/** A pool as its jobs name it: by its model, or by one of these names of its deployments. */
export type PoolRules = {
  readonly pool: string
  readonly profile: ModelProfile
  readonly names: readonly string[]
}

export type SubmissionRules = {
  /** The first pool takes the jobs that name no model. */
  readonly pools: readonly PoolRules[]
  /** Hosts whose images edits may start from: the setting INPUT_HOSTS. */
  readonly inputHosts?: readonly HostPattern[]
}

/** Whether two requests ask for the same, whatever the order of their fields. */
export function isSameRequest(
  { inputs, ...a }: ImageRequest,
  { inputs: otherInputs, ...b }: ImageRequest,
): boolean {
  const rest = new Map<string, unknown>(Object.entries(b).filter(isGiven))
  const fields = Object.entries(a).filter(isGiven)
  return (
    fields.length === rest.size &&
    fields.every(([name, value]) => rest.get(name) === value) &&
    isSameInputs(inputs, otherInputs)
  )
}

function isGiven([, value]: readonly [string, unknown]): boolean {
  return value !== undefined
}

/** `call`: nothing but the body of the model's own API, with nothing of ours beside it. */
export type SubmissionForm = 'job' | 'call'

/** A `job` where no form is named. */
export type SubmissionParser = (text: string, form?: SubmissionForm) => ParsedSubmission

/**
 * A parser of one job from JSON text: the flat body of the portal's sample, or a line of an OpenAI batch file.
 * Unknown fields are faults: a misspelt one would be paid for and ignored. The job's `model` chooses its pool, and with
 * it what the other fields may be. Make it once: schemas cost time.
 */
export function submissionParser({ pools, inputHosts = [] }: SubmissionRules): SubmissionParser {
  const [first] = pools
  if (first === undefined) throw new Error('a parser of jobs needs a pool that takes them')
  const poolOfModel = new Map(
    pools.flatMap((rules) => [rules.profile.model, ...rules.names].map((model) => [model, rules] as const)),
  )
  const models = [...poolOfModel.keys()]
  // Most apps never see a job for another pool than the first: those schemas are made when one comes.
  const made = new Map([[first, schemasOf(first, { models, inputHosts })]])
  const schemasFor = (model: unknown): Schemas => {
    const rules = (typeof model === 'string' ? poolOfModel.get(model) : undefined) ?? first
    const schemas = made.get(rules) ?? schemasOf(rules, { models, inputHosts })
    made.set(rules, schemas)
    return schemas
  }

  return (text, form = 'job') => {
    const json = readJson(plainText(text))
    if (json.kind === 'unreadable') {
      return invalid(
        null,
        'invalid_json',
        `the message is not JSON (${json.reason}); wanted one JSON object`,
        {},
      )
    }
    const { value } = json
    if (!isRecord(value)) {
      return invalid(null, 'invalid_type', `the message is ${nameOf(value)}; wanted one JSON object`, {})
    }
    const shape = form === 'call' ? 'call' : isLine(value) ? 'line' : 'flat'
    const asked = shape === 'line' ? value['body'] : value
    const schemas = schemasFor(isRecord(asked) ? asked['model'] : undefined)
    const whole = shape === 'call' ? withoutStream(value) : value
    const parsed = schemas[shape].safeParse(whole, { reportInput: true })
    if (parsed.success) return { kind: 'valid', submission: parsed.data }
    const { bodyNames } = schemas
    const names = {
      line: [...Object.keys(envelopeFields), 'method', 'url', 'body'],
      flat: [...bodyNames, ...Object.keys(envelopeFields)],
      call: bodyNames,
    }[shape]
    const faults = parsed.error.issues.map((issue) => describeIssue(issue, { names, bodyNames }))
    // The first fault is enough to act on; a failed parse has at least one.
    const { param, code, message } = faults.reduce((earliest) => earliest)
    return { ...invalid(param, code, message, value), pool: schemas.pool }
  }
}

function isLine(value: object): boolean {
  return 'body' in value || 'url' in value || 'method' in value
}

/** Clients may say that they want no stream. */
function withoutStream({ stream, ...rest }: Readonly<Record<string, unknown>>): object {
  return stream === undefined || stream === false ? rest : { ...rest, stream }
}

type Schemas = ReturnType<typeof schemasOf>

/** The pool that serves the model, which is named by itself or by one of its deployments. */
export function poolOfModel({ pools }: SubmissionRules, model: string): string | undefined {
  return pools.find(({ profile, names }) => profile.model === model || names.includes(model))?.pool
}

/** `models` are those of all pools: an unknown one is told what there is, wherever it would have gone. */
function schemasOf(
  { pool, profile }: PoolRules,
  { models, inputHosts }: { readonly models: readonly string[]; readonly inputHosts: readonly HostPattern[] },
) {
  const body = { ...bodyFields(profile, models), ...inputFields(profile, inputHosts) }
  const flat = z
    .strictObject({ ...envelopeFields, ...body })
    .superRefine(checkCombinations)
    .transform(({ custom_id, batch, priority, metadata, ...values }) =>
      toSubmission(pool, { custom_id, batch, priority, metadata }, values),
    )
  const line = z
    .strictObject({
      ...envelopeFields,
      method: z.literal('POST'),
      url: z.enum(endpoints),
      body: z.strictObject(body).superRefine(checkCombinations),
    })
    .superRefine(checkLineInputs)
    .transform(({ body: values, ...envelope }) => toSubmission(pool, envelope, values))
  const call = z
    .strictObject(body)
    .superRefine(checkCombinations)
    .transform((values) => toSubmission(pool, {}, values))
  return {
    pool,
    flat,
    line,
    call,
    bodyNames: Object.keys(body),
  }
}

export const batchNamePattern = /^[A-Za-z0-9_-]+$/

function plainText(text: string): string {
  const plain = fromBase64(text) ?? text
  return plain.startsWith('\uFEFF') ? plain.slice(1) : plain
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
  readonly priority?: Priority | undefined
  readonly metadata?: Readonly<Record<string, string>> | undefined
}

type BodyValues = Omit<ImageRequest, 'inputs' | 'input_fidelity'> &
  InputValues & { readonly model?: string | undefined }

function toSubmission(pool: string, envelope: Envelope, values: BodyValues): Submission {
  const { model: _model, image, images, mask, ...parameters } = values
  const inputs = inputsOf({ image, images, mask })
  return {
    pool,
    customId: envelope.custom_id ?? null,
    batch: envelope.batch ?? null,
    priority: envelope.priority ?? null,
    request: inputs === undefined ? parameters : { ...parameters, inputs },
    metadata: envelope.metadata ?? null,
  }
}

/** Control characters would grow sixfold in storage, and have no place in a name. */
export const label = (charsMin: number, charsMax: number) =>
  z
    .string()
    .min(charsMin)
    .max(charsMax)
    .refine((value) => value.isWellFormed() && !/\p{Cc}/u.test(value), {
      message: 'well-formed Unicode without control characters',
    })

const customIdSchema = label(1, limits.customIdCharsMax)
const batchSchema = z
  .string()
  .min(1)
  .max(limits.batchNameCharsMax)
  .regex(batchNamePattern, { message: 'only the characters A-Z a-z 0-9 _ -' })
  .refine((name) => !isSubmitted(name), {
    message: `names that do not begin with ${submittedBatchPrefix}: such names are given by Darkroom`,
  })

export const metadataSchema = z
  .record(label(1, limits.metadataKeyCharsMax), label(0, limits.metadataValueCharsMax))
  .refine((pairs) => Object.keys(pairs).length <= limits.metadataPairsMax, {
    message: `at most ${limits.metadataPairsMax} pairs`,
  })

const envelopeFields = {
  custom_id: customIdSchema.optional(),
  batch: batchSchema.optional(),
  priority: z.enum(priorities).optional(),
  metadata: metadataSchema.optional(),
}

function bodyFields(profile: ModelProfile, models: readonly string[]) {
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
    model: z.enum(models).optional(),
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
function checkCombinations(body: BodyValues, context: z.core.$RefinementCtx<BodyValues>): void {
  checkInputCombinations(body, context)
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

function invalid(
  param: string | null,
  code: string,
  message: string,
  value: object,
): Extract<ParsedSubmission, { kind: 'invalid' }> {
  const customId = customIdSchema.safeParse('custom_id' in value ? value.custom_id : undefined)
  const batch = batchSchema.safeParse('batch' in value ? value.batch : undefined)
  return {
    kind: 'invalid',
    fault: { param, code, message: message.slice(0, limits.failureMessageCharsMax).toWellFormed() },
    customId: customId.success ? customId.data : null,
    batch: batch.success ? batch.data : null,
    pool: null,
  }
}
