import type { HttpRequest } from '@azure/functions'
import type { z } from 'zod'
import { readJson } from '../core/json.ts'
import { limits } from '../core/limits.ts'
import { describeIssue } from '../core/submission-fault.ts'
import { replyError, type Reply } from './reply.ts'

export type Body<T> =
  { readonly kind: 'read'; readonly value: T } | { readonly kind: 'refused'; readonly reply: Reply }

/** The request's JSON as the schema wants it; no body at all is an empty object. */
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
  const names = Object.keys(schema.shape)
  const [fault] = parsed.error.issues.map((issue) => describeIssue(issue, { names, bodyNames: names }))
  return {
    kind: 'refused',
    reply: replyError({ status: 400, ...(fault ?? { message: 'the body is not as wanted' }) }),
  }
}

export function tooLong(bytesMax: number = limits.requestBodyBytesMax): Reply {
  const message = `the body is too long; allowed: at most ${bytesMax} bytes`
  return replyError({ status: 413, code: 'request_too_large', message })
}

/** Undefined when it is longer than any job can be; where the length is told it is not even read. */
export async function boundedText(
  request: HttpRequest,
  bytesMax: number = limits.requestBodyBytesMax,
): Promise<string | undefined> {
  if (Number(request.headers.get('content-length') ?? 0) > bytesMax) return undefined
  const text = await request.text()
  return Buffer.byteLength(text) > bytesMax ? undefined : text
}
