import { type Call, type Reply, replyError, notFound } from '../reply.ts'
import { mayUse } from '../../core/caller.ts'
import { batchNamePattern } from '../../core/requests/submission.ts'
import { limits } from '../../core/limits.ts'
import { type BatchStatus, batchStatus } from '../../pipeline/status/status.ts'

export function atItsEnd(name: string, state: 'completed' | 'failed'): Reply {
  const message = `batch ${name} is at its end: nothing is left to change or to cancel`
  return replyError({ status: 409, code: `batch_${state}`, message })
}

/** Its model, and with it its pool, is known when its file has been checked. */
export function beingChecked(name: string): Reply {
  const message = `batch ${name}: its file is being checked; ask again in a moment`
  const refusal = replyError({ status: 409, code: 'batch_validating', message })
  return { ...refusal, headers: { ...refusal.headers, 'retry-after': '1' } }
}

export function batchName({ name = '' }: Call['request']['params']): string | undefined {
  return batchNamePattern.test(name) && name.length <= limits.batchNameCharsMax ? name : undefined
}

export function noBatch({ name = '' }: Call['request']['params']): Reply {
  return notFound(`batch ${JSON.stringify(name.slice(0, limits.batchNameCharsMax))}`)
}

/** The batch of the path, if it is the caller's. */
export async function ownBatch({ request, context, caller }: Call): Promise<BatchStatus | undefined> {
  const name = batchName(request.params)
  const status = name === undefined ? undefined : await batchStatus(context, name)
  return status !== undefined && mayUse(caller, status.owner) ? status : undefined
}
