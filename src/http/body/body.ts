import type { HttpRequest } from '@azure/functions'
import type { z } from 'zod'
import { readJson } from '../../core/json.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import { faultOf } from '../fault.ts'
import { chunksInTime, type Patience } from './chunks.ts'
import { handsFull, type Hands } from '../hands.ts'
import { replyError, RequestRefused, type ApiError, type Reply } from '../reply.ts'

export type Body<T> =
  { readonly kind: 'read'; readonly value: T } | { readonly kind: 'refused'; readonly reply: Reply }

/** The request's JSON as the schema wants it; no body at all is an empty object. Ends as `boundedText` does. */
export async function readBody<T>(
  request: HttpRequest,
  schema: z.ZodType<T> & { readonly shape: object },
): Promise<Body<T>> {
  const text = await boundedText(request)
  if (text === undefined) return { kind: 'refused', reply: tooLong() }
  const json = text.trim() === '' ? { kind: 'json' as const, value: {} } : readJson(text)
  if (json.kind === 'unreadable') {
    const message = `the body is not JSON (${json.reason}); wanted one JSON object`
    return { kind: 'refused', reply: replyError({ status: 400, code: 'invalid_json', message }) }
  }
  const parsed = schema.safeParse(json.value, { reportInput: true })
  if (parsed.success) return { kind: 'read', value: parsed.data }
  const fault = faultOf(parsed.error, Object.keys(schema.shape))
  return { kind: 'refused', reply: replyError({ status: 400, ...fault }) }
}

export function tooLong(bytesMax: number = limits.requestBodyBytesMax): Reply {
  const message = `the body is too long; allowed: at most ${bytesMax} bytes`
  return replyError({ status: 413, code: 'request_too_large', message })
}

type Bounds = Patience & {
  readonly bytesMax: number
  /** Where what is larger than usual is held. */
  readonly hands: Hands | undefined
}

const usual: Bounds = {
  bytesMax: limits.requestBodyBytesMax,
  hands: undefined,
  withinMs: timing.bodyMs,
  stallMs: timing.bodyMs,
}

/** For bodies with images in them. */
export const uploadPatience: Patience = { withinMs: timing.uploadMs, stallMs: timing.uploadStallMs }

/**
 * The body as text; undefined when it is longer than allowed. Throws `RequestRefused` for what is no JSON by its own
 * word (415), for a body that does not come in time (408) or to its end, for bytes that are no UTF-8 (400), and where
 * there is no memory left for it (503).
 */
export async function boundedText(
  request: Pick<HttpRequest, 'headers' | 'body'>,
  own: Partial<Bounds> = {},
): Promise<string | undefined> {
  const bounds = { ...usual, ...own }
  checkContentType(request.headers)
  const isTooLong = Number(request.headers.get('content-length') ?? 0) > bounds.bytesMax
  const read = await readText(request.body, isTooLong ? { ...bounds, bytesMax: 0 } : bounds)
  if (read.kind === 'refused') throw new RequestRefused(read.why)
  return isTooLong || read.kind === 'too-long' ? undefined : read.text
}

/**
 * No type at all, and what curl and fetch put there unasked, is JSON as well. What says that it is something else is not
 * looked at.
 */
function checkContentType(headers: Pick<Headers, 'get'>): void {
  const [type = '', ...parameters] = (headers.get('content-type') ?? '').toLowerCase().split(';')
  const charset = parameters.map((each) => each.trim()).find((each) => each.startsWith('charset='))
  const encoding = headers.get('content-encoding') ?? 'identity'
  const isReadable =
    jsonTypes.test(type.trim()) &&
    (charset === undefined || /^charset="?(utf-?8|us-ascii)"?$/.test(charset)) &&
    encoding.toLowerCase() === 'identity'
  if (isReadable) return
  const message =
    'the body is of a type that is not read here; wanted content-type: application/json, in UTF-8'
  throw new RequestRefused({ status: 415, code: 'unsupported_media_type', message })
}

const jsonTypes =
  /^(|application\/([\w.-]+\+)?json|application\/(x-)?(ndjson|jsonl|json-lines)|application\/x-www-form-urlencoded|application\/octet-stream|text\/[\w.+-]+)$/

type ReadText =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'too-long' }
  | { readonly kind: 'refused'; readonly why: ApiError }

/**
 * Each piece is made text as it comes: that of a large body as a whole would keep the event loop busy. A little of what
 * is refused is read to its end, and thrown away: who is cut off while sending does not hear why.
 */
async function readText(body: HttpRequest['body'], bounds: Bounds): Promise<ReadText> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  let text = ''
  let sizeBytes = 0
  let drainedBytes = 0
  let refusal: Exclude<ReadText, { kind: 'text' }> | undefined
  try {
    for await (const chunk of chunksInTime(body, bounds)) {
      sizeBytes += chunk.length
      refusal ??= refusalOf(sizeBytes, chunk.length, bounds)
      const piece = refusal === undefined ? decoded(decoder, chunk) : undefined
      if (piece !== undefined) text += piece
      else {
        refusal ??= notUtf8
        text = ''
        drainedBytes += chunk.length
        if (drainedBytes > limits.drainedBytesMax) break
      }
    }
  } catch (error) {
    if (error instanceof RequestRefused) throw error
    // Whatever it is: the client has left, or its framing is broken.
    const message = 'the body did not come to its end'
    throw new RequestRefused({ status: 400, code: 'incomplete_body', message }, error)
  }
  if (refusal !== undefined) return refusal
  const end = decoded(decoder)
  return end === undefined ? notUtf8 : { kind: 'text', text: text + end }
}

/** A body of the usual size needs no room of its own; of a larger one all that is beyond it, as text and once more as it is read. */
function refusalOf(
  sizeBytes: number,
  chunkBytes: number,
  { bytesMax, hands }: Bounds,
): Exclude<ReadText, { kind: 'text' }> | undefined {
  if (sizeBytes > bytesMax) return { kind: 'too-long' }
  const beyond = Math.min(chunkBytes, sizeBytes - limits.requestBodyBytesMax)
  const isHeld = hands === undefined || beyond <= 0 || hands.take(2 * beyond)
  return isHeld ? undefined : { kind: 'refused', why: handsFull }
}

const notUtf8 = {
  kind: 'refused',
  why: { status: 400, code: 'invalid_encoding', message: 'the body is not UTF-8' },
} as const

/** Without a piece: what is left at the end. */
function decoded(decoder: InstanceType<typeof TextDecoder>, piece?: Uint8Array): string | undefined {
  try {
    return piece === undefined ? decoder.decode() : decoder.decode(piece, { stream: true })
  } catch (error) {
    if (error instanceof TypeError) return undefined
    throw error
  }
}
