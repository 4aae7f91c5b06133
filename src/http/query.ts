import type { HttpRequest } from '@azure/functions'
import type { z } from 'zod'
import { describeIssue } from '../core/submission-fault.ts'
import { replyError, type Reply } from './reply.ts'

export type Query<T> =
  { readonly kind: 'read'; readonly value: T } | { readonly kind: 'refused'; readonly reply: Reply }

/** The request's query parameters as the schema wants them. */
export function readQuery<T>(
  request: HttpRequest,
  schema: z.ZodType<T> & { readonly shape: object },
): Query<T> {
  const parsed = schema.safeParse(Object.fromEntries(request.query), { reportInput: true })
  if (parsed.success) return { kind: 'read', value: parsed.data }
  const names = Object.keys(schema.shape)
  const [fault] = parsed.error.issues.map((issue) => describeIssue(issue, { names, bodyNames: names }))
  return {
    kind: 'refused',
    reply: replyError({ status: 400, ...(fault ?? { message: 'the query is not as wanted' }) }),
  }
}
