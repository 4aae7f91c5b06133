import { type Call, type Reply, replyError, notFound } from '../../reply.ts'
import { mayReach, type mayOpen } from '../../../pipeline/intake/owners.ts'
import { batchNamePattern } from '../../../core/requests/submission.ts'
import { limits } from '../../../core/limits.ts'
import { type BatchStatus, batchStatus } from '../../../pipeline/status/status.ts'

/** The name in the path, when there is a batch that the caller may use so; otherwise the answer that there is none. */
export async function batchOfPath(
  { request, context, caller }: Call,
  mayUseIt: typeof mayReach | typeof mayOpen = mayReach,
): Promise<Found<{ readonly name: string }>> {
  const name = batchName(request.params)
  return name !== undefined && (await mayUseIt(context, caller, name))
    ? { kind: 'found', name }
    : none(request)
}

/** The status of the batch in the path, if it is the caller's. */
export async function statusOfPath(call: Call): Promise<Found<{ readonly status: BatchStatus }>> {
  const found = await batchOfPath(call)
  if (found.kind === 'refused') return found
  const status = await batchStatus(call.context, found.name)
  return status === undefined ? none(call.request) : { kind: 'found', status }
}

type Found<T> = ({ readonly kind: 'found' } & T) | { readonly kind: 'refused'; readonly reply: Reply }

function none({ params: { name = '' } }: Call['request']): Extract<Found<object>, { kind: 'refused' }> {
  return { kind: 'refused', reply: noBatch(name) }
}

export function noBatch(name: string): Reply {
  return notFound(`batch ${JSON.stringify(name.slice(0, limits.batchNameCharsMax))}`)
}

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

function batchName({ name = '' }: Call['request']['params']): string | undefined {
  return batchNamePattern.test(name) && name.length <= limits.batchNameCharsMax ? name : undefined
}
