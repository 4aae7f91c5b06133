import { z } from 'zod'
import { limits } from '../limits.ts'
import type { Endpoint } from './endpoints.ts'
import { readRef, type AskedRef, type InputRules, type Inputs } from './input-ref.ts'
import type { ModelProfile } from './profiles.ts'

/** The fields that make a job an edit: in our words, or in those of OpenAI's JSON body. */
export function inputFields(profile: ModelProfile, rules: InputRules) {
  const one = (value: unknown, context: Context) => asRef(value, { rules, context, path: [] })
  const many = (value: unknown, context: Context) => asRefs(value, rules, context)
  return {
    image: z
      .unknown()
      .transform((value, context) => (Array.isArray(value) ? many(value, context) : [one(value, context)]))
      .optional(),
    images: z.unknown().transform(many).optional(),
    mask: z.unknown().transform(one).optional(),
    input_fidelity: (profile.inputFidelities.length === 0
      ? undecidable
      : z.enum(profile.inputFidelities)
    ).optional(),
  }
}

const undecidable = z.string().refine(() => false, { message: 'none: the model decides it by itself' })

/** What the fields come to, read. */
export type InputValues = {
  readonly image?: readonly AskedRef[] | undefined
  readonly images?: readonly AskedRef[] | undefined
  readonly mask?: AskedRef | undefined
  readonly input_fidelity?: string | undefined
}

export function inputsOf({ image, images = image, mask = null }: NullMask): Inputs<AskedRef> | undefined {
  return images === undefined ? undefined : { images, mask }
}

type NullMask = Omit<InputValues, 'mask'> & { readonly mask?: AskedRef | null | undefined }

type Context = Pick<z.core.$RefinementCtx, 'addIssue'>

export function checkInputCombinations(body: InputValues, context: Context): void {
  const { image, images } = body
  if (image !== undefined && images !== undefined) {
    const message = 'images, or image in its place'
    context.addIssue({ code: 'custom', path: ['images'], input: images, message })
  }
  const inputs = inputsOf(body)
  if (inputs === undefined) {
    for (const field of ['mask', 'input_fidelity'] as const) {
      if (body[field] === undefined) continue
      context.addIssue({
        code: 'custom',
        path: [field],
        input: body[field],
        params: { got: 'no image beside it' },
        message: 'only beside image, which is what an edit starts from',
      })
    }
    return
  }
  if (JSON.stringify(inputs, withoutBytes).length > limits.inputRefsCharsMax) {
    const message = `references of at most ${limits.inputRefsCharsMax} characters together`
    context.addIssue({ code: 'custom', path: ['image'], input: [], message })
  }
}

/** A line says what it asks for twice: by its url, and by having images or none. */
export function checkLineInputs(
  { url, body }: { readonly url: Endpoint; readonly body: InputValues },
  context: Context,
): void {
  const isEdit = inputsOf(body) !== undefined
  if (isEdit && url !== '/v1/images/edits') {
    const message = '/v1/images/edits for a body with images to start from'
    context.addIssue({ code: 'custom', path: ['url'], input: url, message })
  }
  if (!isEdit && url === '/v1/images/edits') {
    const message = `1 to ${limits.inputImagesMax} images to start from; without any, the url /v1/images/generations`
    context.addIssue({ code: 'custom', path: ['body', 'image'], input: undefined, message })
  }
}

function withoutBytes(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? null : value
}

function asRefs(value: unknown, rules: InputRules, context: Context): readonly AskedRef[] {
  const { inputImagesMax } = limits
  if (!Array.isArray(value) || value.length < 1 || value.length > inputImagesMax) {
    const input = Array.isArray(value) ? `${value.length} of them` : value
    context.addIssue({ code: 'custom', input, message: `an array of 1 to ${inputImagesMax} images` })
    return z.NEVER
  }
  return value.map((each: unknown, index) => asRef(each, { rules, context, path: [index] }))
}

function asRef(
  value: unknown,
  at: { readonly rules: InputRules; readonly context: Context; readonly path: readonly number[] },
): AskedRef {
  const read = readRef(value, at.rules)
  if (read.kind === 'ref') return read.ref
  // Not the text itself: it may be megabytes, and its query may hold a signature.
  at.context.addIssue({ code: 'custom', path: [...at.path], input: read.shown, message: read.wanted })
  return z.NEVER
}
