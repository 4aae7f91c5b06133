import type { HttpRequest } from '@azure/functions'
import type { z } from 'zod'
import { readJson } from '../core/json.ts'
import { limits } from '../core/limits.ts'
import { timing } from '../core/timing.ts'
import { faultOf } from './fault.ts'
import { replyError, RequestRefused, type Reply } from './reply.ts'

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

type Bounds = { readonly bytesMax: number; readonly withinMs: number }

/**
 * The body as text; undefined when it is longer than allowed. Throws `RequestRefused` for what is no JSON by its own
 * word (415), for a body that does not come in time (408) or to its end, and for bytes that are no UTF-8 (400).
 */
export async function boundedText(
  request: Pick<HttpRequest, 'headers' | 'body'>,
  bytesMax: number = limits.requestBodyBytesMax,
  withinMs: number = timing.bodyMs,
): Promise<string | undefined> {
  checkContentType(request.headers)
  const isTooLong = Number(request.headers.get('content-length') ?? 0) > bytesMax
  const bytes = await readBytes(request.body, { bytesMax: isTooLong ? 0 : bytesMax, withinMs })
  if (isTooLong || bytes === undefined) return undefined
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new RequestRefused(
      { status: 400, code: 'invalid_encoding', message: 'the body is not UTF-8' },
      error,
    )
  }
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

/**
 * Undefined when there are more than allowed. A little of what is too long is read to its end, and thrown away: who is
 * cut off while sending does not hear why.
 */
async function readBytes(
  body: HttpRequest['body'],
  { bytesMax, withinMs }: Bounds,
): Promise<Uint8Array | undefined> {
  if (body === null) return new Uint8Array()
  const reader = body.getReader()
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(tooSlow(withinMs)), withinMs)
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  try {
    while (sizeBytes <= bytesMax + limits.drainedBytesMax) {
      const read = await Promise.race([reader.read(), late.promise])
      if (read.done) break
      const chunk: unknown = read.value
      if (!(chunk instanceof Uint8Array)) throw new TypeError('a body of something else than bytes')
      sizeBytes += chunk.length
      if (sizeBytes <= bytesMax) chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof RequestRefused) throw error
    // Whatever it is: the client has left, or its framing is broken.
    const message = 'the body did not come to its end'
    throw new RequestRefused({ status: 400, code: 'incomplete_body', message }, error)
  } finally {
    clearTimeout(timer)
    reader.releaseLock()
  }
  return sizeBytes > bytesMax ? undefined : Buffer.concat(chunks)
}

function tooSlow(withinMs: number): RequestRefused {
  const message = `the body did not come within ${withinMs / 1_000} s`
  return new RequestRefused({ status: 408, code: 'request_timeout', message })
}
