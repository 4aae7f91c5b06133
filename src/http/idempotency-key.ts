import type { HttpRequest } from '@azure/functions'
import type { Job } from '../core/jobs/job.ts'
import { jobId } from '../core/jobs/keys.ts'
import { limits } from '../core/limits.ts'
import { replyError, type Reply } from './reply.ts'

type IdempotencyKey =
  | { readonly kind: 'read'; readonly idempotencyKey: string | undefined }
  | { readonly kind: 'refused'; readonly reply: Reply }

export function readIdempotencyKey({ headers }: Pick<HttpRequest, 'headers'>): IdempotencyKey {
  const idempotencyKey = headers.get('idempotency-key') ?? undefined
  const charsMax = limits.idempotencyKeyCharsMax
  if (
    idempotencyKey === undefined ||
    (idempotencyKey.length <= charsMax && /^[\x20-\x7e]+$/.test(idempotencyKey))
  ) {
    return { kind: 'read', idempotencyKey }
  }
  const message = `Idempotency-Key: got ${idempotencyKey.length} characters; allowed: 1 to ${charsMax} printable ASCII characters`
  const error = { status: 400, param: 'Idempotency-Key', code: 'invalid_value', message }
  return { kind: 'refused', reply: replyError(error) }
}

/** The key, or the custom id, stands for another request already. */
export function jobExists(job: Pick<Job, 'batch' | 'key'>, param: string): Reply {
  const message = `${param}: job ${jobId(job)} has it already, and asks for something else; use another`
  return replyError({ status: 409, param, code: 'job_exists', message })
}
