import type { HttpRequest } from '@azure/functions'
import type { z } from 'zod'
import { faultOf } from './fault.ts'
import { replyError, type Reply } from './reply.ts'

export type Query<T> =
  { readonly kind: 'read'; readonly value: T } | { readonly kind: 'refused'; readonly reply: Reply }

/** The request's query parameters as the schema wants them. */
export function readQuery<T>(
  request: HttpRequest,
  schema: z.ZodType<T> & { readonly shape: object },
): Query<T> {
  const texts = Object.fromEntries(request.query)
  const parsed = schema.safeParse(texts, { reportInput: true })
  if (parsed.success) return { kind: 'read', value: parsed.data }
  const fault = faultOf(parsed.error, Object.keys(schema.shape), texts)
  return { kind: 'refused', reply: replyError({ status: 400, ...fault }) }
}
