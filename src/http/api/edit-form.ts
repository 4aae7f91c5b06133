import type { HttpRequest } from '@azure/functions'
import type { AskedRef } from '../../core/requests/input-ref.ts'
import { limits } from '../../core/limits.ts'
import type { AskedRequest, Submission } from '../../core/requests/submission.ts'
import { uploadPatience } from '../body/body.ts'
import type { Hands } from '../hands.ts'
import { readMultipart, type FieldPart } from '../body/multipart.ts'
import { replyError, type ApiError, type Call, type Reply } from '../reply.ts'

export function isForm({ headers }: Pick<HttpRequest, 'headers'>): boolean {
  return /^multipart\//i.test(headers.get('content-type') ?? '')
}

/** The body of a call, read. */
export type ReadCall =
  | { readonly kind: 'read'; readonly submission: Submission }
  | { readonly kind: 'refused'; readonly reply: Reply }
  /** This instance has as many requests in hand as its memory allows. */
  | { readonly kind: 'full' }

const bounds = {
  fieldsMax: limits.editFieldsMax,
  // A prompt in four-byte characters.
  fieldBytesMax: 4 * limits.promptCharsMax,
  filesMax: limits.inputImagesMax + 1,
  ...uploadPatience,
}

/** The form that the model's API takes: `image` or `image[]`, once or more, `mask`, and the other fields as text. */
export async function readEditForm({ request, context }: Call, hands: Hands): Promise<ReadCall> {
  let sumBytes = 0
  // The next file may begin before the one before it was looked at: each piece counts when it comes.
  const fits = (bytes: number): boolean => (sumBytes += bytes) <= limits.requestFilesBytesMax
  const form = await readMultipart(request, bounds, async ({ name, content }): Promise<Upload> => {
    return { name, bytes: await collect(content, { hands, fits }) }
  })
  if (form.kind === 'refused') return refused(form.fault)
  const uploads = new Map<string, Uint8Array>()
  for (const [index, { name, bytes }] of form.files.entries()) {
    if (bytes === 'full') return { kind: 'full' }
    if (!(bytes instanceof Uint8Array)) return refused(tooLarge(name, bytes))
    uploads.set(uploadName(index), bytes)
  }
  const fields = [
    ...form.fields.map(({ name, value }) => ({ name: plainName(name), value })),
    ...form.files.map(({ name }, index) => ({ name: plainName(name), value: uploadName(index) })),
  ]
  const twice = fields.find(
    ({ name }, at) => name !== 'image' && fields.findIndex((each) => each.name === name) < at,
  )
  if (twice !== undefined) {
    const { name: param } = twice
    return refused({
      status: 400,
      param,
      code: 'invalid_value',
      message: `${param}: it is given twice; allowed: once`,
    })
  }
  const parsed = context.parse({ json: bodyOf(fields) }, 'call')
  if (parsed.kind === 'invalid') return refused({ status: 400, ...parsed.fault })
  const { submission } = parsed
  return { kind: 'read', submission: { ...submission, request: withBytes(submission.request, uploads) } }
}

type Upload = { readonly name: string; readonly bytes: Uint8Array | TooLarge | 'full' }

/** The image by itself, or all of the form together. */
type TooLarge = 'too-large' | 'too-large-together'

async function collect(
  content: AsyncIterable<Uint8Array>,
  { hands, fits }: { readonly hands: Hands; readonly fits: (bytes: number) => boolean },
): Promise<Upload['bytes']> {
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  for await (const chunk of content) {
    sizeBytes += chunk.length
    if (sizeBytes > limits.inputImageBytesMax) return 'too-large'
    if (!fits(chunk.length)) return 'too-large-together'
    if (!hands.take(chunk.length)) return 'full'
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Stands for an upload while the other fields are read. */
function uploadName(index: number): string {
  return `upload-${index}`
}

/** Clients write `image[]`, and some count them. */
function plainName(name: string): string {
  return name.replace(/^image\[\d*\]$/, 'image')
}

/** Fields of a form are texts; those that are numbers, or say no, to the model are told so. */
function bodyOf(fields: readonly FieldPart[]): object {
  const images = fields.filter(({ name }) => name === 'image').map(({ value }) => value)
  const others = fields
    .filter(({ name }) => name !== 'image')
    .map(
      ({ name, value }) =>
        [name, numbers.has(name) && /^\d{1,9}$/.test(value) ? Number(value) : value] as const,
    )
    .filter(([name, value]) => !(name === 'stream' && value === 'false'))
  return { ...Object.fromEntries(others), ...(images.length === 0 ? {} : { image: images }) }
}

const numbers = new Set(['n', 'output_compression'])

function withBytes(
  { inputs, ...request }: AskedRequest,
  uploads: ReadonlyMap<string, Uint8Array>,
): AskedRequest {
  if (inputs === undefined) return request
  const found = (ref: AskedRef): AskedRef => {
    const bytes = ref.kind === 'blob' ? uploads.get(ref.name) : undefined
    return bytes === undefined ? ref : { kind: 'data', bytes }
  }
  const { images, mask } = inputs
  return { ...request, inputs: { images: images.map(found), mask: mask && found(mask) } }
}

function tooLarge(name: string, what: TooLarge): ApiError {
  const param = plainName(name).slice(0, limits.quotedValueCharsMax)
  const message =
    what === 'too-large'
      ? `${param}: got more than ${limits.inputImageBytesMax} bytes; allowed: at most that`
      : `${param}: got more than ${limits.requestFilesBytesMax} bytes of images in one form; allowed: at most that, and more by file id: send each with POST /v1/files, and give its id (file-…) as image`
  return { status: 413, param, code: 'image_too_large', message }
}

function refused(fault: ApiError): ReadCall {
  return { kind: 'refused', reply: replyError(fault) }
}
