import { z } from 'zod'
import { isSubmitted, submittedBatchPrefix } from '../timed-id.ts'
import { limits } from '../limits.ts'
import { endpoints } from './endpoints.ts'
import {
  checkInputCombinations,
  checkLineInputs,
  inputFields,
  inputsOf,
  type InputValues,
} from './input-fields.ts'
import { isSameInputs, type AskedRef, type InputRules, type Inputs } from './input-ref.ts'
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

/** A pool as its jobs name it: by its model, or by one of these names of its deployments. */
export type PoolRules = {
  readonly pool: string
  readonly profile: ModelProfile
  readonly names: readonly string[]
}

/** `models` are those of all pools: an unknown one is told what there is, wherever it would have gone. */
export function schemasOf(
  { pool, profile }: PoolRules,
  { models, inputs }: { readonly models: readonly string[]; readonly inputs: InputRules },
) {
  const body = { ...bodyFields(profile, models), ...inputFields(profile, inputs) }
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

export const customIdSchema = label(1, limits.customIdCharsMax)
export const batchSchema = z
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

export const envelopeFields = {
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
